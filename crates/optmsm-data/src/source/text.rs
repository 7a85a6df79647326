//! The grammar of CSV: where records end, and where their values lie.
//!
//! It is that of the `csv` crate, which the tests compare it with: a quote opens a value only as its first byte; inside, two quotes
//! stand for one; what follows the closing quote belongs to the value; any run of `\r` and `\n` ends a record, and blank lines are none.

use std::ops::Range;

const ONES: u64 = 0x0101_0101_0101_0101;

/// Bytes to look for, each in every byte of a word.
#[derive(Clone, Copy)]
struct Any([u64; 3]);

impl Any {
    fn new(bytes: [u8; 3]) -> Self {
        Self(bytes.map(|b| u64::from(b) * ONES))
    }

    /// Place of the first of them at or after `at`, else the length.
    #[inline]
    fn find(self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*word);
            // The lowest bit that is set is that of a zero byte; those above it may be wrong.
            let zero = |x: u64| x.wrapping_sub(ONES) & !x;
            let [a, b, c] = self.0.map(|byte| zero(word ^ byte));
            let found = (a | b | c) & (ONES << 7);
            if found != 0 {
                return at + found.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        let wanted = self.0.map(|word| word as u8);
        let rest = bytes.get(at..).unwrap_or_default();
        at + rest.iter().position(|b| wanted.contains(b)).unwrap_or(rest.len())
    }
}

/// How values are told apart.
#[derive(Clone, Copy)]
pub(super) struct Grammar {
    delimiter: u8,
    ends: Any,   // of a value
    breaks: Any, // what may end a record, or open or close a quote
    quotes: Any,
}

/// Bytes whose ones are summed up in a byte, which lets many be looked at in one instruction.
const SUMMED: usize = 255;

#[inline]
fn is_break(byte: u8) -> bool {
    (byte == b'\r') | (byte == b'\n')
}

/// Number of line feeds.
pub(super) fn breaks(text: &[u8]) -> u64 {
    let sum = |part: &[u8]| part.iter().fold(0u8, |sum, &b| sum + u8::from(b == b'\n'));
    text.chunks(SUMMED).map(|part| u64::from(sum(part))).sum()
}

/// Whole records at the beginning of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) bytes: usize,
    pub(super) records: u64,
}

