//! PTX text as words and punctuation, without comments.

use crate::{Error, Result};

/// A piece of PTX text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// Line, counted from 1.
    pub(crate) line: usize,
}

fn in_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

/// Cuts a text: words (directives, instructions with their suffixes, names, numbers), strings, and single characters.
///
/// # Errors
/// A comment or a string without end.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let (start, first_line, c) = (at, line, bytes[at]);
        if c.is_ascii_whitespace() {
            line += usize::from(c == b'\n');
            at += 1;
            continue;
        }
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            let inside = comment.find("*/").ok_or_else(|| Error::syntax(line, "a comment has no end"))?;
            line += comment[..inside].matches('\n').count();
            at += inside + 4;
            continue;
        }
        if c == b'"' {
            let inside = rest[1..].find('"').ok_or_else(|| Error::syntax(line, "a string has no end"))?;
            line += rest[..inside + 1].matches('\n').count();
            at += inside + 2;
        } else if in_word(c) {
            at += rest.bytes().take_while(|c| in_word(*c)).count();
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        found.push(Token { text: &text[start..at], line: first_line });
    }
    Ok(found)
}
