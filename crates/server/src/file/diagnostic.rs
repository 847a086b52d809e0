use std::fmt::Write as _;
use std::ops::Range;

/// A message about a place in a file, with line, column and caret.
#[derive(Debug)]
pub(super) struct Diagnostic<'a> {
    pub(super) severity: &'static str,
    pub(super) message: String,
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) span: Option<Range<usize>>,
    pub(super) and: Option<Range<usize>>,
    pub(super) help: Option<String>,
}

impl Diagnostic<'_> {
    /// The message as it is printed, with a newline at its end.
    pub(super) fn render(&self) -> String {
        let mut out = format!("{}: {}\n", self.severity, self.message);
        match &self.span {
            None => {
                let _ = writeln!(out, "  --> {}", self.file);
            }
            Some(span) => self.excerpt(&mut out, "-->", span),
        }
        if let Some(and) = &self.and
            && self.span.as_ref() != Some(and)
        {
            self.excerpt(&mut out, "and", and);
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "  = help: {help}");
        }
        out.push('\n');
        out
    }

    fn excerpt(&self, out: &mut String, arrow: &str, span: &Range<usize>) {
        let (line, column) = position(self.text, span.start);
        let content = self.text.lines().nth(line - 1).unwrap_or_default();
        let margin = line.to_string().len();
        let before: String =
            content.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let marked = self.text.get(span.clone()).unwrap_or_default();
        let width = marked.lines().next().unwrap_or_default().chars().count().max(1);
        let room = content.chars().count().saturating_sub(column - 1).max(1);
        let carets = "^".repeat(width.min(room));
        let _ = writeln!(out, "  {arrow} {}:{line}:{column}", self.file);
        if may_hold_a_secret(self.text, line) {
            return;
        }
        let _ = writeln!(out, "{:margin$} |", "");
        let _ = writeln!(out, "{line} | {content}");
        let _ = writeln!(out, "{:margin$} | {before}{carets}", "");
    }
}

/// Whether a line, counted from 1, is one of a token, on which a secret may stand that belongs elsewhere: what is wrong
/// with it is told without it. The text need not be TOML, so lines are taken for what they look like.
pub(super) fn may_hold_a_secret(text: &str, line: usize) -> bool {
    let is_of_token = |key: &str| {
        key.trim_start_matches(|c: char| c.is_whitespace() || "[\"'".contains(c)).starts_with("token")
    };
    let mut lines = text.lines().take(line).collect::<Vec<_>>().into_iter().rev();
    let own = lines.next().unwrap_or_default();
    // A header, and not the beginning of a list in a list, which has a comma.
    let is_header = |line: &&str| {
        let line = line.trim_start();
        line.starts_with('[') && line.contains(']') && !line.contains(',')
    };
    let section = std::iter::once(own).chain(lines).find(is_header);
    own.contains("secret") || is_of_token(own) || section.is_some_and(is_of_token)
}

/// Line and column of a byte, both counted from 1, the column in characters.
pub(super) fn position(text: &str, byte: usize) -> (usize, usize) {
    let mut at = byte.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
