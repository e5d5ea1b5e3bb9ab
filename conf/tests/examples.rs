//! The examples are right, and become the settings that they describe.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use conf::model::{Authentication, CertificateFiles, Format, Identity, Ike, Level, Log, Net, Role};
use conf::{Loaded, load};

fn example(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let mut read = Vec::new();
    let loaded = load(Path::new("/etc/homeward/node.toml"), &text, &mut |path| {
        read.push(path.to_owned());
        Ok(b"0123456789abcdef\n".to_vec())
    });
    let loaded = loaded.unwrap_or_else(|found| panic!("{found}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let secrets: Vec<_> = loaded.secrets.iter().map(|secret| &secret.path).collect();
    assert!(read.iter().all(|path| secrets.contains(&path)), "what is read as a secret is listed as one");
    loaded
}

#[test]
fn the_example_of_a_home_agent_is_right() {
    let Loaded { model, secrets, .. } = example("home-agent.toml");
    assert_eq!(model.identity, Identity::DomainName("ha.example.org".into()));
    let files = CertificateFiles { chain: "/etc/homeward/ha.pem".into(), key: "/etc/homeward/ha.key".into() };
    assert_eq!(model.certificate, Some(files));
    assert_eq!(model.authorities, [PathBuf::from("/etc/homeward/ca.pem")]);
    assert_eq!(model.state_dir, PathBuf::from("/run/homeward"));
    let paths: Vec<_> = secrets.iter().map(|secret| secret.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/etc/homeward/ha.key", "/etc/homeward/mn2.psk"]);

    let Role::HomeAgent(agent) = model.role else { panic!("not a home agent") };
    assert_eq!(agent.interface, "eth0");
    assert_eq!(agent.address, "2001:db8:1::1".parse::<std::net::Ipv6Addr>().unwrap());
    assert_eq!(agent.prefix, Net { address: "2001:db8:1::".parse().unwrap(), len: 64 });
    assert_eq!(agent.pool, Some(Net { address: "2001:db8:1:0:1::".parse().unwrap(), len: 80 }));
    assert_eq!(agent.max_lifetime, Duration::from_secs(3600));
    assert_eq!(agent.advertise, Some(Duration::from_secs(3)));

    let [first, second, third] = agent.mobile_nodes.as_slice() else { panic!("not three mobile nodes") };
    assert_eq!(first.identity, Identity::DomainName("mn1.example.org".into()));
    assert_eq!(first.authentication, Authentication::Certificate);
    assert_eq!(first.home_addresses, ["2001:db8:1::101".parse::<std::net::Ipv6Addr>().unwrap()]);
    let Authentication::Psk(secret) = &second.authentication else { panic!("not a shared secret") };
    assert_eq!(secret.as_slice(), b"0123456789abcdef");
    assert!(second.home_addresses.is_empty());
    assert_eq!(third.identity, Identity::Email("bus@example.org".into()));
    assert_eq!(third.home_addresses.len(), 2);
}

#[test]
fn the_example_of_a_mobile_node_is_right() {
    let Loaded { model, .. } = example("mobile-node.toml");
    let Role::MobileNode(node) = model.role else { panic!("not a mobile node") };
    let interfaces: Vec<_> = node.interfaces.iter().map(|i| (i.name.as_str(), i.preference)).collect();
    assert_eq!(interfaces, [("eth0", 10), ("wlan0", 0)]);
    assert_eq!(node.home_address, Some("2001:db8:1::101".parse().unwrap()));
    assert_eq!(node.lifetime, Duration::from_secs(600));
    assert_eq!(node.linger, Duration::from_secs(2));
    assert_eq!(node.first_wait, Duration::from_millis(1500));
    assert!(node.newest_link);
    assert_eq!(node.home_agent.identity, Identity::DomainName("ha.example.org".into()));
    assert_eq!(node.home_agent.authentication, Authentication::Certificate);
}

#[test]
fn what_is_left_out_has_the_defaults_that_the_examples_name() {
    let text = r#"
        role = "mobile-node"
        identity = { id = "2001:db8:1::9" }
        [mobile]
        interfaces = ["eth0"]
        home_prefix = "2001:db8:1::/64"
        home_agent = { address = "2001:db8:1::1", id = "ha@example.org", authentication = "psk", psk_file = "/psk" }
    "#;
    let Loaded { model, warnings, .. } =
        load(Path::new("node.toml"), text, &mut |_| Ok(b"0123456789abcdef".to_vec())).unwrap();
    assert!(warnings.is_empty());
    let second = Duration::from_secs(1);
    let ike = Ike { liveness: 30 * second, ike_rekey: 14_400 * second, child_rekey: 3600 * second, key_log: None };
    assert_eq!(model.ike, ike);
    assert_eq!(model.log, Log { level: Level::Info, format: Format::Text });
    assert_eq!(model.state_dir, PathBuf::from("/run/homeward"));
    let Role::MobileNode(node) = model.role else { panic!("not a mobile node") };
    assert_eq!(node.home_address, None);
    assert!(node.newest_link);
    assert_eq!((node.lifetime, node.linger), (600 * second, 2 * second));
    assert_eq!(node.first_wait, second * 3 / 2);
}

#[test]
fn a_home_agent_advertises_only_if_it_is_told_to_and_as_fast_as_it_is_told() {
    let advertise = |line: &str| {
        let text = format!(
            "role = \"home-agent\"\nidentity = {{ id = \"ha.example.org\" }}\n[home_agent]\ninterface = \"eth0\"\n\
             address = \"2001:db8:1::1\"\nprefix = \"2001:db8:1::/64\"\n{line}"
        );
        load(Path::new("node.toml"), &text, &mut |_| Ok(Vec::new())).map(|loaded| match loaded.model.role {
            Role::HomeAgent(agent) => agent.advertise,
            Role::MobileNode(_) => panic!("not a home agent"),
        })
    };
    assert_eq!(advertise("").unwrap(), None);
    assert_eq!(advertise("advertise = \"70ms\"").unwrap(), Some(Duration::from_millis(70)));
    assert!(advertise("advertise = \"69ms\"").is_err(), "RFC 6275 §7.5");
}

#[test]
fn a_shared_secret_is_not_in_the_debug_output() {
    let Loaded { model, .. } = example("home-agent.toml");
    let text = format!("{model:?}");
    assert!(text.contains("Psk(..)"), "{text}");
    // Neither as text nor as the numbers of its octets.
    assert!(!text.contains("0123456789abcdef") && !text.contains("48, 49, 50"), "{text}");
}
