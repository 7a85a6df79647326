//! Lists in brackets, as JSON, Python and numpy write them.

use std::iter::Peekable;
use std::str::CharIndices;

use crate::error::quote;
use crate::fault::{Parsed, fault};

/// Texts of a list without a value in it; `null` and its likes stand for no list at all.
const EMPTY: [&str; 6] = ["", "null", "None", "NaN", "nan", "set()"];

/// Hands each value of a list such as `[7, 17]`, `['a', "b"]`, `("a",)` or numpy's `[7 17]` to `each`: a string without its
/// quotes and escapes, another value as it is written, but `True` as `true`. Nulls and empty strings are skipped.
///
/// # Errors
/// The text is no such list, or holds lists or objects.
pub(crate) fn values(text: &str, mut each: impl FnMut(&str) -> Parsed<()>) -> Parsed<()> {
    let whole = text.trim();
    if EMPTY.contains(&whole) {
        return Ok(());
    }
    let closing = match whole.chars().next() {
        Some('[') => ']',
        Some('(') => ')',
        Some('{') => '}',
        _ => return no_list(whole, "it begins with no bracket"),
    };
    let Some(inside) = whole[1..].strip_suffix(closing) else {
        return no_list(whole, "its bracket is not closed");
    };
    let (chars, keyed) = (inside.char_indices().peekable(), closing == '}');
    let mut list = List { whole, inside, keyed, chars, value: String::new() };
    while list.next()? {
        if !list.value.is_empty() {
            each(&list.value)?;
        }
    }
    Ok(())
}

/// A list at hand.
struct List<'a> {
    whole: &'a str,
    inside: &'a str,
    keyed: bool, // whether a colon makes it an object
    chars: Peekable<CharIndices<'a>>,
    value: String, // the last one
}

