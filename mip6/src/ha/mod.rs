//! The home agent (RFC 6275 §10).