impl Grammar {
    /// `delimiter` is neither a quote nor a line break.
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            ends: Any::new([delimiter, b'\r', b'\n']),
            breaks: Any::new([b'"', b'\r', b'\n']),
            quotes: Any::new([b'"'; 3]),
        }
    }

    /// The records that surely end within the text, which begins where one may begin; all of it if it is the `last`.
    pub(super) fn whole(self, text: &[u8], last: bool) -> Whole {
        if !text.contains(&b'"') {
            let end = text.iter().rposition(|&b| is_break(b)).map_or(0, |at| at + 1);
            let bytes = if last { text.len() } else { end };
            let text = &text[..bytes];
            let begins = |now: &[u8], before: &[u8]| {
                let begins = now.iter().zip(before).map(|(&now, &before)| is_break(before) & !is_break(now));
                u64::from(begins.fold(0u8, |sum, begin| sum + u8::from(begin)))
            };
            let first = u64::from(text.first().is_some_and(|&b| !is_break(b)));
            let pairs = text.get(1..).unwrap_or_default().chunks(SUMMED).zip(text.chunks(SUMMED));
            let records = first + pairs.map(|(now, before)| begins(now, before)).sum::<u64>();
            return Whole { bytes, records };
        }
        let (mut whole, mut at) = (Whole::default(), 0);
        loop {
            while text.get(at).is_some_and(|&b| is_break(b)) {
                at += 1;
            }
            whole.bytes = at;
            if at == text.len() {
                return whole;
            }
            match self.skip(text, at) {
                Some(end) => at = end,
                None if last => return Whole { bytes: text.len(), records: whole.records + 1 },
                None => return whole,
            }
            whole.records += 1;
        }
    }

    /// The end of a record that begins at `start`, behind the first byte of its line break; none if it is not in the text.
    fn skip(self, text: &[u8], start: usize) -> Option<usize> {
        let mut at = start;
        loop {
            at = self.breaks.find(text, at);
            match text.get(at)? {
                b'"' if at == start || text[at - 1] == self.delimiter => at = self.closing(text, at + 1)?,
                b'"' => {}
                _ => return Some(at + 1),
            }
            at += 1;
        }
    }

    /// The quote that closes a value whose first byte behind the opening one is at `at`.
    fn closing(self, text: &[u8], mut at: usize) -> Option<usize> {
        loop {
            at = self.quotes.find(text, at);
            match text.get(at..)? {
                [] => return None,
                [_, b'"', ..] => at += 2,
                _ => return Some(at),
            }
        }
    }

    /// Finds the values of a record that begins at `at`; returns where it ends, and whether a line break did.
    ///
    /// A value is a range of `text`, or, where its text has quotes to be taken out, of what stands behind `text` in `spare`.
    #[inline]
    pub(super) fn record(
        self,
        text: &[u8],
        mut at: usize,
        values: &mut Vec<Range<u32>>,
        spare: &mut Vec<u8>,
    ) -> (usize, bool) {
        loop {
            let end;
            if text.get(at) == Some(&b'"') {
                let value;
                (value, end) = self.quoted(text, at + 1, spare);
                values.push(value);
            } else {
                end = self.ends.find(text, at);
                values.push(at as u32..end as u32);
            }
            match text.get(end) {
                None => return (end, false),
                Some(&byte) if byte == self.delimiter => at = end + 1,
                Some(_) => return (end + 1, true),
            }
        }
    }

    /// A value behind its opening quote, and its end.
    fn quoted(self, text: &[u8], start: usize, spare: &mut Vec<u8>) -> (Range<u32>, usize) {
        let close = self.quotes.find(text, start);
        let end = (close + 1).min(text.len());
        match text.get(end) {
            None => return (start as u32..close as u32, end),
            Some(&byte) if byte == self.delimiter || is_break(byte) => {
                return (start as u32..close as u32, end);
            }
            Some(_) => {}
        }
        let (from, mut at) = (text.len() + spare.len(), start);
        loop {
            let quote = self.quotes.find(text, at);
            spare.extend_from_slice(&text[at..quote]);
            match text.get(quote + 1) {
                Some(b'"') => {
                    spare.push(b'"');
                    at = quote + 2;
                }
                _ => {
                    at = (quote + 1).min(text.len());
                    break;
                }
            }
        }
        let end = self.ends.find(text, at);
        spare.extend_from_slice(&text[at..end]);
        (from as u32..(text.len() + spare.len()) as u32, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let (grammar, mut at, mut out) = (Grammar::new(b','), 0, Vec::new());
        while at < text.len() {
            if is_break(text[at]) {
                at += 1;
                continue;
            }
            let (mut values, mut spare) = (Vec::new(), Vec::new());
            at = grammar.record(text, at, &mut values, &mut spare).0;
            let all = [text, &spare].concat();
            out.push(values.iter().map(|v| all[v.start as usize..v.end as usize].to_vec()).collect());
        }
        out
    }

    fn theirs(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut csv = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        csv.byte_records().map(|r| r.unwrap().iter().map(<[u8]>::to_vec).collect()).collect()
    }

    /// Every text of up to so many letters, each said in turn.
    fn each(letters: &[u8], most: u32, mut test: impl FnMut(&[u8])) {
        let mut text = Vec::new();
        for length in 0..=most {
            for mut number in 0..letters.len().pow(length) {
                text.clear();
                for _ in 0..length {
                    text.push(letters[number % letters.len()]);
                    number /= letters.len();
                }
                test(&text);
            }
        }
    }

    #[test]
    fn every_short_text_reads_as_the_csv_crate_reads_it() {
        each(b"a,\"\n\r", 7, |text| {
            assert_eq!(ours(text), theirs(text), "{:?}", String::from_utf8_lossy(text));
        });
        // Longer than a word, so that words and the bytes behind them are both looked at.
        each(b"a,\"\n", 6, |text| {
            let text = [b"abcdefgh,\"xyz", text, b"12345678901"].concat();
            assert_eq!(ours(&text), theirs(&text), "{:?}", String::from_utf8_lossy(&text));
        });
    }

    #[test]
    fn a_text_cut_behind_whole_records_holds_the_same_records() {
        let grammar = Grammar::new(b',');
        each(b"a,\"\n\r", 6, |text| {
            let said = String::from_utf8_lossy(text);
            let all = ours(text);
            let last = grammar.whole(text, true);
            assert_eq!((last.bytes, last.records), (text.len(), all.len() as u64), "{said:?}");
            for end in 0..=text.len() {
                let cut = grammar.whole(&text[..end], false);
                let (before, after) = text.split_at(cut.bytes);
                let before = ours(before);
                assert_eq!(before.len() as u64, cut.records, "{said:?} {end}");
                assert_eq!([before, ours(after)].concat(), all, "{said:?} {end}");
            }
        });
    }
}
