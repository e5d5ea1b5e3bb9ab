//! Ends that nobody wishes for, and the start after them.

#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use homeward::lab::{
    Attached, Auth, Configurations, Host, Link, Node, Scene, SceneOptions, Service, Snapshot, output_folder,
};
use homeward::real_kernel_test;
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_homeward");
const MN: &str = "mn.example.org";
const PATIENCE: Duration = Duration::from_secs(20);

/// What belongs to others: an address, a route, a rule, a policy and a state.
fn others(host: &Host) {
    let commands = "address add 2001:db8:77::1/64 dev lo nodad\n\
        route add blackhole 2001:db8:78::/64\n\
        -6 rule add pref 7777 from 2001:db8:77::/64 lookup 77\n\
        xfrm policy add src 2001:db8:77::/64 dst 2001:db8:79::/64 dir out \
        tmpl src 2001:db8:77::1 dst 2001:db8:79::1 proto esp reqid 77 mode tunnel\n\
        xfrm state add src 2001:db8:77::1 dst 2001:db8:79::1 proto esp spi 0x7777 reqid 77 mode tunnel \
        aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128\n";
    for command in commands.lines() {
        let run = || Command::new("ip").args(command.split_whitespace()).status();
        assert!(host.enter(run).unwrap().unwrap().success(), "ip {command}");
    }
}

/// The scene, with things of others on both hosts, both processes attached, and how both hosts were before.
struct Story {
    attached: Attached,
    before: [Snapshot; 2],
    files: Configurations,
    scene: Scene,
}

impl Story {
    fn new() -> Self {
        let scene = Scene::new(SceneOptions::default()).unwrap();
        let files = Configurations::new(&output_folder().unwrap(), Auth::Psk, &[Node::default()]).unwrap();
        // What the kernel makes of router advertisements comes and runs out when it likes, and would be a difference.
        for (item, value) in [("autoconf", "0"), ("accept_ra", "0")] {
            scene.mn.sysctl(&format!("net/ipv6/conf/eth0/{item}"), value).unwrap();
        }
        let prefix = format!("{}/64", Link::A.prefix());
        let flush = [
            &["address", "flush", "dev", "eth0", "scope", "global"][..],
            &["route", "flush", "proto", "ra"],
            &["route", "flush", &prefix],
        ];
        for what in flush {
            assert!(Command::new("ip").args(["-n", "mn", "-6"]).args(what).status().unwrap().success(), "{what:?}");
        }
        others(&scene.mn);
        others(&scene.ha);
        let before = [scene.mn.snapshot().unwrap(), scene.ha.snapshot().unwrap()];
        let attached = Attached::start(Path::new(PROGRAM), &scene, &files, MN).unwrap();
        Self { attached, before, files, scene }
    }

    fn start(&self, host: &Host, name: &str) -> Service {
        Service::start(Path::new(PROGRAM), host, &self.files.folder().join(name)).unwrap()
    }

    fn start_mobile_node(&mut self) {
        self.attached.mn = self.start(&self.scene.mn, &format!("{MN}.toml"));
    }

    /// Packets go through the tunnel both ways.
    fn assert_works(&self) {
        self.attached.reaches_correspondent(&self.scene).unwrap();
    }

