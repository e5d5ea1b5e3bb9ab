//! Every error with its exact place, and nothing but that error.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail so")]

use std::io;
use std::path::Path;

use conf::{Diagnostics, Loaded, Severity, load};

const HOME_AGENT: &str = r#"role = "home-agent"
authorities = ["ca.pem"]
[identity]
id = "ha.example.org"
certificate = "ha.pem"
key = "ha.key"
[home_agent]
interface = "eth0"
address = "2001:db8:1::1"
prefix = "2001:db8:1::/64"
pool = "2001:db8:1:0:1::/80"
[[mobile_node]]
id = "mn1.example.org"
authentication = "certificate"
home_address = "2001:db8:1::2"
[[mobile_node]]
id = "mn2.example.org"
authentication = "psk"
psk_file = "mn2.psk"
home_address = ["2001:db8:1::3", "2001:db8:1::4"]
[ike]
liveness = "30s"
[log]
level = "info"
"#;

const MOBILE_NODE: &str = r#"role = "mobile-node"
[identity]
id = "mn2.example.org"
[mobile]
interfaces = ["eth0", { name = "wlan0", preference = 10 }]
home_prefix = "2001:db8:1::/64"
home_address = "2001:db8:1::3"
[mobile.home_agent]
address = "2001:db8:1::1"
id = "ha.example.org"
authentication = "psk"
psk_file = "mn2.psk"
"#;

