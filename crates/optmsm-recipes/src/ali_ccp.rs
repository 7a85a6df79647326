//! Ali-CCP: skeletons of impressions, joined with the common features that they refer to.
//!
//! A skeleton need not be sorted: the common features of its part (training, then test) are held in memory in packed form,
//! at most 330 bytes each (a key of 16 characters, 9 single values, 4 lists of up to 10): under 300 MB for the 880,000 of
//! the test part. The skeletons themselves, 42 million lines each, are read once and never held. With the row groups being
//! written, all takes under 450 MB: 394 MB were seen for made-up files of as many common features with full lists.

use std::collections::HashMap;
use std::fmt::Write;

use optmsm_data::{ColumnType, Result, Split};

use crate::output::Output;
use crate::raw::{At, Raw};
use crate::{Published, Recipe, split};

/// The owner publishes about 84 million in all, and no exact count.
const BY: &str = "counted by its users";

pub(crate) const RECIPE: Recipe = Recipe {
    name: "ali-ccp",
    title: "Ali-CCP",
    page: "https://tianchi.aliyun.com/dataset/408",
    files: &[
        "sample_skeleton_train.csv",
        "common_features_train.csv",
        "sample_skeleton_test.csv",
        "common_features_test.csv",
    ],
    any_file: false,
    licence: "terms of its page, for which one signs in",
    scenario: "value of field 301, the context of the impression",
    label: "click",
    split: "the owner's test; a tenth of the common features, by a hash, validates with all its impressions",
    published: &[
        Published { what: "training impressions", rows: 42_300_135, by: BY },
        Published { what: "test impressions", rows: 43_016_840, by: BY },
    ],
    columns: &[
        ("conversion", ColumnType::Int8),
        ("f101", ColumnType::Int64),
        ("f121", ColumnType::Int64),
        ("f122", ColumnType::Int64),
        ("f124", ColumnType::Int64),
        ("f125", ColumnType::Int64),
        ("f126", ColumnType::Int64),
        ("f127", ColumnType::Int64),
        ("f128", ColumnType::Int64),
        ("f129", ColumnType::Int64),
        ("f109_14", ColumnType::Ints),
        ("f110_14", ColumnType::Ints),
        ("f127_14", ColumnType::Ints),
        ("f150_14", ColumnType::Ints),
        ("f205", ColumnType::Int64),
        ("f206", ColumnType::Int64),
        ("f207", ColumnType::Int64),
        ("f216", ColumnType::Int64),
        ("f210", ColumnType::Ints),
        ("f508", ColumnType::Ints),
        ("f509", ColumnType::Ints),
        ("f702", ColumnType::Ints),
        ("f853", ColumnType::Ints),
    ],
    config: include_str!("ali_ccp.toml"),
    cook,
};

/// Fields with one value, and fields with a list, of the user and of the impression; in the order of the columns.
const COMMON: Fields<9, 4> = Fields {
    single: ["101", "121", "122", "124", "125", "126", "127", "128", "129"],
    lists: ["109_14", "110_14", "127_14", "150_14"],
};
const SKELETON: Fields<5, 5> =
    Fields { single: ["205", "206", "207", "216", SCENARIO], lists: ["210", "508", "509", "702", "853"] };
const SCENARIO: &str = "301";

/// Values of a list that are kept: the ones of the greatest weight.
const LONGEST: usize = 10;

