//! The keys of every SA for a packet analyser, if the configuration asks for them: a folder that is a configuration folder of
//! Wireshark. `WIRESHARK_CONFIG_DIR=FOLDER tshark -r FILE` shows what is inside of IKE and ESP.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ike::action::KeyLog as IkeKeys;
use tracing::warn;
use zeroize::Zeroizing;

use crate::kernel::op::{EspKeys, EspSa, Op};

/// Where Wireshark looks for IKE SAs, for ESP SAs, and for its settings.
const IKE: &str = "ikev2_decryption_table";
const ESP: &str = "esp_sa";
const PREFERENCES: &str = "preferences";

/// A folder that keys are written to.
pub(super) struct KeyLog {
    folder: PathBuf,
}

impl KeyLog {
    /// Opens the folder; it is made if it is not there. Keys are appended to what is in it.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let log = Self { folder: folder.to_owned() };
        let settings = "esp.enable_encryption_decode: TRUE\n";
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(PREFERENCES)) {
            Ok(mut file) => file.write_all(settings.as_bytes())?,
            // Somebody's own settings.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        for name in [IKE, ESP] {
            log.append(name, "")?;
        }
        Ok(log)
    }

    /// Writes an IKE SA's keys.
    pub(super) fn ike(&self, keys: &IkeKeys) {
        self.write(IKE, &ike_line(keys));
    }

    /// Writes the keys of the ESP SAs that a batch installs.
    pub(super) fn esp(&self, batch: &[Op]) {
        let lines = batch.iter().filter_map(|op| if let Op::AddSa(sa) = op { Some(esp_line(sa)) } else { None });
        lines.for_each(|line| self.write(ESP, &line));
    }

    fn write(&self, name: &str, line: &str) {
        if let Err(error) = self.append(name, line) {
            warn!(event = "key_log", path = %self.folder.join(name).display(), %error);
        }
    }

    fn append(&self, name: &str, line: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.folder.join(name))?;
        file.write_all(line.as_bytes())
    }
}

/// A line of `ikev2_decryption_table`.
fn ike_line(keys: &IkeKeys) -> Zeroizing<String> {
    let hex = |key: &ike::crypto::Secret| hexadecimal(key.as_bytes());
    Zeroizing::new(format!(
        "{:016x},{:016x},{},{},\"{}\",{},{},\"{}\"\n",
        keys.spis.0,
        keys.spis.1,
        *hex(&keys.encryption.0),
        *hex(&keys.encryption.1),
        keys.encryption_name,
        *hex(&keys.integrity.0),
        *hex(&keys.integrity.1),
        keys.integrity_name,
    ))
}

/// A line of `esp_sa`. The SPI alone tells the SA, for its addresses change on the way.
fn esp_line(sa: &EspSa) -> Zeroizing<String> {
    let (encryption, key, integrity, integrity_key) = match &sa.keys {
        EspKeys::AesGcm16(key) => {
            ("AES-GCM with 16 octet ICV [RFC4106]", hexadecimal(key), "NULL", Zeroizing::new(String::new()))
        }
        EspKeys::AesCbcHmacSha256 { encryption, integrity } => {
            ("AES-CBC [RFC3602]", hexadecimal(encryption), "HMAC-SHA-256-128 [RFC4868]", hexadecimal(integrity))
        }
    };
    let integrity_key =
        Zeroizing::new(if integrity_key.is_empty() { String::new() } else { format!("0x{}", *integrity_key) });
    Zeroizing::new(format!(
        "\"IPv6\",\"*\",\"*\",\"0x{:08x}\",\"{encryption}\",\"0x{}\",\"{integrity}\",\"{}\"\n",
        sa.key.spi, *key, *integrity_key
    ))
}

fn hexadecimal(octets: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::kernel::op::{Mode, Net, Protocol, SaKey, Selector};

    fn sa(spi: u32, keys: EspKeys) -> EspSa {
        let any = Net { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), len: 0 };
        EspSa {
            key: SaKey { protocol: Protocol::Esp, destination: any.address, source: any.address, spi },
            mode: Mode::Tunnel,
            reqid: 1,
            selector: Selector {
                source: any,
                destination: any,
                protocol: 0,
                source_port: None,
                destination_port: None,
            },
            keys,
            replay_window: 0,
            esn: false,
            encapsulation: None,
        }
    }

    #[test]
    fn the_folder_is_one_of_wireshark_that_only_its_owner_can_read() {
        let folder = std::env::temp_dir().join(format!("homeward-key-log-{}", std::process::id()));
        let log = KeyLog::open(&folder).unwrap();
        let gcm = sa(0x12, EspKeys::AesGcm16(Zeroizing::new(vec![0xab; 3])));
        let keys = |octet| Zeroizing::new(vec![octet; 2]);
        let cbc = sa(0x8000_0013, EspKeys::AesCbcHmacSha256 { encryption: keys(1), integrity: keys(2) });
        log.esp(&[Op::SpdHash { local: 0, remote: 128 }, Op::AddSa(gcm), Op::AddSa(cbc)]);
        // A second start goes on with it.
        KeyLog::open(&folder).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(
            read(ESP),
            "\"IPv6\",\"*\",\"*\",\"0x00000012\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0xababab\",\"NULL\",\"\"\n\
             \"IPv6\",\"*\",\"*\",\"0x80000013\",\"AES-CBC [RFC3602]\",\"0x0101\",\"HMAC-SHA-256-128 [RFC4868]\",\"0x0202\"\n"
        );
        assert_eq!(read(PREFERENCES), "esp.enable_encryption_decode: TRUE\n");
        for name in [IKE, ESP, PREFERENCES] {
            assert_eq!(std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