fn try_load(text: &str) -> Result<Loaded, Diagnostics> {
    load(Path::new("/etc/homeward/node.toml"), text, &mut |path| match path.to_str() {
        Some("/etc/homeward/mn2.psk") => Ok(b"0123456789abcdef\n".to_vec()),
        Some("/etc/homeward/empty.psk") => Ok(b"\n".to_vec()),
        Some("/etc/homeward/short.psk") => Ok(b"secret\n".to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

/// `base` with one part replaced.
fn changed(base: &str, part: &str, by: &str) -> String {
    assert_eq!(base.matches(part).count(), 1, "{part:?} has to be there once");
    base.replace(part, by)
}

/// The errors (not the warnings) as `line:column message`.
fn errors(text: &str) -> Vec<String> {
    let found = try_load(text).map(|_| "nothing").expect_err("an error was expected");
    let errors = found.list().iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    errors
        .inspect(|diagnostic| assert!(!diagnostic.help.is_empty(), "{diagnostic}"))
        .map(|diagnostic| format!("{}:{} {}", diagnostic.line, diagnostic.column, diagnostic.message))
        .collect()
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = try_load(text).unwrap_or_else(|found| panic!("{found}"));
    let warnings = loaded.warnings.list().iter();
    warnings
        .inspect(|diagnostic| assert_eq!(diagnostic.severity, Severity::Warning))
        .map(|diagnostic| format!("{}:{} {}", diagnostic.line, diagnostic.column, diagnostic.message))
        .collect()
}

/// Each case replaces a part of `base` and is told the errors, one to a line.
fn check(base: &str, cases: &[(&str, &str, &str)]) {
    let failures: Vec<_> = cases
        .iter()
        .filter_map(|(part, by, expected)| {
            let found = errors(&changed(base, part, by)).join("\n");
            (found != *expected).then(|| format!("{part:?} -> {by:?}\n expected {expected}\n found    {found}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_files_that_the_cases_change_are_right_themselves() {
    assert_eq!(warnings(HOME_AGENT), Vec::<String>::new());
    assert_eq!(warnings(MOBILE_NODE), Vec::<String>::new());
}

#[test]
fn text_that_is_not_toml_is_told_by_place() {
    check(
        HOME_AGENT,
        &[
            (
                "id = \"ha.example.org\"",
                "id = ha.example.org",
                "4:6 string values must be quoted, expected literal string",
            ),
            ("key = \"ha.key\"", "certificate = \"ha.key\"", "6:1 duplicate key"),
            ("[log]", "[log", "23:5 unclosed table, expected `]`"),
        ],
    );
}

#[test]
fn roles_and_their_tables_have_to_agree() {
    check(
        HOME_AGENT,
        &[
            ("role = \"home-agent\"\n", "", "1:1 `role` is missing in the file"),
            ("role = \"home-agent\"", "role = \"home_agnt\"", "1:8 `home_agnt` is not known here"),
            ("role = \"home-agent\"", "role = 1", "1:8 `role`: invalid type: integer `1`, expected a string"),
            (
                "role = \"home-agent\"",
                "role = \"mobile-node\"",
                "1:8 the role mobile-node needs settings that are missing\n\
                 7:1 [home_agent] belongs to the role home-agent, which this node does not have\n\
                 12:1 [[mobile_node]] belongs to the role home-agent, which this node does not have",
            ),
            (
                "[log]",
                "[mobile]\n[log]",
                "23:1 [mobile] belongs to the role mobile-node, which this node does not have",
            ),
        ],
    );
}

#[test]
fn identities_are_checked() {
    check(
        HOME_AGENT,
        &[
            ("id = \"ha.example.org\"\n", "", "3:1 `id` is missing in [identity]"),
            ("id = \"ha.example.org\"", "id = \"192.0.2.1\"", "4:6 `192.0.2.1` is an IPv4 address"),
            ("id = \"ha.example.org\"", "id = \"a b\"", "4:6 `a b` is no identity"),
            ("key = \"ha.key\"\n", "", "3:1 `key` is missing in [identity]"),
            ("certificate = \"ha.pem\"\n", "", "3:1 `certificate` is missing in [identity]"),
            ("key = \"ha.key\"", "key = \"\"", "6:7 this cannot be a path"),
            (
                "id = \"mn2.example.org\"",
                "id = \"MN1.example.org\"",
                "17:6 this identity has an entry already, on line 13",
            ),
            ("id = \"mn2.example.org\"", "id = \"HA.example.org\"", "17:6 this is the home agent's own identity"),
            ("id = \"mn1.example.org\"\n", "", "12:1 `id` is missing in [[mobile_node]]"),
        ],
    );
    check(
        MOBILE_NODE,
        &[
            ("id = \"ha.example.org\"", "id = \"mn2.example.org\"", "10:6 this is the mobile node's own identity"),
            ("[identity]\nid = \"mn2.example.org\"\n", "", "1:1 `identity` is missing in the file"),
        ],
    );
}

#[test]
fn authentication_needs_what_it_works_with() {
    check(
        HOME_AGENT,
        &[
            (
                "certificate = \"ha.pem\"\nkey = \"ha.key\"\n",
                "",
                "12:18 certificate authentication needs a certificate of our own",
            ),
            ("authorities = [\"ca.pem\"]\n", "", "13:18 certificate authentication needs authorities to trust"),
            (
                "authentication = \"certificate\"",
                "authentication = \"certificate\"\npsk_file = \"mn2.psk\"",
                "15:12 `psk_file` is of no use with certificate authentication",
            ),
            ("authentication = \"certificate\"", "authentication = \"pks\"", "14:18 `pks` is not known here"),
            ("authentication = \"certificate\"\n", "", "12:1 `authentication` is missing in [[mobile_node]]"),
            ("psk_file = \"mn2.psk\"\n", "", "18:18 authentication by a shared secret needs `psk_file`"),
            (
                "psk_file = \"mn2.psk\"",
                "psk_file = \"none.psk\"",
                "19:12 /etc/homeward/none.psk cannot be read: entity not found",
            ),
            ("psk_file = \"mn2.psk\"", "psk_file = \"empty.psk\"", "19:12 the file with the shared secret is empty"),
            (
                "psk_file = \"mn2.psk\"",
                "psk_file = \"short.psk\"",
                "19:12 the shared secret has only 6 octets; it could be guessed",
            ),
            (
                "psk_file = \"mn2.psk\"",
                "psk_file = 7",
                "19:12 `psk_file`: invalid type: integer `7`, expected a string",
            ),
        ],
    );
}

#[test]
fn addresses_lie_where_they_have_to() {
    check(
        HOME_AGENT,
        &[
            (
                "address = \"2001:db8:1::1\"",
                "address = \"2001:db8:2::1\"",
                "9:11 the home agent's address is outside of its prefix 2001:db8:1::/64",
            ),
            (
                "address = \"2001:db8:1::1\"",
                "address = \"fe80::1\"",
                "9:11 `fe80::1` is a link-local address, which has no meaning beyond its link",
            ),
            ("address = \"2001:db8:1::1\"", "address = \"here\"", "9:11 `here` is not an IPv6 address"),
            (
                "prefix = \"2001:db8:1::/64\"",
                "prefix = \"2001:db8:1::1/64\"",
                "10:10 `2001:db8:1::1/64` has bits beyond its length",
            ),
            ("prefix = \"2001:db8:1::/64\"", "prefix = \"2001:db8:1::\"", "10:10 `2001:db8:1::` has no length"),
            (
                "pool = \"2001:db8:1:0:1::/80\"",
                "pool = \"2001:db8:1:1:1::/80\"",
                "11:8 the pool is not inside of the prefix 2001:db8:1::/64",
            ),
            (
                "pool = \"2001:db8:1:0:1::/80\"",
                "pool = \"2001:db8:1::/48\"",
                "11:8 the pool is not inside of the prefix 2001:db8:1::/64",
            ),
            (
                "pool = \"2001:db8:1:0:1::/80\"",
                "pool = \"2001:db8:1::/80\"",
                "11:8 the pool holds the home agent's own address, which could be assigned to a mobile node",
            ),
            (
                "interface = \"eth0\"",
                "interface = \"a-very-long-name\"",
                "8:13 `a-very-long-name` is longer than the 15 characters that the name of an interface may have",
            ),
            ("interface = \"eth0\"\n", "", "7:1 `interface` is missing in [home_agent]"),
        ],
    );
}

#[test]
fn home_addresses_are_unique_and_not_the_home_agents() {
    check(
        HOME_AGENT,
        &[
            ("\"2001:db8:1::4\"", "\"2001:db8:1:0::2\"", "20:34 this home address is taken already, on line 15"),
            ("\"2001:db8:1::4\"", "\"2001:db8:1::3\"", "20:34 this home address is taken already, on line 20"),
            ("\"2001:db8:1::4\"", "\"2001:db8:1::1\"", "20:34 this is the home agent's own address"),
            ("\"2001:db8:1::4\"", "\"assign\"", "20:34 `assign` cannot stand beside home addresses"),
            ("\"2001:db8:1::4\"", "\"ff02::1\"", "20:34 `ff02::1` is a multicast address"),
            ("\"2001:db8:1::4\"", "4", "20:34 `home_address`: invalid type: integer `4`, expected a string"),
            ("home_address = \"2001:db8:1::2\"", "home_address = []", "15:16 the list of home addresses is empty"),
            ("home_address = \"2001:db8:1::2\"\n", "", "12:1 `home_address` is missing in [[mobile_node]]"),
        ],
    );
    let without_pool = changed(HOME_AGENT, "pool = \"2001:db8:1:0:1::/80\"\n", "");
    check(
        &without_pool,
        &[("\"2001:db8:1::2\"", "\"assign\"", "14:16 there is no pool to assign a home address from")],
    );
    check(
        MOBILE_NODE,
        &[(
            "home_address = \"2001:db8:1::3\"",
            "home_address = \"2001:db8:1::1\"",
            "7:16 this is the home agent's address",
        )],
    );
}

#[test]
fn durations_have_units_and_bounds() {
    check(
        HOME_AGENT,
        &[
            ("liveness = \"30s\"", "liveness = \"30\"", "22:12 `30` is not a duration"),
            ("liveness = \"30s\"", "liveness = 30", "22:12 `liveness`: invalid type: integer `30`, expected a string"),
            ("liveness = \"30s\"", "liveness = \"0s\"", "22:12 `0s` is out of range"),
            ("liveness = \"30s\"", "ike_rekey = \"999ms\"", "22:13 `999ms` is out of range"),
            ("liveness = \"30s\"", "child_rekey = \"31d\"", "22:15 `31d` is out of range"),
            ("pool = ", "max_lifetime = \"262141s\"\npool = ", "11:16 `262141s` is out of range"),
            ("pool = ", "max_lifetime = \"3999ms\"\npool = ", "11:16 `3999ms` is out of range"),
            ("pool = ", "advertise = true\npool = ", "11:13 `advertise` does not say how often"),
            ("pool = ", "advertise = \"69ms\"\npool = ", "11:13 `69ms` is out of range"),
            ("pool = ", "advertise = 3\npool = ", "11:13 `advertise`: invalid type: integer `3`, expected a string"),
        ],
    );
    for (text, seconds) in [("262140s", 262_140), ("4s", 4)] {
        let loaded = try_load(&changed(MOBILE_NODE, "[mobile.", &format!("lifetime = \"{text}\"\n[mobile."))).unwrap();
        let conf::model::Role::MobileNode(node) = loaded.model.role else { panic!("not a mobile node") };
        assert_eq!(node.lifetime.as_secs(), seconds);
    }
}

#[test]
fn interfaces_of_a_mobile_node_are_checked() {
    check(
        MOBILE_NODE,
        &[
            ("\"wlan0\"", "\"eth0\"", "5:32 this interface is listed already, on line 5"),
            ("\"wlan0\"", "\"wlan 0\"", "5:32 `wlan 0` cannot be the name of an interface"),
            ("\"eth0\"", "7", "5:15 `interfaces`: invalid type: integer `7`, expected a string"),
            ("name = \"wlan0\", ", "", "5:23 `name` is missing in an entry of `interfaces`"),
            ("preference = 10", "preference = -1", "5:54 `preference`: invalid value: integer `-1`, expected u32"),
            ("preference = 10", "prefrence = 10", "5:41 `prefrence` is unknown in an entry of `interfaces`"),
            ("[\"eth0\", { name = \"wlan0\", preference = 10 }]", "[]", "5:14 there is no interface to move with"),
            (
                "[\"eth0\", { name = \"wlan0\", preference = 10 }]",
                "\"eth0\"",
                "5:14 `interfaces`: invalid type: string, expected an array",
            ),
            ("home_prefix = ", "handover = \"never\"\nhome_prefix = ", "6:12 `never` is not known here"),
            ("home_prefix = ", "linger = \"2h\"\nhome_prefix = ", "6:10 `2h` is out of range"),
            ("home_prefix = ", "first_wait = \"999ms\"\nhome_prefix = ", "6:14 `999ms` is out of range"),
        ],
    );
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    let found = try_load(&changed(HOME_AGENT, "liveness = ", "livenes = ")).unwrap_err();
    let [diagnostic] = found.list() else { panic!("{found}") };
    assert_eq!((diagnostic.line, diagnostic.column), (22, 1));
    assert_eq!(diagnostic.message, "`livenes` is unknown in [ike]");
    assert_eq!(diagnostic.help, "did you mean `liveness`?");

    let found = try_load(&changed(HOME_AGENT, "[log]", "[logging]")).unwrap_err();
    let [diagnostic] = found.list() else { panic!("{found}") };
    assert_eq!((diagnostic.line, diagnostic.column), (23, 2));
    assert_eq!(diagnostic.message, "`logging` is unknown in the file");
    assert!(diagnostic.help.starts_with("known here: role, authorities"), "{diagnostic}");

    let found = try_load(&changed(MOBILE_NODE, "authentication = ", "authentification = ")).unwrap_err();
    let helps: Vec<_> = found.list().iter().map(|diagnostic| diagnostic.help.as_str()).collect();
    assert!(helps.contains(&"did you mean `authentication`?"), "{found}");
}

#[test]
fn all_independent_errors_are_told_at_once_in_the_order_of_the_file() {
    let text = changed(HOME_AGENT, "\"ha.example.org\"", "7");
    let text = changed(&text, "\"eth0\"", "\"\"");
    let text = changed(&text, "\"2001:db8:1:0:1::/80\"", "\"all\"");
    let text = changed(&text, "\"2001:db8:1::2\"", "\"x\"");
    let text = changed(&text, "\"mn2.example.org\"", "\"@\"");
    let text = changed(&text, "liveness", "lifeness");
    let text = changed(&text, "\"info\"", "\"loud\"");
    assert_eq!(
        errors(&text),
        [
            "4:6 `id`: invalid type: integer `7`, expected a string",
            "8:13 `` names no interface",
            "11:8 `all` has no length",
            "15:16 `x` is not an IPv6 address",
            "17:6 `@` is no identity",
            "22:1 `lifeness` is unknown in [ike]",
            "24:9 `loud` is not known here",
        ]
    );
}

#[test]
fn an_empty_file_says_what_it_needs() {
    assert_eq!(errors(""), ["1:1 `identity` is missing in the file", "1:1 `role` is missing in the file"]);
}

#[test]
fn columns_count_characters_and_not_octets() {
    let text = changed(HOME_AGENT, "[\"2001:db8:1::3\", \"2001:db8:1::4\"]", "[\"ähö\", \"ähö\"]");
    assert_eq!(errors(&text), ["20:17 `ähö` is not an IPv6 address", "20:24 `ähö` is not an IPv6 address"]);
}

#[test]
fn what_is_odd_but_may_be_meant_is_a_warning() {
    let elsewhere = "the home address is outside of the home prefix 2001:db8:1::/64: its registration is refused (132)";
    assert_eq!(
        warnings(&changed(HOME_AGENT, "\"2001:db8:1::2\"", "\"2001:db8:2::2\"")),
        [format!("15:16 {elsewhere}")]
    );
    assert_eq!(
        warnings(&changed(MOBILE_NODE, "\"2001:db8:1::3\"", "\"2001:db8:2::3\"")),
        [format!("7:16 {elsewhere}")]
    );
    assert_eq!(
        warnings(&changed(MOBILE_NODE, "\"2001:db8:1::1\"", "\"2001:db8:2::1\"")),
        ["9:11 the home agent's address is outside of the home prefix 2001:db8:1::/64"]
    );
    assert_eq!(
        warnings(&changed(HOME_AGENT, "[log]", "key_log = \"keys\"\n[log]")),
        ["23:11 all keys are written to a folder: nothing stays secret"]
    );
}

#[test]
fn people_see_the_line_and_programs_one_line_or_json() {
    let found =
        try_load(&changed(HOME_AGENT, "address = \"2001:db8:1::1\"", "address = \"2001:db8:2::1\"")).unwrap_err();
    let text = found.to_string();
    for part in [
        "error: the home agent's address is outside of its prefix 2001:db8:1::/64",
        "/etc/homeward/node.toml:9:11",
        "address = \"2001:db8:2::1\"",
        "^^^^^^^^^^^^^^^",
        "help: write an address that begins with the prefix",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let diagnostic = &found.list()[0];
    assert_eq!(
        diagnostic.to_string(),
        "/etc/homeward/node.toml:9:11: error: the home agent's address is outside of its prefix 2001:db8:1::/64 \
         (help: write an address that begins with the prefix, or correct `prefix`)"
    );
    let json = serde_json::to_value(diagnostic).unwrap();
    assert_eq!(json["line"], 9);
    assert_eq!(json["severity"], "error");
}

#[test]
fn nothing_in_the_file_reaches_the_terminal_as_an_escape() {
    let found = try_load(&changed(HOME_AGENT, "\"ha.example.org\"", "\"\\u001b[2J\"")).unwrap_err();
    assert!(!found.list()[0].message.contains('\u{1b}'));
    assert!(!found.to_string().contains('\u{1b}'));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*", lines in proptest::collection::vec("[a-z_\\[\\]={}\", 0-9:.]{0,30}", 0..20)) {
        for text in [text, lines.join("\n")] {
            if let Err(found) = try_load(&text) {
                let _ = found.to_string();
            }
        }
    }

    #[test]
    fn no_change_of_a_right_file_makes_it_panic(at in 0..HOME_AGENT.len(), cut in 0usize..20, insert in "\\PC{0,5}") {
        let end = (at + cut).min(HOME_AGENT.len());
        let text = format!("{}{insert}{}", &HOME_AGENT[..at], &HOME_AGENT[end..]);
        if let Err(found) = try_load(&text) {
            let _ = found.to_string();
        }
    }
}
