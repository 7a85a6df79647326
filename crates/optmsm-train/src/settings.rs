//! Settings by dotted key, to be compared.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::error::{Error, Result};

/// Every setting as TOML. A field of the data is named by the field: it is one setting, or with `inside` each of its settings is.
pub(crate) fn flatten(config: &Config, inside: bool) -> Result<BTreeMap<String, String>> {
    let table = toml::Table::try_from(config).map_err(|e| Error::bug("configuration", e))?;
    let mut settings = BTreeMap::new();
    table.iter().for_each(|(key, value)| put(&mut settings, key.clone(), value, inside));
    Ok(settings)
}

/// The same with each setting of a field on its own, of settings whose fields are one each.
pub(crate) fn inside(settings: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (key, text) in settings {
        match toml::from_str::<toml::Table>(&format!("value = {text}")) {
            Ok(table) => table.values().for_each(|value| put(&mut all, key.clone(), value, true)),
            Err(_) => _ = all.insert(key.clone(), text.clone()),
        }
    }
    all
}

fn put(settings: &mut BTreeMap<String, String>, key: String, value: &toml::Value, inside: bool) {
    let named = |v: &toml::Value| Some(v.as_table()?.get("name")?.as_str()?.to_string());
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(k, v)| put(settings, format!("{key}.{k}"), v, inside));
        }
        toml::Value::Array(list) if !list.is_empty() && list.iter().all(|v| named(v).is_some()) => {
            for item in list {
                let key = format!("{key}.{}", named(item).unwrap_or_default());
                match inside {
                    true => put(settings, key, item, inside),
                    false => _ = settings.insert(key, item.to_string()),
                }
            }
        }
        value => {
            settings.insert(key, value.to_string());
        }
    }
}

/// A setting that differs.
pub(crate) struct Change {
    /// Its dotted key.
    pub(crate) key: String,
    /// Its value before, as TOML.
    pub(crate) was: String,
    /// Its value now.
    pub(crate) is: String,
}

/// The settings that are others than they were `before`.
pub(crate) fn changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Change> {
    let change = |key: &str| {
        let [was, is] =
            [before, now].map(|settings| settings.get(key).map_or("not set".into(), String::clone));
        Change { key: key.into(), was, is }
    };
    differences([before, now].into_iter()).into_iter().map(change).collect()
}

/// Keys whose value is not the same in all runs.
pub(crate) fn differences<'a>(
    runs: impl Iterator<Item = &'a BTreeMap<String, String>> + Clone,
) -> Vec<&'a str> {
    let mut keys: Vec<&str> = runs.clone().flat_map(|s| s.keys()).map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| {
        let mut values = runs.clone().map(|s| s.get(*key));
        let first = values.next();
        values.any(|v| Some(v) != first)
    });
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_a_difference() {
        let text = "[data]\ntrain = \"t.csv\"\n[[data.fields]]\nname = \"user\"\n[train]\nseed = 1\n";
        let a: Config = toml::from_str(text).unwrap();
        let mut b = a.clone();
        (b.train.seed, b.train.clip_norm) = (2, Some(1.0));
        b.data.fields[0].min_frequency = 3;
        let [a, b] = [a, b].map(|c| flatten(&c, false).unwrap());
        assert_eq!((a["train.seed"].as_str(), b["train.seed"].as_str()), ("1", "2"));
        assert_eq!(a["data.train"], "\"t.csv\"");
        let [all_a, all_b] = [&a, &b].map(inside);
        assert_eq!(all_a["data.fields.user.min_frequency"], "1");
        assert_eq!(differences([&all_a, &all_b].into_iter())[0], "data.fields.user.min_frequency");
        let found = differences([&a, &b].into_iter());
        assert_eq!(found, ["data.fields.user", "train.clip_norm", "train.seed"]);
        assert!(differences([&a].into_iter()).is_empty() && differences([&a, &a].into_iter()).is_empty());
    }
}
