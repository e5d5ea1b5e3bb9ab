//! The configuration: text in, checked model or diagnostics out.

pub mod model;
