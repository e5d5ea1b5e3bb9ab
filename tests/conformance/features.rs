//! The table of `docs/features.md`: its last column names tests, or says `open`.

use std::collections::BTreeSet;

/// What is wrong with the rows of `text`, when `tests` are all that exist.
pub(crate) fn faults(text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for line in
        text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---") && !line.starts_with("| id "))
    {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(id), Some(last)) = (cells.first(), cells.last()) else { continue };
        let named: Vec<_> = last.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
        if named.is_empty() && !last.contains("open") {
            faults.push(format!("{id} neither names a test nor is open"));
        }
        let missing = named.into_iter().filter(|name| !tests.contains(*name));
        faults.extend(missing.map(|name| format!("{id} names {name}, which is no test")));
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::faults;

    #[test]
    fn a_row_names_tests_that_exist_or_is_open() {
        let tests = BTreeSet::from(["a::b".to_owned()]);
        let table = |last: &str| format!("| id | what | test |\n|---|---|---|\n| M1 | all | {last} |\n");
        assert!(faults(&table("open"), &tests).is_empty());
        assert!(faults(&table("`a::b`"), &tests).is_empty());
        assert!(faults(&table("open for AH; `a::b`"), &tests).is_empty());
        assert_eq!(faults(&table("`a::b` `a::c`"), &tests), ["M1 names a::c, which is no test"]);
        assert_eq!(faults(&table("done"), &tests), ["M1 neither names a test nor is open"]);
    }
}
