//! Look of the distinct texts of a column: lists, numbers with marks, points in time, sentences.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use optmsm_data::{Marks, bracketed};

use super::columns::has_weight;

/// Characters that may stand between the values of a list; a blank only where nearly every text has one.
pub(super) const SEPARATORS: [char; 7] = ['|', ';', ',', '^', '\u{1}', '\u{2}', ' '];

/// Texts in place of a list in brackets.
const NULLS: [&str; 5] = ["null", "None", "NaN", "nan", "set()"];

/// The distinct texts of a column.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// All of them.
    all: u64,
    /// Those that are numbers as they stand.
    plain: Plain,
    /// Those that are digits with marks between them, and their places in the column.
    marked: Vec<(usize, String)>,
    /// Those in brackets.
    brackets: Brackets,
    /// Those that are objects, or lists of such or of lists.
    objects: u64,
    /// Those that are points in time.
    times: u64,
    /// Those with blanks between at least four words, and of these such with the stops of a sentence.
    long: u64,
    stopped: u64,
    separated: [Parts; SEPARATORS.len()],
    /// Names of texts such as `a:0.5`, by hash: a list of one value.
    weighted: HashSet<u64>,
}

/// Numbers as they stand.
#[derive(Debug, Default)]
struct Plain {
    all: u64,
    /// Those with a point.
    points: u64,
    /// These and their places, as long as all of them have three digits behind it: it may stand between thousands.
    triples: Vec<(usize, String)>,
    /// Whole ones below a thousand, and others.
    short: u64,
    long: u64,
    /// Whole ones, as they are written, up to a thousand of them.
    whole: HashSet<String>,
}

/// Lists in brackets.
#[derive(Debug, Default)]
struct Brackets {
    /// Those with brackets, and those that stand for no list.
    all: u64,
    nulls: u64,
    values: u64,
    /// Values that are numbers with decimals, and such of the form `text:number`.
    floats: u64,
    weighted: u64,
}

/// Texts taken apart at one separator.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Texts that have it.
    texts: u64,
    /// Parts of these.
    parts: u64,
    /// Parts with blanks around them, and with blanks inside.
    padded: u64,
    inside: u64,
    /// Parts that are whole numbers, and numbers with decimals.
    whole: u64,
    floats: u64,
    /// Parts of the form `text:number`, and `key=value` or `key:value`.
    weighted: u64,
    keyed: u64,
    characters: u64,
    /// Numbers of parts that were seen, one bit each.
    lengths: u64,
    known: HashMap<u64, Piece>,
    /// Parts that keep to no place among the others.
    free: u64,
}

/// A distinct part: how often it came, and where, counted from the first and from the last part; none once it was in two places.
#[derive(Debug)]
struct Piece {
    times: u64,
    from_first: Option<usize>,
    from_last: Option<usize>,
}

/// How texts hold several values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum List {
    /// In brackets.
    Brackets { weights: bool },
    /// With a separator between them.
    Separated { separator: char, trimmed: bool, weights: bool },
    /// Numbers with decimals: a vector.
    Vector,
    /// Perhaps, with this separator.
    Perhaps(char),
}

/// How texts hold numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Marked {
    /// With these marks.
    Numbers(Marks),
    /// Numbers, but what their commas mean cannot be told.
    Unclear,
}

impl Texts {
    /// Adds a distinct text, the value at `place` of the column; `number` if it is one as it stands.
    pub(super) fn add(&mut self, text: &str, place: usize, number: Option<f64>, hasher: &impl BuildHasher) {
        self.all += 1;
        let text = text.trim();
        if let Some(number) = number {
            self.plain.add(text, place, number);
            return;
        }
        if text.starts_with(['[', '(', '{']) {
            match bracketed(text).filter(|_| text != "{}") {
                Some(values) => return self.brackets.add(&values),
                None => self.objects += u64::from(is_nested(text)),
            }
        }
        self.brackets.nulls += u64::from(NULLS.contains(&text));
        self.times += u64::from(is_time(text));
        if is_marked(text) {
            self.marked.push((place, text.into()));
        }
        let words = text.split_whitespace();
        if words.clone().nth(3).is_some() {
            self.long += 1;
            self.stopped += u64::from(words.into_iter().any(|w| w.ends_with(['.', ',', '!', '?', ':'])));
        }
        if let Some((name, _)) = text.rsplit_once(':').filter(|_| has_weight(text)) {
            self.weighted.insert(hasher.hash_one(name));
        }
        // An address is full of marks that separate nothing.
        if text.contains("://") {
            return;
        }
        for (separator, parts) in SEPARATORS.into_iter().zip(&mut self.separated) {
            if text.contains(separator) {
                parts.add(text, separator, hasher);
            }
        }
    }

