//! A vocabulary in the schema file: a list of values is the list itself, as in the first version; everything else is a map.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Hashed, Ids, Listed, Vocabulary};

/// The map as it is read; `table`, or exactly one of the first three.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    values: Option<Vec<Box<str>>>,
    hash: Option<SavedHash>,
    ids: Option<u32>,
    table: Option<String>,
    #[serde(default)]
    missing: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedHash {
    buckets: u32,
    salt: String,
}

impl Serialize for Vocabulary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = match (&self.ids, &self.borrowed) {
            (Ids::Listed(list), None) if !self.own_missing => return list.values.serialize(serializer),
            _ => serializer.serialize_map(None)?,
        };
        match (&self.ids, &self.borrowed) {
            (_, Some(table)) => {
                map.serialize_entry("table", table)?;
                return map.end();
            }
            (Ids::Listed(list), None) => map.serialize_entry("values", &list.values)?,
            (Ids::Hashed(Hashed { buckets, salt, .. }), None) => {
                map.serialize_entry("hash", &SavedHash { buckets: *buckets, salt: salt.clone() })?;
            }
            (Ids::Integers(below), None) => map.serialize_entry("ids", below)?,
        }
        if self.own_missing {
            map.serialize_entry("missing", &true)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of values, or how they become ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocabulary, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Vocabulary::listed(Listed::index(values), false))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vocabulary, A::Error> {
        let Saved { values, hash, ids, table, missing } =
            Saved::deserialize(MapAccessDeserializer::new(map))?;
        match (values, hash, ids, table) {
            (Some(values), None, None, None) => Ok(Vocabulary::listed(Listed::index(values), missing)),
            (None, Some(hash), None, None) if hash.buckets > 0 => {
                Ok(Vocabulary::hashed(hash.buckets, &hash.salt, missing))
            }
            (None, None, Some(below), None) if below > 0 => Ok(Vocabulary::of_integers(below, missing)),
            (None, None, None, Some(table)) => Ok(Vocabulary::default().lend(&table)),
            _ => Err(A::Error::custom("a vocabulary needs one of values, hash, ids and table")),
        }
    }
}
