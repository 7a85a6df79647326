//! Rows with every kind of field, missing values, and values that training does not see.

use optmsm_core::philox::Stream;

use super::common::Place;

pub(super) const FIELDS: [&str; 16] = [
    "user", "friend", "tags", "wtags", "words", "code", "hashed", "hlist", "age", "price", "income", "score",
    "rank", "visits", "own", "flag",
];

/// Fields of the files; `{…}` stand for what a test needs otherwise.
const CONFIG: &str = r#"
[data]
train = "train.csv"
valid = "valid.csv"
scenario = "place"
unseen_scenario = "{unseen}"
negative_rate = { s0 = 0.5 }
[[data.fields]]
name = "user"
min_frequency = 3
table = "people"
[[data.fields]]
name = "friend"
role = "specific"
min_frequency = 3
table = "people"
[[data.fields]]
name = "tags"
kind = "multi"
max_length = 3
missing = "own"
[[data.fields]]
name = "wtags"
kind = "multi"
weight_separator = ":"
pooling = "sum"
[[data.fields]]
name = "words"
kind = "multi"
list = "trimmed"
separator = ","
role = "specific"
[[data.fields]]
name = "code"
ids = 12
[[data.fields]]
name = "hashed"
hash_buckets = 20
[[data.fields]]
name = "hlist"
kind = "multi"
hash_buckets = 16
[[data.fields]]
name = "age"
kind = "numeric"
[[data.fields]]
name = "price"
kind = "numeric"
transform = "minmax"
[[data.fields]]
name = "income"
kind = "numeric"
transform = "log1p"
role = "specific"
[[data.fields]]
name = "score"
kind = "numeric"
transform = "quantile"
[[data.fields]]
name = "rank"
kind = "numeric"
buckets = 4
[[data.fields]]
name = "visits"
kind = "numeric"
transform = "none"
fill = 2
[[data.fields]]
name = "own"
missing = "own"
[[data.fields]]
name = "flag"
[model]
embedding_dim = 5
init_std = 0.3
experts = { hidden = [8, 4] }
specific = { hidden = [4] }
tower = { hidden = [4] }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }
[train]
batch_size = 64
epochs = 2
optimizer = { lr = 0.01 }
"#;

/// Fields whose values are spelled in ways of their own.
const SPELLED: &str = r#"
[data]
train = "train.csv"
valid = "valid.csv"
scenario = "place"
null_values = ["-", "-1", "NULL"]
[[data.fields]]
name = "word"
[[data.fields]]
name = "cents"
kind = "numeric"
decimal = ","
thousands = "."
[[data.fields]]
name = "level"
kind = "numeric"
transform = "none"
[[data.fields]]
name = "step"
kind = "numeric"
buckets = 3
[[data.fields]]
name = "ilist"
kind = "multi"
list = "json"
ids = 9
[model]
embedding_dim = 5
init_std = 0.3
experts = { hidden = [8, 4] }
specific = { hidden = [4] }
tower = { hidden = [4] }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }
[train]
batch_size = 64
epochs = 2
optimizer = { lr = 0.01 }
"#;

/// Writes a configuration of such fields, train.csv and valid.csv.
pub(super) fn write_spelled(place: &Place, config: &str) {
    place.write(config, SPELLED);
    for (name, count) in [("train.csv", 600), ("valid.csv", 300)] {
        let mut draw = Draw::of(name);
        let mut text = "label,place,word,cents,level,step,ilist\n".to_string();
        for i in 0..count {
            let ids: Vec<String> = (0..draw.below(4)).map(|_| draw.below(9).to_string()).collect();
            let values = [
                draw.one(&["x", "y", "True"]).to_string(),
                draw.one(&["a", "b", "-", "", "NULL", "NaN", "True", "false", "1", "0", "1.0", "-1", "none"])
                    .to_string(),
                format!("\"{}.{:03},{:02}\"", draw.below(9) + 1, draw.below(1000), draw.below(100)),
                draw.one(&["-1", "-1.0", "0", "1", "2.5", "NULL", "-"]).to_string(),
                draw.one(&["-1", "1", "2", "3", "4", ""]).to_string(),
                format!("\"[{}]\"", ids.join(", ")),
            ];
            let label = u8::from((values[1].len() + ids.len() + i % 5).is_multiple_of(3));
            text += &format!("{label},{}\n", values.join(","));
        }
        place.write(name, text);
    }
}

