//! Files that nobody else may read, and what shared secrets look like inside of theirs.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::diagnostic::{Diagnostic, Severity};

/// A file with a secret, and the place that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Joined with the folder of the configuration.
    pub path: PathBuf,
    /// The configuration file.
    pub file: PathBuf,
    /// Where it is named, from 1.
    pub line: usize,
    /// Where it is named, from 1, in characters.
    pub column: usize,
}

impl SecretFile {
    /// What is wrong with the permissions `mode` (as `stat` gives them) of this file: anybody but its owner may do
    /// something with it.
    #[must_use]
    pub fn check(&self, mode: u32) -> Option<Diagnostic> {
        let permissions = mode & 0o777;
        (permissions & 0o077 != 0).then(|| Diagnostic {
            severity: Severity::Error,
            file: self.file.clone(),
            line: self.line,
            column: self.column,
            message: format!("{} holds a secret, but others may use it (mode {permissions:04o})", self.path.display()),
            help: format!("run `chmod 600 {}`", self.path.display()),
        })
    }
}

/// Shorter secrets can be guessed: whoever answers as the peer may try them out at leisure (RFC 7296 §2.15).
const LEAST_OCTETS: usize = 16;

/// The shared secret in `content`: its octets without one line end, or the octets that it writes as `0x…`.
pub(crate) fn shared_secret(content: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, (String, &'static str)> {
    const MAKE_ONE: &str = "write at least 16 octets into the file, better 32 random ones: \
                            `umask 077; openssl rand -base64 32 > FILE`";
    let content = Zeroizing::new(content);
    let line = content.strip_suffix(b"\n").unwrap_or(&content);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // RFC 7296 §2.15: besides text, a hexadecimal form has to be accepted; nothing is appended to either.
    let secret = match line.strip_prefix(b"0x") {
        Some(digits) => hexadecimal(digits).ok_or((
            "the shared secret begins with 0x but goes on with something else than pairs of hexadecimal digits"
                .to_owned(),
            "write two digits for each octet, or remove the 0x",
        ))?,
        None => Zeroizing::new(line.to_vec()),
    };
    match secret.len() {
        0 => Err(("the file with the shared secret is empty".to_owned(), MAKE_ONE)),
        few if few < LEAST_OCTETS => {
            Err((format!("the shared secret has only {few} octets; it could be guessed"), MAKE_ONE))
        }
        _ => Ok(secret),
    }
}

fn hexadecimal(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // Filled in place, so that growing leaves no copies behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks(2) {
        let &[high, low] = pair else { return None };
        octets.push(nibble(high)? << 4 | nibble(low)?);
    }
    Some(octets)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::{SecretFile, shared_secret};

    #[test]
    fn a_secret_loses_one_line_end_and_nothing_else() {
        let of = |content: &[u8]| shared_secret(content.to_vec()).unwrap().to_vec();
        assert_eq!(of(b"0123456789abcdef\n"), b"0123456789abcdef");
        assert_eq!(of(b"0123456789abcdef\r\n"), b"0123456789abcdef");
        assert_eq!(of(b" 0123456789abcde \n\n"), b" 0123456789abcde \n");
        // RFC 7296 §2.15: at least 64 octets of ASCII are taken.
        let long: Vec<u8> = (0x20..0x7f).collect();
        assert_eq!(of(&long), long);
    }

    #[test]
    fn a_hexadecimal_secret_is_decoded_and_a_broken_one_refused() {
        let secret = shared_secret(b"0x000102030405060708090a0b0c0D0E0f\n".to_vec()).unwrap();
        assert_eq!(secret.to_vec(), (0..16).collect::<Vec<u8>>());
        assert!(shared_secret(b"0x000102030405060708090a0b0c0D0E0\n".to_vec()).is_err());
        assert!(shared_secret(b"0xzz0102030405060708090a0b0c0D0E0f".to_vec()).is_err());
    }

    #[test]
    fn a_short_or_empty_secret_is_refused_by_its_own_length() {
        assert!(shared_secret(b"0123456789abcde\n".to_vec()).unwrap_err().0.contains("15 octets"));
        // 16 characters, but 7 octets.
        assert!(shared_secret(b"0x01020304050607".to_vec()).unwrap_err().0.contains("7 octets"));
        for empty in [&b""[..], b"\n", b"\r\n", b"0x\n"] {
            assert!(shared_secret(empty.to_vec()).unwrap_err().0.contains("empty"));
        }
    }

    #[test]
    fn a_file_that_others_may_use_is_told_with_its_fix() {
        let secret = SecretFile { path: "/etc/ha.key".into(), file: "/etc/ha.toml".into(), line: 3, column: 7 };
        assert_eq!(secret.check(0o100_600), None);
        assert_eq!(secret.check(0o100_400), None);
        for mode in [0o100_640, 0o100_604, 0o100_601, 0o100_620] {
            let diagnostic = secret.check(mode).unwrap();
            assert_eq!((diagnostic.line, diagnostic.column), (3, 7));
            assert!(diagnostic.help.contains("chmod 600 /etc/ha.key"));
        }
    }
}
