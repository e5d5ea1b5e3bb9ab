//! One table of `docs/conformance/`.

use std::collections::BTreeSet;
use std::fmt;

const HEAD: [&str; 5] = ["id", "level", "state", "test", "reason"];

/// The rows of a table, as written.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    id: String,
    level: String,
    state: String,
    tests: Vec<String>,
    reason: String,
}

impl Table {
    /// Reads CSV with a line of headings.
    ///
    /// # Errors
    /// The headings are others, or a row has another number of fields.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let head = fields(lines.next().unwrap_or_default())?;
        if head != HEAD {
            return Err(format!("the headings are {head:?} instead of {HEAD:?}"));
        }
        let rows = lines.map(|line| {
            let [id, level, state, tests, reason] = <[String; 5]>::try_from(fields(line)?)
                .map_err(|fields| format!("`{line}` has {} fields instead of 5", fields.len()))?;
            Ok(Row { id, level, state, tests: tests.split_whitespace().map(str::to_owned).collect(), reason })
        });
        Ok(Self { rows: rows.collect::<Result<_, String>>()? })
    }

    /// What is wrong with the table of the file with this name (without `.csv`), when `tests` are all that exist.
    pub(crate) fn faults(&self, file: &str, tests: &BTreeSet<String>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut ids = BTreeSet::new();
        // rfc9936-mlkem holds a part of that RFC.
        let start = format!("{}-", file.trim_start_matches("rfc").split('-').next().unwrap_or_default());
        for row in &self.rows {
            let mut fault = |what: String| faults.push(format!("{} {what}", row.id));
            if !ids.insert(&row.id) {
                fault("stands in two rows".to_owned());
            }
            if !row.id.starts_with(&start) {
                fault(format!("does not begin with {start}"));
            }
            if row.level.is_empty() {
                fault("has no level".to_owned());
            }
            match (row.state.as_str(), row.tests.is_empty(), row.reason.trim().is_empty()) {
                ("tested", true, _) => fault("is tested, but by no test".to_owned()),
                ("excused", _, true) => fault("is excused without a reason".to_owned()),
                ("excused" | "open", false, _) => fault(format!("is {}, but has tests", row.state)),
                ("tested" | "excused" | "open", ..) => {}
                _ => fault(format!("has the state `{}`, not tested, excused or open", row.state)),
            }
            for test in row.tests.iter().filter(|test| !tests.contains(*test)) {
                fault(format!("names {test}, which is no test"));
            }
        }
        faults
    }

    /// How many rows of a MUST are in which state.
    pub(crate) fn count(&self) -> Count {
        let rows = || self.rows.iter().filter(|row| is_must(&row.level));
        let of = |state| rows().filter(|row| row.state == state).count();
        Count { tested: of("tested"), excused: of("excused"), open: of("open") }
    }
}

/// The requirement is an absolute one (RFC 2119 §1–§2), for one of its parts at least.
fn is_must(level: &str) -> bool {
    !level.starts_with("NOT ") && ["MUST", "SHALL", "REQUIRED"].iter().any(|word| level.contains(word))
}

/// Rows by their state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Count {
    tested: usize,
    excused: usize,
    open: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} are tested, {} excused, {} open", self.tested, self.excused, self.open)
    }
}

/// The fields of one line (RFC 4180); no field goes over several lines.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside).ok_or_else(|| format!("a quotation in `{line}` does not end"))?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err(format!("a quotation mark inside of a field in `{line}`"));
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(format!("something after a quotation in `{line}`")),
        }
    }
}

/// What is before the closing mark, and what is after it; two marks stand for one.
fn quoted(inside: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = inside;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Count, Table};

    fn faults(rows: &str) -> Vec<String> {
        let tests = BTreeSet::from(["mip6::ha::a".to_owned(), "mip6::ha::b".to_owned()]);
        table(rows).faults("rfc1", &tests)
    }

    fn table(rows: &str) -> Table {
        Table::parse(&format!("id,level,state,test,reason\n{rows}")).unwrap()
    }

    #[test]
    fn a_table_without_faults_is_fine() {
        let rows =
            "1-a,MUST,tested,mip6::ha::a mip6::ha::b,\n1-b,MAY,excused,,\"we, \"\"here\"\", do not\"\n1-c,MUST,open,,";
        assert_eq!(faults(rows), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        let expect = |row: &str, what: &str| {
            let found = faults(row);
            assert!(matches!(found.as_slice(), [one] if one.contains(what)), "{row}: {found:?}");
        };
        expect("1-a,MUST,open,,\n1-a,MUST,open,,", "1-a stands in two rows");
        expect("2-a,MUST,open,,", "begin with 1-");
        expect("1-a,,open,,", "no level");
        expect("1-a,MUST,tested,,", "by no test");
        expect("1-a,MUST,tested,mip6::ha::c,", "names mip6::ha::c, which is no test");
        expect("1-a,MUST,tested,mip6::ha::a mip6::ha::c,", "names mip6::ha::c");
        expect("1-a,MUST,excused,, ", "without a reason");
        expect("1-a,MUST,excused,mip6::ha::a,because", "but has tests");
        expect("1-a,MUST,open,mip6::ha::a,", "but has tests");
        expect("1-a,MUST,done,,", "the state `done`");
        expect("1-a,MUST,,,", "the state ``");
    }

    #[test]
    fn a_file_of_another_form_is_refused() {
        for text in [
            "",
            "id,level,state,test\n",
            "id,level,state,test,reason\n1,MUST,open,",
            "id,level,state,test,reason\n1,MUST,open,,,",
            "id,level,state,test,reason\n1,MUST,open,,\"x",
            "id,level,state,test,reason\n1,MUST,open,,\"x\"y",
            "id,level,state,test,reason\n1,MUST,open,,x\"",
            "id,level,state,test,reason\n\n",
        ] {
            assert!(Table::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rows_of_a_must_are_counted_by_their_state() {
        let rows = "1-a,MUST,tested,x,\n1-b,SHOULD/MUST,open,,\n1-c,MUST NOT,excused,,x\n1-d,SHOULD,open,,\n\
                    1-e,NOT REQUIRED,open,,\n1-f,SHALL,open,,\n1-g,must(lc),open,,";
        assert_eq!(table(rows).count(), Count { tested: 1, excused: 1, open: 2 });
    }
}