    /// Sums up once all texts were added; `alone` says whether the hash of a part is that of a whole text.
    pub(super) fn finish(&mut self, alone: impl Fn(u64) -> bool) {
        for parts in &mut self.separated {
            let free = parts.known.iter().filter(|(hash, part)| {
                let mixed = part.from_first.is_none() && part.from_last.is_none();
                mixed || alone(**hash) || self.weighted.contains(*hash)
            });
            parts.free = free.map(|(_, part)| part.times).sum();
        }
    }

    /// The texts whose number depends on their marks, and their places.
    pub(super) fn marked(&self) -> impl Iterator<Item = &(usize, String)> {
        self.marked.iter().chain(&self.plain.triples)
    }

    /// Whether nearly all of them are objects of JSON or Python.
    pub(super) fn are_objects(&self) -> bool {
        10 * self.objects >= 9 * self.all && self.objects > 0
    }

    /// Whether all of them are points in time.
    pub(super) fn are_times(&self) -> bool {
        self.times == self.all && self.all > 0
    }

    /// Whether they read like sentences: several words, and stops.
    pub(super) fn are_sentences(&self) -> bool {
        2 * self.long >= self.all && 20 * self.stopped >= self.all && self.long > 0
    }

    /// Whether most of them have at least four words.
    pub(super) fn are_long(&self) -> bool {
        2 * self.long >= self.all && self.long > 0
    }

    /// How they hold several values, if they do.
    pub(super) fn list(&self) -> Option<List> {
        let Brackets { all, nulls, values, floats, weighted } = self.brackets;
        if all + nulls == self.all && values > 0 {
            return Some(match 2 * floats > values {
                true => List::Vector,
                false => List::Brackets { weights: weighted == values },
            });
        }
        let mut perhaps = None;
        for (separator, parts) in SEPARATORS.into_iter().zip(&self.separated) {
            match parts.list(separator, self) {
                Some(List::Perhaps(_)) if perhaps.is_some() => {}
                Some(list @ List::Perhaps(_)) => perhaps = Some(list),
                Some(list) => return Some(list),
                None => {}
            }
        }
        perhaps
    }

    /// How they hold numbers, where all of them do and some have marks. `delimiter` is that of the CSV: where a comma stands before
    /// decimals, another character usually stands between columns.
    pub(super) fn numbers(&self, delimiter: char) -> Option<Marked> {
        let Plain { all, points, ref triples, .. } = self.plain;
        if self.marked.is_empty() || self.marked.len() as u64 + all != self.all {
            return None;
        }
        let has = |c: char| self.marked.iter().any(|(_, text)| text.contains(c));
        let thousands = [' ', '\u{a0}', '\u{202f}', '\''].into_iter().find(|&c| has(c));
        let fits = |decimal, thousands| {
            let marks = Marks { decimal, thousands };
            let fits = self.marked.iter().all(|(_, text)| marks.parse(text).is_some());
            fits.then_some(Marked::Numbers(marks))
        };
        if thousands.is_some() {
            let thousands = thousands.map(|c| if c == '\'' { c } else { ' ' });
            return if has(',') { fits(',', thousands) } else { fits('.', thousands) };
        }
        if has('.') {
            // Points in some texts stand between thousands if those of all other ones can.
            let german = fits(',', Some('.')).filter(|_| points == triples.len() as u64);
            return if has(',') { german.or_else(|| fits('.', Some(','))) } else { german };
        }
        let several = self.marked.iter().any(|(_, text)| text.matches(',').count() > 1);
        match fits('.', Some(',')) {
            grouped if several || (grouped.is_some() && points > 0) => grouped,
            grouped => self.one_comma(grouped.filter(|_| self.plain.long == 0), delimiter, points),
        }
    }

