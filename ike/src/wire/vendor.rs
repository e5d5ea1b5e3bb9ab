//! Vendor ID payload (RFC 7296 §3.12).

/// Says which implementation this is. Nothing depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorId(pub Vec<u8>);
