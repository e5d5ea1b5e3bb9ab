//! The table of docs/interop.md: the cases print its rows, and the test outside of the guests compares them with what is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use homeward::lab::Outcome;

/// The command that writes the tables anew.
const REWRITE: &str = "HOMEWARD_REWRITE=1 cargo test --test interop";
/// How the lines begin that are meant for the table.
const ROW: &str = "interop-row\t";
const PEER: &str = "interop-peer\t";
const HEADINGS: [&str; 3] = ["| case | kernel", "|---", "Peer: "];

/// Says how a case came out.
pub(crate) fn row(case: &str, result: &str) {
    // The harness may have begun a line.
    println!("\n{ROW}{case}\t{result}");
}

/// Says who the peer was.
pub(crate) fn peer(version: &str) {
    println!("\n{PEER}{version}");
}

/// A section of the document: what the peer was, and the results of each case by kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    peer: String,
    rows: Vec<(String, BTreeMap<String, String>)>,
}

impl Table {
    /// What was printed on a kernel.
    fn heard(outcome: &Outcome) -> Self {
        let kernel = version(&outcome.kernel_release);
        let mut table = Self::default();
        for line in outcome.stdout.lines() {
            if let Some(peer) = line.strip_prefix(PEER) {
                peer.clone_into(&mut table.peer);
            } else if let Some((case, result)) = line.strip_prefix(ROW).and_then(|row| row.split_once('\t')) {
                table.rows.push((case.to_owned(), BTreeMap::from([(kernel.clone(), result.to_owned())])));
            }
        }
        table
    }

    fn read(text: &str) -> Self {
        let mut table = Self::default();
        let mut kernels = Vec::new();
        for line in text.lines() {
            if let Some(peer) = line.strip_prefix("Peer: ") {
                peer.clone_into(&mut table.peer);
            }
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [case, results @ ..] = cells.as_slice() else { continue };
            if line.starts_with(HEADINGS[0]) {
                kernels = results.iter().map(|cell| cell.trim_start_matches("kernel ").to_owned()).collect();
            } else if line.starts_with('|') && !line.starts_with(HEADINGS[1]) {
                let results = kernels.iter().cloned().zip(results.iter().map(|cell| (*cell).to_owned()));
                table.rows.push(((*case).to_owned(), results.filter(|(_, cell)| !cell.is_empty()).collect()));
            }
        }
        table
    }

    /// Takes over what was heard on a kernel; the columns of others stay.
    fn take(&mut self, heard: &Self) {
        self.peer.clone_from(&heard.peer);
        let old = std::mem::take(&mut self.rows);
        for (case, results) in &heard.rows {
            let before = old.iter().find(|(name, _)| name == case).map(|(_, results)| results.clone());
            let mut all = before.unwrap_or_default();
            all.extend(results.clone());
            self.rows.push((case.clone(), all));
        }
    }

    /// The peer and the column of one kernel.
    fn column(&self, kernel: &str) -> (String, Vec<(String, String)>) {
        let cell = |results: &BTreeMap<String, String>| results.get(kernel).cloned().unwrap_or_default();
        (self.peer.clone(), self.rows.iter().map(|(case, results)| (case.clone(), cell(results))).collect())
    }

    fn write(&self) -> String {
        let kernels: std::collections::BTreeSet<&String> =
            self.rows.iter().flat_map(|(_, results)| results.keys()).collect();
        let mut text = format!("Peer: {}\n\n| case |", self.peer);
        kernels.iter().for_each(|kernel| text.push_str(&format!(" kernel {kernel} |")));
        text.push_str("\n|---|");
        kernels.iter().for_each(|_| text.push_str("---|"));
        for (case, results) in &self.rows {
            text.push_str(&format!("\n| {case} |"));
            for kernel in &kernels {
                text.push_str(&format!(" {} |", results.get(*kernel).map_or("", String::as_str)));
            }
        }
        text.push('\n');
        text
    }
}

/// Compares what the guests printed with a section of docs/interop.md, or writes it there with `HOMEWARD_REWRITE`.
pub(crate) fn check(section: &str, outcomes: &[Outcome]) {
    static DOCUMENT: Mutex<()> = Mutex::new(());
    let _alone = DOCUMENT.lock();
    let path = document();
    for outcome in outcomes {
        let text = fs::read_to_string(&path).unwrap();
        let (before, inside, after) = section_of(&text, section);
        let (mut written, heard) = (Table::read(inside), Table::heard(outcome));
        let kernel = version(&outcome.kernel_release);
        if std::env::var_os("HOMEWARD_REWRITE").is_some() {
            written.take(&heard);
            fs::write(&path, format!("{before}\n{}{after}", written.write())).unwrap();
            continue;
        }
        assert_eq!(
            written.column(&kernel),
            heard.column(&kernel),
            "docs/interop.md (left) is not what came out on kernel {kernel} (right); if that is as it should be, write it: {REWRITE}"
        );
    }
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/interop.md")
}

/// The text before, inside and after a section.
fn section_of<'a>(text: &'a str, section: &str) -> (&'a str, &'a str, &'a str) {
    let begin = format!("<!-- written by the tests: {section} -->\n");
    let start = text.find(&begin).unwrap_or_else(|| panic!("docs/interop.md has no section {section}")) + begin.len();
    let end = start + text[start..].find("<!-- end -->").unwrap();
    (&text[..start], &text[start..end], &text[end..])
}

/// `6.1` of `6.1.176`.
fn version(release: &str) -> String {
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[test]
fn a_table_survives_writing_and_reading() {
    let row = |case: &str, results: &[(&str, &str)]| {
        let results = results.iter().map(|(kernel, result)| ((*kernel).to_owned(), (*result).to_owned()));
        (case.to_owned(), results.collect())
    };
    let both = row("one", &[("6.1", "works"), ("6.12", "fails")]);
    let table = Table { peer: "strongSwan 1".into(), rows: vec![both, row("two", &[("6.12", "works")])] };
    assert_eq!(Table::read(&table.write()), table);
    let mut later = table.clone();
    later.take(&Table { peer: "strongSwan 2".into(), rows: vec![row("two", &[("6.1", "fails")])] });
    assert_eq!(later.column("6.1"), ("strongSwan 2".to_owned(), vec![("two".to_owned(), "fails".to_owned())]));
    assert_eq!(later.column("6.12").1, [("two".to_owned(), "works".to_owned())]);
}