    /// Meaning of the only mark in each text, a comma; `grouped` if it may stand between thousands.
    fn one_comma(&self, grouped: Option<Marked>, delimiter: char, points: u64) -> Option<Marked> {
        if points > 0 {
            return None;
        }
        let decimal = Some(Marked::Numbers(Marks { decimal: ',', thousands: None }));
        let sides = || self.marked.iter().filter_map(|(_, text)| text.split_once(','));
        let padded = |side: &str| side.len() > 1 && side.starts_with('0');
        if sides().any(|(whole, _)| whole.trim_start_matches('-') == "0" && grouped.is_some()) {
            return decimal;
        }
        if grouped.is_some() {
            return if self.plain.short > 0 { grouped } else { Some(Marked::Unclear) };
        }
        // Of lists of two ids, both sides would look the same.
        if sides().any(|(whole, _)| padded(whole)) {
            return None;
        }
        let left: HashSet<&str> =
            sides().map(|(whole, _)| whole).chain(self.plain.whole.iter().map(String::as_str)).collect();
        let right: HashSet<&str> = sides().map(|(_, decimals)| decimals).collect();
        let common = right.iter().filter(|side| left.contains(*side)).count();
        let differ = right.iter().any(|side| padded(side)) || 2 * common < right.len();
        if differ || delimiter != ',' { decimal } else { Some(Marked::Unclear) }
    }
}

impl Plain {
    fn add(&mut self, text: &str, place: usize, number: f64) {
        const MOST: usize = 1_000;
        self.all += 1;
        match text.split_once('.') {
            Some((_, decimals)) => {
                let triple = decimals.len() == 3 && decimals.bytes().all(|b| b.is_ascii_digit());
                if triple && self.triples.len() as u64 == self.points {
                    self.triples.push((place, text.into()));
                } else {
                    self.triples = Vec::new();
                }
                self.points += 1;
            }
            None => {
                *(if number.abs() < 1_000.0 { &mut self.short } else { &mut self.long }) += 1;
                if self.whole.len() < MOST {
                    self.whole.insert(text.into());
                }
            }
        }
    }
}

impl Brackets {
    fn add(&mut self, values: &[String]) {
        self.all += 1;
        self.values += values.len() as u64;
        self.floats += values.iter().filter(|v| is_float(v)).count() as u64;
        self.weighted += values.iter().filter(|v| has_weight(v)).count() as u64;
    }
}

impl Parts {
    fn add(&mut self, text: &str, separator: char, hasher: &impl BuildHasher) {
        let parts: Vec<&str> = text.split(separator).filter(|part| !part.trim().is_empty()).collect();
        self.texts += 1;
        self.parts += parts.len() as u64;
        self.lengths |= 1 << parts.len().min(63);
        for (i, raw) in parts.iter().enumerate() {
            let part = raw.trim();
            self.padded += u64::from(part.len() < raw.len());
            self.inside += u64::from(part.contains(char::is_whitespace));
            self.whole += u64::from(part.parse::<i64>().is_ok());
            self.floats += u64::from(is_float(part));
            self.characters += part.chars().count() as u64;
            let weighted = has_weight(part);
            self.weighted += u64::from(weighted);
            let key = part.split_once(['=', ':']).map_or("", |(key, _)| key);
            self.keyed +=
                u64::from(key.starts_with(char::is_alphabetic) && !key.contains(char::is_whitespace));
            let name = if weighted { part.rsplit_once(':').map_or(part, |(name, _)| name) } else { part };
            let last = parts.len() - 1 - i;
            let fresh = Piece { times: 0, from_first: Some(i), from_last: Some(last) };
            let known = self.known.entry(hasher.hash_one(name)).or_insert(fresh);
            known.times += 1;
            known.from_first = known.from_first.filter(|&at| at == i);
            known.from_last = known.from_last.filter(|&at| at == last);
        }
    }

    /// Whether texts are lists with this separator: not where each part keeps to its place, as in `Doe, Jane`, `Paris, France` or
    /// `Toy Story, The (1995)`.
    fn list(&self, separator: char, texts: &Texts) -> Option<List> {
        const LONGEST: u64 = 24; // characters of a part without blanks: an id or a word
        let (blank, parts) = (separator == ' ', self.parts);
        if self.texts == 0 || 10 * self.texts < texts.all * if blank { 9 } else { 1 } {
            return None;
        }
        if blank && texts.are_sentences() {
            return None;
        }
        let lengths = self.lengths.count_ones() + u32::from(self.texts < texts.all);
        let (numbers, repeated) = (self.whole + self.floats == parts, 2 * self.known.len() as u64 <= parts);
        let list = List::Separated {
            separator,
            trimmed: self.padded > 0 && !blank,
            weights: self.weighted == parts,
        };
        if numbers && 2 * self.floats > parts {
            return (self.lengths >> 3 != 0).then_some(List::Vector); // of two numbers it is a place, such as latitude and longitude
        }
        let ids = self.whole == parts || (!blank && self.inside == 0 && self.characters <= LONGEST * parts);
        // Words come again in the names of degrees or products, too, but make few of these.
        let phrases = self.known.len() as u64 > texts.all && self.whole < parts;
        let is_list = self.weighted == parts
            || (10 * self.keyed >= 9 * parts && repeated && !blank)
            || (ids && lengths > 2 && self.lengths >> 3 != 0)
            || (2 * self.free >= parts && !(blank && phrases))
            || (!blank && lengths > 1 && (self.known.len() as u64) < texts.all && 5 * self.free >= parts);
        match is_list {
            true => Some(list),
            false => (!blank && 2 * self.texts >= texts.all).then_some(List::Perhaps(separator)),
        }
    }
}