impl List<'_> {
    /// Reads the next value; false behind the last.
    fn next(&mut self) -> Parsed<bool> {
        self.value.clear();
        self.skip_blanks();
        let Some(&(at, first)) = self.chars.peek() else { return Ok(false) };
        match first {
            '"' | '\'' => self.string(first)?,
            ',' => {}
            '[' | '(' | '{' => return no_list(self.whole, "a value in it is a list itself"),
            _ => self.word(at)?,
        }
        self.skip_blanks();
        match self.chars.peek() {
            Some((_, ',')) => _ = self.chars.next(),
            Some((_, ':')) if self.keyed => return no_list(self.whole, "it is an object"),
            Some(&(_, c @ (':' | ')' | ']' | '}'))) => {
                return no_list(self.whole, &format!("{c:?} follows a value in it"));
            }
            // Blanks alone stand between the values of numpy's arrays.
            _ => {}
        }
        Ok(true)
    }

    fn skip_blanks(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    }

    /// Reads a string; its quote is next.
    fn string(&mut self, quote: char) -> Parsed<()> {
        self.chars.next();
        loop {
            match self.chars.next() {
                None => return no_list(self.whole, "a quote in it is not closed"),
                Some((_, c)) if c == quote => return Ok(()),
                Some((_, '\\')) => self.escape()?,
                Some((_, c)) => self.value.push(c),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Parsed<()> {
        let Some((_, c)) = self.chars.next() else {
            return no_list(self.whole, "a quote in it is not closed");
        };
        let c = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            other => other,
        };
        self.value.push(c);
        Ok(())
    }

    /// The character of a code of so many hexadecimal digits; two codes of four may be one character.
    fn code(&mut self, digits: usize) -> Parsed<char> {
        let first = self.digits(digits);
        let code = match first {
            Some(high @ 0xd800..0xdc00) if digits == 4 => {
                let follows = self.chars.next().is_some_and(|c| c.1 == '\\')
                    && self.chars.next().is_some_and(|c| c.1 == 'u');
                let low = if follows { self.digits(4) } else { None };
                low.filter(|low| (0xdc00..0xe000).contains(low))
                    .map(|low| 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            }
            other => other,
        };
        match code.and_then(char::from_u32) {
            Some(c) => Ok(c),
            None => no_list(self.whole, "an escape in it is no character"),
        }
    }

    fn digits(&mut self, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0, |code, _| Some((code << 4) | self.chars.next()?.1.to_digit(16)?))
    }

    /// Reads a value without quotes, which begins at `at`.
    fn word(&mut self, at: usize) -> Parsed<()> {
        let (mut depth, keyed) = (0, self.keyed);
        let mut goes_on = |c: &(usize, char)| match c.1 {
            '(' => {
                depth += 1;
                true
            }
            ')' if depth > 0 => {
                depth -= 1;
                true
            }
            ':' => depth > 0 || !keyed,
            c => depth > 0 || !matches!(c, ',' | '"' | '\'' | '[' | ']' | '{' | '}' | ')'),
        };
        while self.chars.next_if(&mut goes_on).is_some() {}
        let end = self.chars.peek().map_or(self.inside.len(), |c| c.0);
        let mut word = self.inside[at..end].trim_end();
        // A string of Python may have its kind before it: u'a', b'a'.
        if let (Some(&(_, quote @ ('"' | '\''))), "u" | "b") = (self.chars.peek(), word) {
            return self.string(quote);
        }
        if let Some(&(_, c @ ('"' | '\'' | '[' | '{'))) = self.chars.peek() {
            return no_list(self.whole, &format!("{c:?} follows a value in it"));
        }
        if let Some((first, _)) = word.split_once(char::is_whitespace)
            && word.split_whitespace().all(|part| part == "..." || part.parse::<f64>().is_ok())
        {
            // Numbers of a numpy array, of which the first is the value at hand.
            word = first;
            self.inside = &self.inside[at + first.len()..];
            self.chars = self.inside.char_indices().peekable();
        }
        // Numbers of numpy 2 name their type: np.int64(7).
        if let Some(call) = word.strip_prefix("np.").and_then(|call| call.strip_suffix(')')) {
            word = call.split_once('(').map_or(word, |(_, inside)| inside.trim_matches(['\'', '"']));
        }
        match word {
            "..." => no_list(self.whole, "'...' stands for values that were left out when it was written"),
            "null" | "None" | "NaN" | "nan" => Ok(()),
            word => {
                self.value.push_str(match word {
                    "True" => "true",
                    "False" => "false",
                    other => other,
                });
                Ok(())
            }
        }
    }
}

#[cold]
fn no_list<T>(text: &str, why: &str) -> Parsed<T> {
    fault(
        format!("{} is no list as JSON or Python write one: {why}", quote(text)),
        "fix the value, or set list = \"separated\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let each = |value: &str| {
            found.push(value.to_owned());
            Ok(())
        };
        values(text, each).map_err(|f| f.problem.split(": ").last().unwrap_or_default().to_owned())?;
        Ok(found)
    }

    #[test]
    fn lists_of_json_python_and_numpy() {
        let cases: [(&str, &[&str]); 30] = [
            ("[7, 17]", &["7", "17"]),
            (" [7,17 ] ", &["7", "17"]),
            (r#"["a", "b"]"#, &["a", "b"]),
            ("['a', 'b']", &["a", "b"]),
            (r#"['it\'s', "a \"b\", c"]"#, &["it's", "a \"b\", c"]),
            (r#"["[a]", "b|c", "d, e"]"#, &["[a]", "b|c", "d, e"]),
            (r#"[" a ", "b "]"#, &[" a ", "b "]),
            (r#"["\u00e9", "\ud83d\ude00", "\\", "\/", "a\tb"]"#, &["é", "😀", "\\", "/", "a\tb"]),
            (r"['\xe9', '\U0001F600']", &["é", "😀"]),
            ("('a',)", &["a"]),
            ("(1, 2)", &["1", "2"]),
            ("{'a', 'b'}", &["a", "b"]),
            ("[1 2 3]", &["1", "2", "3"]),
            ("[ 1  2\n 30]", &["1", "2", "30"]),
            ("[0.5 -1.   2e-3]", &["0.5", "-1.", "2e-3"]),
            ("['a' 'b c']", &["a", "b c"]),
            ("[np.int64(7), np.str_('a')]", &["7", "a"]),
            ("[u'a', b'b']", &["a", "b"]),
            ("[red, dark blue]", &["red", "dark blue"]),
            ("[a:0.5, b:2]", &["a:0.5", "b:2"]),
            ("[True, false]", &["true", "false"]),
            ("[1, null, None, nan, 2]", &["1", "2"]),
            ("['', 'a', \"\"]", &["a"]),
            ("[1, 2,]", &["1", "2"]),
            ("[]", &[]),
            ("[ ]", &[]),
            ("()", &[]),
            ("", &[]),
            ("null", &[]),
            ("set()", &[]),
        ];
        for (text, wanted) in cases {
            assert_eq!(read(text), Ok(wanted.iter().map(|v| v.to_string()).collect()), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for (text, why) in [
            ("7, 17", "it begins with no bracket"),
            ("a", "it begins with no bracket"),
            ("[7, 17", "its bracket is not closed"),
            ("[7, 17)", "its bracket is not closed"),
            ("[", "its bracket is not closed"),
            ("['a]", "a quote in it is not closed"),
            ("['a\\']", "a quote in it is not closed"),
            ("[[1], [2]]", "a value in it is a list itself"),
            ("[{\"a\": 1}]", "a value in it is a list itself"),
            ("{\"a\": 1}", "it is an object"),
            ("{1: 2}", "it is an object"),
            ("['a': 1]", "':' follows a value in it"),
            ("['it's']", "'\\'' follows a value in it"),
            ("[\"\\ud83d\"]", "an escape in it is no character"),
            ("[\"\\uzzzz\"]", "an escape in it is no character"),
            ("[1] [2]", "']' follows a value in it"),
            ("[0 1 ... 8 9]", "'...' stands for values that were left out when it was written"),
        ] {
            assert_eq!(read(text), Err(why.to_owned()), "{text}");
        }
    }
}
