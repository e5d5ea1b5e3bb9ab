//! What is wrong, where, and what to do about it: as text with the lines of the file, and as plain data.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be run.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// One remark, for programs: `Display` writes one line, `file:line:column: error: message (help: …)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The configuration file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The cause.
    pub message: String,
    /// The fix.
    pub help: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Self { line, column, message, help, .. } = self;
        write!(f, "{}:{line}:{column}: {severity}: {message} (help: {help})", self.file.display())
    }
}

/// Remarks on one file, in the order of their places. `Display` shows each with the lines that it is about.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    text: String,
    list: Vec<Diagnostic>,
    /// One for each of `list`, in octets of `text`.
    spans: Vec<Range<usize>>,
}

impl Diagnostics {
    /// The remarks as plain data.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain();
        for (index, (diagnostic, span)) in self.list.iter().zip(&self.spans).enumerate() {
            let level = match diagnostic.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let snippet = Snippet::source(self.text.as_str())
                .path(diagnostic.file.to_string_lossy().into_owned())
                .annotation(AnnotationKind::Primary.span(span.clone()));
            let group = level
                .primary_title(diagnostic.message.as_str())
                .element(snippet)
                .element(Level::HELP.message(diagnostic.help.as_str()));
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{}", renderer.render(&[group]))?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects remarks while a file is read and checked.
#[derive(Debug)]
pub(crate) struct Notes<'t> {
    file: &'t Path,
    text: &'t str,
    list: Vec<(Range<usize>, Diagnostic)>,
}

impl<'t> Notes<'t> {
    pub(crate) fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, list: Vec::new() }
    }

    pub(crate) fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), help.into());
    }

    pub(crate) fn warning(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), help.into());
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|(_, diagnostic)| diagnostic.severity == Severity::Error)
    }

    /// Line and column, from 1, of an octet of the text.
    pub(crate) fn position(&self, octet: usize) -> (usize, usize) {
        let before = self.text.get(..octet).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }

    pub(crate) fn file(&self) -> &'t Path {
        self.file
    }

    pub(crate) fn finish(mut self) -> Diagnostics {
        self.list.sort_by_key(|(span, _)| span.start);
        let (spans, list) = self.list.into_iter().unzip();
        Diagnostics { text: self.text.to_owned(), list, spans }
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, message: String, help: String) {
        let span = self.inside(span);
        let (line, column) = self.position(span.start);
        let diagnostic = Diagnostic { severity, file: self.file.to_owned(), line, column, message, help };
        self.list.push((span, diagnostic));
    }

    /// The span with both ends inside the text and on the border of a character.
    fn inside(&self, span: Range<usize>) -> Range<usize> {
        let fit = |mut octet: usize| {
            octet = octet.min(self.text.len());
            while !self.text.is_char_boundary(octet) {
                octet -= 1;
            }
            octet
        };
        let start = fit(span.start);
        start..fit(span.end).max(start)
    }
}

/// A text from the file as it is quoted in a message: nothing in it can steer a terminal.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}
