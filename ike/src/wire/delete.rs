//! Delete payload: `| protocol | SPI size | number of SPIs (2) | SPIs … |` (RFC 7296 §3.11).

use super::reader::Reader;
use super::{Protocol, WireError, length16};

/// What is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The IKE SA that carries it.
    Ike,
    /// ESP SAs, by the SPIs that the sender receives on.
    Esp(Vec<u32>),
    /// AH SAs.
    Ah(Vec<u32>),
    /// SAs of a protocol without a name here.
    Other {
        /// The protocol.
        protocol: u8,
        /// Octets of one SPI.
        spi_size: u8,
        /// How many SPIs.
        count: u16,
        /// The SPIs.
        spis: Vec<u8>,
    },
}

impl Delete {
    /// Parses the payload's body.
    ///
    /// # Errors
    /// If the SPI size is not the protocol's, or the number of SPIs is not that of the octets.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let protocol = Protocol::from_code(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = reader.u16()?;
        let spis = reader.rest();
        if spis.len() != usize::from(spi_size).saturating_mul(usize::from(count)) {
            return Err(WireError::Length);
        }
        match protocol {
            // RFC 7296 §3.11: no SPI for IKE, four octets for AH and ESP.
            Protocol::Ike if spi_size == 0 && count == 0 => Ok(Self::Ike),
            Protocol::Esp if spi_size == 4 => Ok(Self::Esp(spis32(spis))),
            Protocol::Ah if spi_size == 4 => Ok(Self::Ah(spis32(spis))),
            Protocol::Ike | Protocol::Esp | Protocol::Ah => {
                Err(WireError::Malformed { payload: "D", reason: "not the protocol's SPI size" })
            }
            Protocol::None | Protocol::Other(_) => {
                Ok(Self::Other { protocol: protocol.code(), spi_size, count, spis: spis.to_vec() })
            }
        }
    }

    /// Writes the payload's body.
    ///
    /// # Errors
    /// [`WireError::TooLong`] for more than 65535 SPIs.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Self::Ike => out.extend_from_slice(&[Protocol::Ike.code(), 0, 0, 0]),
            Self::Esp(spis) => write_spis(Protocol::Esp, spis, out)?,
            Self::Ah(spis) => write_spis(Protocol::Ah, spis, out)?,
            Self::Other { protocol, spi_size, count, spis } => {
                out.extend_from_slice(&[*protocol, *spi_size]);
                out.extend_from_slice(&count.to_be_bytes());
                out.extend_from_slice(spis);
            }
        }
        Ok(())
    }
}

fn spis32(octets: &[u8]) -> Vec<u32> {
    octets.chunks_exact(4).filter_map(|spi| spi.try_into().ok()).map(u32::from_be_bytes).collect()
}

fn write_spis(protocol: Protocol, spis: &[u32], out: &mut Vec<u8>) -> Result<(), WireError> {
    out.extend_from_slice(&[protocol.code(), 4]);
    out.extend_from_slice(&length16(spis.len(), "list of SPIs")?.to_be_bytes());
    for spi in spis {
        out.extend_from_slice(&spi.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::test_support::hex;

    #[test]
    fn a_delete_has_the_octets_of_the_rfc() {
        for (delete, octets) in
            [(Delete::Ike, "01 00 0000"), (Delete::Esp(vec![1, 0x0a0b_0c0d]), "03 04 0002 00000001 0a0b0c0d")]
        {
            let mut written = Vec::new();
            delete.write(&mut written).unwrap();
            assert_eq!(written, hex(octets));
            assert_eq!(Delete::parse(&written), Ok(delete));
        }
    }

    #[test]
    fn sizes_and_counts_that_contradict_the_octets_are_refused() {
        for octets in [
            "03 04 0002 00000001",
            "03 04 0000 00000001",
            "03 08 0001 0000000000000001",
            "01 08 0001 0000000000000001",
            "01 00 0001",
            "03 00 ffff",
        ] {
            assert!(Delete::parse(&hex(octets)).is_err(), "{octets}");
        }
    }
}
