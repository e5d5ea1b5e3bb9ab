//! `homeward pki`: what it makes is taken by OpenSSL, by strongSwan and by ourselves; what it cannot make, it says.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its files has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// A folder of the test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("homeward-pki-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Done {
        let output = Command::new(program).args(arguments).current_dir(&self.0).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        Done { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn pki(&self, arguments: &[&str]) -> Done {
        self.run(env!("CARGO_BIN_EXE_homeward"), &[&["pki"], arguments].concat())
    }

    /// With an authority in `ca`.
    fn with_authority() -> Self {
        let folder = Self::new();
        folder.pki(&["init", "--dir", "ca"]).good();
        folder
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.0.join(name)).unwrap().permissions().mode() & 0o777
    }

    fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(name)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Puts an authority with such a time into a new folder.
    fn authority_until(&self, name: &str, not_after: SystemTime) {
        let validity = pki::Validity { not_before: SystemTime::now() - Duration::from_secs(7200), not_after };
        let made = pki::Authority::create("Short", validity).unwrap();
        fs::create_dir(self.0.join(name)).unwrap();
        fs::write(self.0.join(name).join("ca.pem"), made.certificate_pem).unwrap();
        fs::write(self.0.join(name).join("ca.key"), made.key_pem.as_bytes()).unwrap();
        chmod(&self.0.join(name).join("ca.key"), 0o600);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

struct Done {
    ok: bool,
    out: String,
    err: String,
}

impl Done {
    #[track_caller]
    fn good(self) -> String {
        assert!(self.ok, "{}{}", self.out, self.err);
        self.out
    }

    /// It failed, with one message that has all of `parts`.
    #[track_caller]
    fn refused(self, parts: &[&str]) {
        assert!(!self.ok, "{}{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part} is not in: {}", self.err);
        }
        assert_eq!(self.out, "");
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

#[test]
fn an_authority_is_made_with_a_key_for_its_owner_alone() {
    let folder = Folder::new();
    let said = folder.pki(&["init", "--dir", "ca", "--name", "Example fleet", "--days", "30"]).good();
    for part in ["`Example fleet`", "ca/ca.pem", "ca/ca.key", "authorities = [\"ca.pem\"]", "pki issue --dir ca --id"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(folder.names("ca"), ["ca.key", "ca.pem"]);
    assert_eq!((folder.mode("ca"), folder.mode("ca/ca.key"), folder.mode("ca/ca.pem")), (0o700, 0o600, 0o644));
}

#[test]
fn openssl_takes_what_is_issued() {
    let folder = Folder::with_authority();
    let wanted = [
        ("ha.example.org", "DNS:ha.example.org"),
        ("bus@example.org", "email:bus@example.org"),
        ("2001:db8::2", "IP Address:2001:DB8:0:0:0:0:0:2"),
    ];
    for (id, name) in wanted {
        folder.pki(&["issue", "--dir", "ca", "--id", id]).good();
        let file = format!("ca/{id}.pem");
        let said = folder.run("openssl", &["verify", "-x509_strict", "-CAfile", "ca/ca.pem", &file]).good();
        assert_eq!(said, format!("{file}: OK\n"));
        let text = folder.run("openssl", &["x509", "-in", &file, "-noout", "-text"]).good();
        for part in [name, "Digital Signature", "ipsec", "NIST CURVE: P-256", "ecdsa-with-SHA256", "Version: 3"] {
            assert!(text.contains(part) || (part == "ipsec" && text.contains("1.3.6.1.5.5.7.3.17")), "{part}: {text}");
        }
        let public = |arguments: &[&str]| folder.run("openssl", arguments).good();
        let of_key = public(&["pkey", "-in", &format!("ca/{id}.key"), "-pubout"]);
        assert_eq!(public(&["x509", "-in", &file, "-noout", "-pubkey"]), of_key);
        assert_eq!(folder.mode(&format!("ca/{id}.key")), 0o600);
    }
    let other = Folder::with_authority();
    let stranger = other.0.join("ca/ca.pem");
    assert!(!folder.run("openssl", &["verify", "-CAfile", stranger.to_str().unwrap(), "ca/ha.example.org.pem"]).ok);
}

#[test]
fn strongswan_takes_what_is_issued() {
    let folder = Folder::with_authority();
    folder.pki(&["issue", "--dir", "ca", "--id", "ha.example.org"]).good();
    let said = folder.run("pki", &["--verify", "--in", "ca/ha.example.org.pem", "--cacert", "ca/ca.pem"]).good();
    assert!(said.contains("certificate trusted, lifetimes valid"), "{said}");
}

#[test]
fn certificates_of_openssl_are_shown_and_verified() {
    let folder = Folder::new();
    let openssl = |arguments: &str| folder.run("openssl", &arguments.split(' ').collect::<Vec<_>>()).good();
    openssl(
        "req -x509 -newkey ed25519 -nodes -keyout top.key -out top.pem -subj /CN=Top -days 9 -addext keyUsage=critical,keyCertSign",
    );
    openssl("req -newkey rsa:2048 -nodes -keyout mn.key -out mn.csr -subj /CN=mn");
    fs::write(folder.0.join("extensions"), "subjectAltName = DNS:mn.example.org\nkeyUsage = digitalSignature\n")
        .unwrap();
    openssl("x509 -req -in mn.csr -CA top.pem -CAkey top.key -CAcreateserial -out mn.pem -days 5 -extfile extensions");
    let said = folder.pki(&["show", "top.pem", "mn.pem"]).good();
    for part in [
        "top.pem: certificate of an authority",
        "key        Ed25519",
        "key        RSA, 2048 bits",
        "name       mn.example.org",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(said.matches("odd        it expires soon").count(), 2, "{said}");
    assert_eq!(said.matches("odd  ").count(), 2, "{said}");
    folder.pki(&["verify", "mn.pem", "--authority", "top.pem", "--id", "mn.example.org", "--key", "mn.key"]).good();
}

#[test]
fn the_lines_that_are_printed_make_a_configuration_that_is_fine() {
    let folder = Folder::with_authority();
    folder.pki(&["issue", "--dir", "ca", "--id", "ha.example.org"]).good();
    let said = folder.pki(&["issue", "--dir", "ca", "--id", "mn@example.org", "--out", "node"]).good();
    fs::copy(folder.0.join("ca/ca.pem"), folder.0.join("node/ca.pem")).unwrap();
    let (_, lines) = said.split_once("write there\n").unwrap();
    let text = format!(
        "role = \"mobile-node\"\n{lines}\n[mobile]\ninterfaces = [\"eth0\"]\nhome_prefix = \"2001:db8:1::/64\"\n\
         [mobile.home_agent]\naddress = \"2001:db8:1::1\"\nid = \"ha.example.org\"\nauthentication = \"certificate\"\n"
    );
    fs::write(folder.0.join("node/mn.toml"), &text).unwrap();
    let check = |folder: &Folder| folder.run(env!("CARGO_BIN_EXE_homeward"), &["check", "--config", "node/mn.toml"]);
    assert_eq!(check(&folder).good(), "node/mn.toml: fine\n");

    fs::write(folder.0.join("node/mn.toml"), text.replace("id = \"mn@", "id = \"bus@")).unwrap();
    check(&folder).refused(&["mn@example.org.pem", "is for `mn@example.org`, but [identity] says `bus@example.org`"]);
    fs::write(folder.0.join("node/mn.toml"), &text).unwrap();
    fs::remove_file(folder.0.join("node/ca.pem")).unwrap();
    check(&folder).refused(&["node/ca.pem", "No such file"]);
    fs::copy(folder.0.join("ca/ha.example.org.key"), folder.0.join("node/mn@example.org.key")).unwrap();
    check(&folder).refused(&["mn@example.org.key", "not the key of the certificate"]);
}

#[test]
fn a_certificate_that_expires_soon_passes_the_check_with_a_warning() {
    let folder = Folder::with_authority();
    folder.pki(&["issue", "--dir", "ca", "--id", "mn.example.org", "--days", "3"]).good();
    let text = "role = \"mobile-node\"\nauthorities = [\"ca.pem\"]\n[identity]\nid = \"mn.example.org\"\n\
        certificate = \"mn.example.org.pem\"\nkey = \"mn.example.org.key\"\n[mobile]\ninterfaces = [\"eth0\"]\n\
        home_prefix = \"2001:db8:1::/64\"\n[mobile.home_agent]\naddress = \"2001:db8:1::1\"\nid = \"ha.example.org\"\n\
        authentication = \"certificate\"\n";
    fs::write(folder.0.join("ca/mn.toml"), text).unwrap();
    let done = folder.run(env!("CARGO_BIN_EXE_homeward"), &["check", "--config", "ca/mn.toml"]);
    assert!(done.err.contains("warning: ca/mn.example.org.pem: it expires soon"), "{}", done.err);
    done.good();
}

#[test]
fn nothing_that_exists_is_overwritten_and_nothing_half_is_left() {
    let folder = Folder::with_authority();
    let before = fs::read(folder.0.join("ca/ca.key")).unwrap();
    folder.pki(&["init", "--dir", "ca"]).refused(&["ca/ca.key exists already", "nothing was made"]);
    assert_eq!(fs::read(folder.0.join("ca/ca.key")).unwrap(), before);

    // Either file alone is enough, also a link that leads nowhere.
    fs::create_dir(folder.0.join("one")).unwrap();
    std::os::unix::fs::symlink("/nowhere", folder.0.join("one/ca.pem")).unwrap();
    folder.pki(&["init", "--dir", "one"]).refused(&["one/ca.pem exists already"]);
    assert_eq!(folder.names("one"), ["ca.pem"]);

    folder.pki(&["issue", "--dir", "ca", "--id", "mn.example.org"]).good();
    let again = folder.pki(&["issue", "--dir", "ca", "--id", "mn.example.org"]);
    again.refused(&["ca/mn.example.org.key exists already"]);
    folder.pki(&["issue", "--dir", "ca", "--id", "ca"]).refused(&["ca/ca.key exists already"]);
    assert_eq!(folder.names("ca"), ["ca.key", "ca.pem", "mn.example.org.key", "mn.example.org.pem"]);
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let folder = Folder::with_authority();
    folder.pki(&["init", "--dir", "not/there"]).refused(&["cannot make the folder not/there", "No such file"]);
    fs::write(folder.0.join("file"), "").unwrap();
    folder.pki(&["init", "--dir", "file"]).refused(&["cannot make the folder file"]);
    // Not even root makes files there.
    folder.pki(&["init", "--dir", "/sys"]).refused(&["cannot write /sys/ca.key"]);
    let issue = folder.pki(&["issue", "--dir", "ca", "--id", "mn.example.org", "--out", "/sys"]);
    issue.refused(&["cannot write /sys/mn.example.org.key"]);
}

#[test]
fn a_key_that_others_may_read_issues_nothing() {
    let folder = Folder::with_authority();
    chmod(&folder.0.join("ca/ca.key"), 0o640);
    let done = folder.pki(&["issue", "--dir", "ca", "--id", "mn.example.org"]);
    done.refused(&["ca/ca.key", "others may use it (mode 0640)", "chmod 600 ca/ca.key"]);
    assert_eq!(folder.names("ca"), ["ca.key", "ca.pem"]);
}

#[test]
fn an_authority_that_is_missing_expired_or_mixed_up_issues_nothing() {
    let folder = Folder::with_authority();
    let issue =
        |dir: &str, more: &[&str]| folder.pki(&[&["issue", "--dir", dir, "--id", "mn.example.org"], more].concat());
    issue("none", &[]).refused(&["none/ca.pem does not exist", "homeward pki init --dir none"]);
    folder.authority_until("old", SystemTime::now() - Duration::from_secs(60));
    issue("old", &[]).refused(&["old/ca.pem", "expired at", "make a new one"]);
    // Two days and some seconds, for the time that the test takes.
    folder.authority_until("short", SystemTime::now() + Duration::from_secs(2 * 86_400 + 3000));
    issue("short", &["--days", "3"]).refused(&["the authority itself ends at", "give at most `--days 2`"]);
    fs::copy(folder.0.join("ca/ca.key"), folder.0.join("old/ca.key")).unwrap();
    issue("old", &[]).refused(&["old/ca.pem", "not the one of its certificate"]);
    fs::write(folder.0.join("old/ca.pem"), "nothing").unwrap();
    issue("old", &[]).refused(&["old/ca.pem", "no certificate in PEM form"]);
    for unmade in ["old", "short"] {
        assert_eq!(folder.names(unmade), ["ca.key", "ca.pem"]);
    }
    // Without --days a certificate ends with its authority.
    issue("short", &[]).good();
    folder.pki(&["verify", "short/mn.example.org.pem", "--authority", "short/ca.pem"]).good();
}

#[test]
fn what_the_configuration_would_not_take_is_no_identity() {
    let folder = Folder::with_authority();
    for (id, why) in [
        ("192.0.2.1", "is an IPv4 address"),
        ("*.example.org", "is no identity"),
        ("fe80::1", "link-local"),
        ("a b", "is no identity"),
    ] {
        folder.pki(&["issue", "--dir", "ca", "--id", id]).refused(&[why, id]);
    }
    folder.pki(&["init", "--dir", "other", "--name", ""]).refused(&["a name of 1 to 64 characters"]);
    assert!(!folder.0.join("other").exists());
    folder.pki(&["issue", "--dir", "ca", "--id", "a/../b@example.org"]).good();
    assert!(folder.names("ca").contains(&"a_.._b@example.org.key".to_owned()), "{:?}", folder.names("ca"));
}

#[test]
fn verify_judges_chain_identity_and_key() {
    let folder = Folder::with_authority();
    for id in ["mn.example.org", "ha.example.org"] {
        folder.pki(&["issue", "--dir", "ca", "--id", id]).good();
    }
    folder.pki(&["init", "--dir", "stranger", "--name", "Stranger"]).good();
    let verify = |more: &[&str]| folder.pki(&[&["verify", "ca/mn.example.org.pem"], more].concat());
    let said = verify(&["--authority", "stranger/ca.pem", "--authority", "ca/ca.pem"]).good();
    assert!(said.starts_with("ca/mn.example.org.pem: good for `mn.example.org`, until "), "{said}");
    verify(&["--cacert", "ca/ca.pem", "--id", "MN.example.org", "--key", "ca/mn.example.org.key"]).good();
    verify(&["--authority", "stranger/ca.pem"]).refused(&["`CN=Homeward CA`", "not trusted"]);
    let other = verify(&["--authority", "ca/ca.pem", "--id", "ha.example.org"]);
    other.refused(&["the certificate is for `mn.example.org`, not for `ha.example.org`"]);
    let other = verify(&["--authority", "ca/ca.pem", "--key", "ca/ha.example.org.key"]);
    other.refused(&["ca/ha.example.org.key", "not the key of the certificate"]);
    verify(&["--authority", "ca/ha.example.org.pem"]).refused(&["ca/ha.example.org.pem", "is not an authority"]);
    verify(&[]).refused(&["--authority"]);
}

#[test]
fn show_says_what_is_odd_and_never_what_is_secret() {
    let folder = Folder::with_authority();
    folder.pki(&["issue", "--dir", "ca", "--id", "mn.example.org"]).good();
    chmod(&folder.0.join("ca/mn.example.org.key"), 0o644);
    let said = folder.pki(&["show", "ca/mn.example.org.pem", "ca/mn.example.org.key", "ca/ca.pem"]).good();
    for part in [
        "ca/mn.example.org.pem: certificate\n",
        "name       mn.example.org",
        "issuer     CN=Homeward CA",
        "purpose    ipsecIKE",
        "ca/mn.example.org.key: private key\n",
        "odd        others may use it (mode 0644): run `chmod 600 ca/mn.example.org.key`",
        "ca/ca.pem: certificate of an authority\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.matches("odd  ").count(), 1, "{said}");
    let key = fs::read_to_string(folder.0.join("ca/mn.example.org.key")).unwrap();
    assert!(key.lines().all(|line| !said.contains(line)));
    let fingerprint = folder.run("openssl", &["x509", "-in", "ca/ca.pem", "-noout", "-fingerprint", "-sha256"]).good();
    let fingerprint = fingerprint.trim().rsplit('=').next().unwrap().to_lowercase();
    assert!(said.contains(&fingerprint), "{fingerprint}: {said}");

    folder.authority_until("old", SystemTime::now() - Duration::from_secs(60));
    assert!(folder.pki(&["print", "old/ca.pem"]).good().contains("odd        it expired at"));
    fs::write(folder.0.join("text"), "nothing").unwrap();
    folder.pki(&["show", "text"]).refused(&["text: neither a certificate nor a private key"]);
    folder.pki(&["show", "missing"]).refused(&["missing: No such file"]);
}