    /// Waits until the clock shows another second. Of two SAs of one pair Linux takes the one that was made in the later second; with
    /// a damaged journal the old one is still there, and as good as the new one if both are of the same second.
    fn until_another_second() {
        let second = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let now = second();
        while second() == now {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is not as before, by host; settings left out if the processes run.
    fn assert_others_untouched(&self) {
        for (host, before) in [&*self.scene.mn, &self.scene.ha].into_iter().zip(&self.before) {
            let now = host.snapshot().unwrap();
            let difference = before.difference(&now);
            // The interface is the mover's own.
            let ours = |line: &&str| line.starts_with("- net/ipv6/") || line.contains("eth0");
            let gone: Vec<&str> = difference.lines().filter(|line| line.starts_with("- ") && !ours(line)).collect();
            assert!(gone.is_empty(), "{}: {gone:#?}", host.name());
        }
    }

    fn assert_as_before(&self, which: &[usize]) {
        let hosts = [&*self.scene.mn, &self.scene.ha];
        for at in which {
            let (host, before) = (hosts.get(*at).unwrap(), self.before.get(*at).unwrap());
            assert_eq!(before.difference(&host.snapshot().unwrap()), "", "{}", host.name());
        }
    }
}

fn kill(service: &mut Service) {
    service.signal(Signal::SIGKILL).unwrap();
    service.wait_for_end(PATIENCE).unwrap();
}

fn terminate(service: &mut Service) {
    service.signal(Signal::SIGTERM).unwrap();
    assert!(service.wait_for_end(PATIENCE).unwrap().success(), "{}", service.messages());
}

real_kernel_test!(a_mobile_node_is_bound_again_after_any_end_and_leaves_nothing_behind, {
    let mut story = Story::new();
    story.assert_works();

    // An end with farewells.
    terminate(&mut story.attached.mn);
    story.attached.ha.wait("unbound", PATIENCE).unwrap();
    story.assert_as_before(&[0]);

    story.start_mobile_node();
    story.attached.mn.wait("bound", PATIENCE).unwrap();
    story.assert_works();

    // An end without: everything stands in the kernel, and the home agent still counts on it.
    kill(&mut story.attached.mn);
    let start = Instant::now();
    let mark = story.attached.ha.mark();
    story.start_mobile_node();
    let cleaned = story.attached.mn.wait("cleaned_up", PATIENCE).unwrap();
    assert!(cleaned.number("objects").unwrap() > 10, "{cleaned:?}");
    story.attached.mn.wait("bound", PATIENCE).unwrap();
    println!("bound {:?} after the start that followed a kill", start.elapsed());
    story.assert_works();
    story.assert_others_untouched();
    // The home address was never given to the home link in between: the binding was taken over.
    let withdrawn = story.attached.ha.events().into_iter().skip(mark).filter(|event| event.name == "unbound").count();
    assert_eq!(withdrawn, 0);

    // A journal in pieces: nothing is taken away from anybody by it.
    for damage in
        ["not a journal\n", "{\"boot\":\"c0ffee00-0000-4000-8000-000000000000\",\"namespace\":1}\n\"SpdHash\"\n", ""]
    {
        Story::until_another_second();
        kill(&mut story.attached.mn);
        let journal = story.files.folder().join(format!("state-{MN}/kernel.journal"));
        fs::write(&journal, damage).unwrap();
        story.start_mobile_node();
        story.attached.mn.wait("bound", PATIENCE).unwrap();
        assert_eq!(story.attached.mn.all("journal_ignored").len(), usize::from(!damage.is_empty()));
        story.assert_works();
        story.assert_others_untouched();
    }
    terminate(&mut story.attached.ha);
    story.assert_as_before(&[1]);
});

real_kernel_test!(a_home_agent_that_was_killed_is_found_out_and_bound_with_again, {
    let mut story = Story::new();
    story.assert_works();
    let restart = |story: &mut Story| {
        kill(&mut story.attached.ha);
        story.attached.ha = story.start(&story.scene.ha, "ha.toml");
        story.attached.ha.wait("started", PATIENCE).unwrap();
        story.assert_others_untouched();
    };

    // A mobile node that has nothing to say is told, long before it would ask by itself after half a minute of silence.
    let start = Instant::now();
    let mark = story.attached.mn.mark();
    restart(&mut story);
    story.attached.mn.wait_after(mark, "bound", PATIENCE).unwrap();
    println!("idle: bound {:?} after the home agent was killed", start.elapsed());
    story.assert_works();

    // One that is on no link meanwhile finds out by its update.
    let mark = story.attached.mn.mark();
    story.scene.mn.eth0().detach().unwrap();
    story.attached.mn.wait_after(mark, "link_down", PATIENCE).unwrap();
    restart(&mut story);
    let start = Instant::now();
    story.attached.move_to(&story.scene, Link::B).unwrap();
    println!("moving: bound {:?} after the move", start.elapsed());
    let doubts = story.attached.mn.events().into_iter().skip(mark).filter(|event| event.name == "ike_doubtful").count();
    assert_eq!(doubts, 1);
    story.assert_works();

    // An end with farewells is told, and the mobile node comes back by itself.
    let mark = story.attached.mn.mark();
    terminate(&mut story.attached.ha);
    story.assert_as_before(&[1]);
    story.attached.mn.wait_after(mark, "ike_closed", PATIENCE).unwrap();
    story.attached.ha = story.start(&story.scene.ha, "ha.toml");
    story.attached.mn.wait_after(mark, "bound", PATIENCE).unwrap();
    story.assert_works();

    story.attached.stop().unwrap();
    story.assert_as_before(&[0, 1]);
});