/// Whether a text is an object, or a list of such or of lists.
fn is_nested(text: &str) -> bool {
    match text.chars().next() {
        Some('{') => text.ends_with('}'),
        Some('[') => text.ends_with(']') && text[1..].contains(['[', '{']),
        _ => false,
    }
}

/// Whether a text is a number with decimals.
fn is_float(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite) && text.parse::<i64>().is_err()
}

/// Whether a text is digits with marks between them.
fn is_marked(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_mark = |c: char| matches!(c, ',' | '.' | '\'' | ' ' | '\u{a0}' | '\u{202f}');
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || is_mark(c))
}

/// Whether a text is a date, with or without a time.
fn is_time(text: &str) -> bool {
    const FORMS: [&str; 7] =
        ["9999-99-99", "9999/99/99", "9999.99.99", "99/99/9999", "99.99.9999", "99-99-9999", "99999999T"];
    let form: String = text.chars().take(10).map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let Some(known) = FORMS.iter().find(|known| form.starts_with(**known)) else { return false };
    let date = &text[..known.len()];
    let rest = &text[known.len()..];
    let compact = known.ends_with('T');
    let months = match compact {
        true => vec![&date[4..6], &date[6..8]],
        false => date.split(['-', '/', '.']).filter(|part| part.len() == 2).collect(),
    };
    let months: Vec<u32> = months.iter().filter_map(|part| part.parse().ok()).collect();
    let real = months.iter().all(|n| (1..=31).contains(n)) && months.iter().any(|&n| n <= 12);
    let time = rest.trim_start_matches(['T', ' ']);
    real && (rest.is_empty()
        || ((compact || time.len() < rest.len()) && time.starts_with(|c: char| c.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;

    use super::*;

    fn texts(all: &[&str]) -> Texts {
        let (mut texts, hasher) = (Texts::default(), RandomState::new());
        let distinct: HashSet<&str> = all.iter().copied().collect();
        for (place, text) in distinct.iter().enumerate() {
            texts.add(text, place, text.parse().ok(), &hasher);
        }
        let whole: HashSet<u64> = distinct.iter().map(|text| hasher.hash_one(text)).collect();
        texts.finish(|hash| whole.contains(&hash));
        texts
    }

    fn separated(separator: char, trimmed: bool, weights: bool) -> Option<List> {
        Some(List::Separated { separator, trimmed, weights })
    }

    #[test]
    fn lists_are_told_from_names() {
        for (all, wanted) in [
            (&["a|b", "b|c", "c|a", "b"][..], separated('|', false, false)),
            (&["a;b", "b;c;a", "c"], separated(';', false, false)),
            (&["red, blue", "blue", "black, red", "red"], separated(',', true, false)),
            (&["black,blue,red", "black,red", "blue,red", "black,blue"], separated(',', false, false)),
            (&["1,2", "3", "2,3,4", "1"], separated(',', false, false)),
            (&["17,19,2", "5,7", "8,99,12,13", "21,3,4,5,6"], separated(',', false, false)),
            (&["u7^u12", "u12^u7^u3", "u3"], separated('^', false, false)),
            (&["12 7", "7 3 12", "3 7", "12 3"], separated(' ', false, false)),
            (&["a:0.5|b:2", "b:1", "a:1.5|c:-2"], separated('|', false, true)),
            (
                &["color=red;size=L", "color=blue;size=L", "color=red;size=M", "color=blue;size=M"],
                separated(';', false, false),
            ),
            (&["[7, 17]", "[]", "[3]", "None"], Some(List::Brackets { weights: false })),
            (&["['a:1', 'b:0.5']", "['a:2']"], Some(List::Brackets { weights: true })),
            (&["[0.1, 0.5]", "[1.5, 2.25]"], Some(List::Vector)),
            (&["0.1,0.5,0.25", "1.5,2.25,3.5"], Some(List::Vector)),
            (&["Doe, Jane", "Roe, Richard", "Poe, Anna", "Doe, Anna"], Some(List::Perhaps(','))),
            (&["Paris, France", "Lyon, France", "Rome, Italy", "Bonn"], Some(List::Perhaps(','))),
            (
                &["Toy Story, The (1995)", "Usual Suspects, The (1995)", "Seven (1995)", "Rock, The (1996)"],
                Some(List::Perhaps(',')),
            ),
            (&["52.52,13.40", "48.85,2.35"], None),
            (&["Jane Doe", "Anna Doe", "Jane Roe", "Anna Roe"], None),
            (
                &[
                    "High School",
                    "Some High School",
                    "High School Graduate",
                    "Some College",
                    "College Degree",
                ],
                None,
            ),
            (&["Air Max", "Max Air 2", "Ultra Air", "Air Ultra Pro", "Pro Ultra Light"], None),
            (&["Credit Card", "Debit Card", "Gift Card or Debit", "Cash"], None),
            (&["http://a.b/c,d", "http://a.b/d,c", "http://a.b/c"], None),
            (
                &["Good, but it is small.", "It is good, very good!", "Too small, it is."],
                Some(List::Perhaps(',')),
            ),
            (&["red", "blue"], None),
            (&["[1, 2", "[3]"], Some(List::Perhaps(','))),
        ] {
            assert_eq!(texts(all).list(), wanted, "{all:?}");
        }
    }

    #[test]
    fn marks_of_numbers_are_told_apart() {
        let marks = |decimal, thousands| Some(Marked::Numbers(Marks { decimal, thousands }));
        for (all, delimiter, wanted) in [
            (&["21,81", "4,02", "7"][..], ',', marks(',', None)),
            (&["19,99", "4,95", "20,99"], ',', marks(',', None)),
            (&["0,125", "0,5"], ',', marks(',', None)),
            (&["0,125", "0,500"], ',', marks(',', None)),
            (&["7,5", "5,7"], ';', marks(',', None)),
            (&["7,5", "5,7"], ',', Some(Marked::Unclear)),
            (&["4,253,122", "17", "1,024"], ',', marks('.', Some(','))),
            (&["4,253", "953"], ',', marks('.', Some(','))),
            (&["4,253", "953.5"], ',', marks('.', Some(','))),
            (&["4,253", "9,531"], ',', Some(Marked::Unclear)),
            (&["1.234,56", "7,5"], ';', marks(',', Some('.'))),
            (&["1.234.567", "1.234", "12"], ';', marks(',', Some('.'))),
            (&["1,234.56", "7.5"], ',', marks('.', Some(','))),
            (&["1 234,56", "7"], ';', marks(',', Some(' '))),
            (&["12\u{a0}345", "7"], ',', marks('.', Some(' '))),
            (&["1'234.50", "7"], ',', marks('.', Some('\''))),
            (&["1,2,3", "4"], ',', None),
            (&["01,02", "02,03"], ',', None),
            (&["1.2.10", "1.10.2"], ',', None),
            (&["21,81", "x"], ',', None),
            (&["21.81", "7"], ',', None),
        ] {
            assert_eq!(texts(all).numbers(delimiter), wanted, "{all:?}");
        }
    }

    #[test]
    fn times_objects_and_sentences() {
        for time in [
            "2024-01-05",
            "2024-01-05 10:00:00",
            "2024-01-05T10:00:00Z",
            "31/12/2024",
            "05.01.2024 7:30",
            "20240105T101500",
        ] {
            assert!(is_time(time), "{time}");
        }
        for other in [
            "2024-13-45",
            "1234-56-78",
            "99/99/9999",
            "2024-01-05x",
            "2024-01-05 x",
            "10:00:00",
            "20240105",
            "a",
        ] {
            assert!(!is_time(other), "{other}");
        }
        assert!(
            texts(&["{\"a\": 1}", "{'b': [1]}", "{}"]).are_objects() && !texts(&["{'a', 'b'}"]).are_objects()
        );
        assert!(texts(&["[{\"a\": 1}]", "[[1, 2], [3]]"]).are_objects());
        assert!(texts(&["It is good, very good!", "Too small for me."]).are_sentences());
        assert!(!texts(&["red shoes for men", "black shoes for women"]).are_sentences());
    }
}
