//! Code points of IANA's registries: names for those that are known, `Other` for the rest.

/// Defines an enum of code points with `from_code`, `code` and a `Display` that writes the registry's name.
/// `Other` is only ever made by `from_code`, so that each code has one value.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident: $int:ty { $($variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!($text, " (", stringify!($code), ")")] $variant,)*
            /// A code point without a name here.
            Other($int),
        }

        impl $name {
            /// The value of a code point.
            pub const fn from_code(code: $int) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            /// The code point on the wire.
            pub const fn code(self) -> $int {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Other(other) => other,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)*
                    Self::Other(other) => write!(f, "{} {}", stringify!($name), other),
                }
            }
        }
    };
}
