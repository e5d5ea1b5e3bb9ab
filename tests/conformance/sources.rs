//! The tests that a crate has, as its sources say.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tokens::{Token, tokens};

/// The names of the tests of the crate in `folder`: `crate::path::of::test` for those of the library,
/// `crate::target::path::of::test` for those in `tests/`.
///
/// # Errors
/// A file cannot be found or understood.
pub(crate) fn tests_of_crate(folder: &Path, name: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    file(&folder.join("src/lib.rs"), &folder.join("src"), name, &mut found)?;
    let Ok(entries) = fs::read_dir(folder.join("tests")) else { return Ok(found) };
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let target = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let target = format!("{name}::{target}");
        if path.join("main.rs").exists() {
            file(&path.join("main.rs"), &path, &target, &mut found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            file(&path, &folder.join("tests"), &target, &mut found)?;
        }
    }
    found.sort();
    Ok(found)
}

/// One file, whose modules in files of their own are in `folder`.
fn file(path: &Path, folder: &Path, module: &str, found: &mut Vec<String>) -> Result<(), String> {
    let source = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let items = items(&source).map_err(|error| format!("{}: {error}", path.display()))?;
    found.extend(items.tests.into_iter().map(|test| format!("{module}::{test}")));
    for child in items.files {
        let at: PathBuf = child.split("::").collect();
        let at = folder.join(at);
        let module = format!("{module}::{child}");
        if at.join("mod.rs").exists() {
            file(&at.join("mod.rs"), &at, &module, found)?;
        } else {
            file(&at.with_extension("rs"), &at, &module, found)?;
        }
    }
    Ok(())
}

/// What one source file declares.
#[derive(Debug, Default, PartialEq, Eq)]
struct Items {
    /// With the modules inside of this file before the name.
    tests: Vec<String>,
    /// The modules that are files of their own, in the same way.
    files: Vec<String>,
}

fn items(source: &str) -> Result<Items, String> {
    let tokens = tokens(source);
    let mut items = Items::default();
    // The modules that are open, with the depth of their braces.
    let mut modules: Vec<(&str, usize)> = Vec::new();
    let mut depth = 0usize;
    let mut attributes = Attributes::default();
    let mut rest = tokens.as_slice();
    while let Some((token, mut after)) = rest.split_first() {
        match (*token, after) {
            (Token::Sign('#'), [Token::Sign('['), ..]) => {
                let (inside, end) = group(after, '[', ']').ok_or("an attribute does not end")?;
                attributes.read(inside)?;
                after = end;
            }
            (Token::Word("macro_rules"), [Token::Sign('!'), Token::Word(_), body @ ..]) => {
                after = group(body, '{', '}').ok_or("a macro does not end")?.1;
            }
            (Token::Word("real_kernel_test"), [Token::Sign('!'), Token::Sign('('), inside @ ..]) => {
                let name = after_attributes(inside).ok_or("a real_kernel_test! without a name")?;
                items.tests.push(within(&modules, name));
            }
            (Token::Word("mod"), [Token::Word(name), Token::Sign(';'), ..]) => items.files.push(within(&modules, name)),
            (Token::Word("mod"), [Token::Word(name), Token::Sign('{'), ..]) => modules.push((name, depth)),
            (Token::Word("fn"), [Token::Word(name), ..]) => {
                let test = std::mem::take(&mut attributes).is_test();
                items.tests.extend(test.then(|| within(&modules, name)));
            }
            (Token::Sign('{'), _) => depth += 1,
            (Token::Sign('}'), _) => {
                depth = depth.checked_sub(1).ok_or("a brace too many")?;
                modules.pop_if(|(_, outside)| *outside == depth);
                attributes = Attributes::default();
            }
            (Token::Sign(';'), _) => attributes = Attributes::default(),
            _ => {}
        }
        rest = after;
    }
    Ok(items)
}

/// What the attributes before an item say.
#[derive(Default)]
struct Attributes {
    test: bool,
    ignored: bool,
}

impl Attributes {
    fn read(&mut self, inside: &[Token<'_>]) -> Result<(), String> {
        match inside {
            [Token::Word("test"), ..]
            | [Token::Word("tokio"), Token::Sign(':'), Token::Sign(':'), Token::Word("test"), ..] => self.test = true,
            [Token::Word("ignore"), ..] => self.ignored = true,
            [Token::Word("path"), ..] => return Err("a module with a path of its own is not looked for".to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// What is ignored does not run, and shows nothing.
    fn is_test(&self) -> bool {
        self.test && !self.ignored
    }
}

fn within(modules: &[(&str, usize)], name: &str) -> String {
    modules.iter().map(|(module, _)| *module).chain([name]).collect::<Vec<_>>().join("::")
}

fn after_attributes<'a>(mut tokens: &[Token<'a>]) -> Option<&'a str> {
    loop {
        match tokens {
            [Token::Word(name), ..] => return Some(name),
            [Token::Sign('#'), attribute @ ..] => tokens = group(attribute, '[', ']')?.1,
            _ => return None,
        }
    }
}

/// What is between the brackets with which `tokens` begin, and what comes after.
fn group<'t, 'a>(tokens: &'t [Token<'a>], open: char, close: char) -> Option<(&'t [Token<'a>], &'t [Token<'a>])> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign(sign) if *sign == open => depth += 1,
            Token::Sign(sign) if *sign == close => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some((tokens.get(1..at)?, tokens.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::items;

    fn tests(source: &str) -> Vec<String> {
        items(source).unwrap().tests
    }

    #[test]
    fn tests_are_named_with_the_modules_around_them() {
        let source = "#[test] fn a() { if x {} }
            mod outer { #[cfg(test)] mod inner { #[test] #[expect(x, reason = \"]\")] fn b() {} } #[test] fn c() {} }
            #[test] fn d() {}";
        assert_eq!(tests(source), ["a", "outer::inner::b", "outer::c", "d"]);
    }

    #[test]
    fn functions_without_the_attribute_or_with_ignore_are_none() {
        assert!(
            tests("fn a() {} #[cfg(test)] fn b() {} #[test] #[ignore] fn c() {} #[ignore] #[test] fn d() {}")
                .is_empty()
        );
        assert!(tests("// #[test] fn a() {}\nconst S: &str = \"#[test] fn b() {}\";").is_empty());
        assert_eq!(tests("#[test] const X: u8 = 1; fn a() {}"), Vec::<String>::new());
    }

    #[test]
    fn tests_of_tokio_of_proptest_and_on_real_kernels_count() {
        let source = "#[tokio::test(start_paused = true)] async fn a() {}
            proptest! { #![proptest_config(x)] /// Says
            #[test] fn b(x in 0..1) {} }
            homeward::real_kernel_test!(c, { loop {} });
            real_kernel_test!(/** Says */ #[cfg(x)] d, within 300 seconds, {});";
        assert_eq!(tests(source), ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_a_macro_would_make_is_no_test() {
        assert!(tests("macro_rules! m { ($n:ident) => { #[test] fn x() {} } } ").is_empty());
    }

    #[test]
    fn modules_in_files_of_their_own_are_found_inside_of_others() {
        let found = items("mod a; pub(crate) mod b { #[cfg(test)] mod c; } mod d {}").unwrap();
        assert_eq!(found.files, ["a", "b::c"]);
        assert!(items("#[path = \"x.rs\"] mod a;").is_err());
    }
}
