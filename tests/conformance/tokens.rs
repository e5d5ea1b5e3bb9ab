//! Rust source as tokens, as far as one has to know it for finding modules and tests.

/// What a source file consists of besides comments, literals and blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A name or a keyword.
    Word(&'a str),
    /// Anything else that counts, one character each.
    Sign(char),
    /// A literal of any kind, or a lifetime: what is inside is no code.
    Literal,
}

pub(crate) fn tokens(mut source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    while let Some(first) = source.chars().next() {
        let (token, length) = next(source, first);
        found.extend(token);
        source = source.get(length..).unwrap_or_default();
    }
    found
}

/// The token at the beginning of `source`, none for blanks and comments, and its length in octets.
fn next(source: &str, first: char) -> (Option<Token<'_>>, usize) {
    if source.starts_with("//") {
        return (None, source.find('\n').unwrap_or(source.len()));
    }
    if source.starts_with("/*") {
        return (None, comment(source));
    }
    if let Some(length) = raw_string(source) {
        return (Some(Token::Literal), length);
    }
    match first {
        '"' => (Some(Token::Literal), string(source)),
        '\'' => quote(source),
        _ if first.is_whitespace() => (None, first.len_utf8()),
        _ if is_word(first) => {
            let length = source.find(|c| !is_word(c)).unwrap_or(source.len());
            let word = source.get(..length).unwrap_or_default();
            // A byte string's letter belongs to it, but does no harm as a word.
            (Some(if first.is_ascii_digit() { Token::Literal } else { Token::Word(word) }), length)
        }
        _ => (Some(Token::Sign(first)), first.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Comments of this kind stand inside each other.
fn comment(source: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(rest) = source.get(at..) {
        if rest.is_empty() {
            break;
        }
        let step = match rest {
            _ if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            _ if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// `r"…"`, `r#"…"#` and so on, also with a `b` before.
fn raw_string(source: &str) -> Option<usize> {
    let rest = source.strip_prefix('b').unwrap_or(source).strip_prefix('r')?;
    let inside = rest.trim_start_matches('#');
    let hashes = rest.len() - inside.len();
    let inside = inside.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end)? + end.len();
    Some(source.len() - inside.len() + length)
}

fn string(source: &str) -> usize {
    let mut escaped = false;
    for (at, c) in source.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    source.len()
}

/// A character, or a lifetime.
fn quote(source: &str) -> (Option<Token<'_>>, usize) {
    let mut after = source.char_indices().skip(1);
    let length = match (after.next(), after.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let from = escaped + c.len_utf8();
            source.get(from..).and_then(|rest| rest.find('\'')).map_or(source.len(), |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    };
    (Some(Token::Literal), length)
}

#[cfg(test)]
mod tests {
    use super::{Token, tokens};

    fn words(source: &str) -> Vec<&str> {
        tokens(source).into_iter().filter_map(|t| if let Token::Word(word) = t { Some(word) } else { None }).collect()
    }

    #[test]
    fn comments_and_literals_hide_what_is_in_them() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(words(r#"a "b \" c" d"#), ["a", "d"]);
        assert_eq!(words(r##"a r#"b " c"# d br"e\" f"##), ["a", "d", "f"]);
        assert_eq!(words(r"a 'b' c '\'' d '\u{1f600}' e '\\' f '{' g"), ["a", "c", "d", "e", "f", "g"]);
    }

    #[test]
    fn lifetimes_are_no_characters_that_swallow_the_code_after_them() {
        assert_eq!(words("fn f<'a>(x: &'a str) {}"), ["fn", "f", "a", "x", "a", "str"]);
    }

    #[test]
    fn names_are_taken_whole_and_numbers_are_none() {
        assert_eq!(words("mod r_mod; b_1 0x1f 5usize"), ["mod", "r_mod", "b_1"]);
    }
}