struct Fields<const S: usize, const L: usize> {
    single: [&'static str; S],
    lists: [&'static str; L],
}

/// Values of an impression or of a user: one (-1 if missing) or several of each field.
struct Values<const S: usize, const L: usize> {
    single: [i32; S],
    lists: [Vec<(i32, f32)>; L],
}

impl<const S: usize, const L: usize> Values<S, L> {
    fn new() -> Self {
        Self { single: [-1; S], lists: std::array::from_fn(|_| Vec::new()) }
    }
}

impl<const S: usize, const L: usize> Fields<S, L> {
    /// Reads `field \x02 feature \x03 value` with `\x01` between them; of a single field, the first one counts.
    fn read(&self, at: At, bytes: &[u8], values: &mut Values<S, L>) -> Result<()> {
        values.single = [-1; S];
        values.lists.iter_mut().for_each(Vec::clear);
        for entry in bytes.split(|&b| b == 1).filter(|entry| !entry.is_empty()) {
            let wrong = || {
                at.value("features", entry, "a field, a feature and its value, with \\x02 and \\x03 between")
            };
            let mut split = entry.splitn(2, |&b| b == 2);
            let (Some(field), Some(rest)) = (split.next(), split.next()) else { return Err(wrong()) };
            let mut split = rest.splitn(2, |&b| b == 3);
            let (Some(feature), Some(value)) = (split.next(), split.next()) else { return Err(wrong()) };
            let number = || {
                let text = std::str::from_utf8(feature).ok()?;
                text.parse::<i32>().ok().filter(|feature| *feature >= 0)
            };
            if let Some(i) = self.single.iter().position(|name| name.as_bytes() == field) {
                if values.single[i] < 0 {
                    values.single[i] = number().ok_or_else(wrong)?;
                }
            } else if let Some(i) = self.lists.iter().position(|name| name.as_bytes() == field) {
                let weight = std::str::from_utf8(value).ok().and_then(|text| text.parse::<f32>().ok());
                let weight = weight.filter(|w| w.is_finite()).ok_or_else(wrong)?;
                values.lists[i].push((number().ok_or_else(wrong)?, weight));
            }
        }
        for list in &mut values.lists {
            // The sort is stable: of equal weights, the first in the file comes first.
            list.sort_by(|a, b| b.1.total_cmp(&a.1));
            list.truncate(LONGEST);
        }
        Ok(())
    }
}

/// Common features, packed: 9 single values, then each list after its length.
struct Common {
    places: HashMap<Box<[u8]>, usize>,
    packed: Vec<i32>,
}

impl Common {
    fn read(raw: &mut Raw, file: &str, what: &str) -> Result<Self> {
        let mut common = Self { places: HashMap::new(), packed: Vec::new() };
        let (mut lines, mut values) = (raw.lines(file)?, Values::new());
        while let Some(line) = lines.next()? {
            let [key, _, features] = line.columns(b",")?;
            COMMON.read(line.at, features, &mut values)?;
            if common.places.insert(key.into(), common.packed.len()).is_some() {
                return Err(line.at.value("common feature index", key, "new: it stands there twice"));
            }
            common.packed.extend(values.single);
            for list in &values.lists {
                common.packed.push(list.len() as i32);
                common.packed.extend(list.iter().map(|(feature, _)| feature));
            }
        }
        raw.count(what, lines.rows())?;
        raw.record(lines.done());
        Ok(common)
    }

    /// Single values, and all that follows them.
    fn get(&self, key: &[u8]) -> Option<(&[i32], &[i32])> {
        let packed = &self.packed[*self.places.get(key)?..];
        Some(packed.split_at(COMMON.single.len()))
    }
}

/// Whether a common feature's impressions validate: one in ten does, whatever else is in the file.
fn validates(key: &[u8]) -> bool {
    split::hash(key).is_multiple_of(10)
}

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let &[train, train_common, test, test_common] = raw.files() else { return Ok(()) };
    let common = Common::read(raw, train_common, "common features of the training part")?;
    join(raw, out, train, &common, "training impressions", |key| {
        if validates(key) { Split::Valid } else { Split::Train }
    })?;
    drop(common);
    let common = Common::read(raw, test_common, "common features of the test part")?;
    join(raw, out, test, &common, "test impressions", |_| Split::Test)
}

fn join(
    raw: &mut Raw,
    out: &mut Output,
    file: &str,
    common: &Common,
    what: &str,
    part: impl Fn(&[u8]) -> Split,
) -> Result<()> {
    let (mut lines, mut values, mut scenario) = (raw.lines(file)?, Values::new(), String::new());
    while let Some(line) = lines.next()? {
        let [_, click, conversion, key, _, features] = line.columns(b",")?;
        SKELETON.read(line.at, features, &mut values)?;
        let Some((user, mut lists)) = common.get(key) else {
            return Err(line.at.value("common feature index", key, "one of the common features"));
        };
        let [item @ .., context] = values.single;
        if context < 0 {
            return Err(line.at.row(format!("has no field {SCENARIO}, which is the scenario")));
        }
        scenario.clear();
        write!(scenario, "{context}").ok(); // writing to a String cannot fail
        let label = line.at.label("click", click)?;
        let known = |feature: i32| (feature >= 0).then_some(i64::from(feature));
        let mut row =
            out.row(part(key), label, &scenario).int(i64::from(line.at.label("conversion", conversion)?));
        for &feature in user {
            row = row.int(known(feature));
        }
        for _ in COMMON.lists {
            let (length, rest) = lists.split_first().map_or((0, lists), |(n, rest)| (*n as usize, rest));
            let (list, rest) = rest.split_at(length);
            row = row.ints(list.iter().copied());
            lists = rest;
        }
        for feature in item {
            row = row.int(known(feature));
        }
        for list in &values.lists {
            row = row.ints(list.iter().map(|(feature, _)| *feature));
        }
        row.end()?;
    }
    raw.count(what, lines.rows())?;
    raw.record(lines.done());
    Ok(())
}
