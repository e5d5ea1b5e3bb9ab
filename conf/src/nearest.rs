//! What somebody may have meant.

/// The candidate that is fewest edits away from `word`, if that is near enough to be a slip of the fingers.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, ignoring the case and taking `-` for `_`.
fn edits(left: &str, right: &str) -> usize {
    let fold = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let right: Vec<char> = right.chars().map(fold).collect();
    // The distances from the part of `left` that was seen to each beginning of `right`.
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (seen, l) in left.chars().map(fold).enumerate() {
        let mut diagonal = seen;
        let mut beside = seen + 1;
        let mut next = vec![beside];
        for (above, r) in row.iter().skip(1).zip(&right) {
            beside = (diagonal + usize::from(l != *r)).min(above + 1).min(beside + 1);
            diagonal = *above;
            next.push(beside);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{edits, nearest};

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (left, right, distance) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!(edits(left, right), distance, "{left} {right}");
        }
        assert_eq!(edits("Home-Agent", "home_agent"), 0);
    }

    #[test]
    fn a_slip_finds_its_key_and_a_stranger_none() {
        let keys = ["interface", "address", "prefix", "pool"];
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("prefx", keys), Some("prefix"));
        assert_eq!(nearest("colour", keys), None);
    }
}
