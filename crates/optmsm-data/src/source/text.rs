//! A text of CSV: where it may be cut, so that several threads take it apart, and its records.
//!
//! The grammar is that of the `csv` crate, whose parser takes records apart; where they end is found here, faster and in the middle of a
//! file, and the tests compare the two: a quote opens a value only as its first byte; inside, two quotes stand for one; any run of `\r`
//! and `\n` ends a record, and blank lines are none. What the crate lets pass is an error here: a quote that is never closed, or closed
//! before the end of its value. Unless [`Quoting::Standard`] says that values have line breaks in them, each line is a record.

use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::reading::{Quoting, Reading};

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

/// How records are told apart.
#[derive(Clone, Copy)]
pub(super) struct Grammar {
    delimiter: u8,
    quoting: Quoting,
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

/// Fault of a quote that opens a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stray {
    /// It is not closed where it must be.
    Open,
    /// It is closed, and the value goes on.
    Behind,
}

impl Grammar {
    /// The delimiter is neither a quote nor a line break.
    pub(super) fn new(reading: &Reading) -> Self {
        Self {
            delimiter: u8::try_from(reading.delimiter).unwrap_or(b','), // ASCII, checked by DataConfig::validate
            quoting: reading.quoting,
            breaks: Any::new([b'"', b'\r', b'\n']),
            quotes: Any::new([b'"'; 3]),
        }
    }

    /// Meaning of quotes.
    pub(super) fn quoting(self) -> Quoting {
        self.quoting
    }

