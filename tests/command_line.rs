//! What the program says to whoever starts it wrongly, and that it changes nothing then.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail so")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use homeward::lab::{Auth, Configurations, Host, Lab, Node, Service, output_folder};
use homeward::real_kernel_test;

const PROGRAM: &str = env!("CARGO_BIN_EXE_homeward");
/// Somebody who is not root.
const NOBODY: u32 = 65_534;

const MOBILE_NODE: &str = r#"role = "mobile-node"
state_dir = "state"
[identity]
id = "mn.example.org"
[mobile]
interfaces = ["eth0"]
home_prefix = "2001:db8:1::/64"
[mobile.home_agent]
address = "2001:db8:1::1"
id = "ha.example.org"
authentication = "psk"
psk_file = "psk"
"#;

/// A folder of its own with a configuration and its secret.
fn folder(name: &str, configuration: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("homeward-command-line-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("node.toml"), configuration).unwrap();
    secret(&folder, 0o600);
    folder
}

fn secret(folder: &Path, mode: u32) {
    fs::write(folder.join("psk"), "0123456789abcdef0123\n").unwrap();
    fs::set_permissions(folder.join("psk"), fs::Permissions::from_mode(mode)).unwrap();
}

fn homeward(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What `check` says of the configuration with one part replaced. It has to be a refusal.
fn refusal(name: &str, part: &str, by: &str) -> String {
    assert_eq!(MOBILE_NODE.matches(part).count(), 1, "{part:?}");
    let folder = folder(name, &MOBILE_NODE.replace(part, by));
    let output = homeward(&["check", "--config", "node.toml"]).current_dir(&folder).output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(output.status.code(), Some(1));
    said(&output)
}

#[test]
fn a_mistake_in_the_configuration_is_shown_with_file_line_column_cause_and_fix() {
    assert_eq!(
        refusal("key", "home_prefix =", "home_prefx ="),
        "homeward: 2 errors in the configuration node.toml\n\
         \n\
         error: `home_prefix` is missing in [mobile]\n\
         \x20--> node.toml:5:1\n\
         \x20 |\n\
         5 | [mobile]\n\
         \x20 | ^^^^^^^^\n\
         \x20 |\n\
         \x20 = help: add `home_prefix = \"2001:db8:1::/64\"`\n\
         \n\
         error: `home_prefx` is unknown in [mobile]\n\
         \x20--> node.toml:7:1\n\
         \x20 |\n\
         7 | home_prefx = \"2001:db8:1::/64\"\n\
         \x20 | ^^^^^^^^^^\n\
         \x20 |\n\
         \x20 = help: did you mean `home_prefix`?\n"
    );
}

#[test]
fn typical_mistakes_are_told_by_their_place() {
    for (name, part, by, place, cause) in [
        ("toml", "id = \"mn.example.org\"", "id = mn.example.org", "node.toml:4:6", "string values must be quoted"),
        ("address", "address = \"2001:db8:1::1\"", "address = \"2001:db8:1::g\"", "node.toml:9:11", "2001:db8:1::g"),
        ("role", "\"mobile-node\"", "\"mobile\"", "node.toml:1:8", "mobile"),
        ("psk", "psk_file = \"psk\"", "psk_file = \"secret\"", "node.toml:12:12", "secret cannot be read"),
    ] {
        let said = refusal(name, part, by);
        assert!(said.starts_with("homeward: an error in the configuration node.toml\n\nerror: "), "{said}");
        assert!(said.contains(&format!("--> {place}\n")) && said.contains(cause), "{said}");
        assert!(said.contains("= help: "), "{said}");
    }
}

#[test]
fn a_secret_that_others_may_read_is_refused_with_the_command_that_helps() {
    let folder = folder("mode", MOBILE_NODE);
    secret(&folder, 0o644);
    let check = || homeward(&["check", "--config", "node.toml"]).current_dir(&folder).output().unwrap();
    assert_eq!(
        said(&check()),
        "homeward: node.toml:12:12: error: psk holds a secret, but others may use it (mode 0644) (help: run `chmod 600 psk`)\n"
    );
    secret(&folder, 0o600);
    let output = check();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "node.toml: fine\n");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_in_one_line() {
    let folder = folder("unreadable", "");
    fs::write(folder.join("noise"), [0xff, 0xfe, 0]).unwrap();
    for (file, cause) in [("missing.toml", "No such file"), (".", "Is a directory"), ("noise", "UTF-8")] {
        let output = homeward(&["check", "--config", file]).current_dir(&folder).output().unwrap();
        let said = said(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with(&format!("homeward: the configuration {file} cannot be read: ")), "{said}");
        assert!(said.contains(cause), "{said}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_verb_that_is_unknown_or_incomplete_is_answered_with_the_usage() {
    for (arguments, cause) in [(&["frobnicate"][..], "frobnicate"), (&["run"], "--config <FILE>")] {
        let output = homeward(arguments).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("error: ") && said.contains(cause) && said.contains("Usage: homeward"), "{said}");
    }
    // Nothing at all: the verbs are told.
    assert!(said(&homeward(&[]).output().unwrap()).contains("check"));
}

#[test]
fn who_is_not_root_is_told_so_in_one_line() {
    let folder = folder("root", MOBILE_NODE);
    // The checkout may lie where nobody else comes in.
    let program = folder.join("homeward");
    fs::copy(PROGRAM, &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["run", "--config", "node.toml"]).current_dir(&folder);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    assert_eq!(
        (output.status.code(), said(&output).as_str()),
        (Some(1), "homeward: `run` needs root: it sets addresses, routes, policies and keys in the kernel\n")
    );
    assert!(!folder.join("state").exists());
    fs::remove_dir_all(&folder).unwrap();
}

/// A home agent's host and its configuration, which can be started there.
fn home_agent(lab: &Lab) -> (Host, Configurations) {
    let host = lab.host("ha").unwrap();
    let home = lab.segment("home").unwrap();
    lab.connect(&host, "home0", &home).unwrap();
    let files = Configurations::new(&output_folder().unwrap(), Auth::Psk, &[Node::default()]).unwrap();
    (host, files)
}

/// Starts the home agent a second time, or in vain for another reason, and gives what it says.
fn in_vain(host: &Host, files: &Configurations, name: &str) -> String {
    let mut service = Service::start(Path::new(PROGRAM), host, &files.folder().join(name)).unwrap();
    let status = service.wait_for_end(Duration::from_secs(10)).unwrap();
    assert_eq!(status.code(), Some(1));
    // Before it a warning is shown: the lab logs keys.
    let messages = service.messages();
    let said: Vec<&str> = messages.lines().skip_while(|line| !line.starts_with("homeward: ")).collect();
    println!("{}", said.join("\n"));
    assert_eq!(said.len(), 1, "{messages}");
    said[0].to_owned()
}

real_kernel_test!(a_kernel_without_a_facility_is_told_which_and_what_to_do, {
    let lab = Lab::new().unwrap();
    let (host, files) = home_agent(&lab);
    let loader = "/proc/sys/kernel/modprobe";
    let load = fs::read_to_string(loader).unwrap();
    let modprobe = |module: &str| {
        assert!(Command::new(load.trim()).arg(module).status().unwrap().success(), "{module}");
    };
    // What is not loaded yet cannot be loaded any more, as on a kernel that lacks it.
    fs::write(loader, "/bin/false").unwrap();
    for (missing, module) in [
        ("IPsec (CONFIG_XFRM_USER): load the module xfrm_user", "xfrm_user"),
        ("Mobile IPv6 (CONFIG_IPV6_MIP6): load the module mip6", "mip6"),
        ("AES-GCM for ESP (CONFIG_CRYPTO_GCM, CONFIG_CRYPTO_SEQIV, CONFIG_CRYPTO_AES): load the modules gcm", "gcm"),
    ] {
        // In the namespaces of the running kernel they may be there already.
        if !fs::read_to_string("/proc/modules").unwrap_or_default().contains(&format!("{module} ")) {
            let said = in_vain(&host, &files, "ha.toml");
            assert!(said.starts_with(&format!("homeward: the kernel lacks {missing}")), "{said}");
            assert!(said.contains("or use a kernel that has"), "{said}");
        }
        modprobe(module);
    }
    fs::write(loader, load.trim()).unwrap();
    assert!(!files.folder().join("state-ha.example.org").exists());
    let service = Service::start(Path::new(PROGRAM), &host, &files.folder().join("ha.toml")).unwrap();
    service.wait("started", Duration::from_secs(5)).unwrap();
});

real_kernel_test!(a_second_homeward_says_whom_it_would_disturb_and_changes_nothing, {
    let lab = Lab::new().unwrap();
    let (host, files) = home_agent(&lab);
    let text = fs::read_to_string(files.folder().join("ha.toml")).unwrap();
    files.write("elsewhere.toml", &text.replace("state-ha.example.org", "state-elsewhere")).unwrap();
    files.write("no-interface.toml", &text.replace("\"home0\"", "\"home9\"")).unwrap();
    files.write("no-folder.toml", &text.replace("state-ha.example.org", "/proc/1/state")).unwrap();

    let untouched = host.snapshot().unwrap();
    let said = in_vain(&host, &files, "no-interface.toml");
    assert_eq!(said, "homeward: there is no interface home9; there are lo, home0");
    let said = in_vain(&host, &files, "no-folder.toml");
    assert!(said.starts_with("homeward: the folder state_dir = /proc/1/state cannot be made: "), "{said}");
    assert_eq!(untouched.difference(&host.snapshot().unwrap()), "");

    // The program of somebody else.
    let taken = host.enter(|| std::net::UdpSocket::bind("[::]:500")).unwrap().unwrap();
    let said = in_vain(&host, &files, "ha.toml");
    assert!(said.starts_with("homeward: UDP port 500 is taken: another IKE daemon, or another homeward, "), "{said}");
    assert!(said.contains("`ss -lunp sport = :500`"), "{said}");
    assert_eq!(untouched.difference(&host.snapshot().unwrap()), "");
    drop(taken);

    let mut service = Service::start(Path::new(PROGRAM), &host, &files.folder().join("ha.toml")).unwrap();
    service.wait("started", Duration::from_secs(5)).unwrap();
    let standing = host.snapshot().unwrap();
    let pid = service.id();
    let said = in_vain(&host, &files, "ha.toml");
    assert!(said.starts_with(&format!("homeward: another homeward (process {pid}) is running with state_dir = ")));
    assert!(said.ends_with("nothing was changed"), "{said}");
    let said = in_vain(&host, &files, "elsewhere.toml");
    assert!(said.starts_with("homeward: UDP port 500 is taken"), "{said}");
    assert_eq!(standing.difference(&host.snapshot().unwrap()), "");

    // The same folder in another network namespace is refused too: its journal is the first one's.
    let other = lab.host("other").unwrap();
    lab.connect(&other, "home0", &lab.segment("other").unwrap()).unwrap();
    let said = in_vain(&other, &files, "ha.toml");
    assert!(said.contains(&format!("(process {pid})")), "{said}");

    service.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(service.wait_for_end(Duration::from_secs(5)).unwrap().success());
    assert_eq!(untouched.difference(&host.snapshot().unwrap()), "");
});
