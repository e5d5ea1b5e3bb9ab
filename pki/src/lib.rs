//! Keys and certificates: decisions without I/O.
