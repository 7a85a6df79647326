//! A text of CSV: where it may be cut, so that several threads take it apart, and its records.
//!
//! The grammar is that of the `csv` crate, whose parser takes records apart; where they end is found here, faster and in the middle of a
//! file, and the tests compare the two: a quote opens a value only as its first byte; inside, two quotes stand for one; any run of `\r`
//! and `\n` ends a record, and blank lines are none.

use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

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
        Self { delimiter, breaks: Any::new([b'"', b'\r', b'\n']), quotes: Any::new([b'"'; 3]) }
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
}

/// Takes the records of a text apart, by the `csv` crate's parser.
pub(super) struct Records<'a> {
    parser: Reader,
    text: &'a [u8],
    at: usize,
    fields: Vec<u8>, // values without their quotes, one behind the other
    used: usize,
    ends: Vec<usize>,
}

/// One record.
pub(super) struct Record {
    /// Place of its first byte.
    pub(super) begin: usize,
    /// Values that it has.
    pub(super) values: usize,
    /// Whether a line break ends it, not the text.
    pub(super) broken: bool,
}

impl<'a> Records<'a> {
    /// `columns` is how many values a record may be expected to have.
    pub(super) fn new(grammar: Grammar, text: &'a [u8], columns: usize) -> Self {
        let mut parser = ReaderBuilder::new().delimiter(grammar.delimiter).build();
        // A byte order mark is dropped from the first bytes it sees, which are those of a file in another place only.
        parser.read_record(b"\n", &mut [0], &mut [0]);
        // One more each: what is full may have more to come.
        let (fields, ends) = (vec![0; text.len() + 1], vec![0; columns + 1]);
        Self { parser, text, at: 0, fields, used: 0, ends }
    }

    /// Appends the places of the next record's values in [`Records::finish`]; none at the end.
    #[inline]
    pub(super) fn next(&mut self, places: &mut Vec<Range<u32>>) -> Option<Record> {
        while self.text.get(self.at).is_some_and(|&b| is_break(b)) {
            self.at += 1;
        }
        let (begin, first) = (self.at, self.used);
        if begin == self.text.len() {
            return None;
        }
        let (mut values, mut start) = (0, first);
        let broken = loop {
            let Self { parser, text, at, fields, used, ends } = self;
            let ended = *at == text.len();
            let (result, read, wrote, found) = parser.read_record(&text[*at..], &mut fields[*used..], ends);
            (*at, *used) = (*at + read, *used + wrote);
            for &end in &ends[..found] {
                let end = first + end;
                places.push(start as u32..end as u32);
                start = end;
            }
            values += found;
            match result {
                ReadRecordResult::Record => break !ended,
                ReadRecordResult::End => break false,
                _ => {}
            }
        };
        Some(Record { begin, values, broken })
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

    fn ours(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let (mut records, mut places) = (Records::new(Grammar::new(b','), text, 1), Vec::new());
        let mut counts = Vec::new();
        while let Some(record) = records.next(&mut places) {
            counts.push(record.values);
        }
        assert_eq!(records.at(), text.len());
        let (fields, mut places) = (records.finish(), places.into_iter());
        let value = |place: Range<u32>| fields[place.start as usize..place.end as usize].to_vec();
        counts.into_iter().map(|n| places.by_ref().take(n).map(value).collect()).collect()
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
