//! The sequence numbers of binding updates.

/// Whether `sequence` counts as greater than `last`, modulo 2^16.
///
/// RFC 6275 §9.5.1: the last number and the 32768 before it are not greater; the 32767 after it are.
pub fn sequence_is_newer(sequence: u16, last: u16) -> bool {
    (1..=0x7fff).contains(&sequence.wrapping_sub(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pairs_at_the_edges_of_the_window_are_told_apart() {
        // RFC 6275 §9.5.1: its own example has 15 as the last number; then 0 to 15 and 32783 to 65535 are old.
        for newer in [16, 1000, 32782] {
            assert!(sequence_is_newer(newer, 15), "{newer}");
        }
        for old in [0, 14, 15, 32783, 65535] {
            assert!(!sequence_is_newer(old, 15), "{old}");
        }
    }

    #[test]
    fn the_window_wraps() {
        assert!(sequence_is_newer(0, 65535));
        assert!(sequence_is_newer(15, 32784));
        assert!(!sequence_is_newer(16, 32784));
        assert!(!sequence_is_newer(65535, 0));
    }

    #[test]
    fn half_the_numbers_less_one_are_newer_than_any() {
        for last in [0, 1, 15, 32767, 32768, 65535] {
            assert_eq!((0..=u16::MAX).filter(|&sequence| sequence_is_newer(sequence, last)).count(), 32767);
        }
    }
}
