//! The tables of `docs/conformance/` and of `docs/features.md` tell the truth about which tests there are.

#![expect(clippy::panic, reason = "a test that cannot read the tree has failed")]

mod features;
mod sources;
mod table;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use table::Table;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all tests of the workspace.
fn tests() -> BTreeSet<String> {
    let members = [("", "homeward"), ("ike", "ike"), ("mip6", "mip6"), ("pki", "pki"), ("conf", "conf")];
    let mut all = BTreeSet::new();
    for (folder, name) in members {
        for test in sources::tests_of_crate(&root().join(folder), name).unwrap_or_else(|error| panic!("{error}")) {
            assert!(all.insert(test.clone()), "two tests are called {test}");
        }
    }
    all
}

#[test]
fn the_tables_of_conformance_name_tests_that_exist_and_reasons_for_what_is_excused() {
    let tests = tests();
    let mut files: Vec<_> = fs::read_dir(root().join("docs/conformance")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    files.sort();
    let mut wrong = Vec::new();
    for path in files {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        match Table::parse(&fs::read_to_string(&path).unwrap()) {
            Ok(table) => {
                wrong.extend(table.faults(&file, &tests).into_iter().map(|fault| format!("{file}: {fault}")));
                println!("{file}: of its MUST rows {}", table.count());
            }
            Err(fault) => wrong.push(format!("{file}: {fault}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_features_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/features.md")).unwrap();
    let wrong = features::faults(&text, &tests());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_names_are_those_that_the_test_runner_lists() {
    let tests = tests();
    let own = module_path!();
    // One from here, and one from a module inside of a file of its own.
    for own in [
        format!("homeward::{own}::the_names_are_those_that_the_test_runner_lists"),
        format!("homeward::{own}::table::tests::a_table_without_faults_is_fine"),
    ] {
        assert!(tests.contains(&own), "{own}");
    }
}