/// Files to write.
pub(super) struct Rows {
    pub(super) scenarios: usize,
    /// `data.unseen_scenario`.
    pub(super) unseen: &'static str,
    /// Rows of train.csv.
    pub(super) train: usize,
}

impl Default for Rows {
    fn default() -> Self {
        Self { scenarios: 3, unseen: "oov", train: 600 }
    }
}

/// Columns behind the label.
pub(super) fn columns() -> Vec<String> {
    // `words`, of which the text has commas, comes last.
    let before = FIELDS.iter().filter(|name| **name != "words").map(|name| name.to_string());
    ["place".to_string()].into_iter().chain(before).chain(["words".into()]).collect()
}

/// Draws numbers.
pub(super) struct Draw {
    stream: Stream,
    at: u64,
}

impl Draw {
    pub(super) fn of(name: &str) -> Self {
        Self { stream: Stream::new(9, name), at: 0 }
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.at += 1;
        (self.stream.uniform(self.at) * n as f64) as usize
    }

    pub(super) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    pub(super) fn list(&mut self, mut item: impl FnMut(&mut Self) -> String, by: &str) -> String {
        let items: Vec<String> = (0..self.below(5)).map(|_| item(self)).collect();
        items.join(by)
    }

    /// A number with three decimals, or one of the texts of a missing one.
    fn number(&mut self, low: i64, high: i64) -> String {
        match self.below(10) {
            0 => self.one(&["", "NA", "nan"]).into(),
            _ => {
                let thousandths = low * 1000 + self.below(((high - low) * 1000) as usize) as i64;
                format!("{:.3}", thousandths as f64 / 1000.0)
            }
        }
    }
}

/// Writes the configuration, train.csv, valid.csv, and rows.csv, which has no labels and has values that the others lack.
pub(super) fn write(place: &Place, config: &str, rows: &Rows) {
    place.write(config, CONFIG.replace("{unseen}", rows.unseen));
    for (name, count, new) in
        [("train.csv", rows.train, false), ("valid.csv", 400, false), ("rows.csv", 300, true)]
    {
        let mut draw = Draw::of(name);
        let mut text = format!("{}{}\n", if new { "" } else { "label," }, columns().join(","));
        for i in 0..count {
            let people = if new { 40 } else { 14 };
            let person = |draw: &mut Draw| match draw.below(10) {
                0 => draw.one(&["", "NULL", "NaN"]).to_string(),
                _ => format!("u{}", draw.below(people)),
            };
            let scenario = draw.below(rows.scenarios + usize::from(new));
            let letter = |draw: &mut Draw| {
                draw.one(if new { &["a", "b", "zz", "NULL"] } else { &["a", "b", "c", "d"] }).to_string()
            };
            let weighted =
                |draw: &mut Draw| draw.one(&["p:0.5", "q:2", "r:-1.25", "s", "p:1e-1", "q:3"]).to_string();
            let words =
                draw.one(&[" red , blue", "green", "", "red,NULL,blue", "blue,blue,red,green", "True,1.0"]);
            let values = [
                format!("s{scenario}"),
                person(&mut draw),
                person(&mut draw),
                draw.list(letter, "|"),
                draw.list(weighted, "|"),
                if draw.below(8) == 0 { String::new() } else { draw.below(12).to_string() },
                if draw.below(8) == 0 {
                    String::new()
                } else {
                    format!("a text of some length, no {}", draw.below(100))
                }
                .replace(',', ";"),
                draw.list(|draw| format!("y{}", draw.below(50)), "|"),
                draw.number(-5, 80),
                draw.number(0, 300),
                draw.number(0, 100_000),
                draw.number(-3, 3),
                draw.one(&["1", "2", "2", "3", "7.5", "", "NA"]).to_string(),
                draw.below(5).to_string(),
                draw.one(if new { &["", "a", "c"] } else { &["", "a", "b"] }).to_string(),
                draw.one(&["true", "False", "1", "", "TRUE"]).to_string(),
                format!("\"{words}\""),
            ];
            let label = if new {
                String::new()
            } else {
                format!("{},", u8::from((values[1].len() + scenario + i % 5).is_multiple_of(3)))
            };
            text += &format!("{label}{}\n", values.join(","));
        }
        place.write(name, text);
    }
}
