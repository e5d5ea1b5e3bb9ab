//! What `swanctl --list-sas --raw` prints: `event {name {key=value key=[…] child-sas {…}}}`, read into a tree.

use std::collections::BTreeMap;

/// A section: values, lists and sections by their key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    values: BTreeMap<String, String>,
    sections: BTreeMap<String, Section>,
}

impl Section {
    /// Every section of this text, one inside the other as they stand; what does not belong to it is passed over.
    pub(crate) fn read(text: &str) -> Self {
        // Braces and brackets need no blanks around them.
        let spaced = text.replace('{', " { ").replace('}', " } ").replace('[', " [ ").replace(']', " ] ");
        let mut words = spaced.split_whitespace().peekable();
        Self::read_words(&mut words)
    }

    fn read_words<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Self {
        let mut section = Self::default();
        while let Some(word) = words.next() {
            match word {
                "}" => break,
                word if words.peek() == Some(&"{") => {
                    words.next();
                    section.sections.insert(word.to_owned(), Self::read_words(words));
                }
                word if words.peek() == Some(&"[") => {
                    words.next();
                    let items: Vec<&str> = words.by_ref().take_while(|word| *word != "]").collect();
                    section.values.insert(word.trim_end_matches('=').to_owned(), items.join(" "));
                }
                word => {
                    if let Some((key, value)) = word.split_once('=') {
                        section.values.insert(key.to_owned(), value.to_owned());
                    }
                }
            }
        }
        section
    }

    /// A value or the items of a list, separated by blanks; empty if there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    /// A value as a number; zero if there is none.
    pub(crate) fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or(0)
    }

    /// A section below this one; empty if there is none.
    pub(crate) fn section(&self, key: &str) -> Section {
        self.sections.get(key).cloned().unwrap_or_default()
    }

    /// The sections below this one.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.sections.iter().map(|(name, section)| (name.as_str(), section))
    }
}

#[test]
fn the_raw_form_of_swanctl_is_read() {
    let text = "list-sa event {home {uniqueid=1 state=ESTABLISHED local-vips=[2001:db8::1] child-sas {binding-1 \
                {name=binding bytes-in=120 local-ts=[2001:db8::1/128[mobility-header] ::/0]}}}}\nlist-sas reply {}";
    let home = Section::read(text).section("event").section("home");
    assert_eq!((home.text("state"), home.number("uniqueid")), ("ESTABLISHED", 1));
    let child = home.section("child-sas").section("binding-1");
    assert_eq!((child.text("name"), child.number("bytes-in")), ("binding", 120));
    assert!(child.text("local-ts").starts_with("2001:db8::1/128"));
}
