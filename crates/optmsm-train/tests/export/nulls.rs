//! Rows whose missing values are numbers and booleans.

use super::common::Place;
use super::rows::Draw;

/// Columns of rows.csv.
pub(super) const HEADER: &str = "place,word,tags,code,small,wtags,ilist";

/// -999, 7 and 1 in all their spellings are missing.
const CONFIG: &str = r#"
[data]
train = "train.csv"
valid = "valid.csv"
scenario = "place"
unseen_scenario = "oov"
null_values = ["-999.0", "true", "7"]
[[data.fields]]
name = "word"
missing = "own"
[[data.fields]]
name = "tags"
kind = "multi"
missing = "own"
[[data.fields]]
name = "code"
ids = 12
missing = "own"
[[data.fields]]
name = "small"
kind = "numeric"
[[data.fields]]
name = "wtags"
kind = "multi"
weight_separator = ":"
pooling = "sum"
[[data.fields]]
name = "ilist"
kind = "multi"
list = "json"
ids = 9
missing = "own"
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

/// Writes the configuration, train.csv, valid.csv, and rows.csv, which has no labels.
pub(super) fn write(place: &Place, config: &str) {
    place.write(config, CONFIG);
    for (name, count) in [("train.csv", 600), ("valid.csv", 300), ("rows.csv", 300)] {
        let (mut draw, labelled) = (Draw::of(name), name != "rows.csv");
        let mut text = format!("{}{HEADER}\n", if labelled { "label," } else { "" });
        for i in 0..count {
            let tag =
                |draw: &mut Draw| draw.one(&["a", "b", "-999", "-999.0", "1", "true", "0.1"]).to_string();
            let weighted = |draw: &mut Draw| draw.one(&["p:0.5", "q", "-999:2", "1:3"]).to_string();
            let values = [
                draw.one(&["x", "y", "z"]).to_string(),
                draw.one(&["a", "b", "0.1", "-999", "-999.0", "1", "true", "7", "", "2"]).to_string(),
                draw.list(tag, "|"),
                draw.one(&["0", "1", "2", "3", "7", "11", "-999", ""]).to_string(),
                draw.one(&["0.001", "0.002", "0.004", "0.009", "-999", "7", ""]).to_string(),
                draw.list(weighted, "|"),
                format!("\"[{}]\"", draw.list(|draw| draw.one(&["0", "1", "5", "7", "8"]).into(), ", ")),
            ];
            let label = u8::from((values[1].len() + values[2].len() + i % 5).is_multiple_of(3));
            text += &if labelled { format!("{label},") } else { String::new() };
            text += &format!("{}\n", values.join(","));
        }
        place.write(name, text);
    }
}

/// A row of rows.csv, with other values in some columns.
pub(super) fn row(others: &[(&str, &str)]) -> String {
    let usual = HEADER.split(',').zip(["x", "a", "a|b", "3", "0.002", "p:0.5", "[5]"]);
    let other = |column| others.iter().find(|(name, _)| *name == column).map(|(_, value)| *value);
    usual.map(|(column, value)| other(column).unwrap_or(value)).collect::<Vec<_>>().join(",")
}