    /// The records that surely end within the text, which begins where one may begin; all of it if it is the `last`.
    pub(super) fn whole(self, text: &[u8], last: bool) -> Whole {
        if self.quoting != Quoting::Standard || !text.contains(&b'"') {
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
                b'"' if self.opens(text, start, at) => at = self.closing(text, at + 1)?,
                b'"' => {}
                _ => return Some(at + 1),
            }
            at += 1;
        }
    }

    /// Whether a quote opens a value of the record that begins at `start`.
    fn opens(self, text: &[u8], start: usize, at: usize) -> bool {
        at == start || text[at - 1] == self.delimiter
    }

    /// Fault of the quotes of the record that begins at `start`.
    fn stray(self, text: &[u8], start: usize) -> Option<Stray> {
        let mut at = start;
        loop {
            at = self.breaks.find(text, at);
            if *text.get(at)? != b'"' {
                return None;
            }
            if self.opens(text, start, at) {
                let closing = self.closing(text, at + 1);
                let one_line = |end: &usize| {
                    self.quoting == Quoting::Standard || !text[at..*end].iter().any(|&b| is_break(b))
                };
                let Some(end) = closing.filter(one_line) else { return Some(Stray::Open) };
                at = end;
                if text.get(at + 1).is_some_and(|&b| b != self.delimiter && !is_break(b)) {
                    return Some(Stray::Behind);
                }
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
}

/// Takes the records of a text apart, by the `csv` crate's parser.
pub(super) struct Records<'a> {
    parser: Reader,
    text: &'a [u8],
    at: usize,
    fields: Vec<u8>, // values without their quotes, one behind the other
    used: usize,
    ends: Vec<usize>,
    grammar: Grammar,
    quoted: bool, // whether quotes are to be looked at
}

/// One record.
pub(super) struct Record {
    /// Place of its first byte.
    pub(super) begin: usize,
    /// Values that it has.
    pub(super) values: usize,
    /// Fault of its quotes; it has no values then.
    pub(super) stray: Option<Stray>,
}

impl<'a> Records<'a> {
    /// `columns` is how many values a record may be expected to have.
    pub(super) fn new(grammar: Grammar, text: &'a [u8], columns: usize) -> Self {
        let quoting = grammar.quoting != Quoting::None;
        let mut parser = ReaderBuilder::new().delimiter(grammar.delimiter).quoting(quoting).build();
        // A byte order mark is dropped from the first bytes it sees, which are those of a file in another place only.
        parser.read_record(b"\n", &mut [0], &mut [0]);
        // One more each: what is full may have more to come.
        let (fields, ends) = (vec![0; text.len() + 1], vec![0; columns + 1]);
        Self { parser, text, at: 0, fields, used: 0, ends, grammar, quoted: quoting && text.contains(&b'"') }
    }

    /// Appends the places of the next record's values in [`Records::finish`]; none at the end. Nothing can be read behind a stray quote.
    #[inline]
    pub(super) fn next(&mut self, places: &mut Vec<Range<u32>>) -> Option<Record> {
        while self.text.get(self.at).is_some_and(|&b| is_break(b)) {
            self.at += 1;
        }
        let (begin, first) = (self.at, self.used);
        if begin == self.text.len() {
            return None;
        }
        if let Some(stray) = self.quoted.then(|| self.grammar.stray(self.text, begin)).flatten() {
            return Some(Record { begin, values: 0, stray: Some(stray) });
        }
        let (mut values, mut start) = (0, first);
        loop {
            let Self { parser, text, at, fields, used, ends, .. } = self;
            let (result, read, wrote, found) = parser.read_record(&text[*at..], &mut fields[*used..], ends);
            (*at, *used) = (*at + read, *used + wrote);
            for &end in &ends[..found] {
                let end = first + end;
                places.push(start as u32..end as u32);
                start = end;
            }
            values += found;
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => break,
                _ => {}
            }
        }
        Some(Record { begin, values, stray: None })
    }

    /// Place behind the last record.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes of all values.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.fields.truncate(self.used);
        self.fields
    }

    /// The bytes of a value of the last record.
    pub(super) fn value(&self, place: &Range<u32>) -> &[u8] {
        &self.fields[place.start as usize..place.end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grammar(quoting: Quoting) -> Grammar {
        Grammar::new(&Reading { quoting, ..Reading::default() })
    }

    /// The records of a text, up to the first with a stray quote.
    fn ours(text: &[u8], quoting: Quoting) -> (Vec<Vec<Vec<u8>>>, Option<Stray>) {
        let (mut records, mut places) = (Records::new(grammar(quoting), text, 1), Vec::new());
        let (mut counts, mut stray) = (Vec::new(), None);
        while let Some(record) = records.next(&mut places) {
            stray = record.stray;
            if stray.is_some() {
                break;
            }
            counts.push(record.values);
        }
        assert!(stray.is_some() || records.at() == text.len());
        let (fields, mut places) = (records.finish(), places.into_iter());
        let value = |place: Range<u32>| fields[place.start as usize..place.end as usize].to_vec();
        (counts.into_iter().map(|n| places.by_ref().take(n).map(value).collect()).collect(), stray)
    }

    /// Fault of the first stray quote of a text, found byte by byte.
    fn first_stray(text: &[u8], lines: bool) -> Option<Stray> {
        let (mut inside, mut begins, mut closed) = (false, true, false);
        for (i, &byte) in text.iter().enumerate() {
            match byte {
                b'"' if inside && text.get(i + 1) == Some(&b'"') && !closed => closed = true, // one of two
                b'"' if inside && closed => closed = false,
                b'"' if inside => {
                    inside = false;
                    if text.get(i + 1).is_some_and(|next| !b",\r\n".contains(next)) {
                        return Some(Stray::Behind);
                    }
                }
                b'\r' | b'\n' if inside && !lines => return Some(Stray::Open),
                b'"' => inside = begins,
                _ => {}
            }
            begins = !inside && b",\r\n".contains(&byte);
        }
        inside.then_some(Stray::Open)
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
        let same = |text: &[u8]| {
            let said = String::from_utf8_lossy(text);
            let (standard, stray) = ours(text, Quoting::Standard);
            assert_eq!(stray, first_stray(text, true), "{said:?}");
            let theirs = theirs(text);
            assert_eq!(standard[..], theirs[..standard.len()], "{said:?}");
            assert!(stray.is_some() || standard.len() == theirs.len(), "{said:?}");
            let (strict, stray) = ours(text, Quoting::Strict);
            assert_eq!(stray.is_some(), first_stray(text, false).is_some(), "{said:?}");
            assert_eq!(strict[..], theirs[..strict.len()], "{said:?}");
            let (plain, stray) = ours(text, Quoting::None);
            assert_eq!(stray, None);
            let lines = text.split(|&b| is_break(b)).filter(|line| !line.is_empty());
            let lines = lines.map(|line| line.split(|&b| b == b',').map(<[u8]>::to_vec).collect::<Vec<_>>());
            assert_eq!(plain, lines.collect::<Vec<_>>(), "{said:?}");
        };
        each(b"a,\"\n\r", 7, same);
        // Longer than a word, so that words and the bytes behind them are both looked at.
        each(b"a,\"\n", 6, |text| same(&[b"abcdefgh,\"xyz", text, b"12345678901"].concat()));
    }

    #[test]
    fn a_text_cut_behind_whole_records_holds_the_same_records() {
        for quoting in [Quoting::Strict, Quoting::Standard, Quoting::None] {
            let grammar = grammar(quoting);
            let most = if quoting == Quoting::Standard { 6 } else { 5 };
            each(b"a,\"\n\r", most, |text| {
                let said = String::from_utf8_lossy(text);
                let (all, stray) = ours(text, quoting);
                let last = grammar.whole(text, true);
                assert_eq!(last.bytes, text.len(), "{said:?}");
                assert!(stray.is_some() || last.records == all.len() as u64, "{said:?}");
                for end in 0..=text.len() {
                    let cut = grammar.whole(&text[..end], false);
                    let (before, after) = text.split_at(cut.bytes);
                    let (mut records, mut wrong) = ours(before, quoting);
                    if wrong.is_none() {
                        assert_eq!(records.len() as u64, cut.records, "{said:?} {end}");
                        let (rest, stray) = ours(after, quoting);
                        records.extend(rest);
                        wrong = stray;
                    }
                    assert_eq!((records, wrong.is_some()), (all.clone(), stray.is_some()), "{said:?} {end}");
                }
            });
        }
    }
}
