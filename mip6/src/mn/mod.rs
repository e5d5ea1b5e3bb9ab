//! The mobile node (RFC 6275 §11).
