//! The values of a field and their ids.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::hash_bytes;

/// Values of a field; id 0 is out-of-vocabulary, `values[i]` has id `i + 1`.
///
/// Written as the list of its values. Each string is stored once: the table holds ids, and a look-up
/// compares with the string of the id, so it never allocates.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    values: Vec<Box<str>>,
    slots: Vec<u32>, // open addressing, power of two, at most half full; 0 is empty, which no value has as id
}

impl Vocabulary {
    /// Ids by falling count, then by value, of the values that occur at least `min_frequency` times.
    ///
    /// The empty value stands for "missing" and is kept however rare: it means something else than
    /// "a value too rare to learn".
    pub(crate) fn from_counts(counts: HashMap<Box<str>, u64>, min_frequency: u64) -> Self {
        let mut kept: Vec<_> =
            counts.into_iter().filter(|(v, n)| *n >= min_frequency || v.is_empty()).collect();
        kept.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        // 2^32 distinct values would need over 100 GB of strings alone; what would not fit an id stays 0.
        kept.truncate(u32::MAX as usize - 1);
        Self::index(kept.into_iter().map(|(v, _)| v).collect())
    }

    fn index(values: Vec<Box<str>>) -> Self {
        let mut slots = vec![0u32; (2 * values.len()).next_power_of_two()];
        for (i, value) in values.iter().enumerate() {
            let mut at = hash_bytes(value.as_bytes()) as usize & (slots.len() - 1);
            while slots[at] != 0 {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = i as u32 + 1;
        }
        Self { values, slots }
    }

    /// Number of ids: the values and the out-of-vocabulary id.
    pub fn size(&self) -> usize {
        self.values.len() + 1
    }

    /// Id of a value; 0 if training did not keep it.
    pub fn id(&self, value: &str) -> u32 {
        if self.values.is_empty() {
            return 0;
        }
        let mut at = hash_bytes(value.as_bytes()) as usize & (self.slots.len() - 1);
        loop {
            match self.slots[at] {
                0 => return 0,
                id if *self.values[id as usize - 1] == *value => return id,
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// Value of an id; none for 0 and beyond the end.
    pub fn value(&self, id: u32) -> Option<&str> {
        self.values.get((id as usize).checked_sub(1)?).map(|v| &**v)
    }

    /// Values in the order of their ids, from id 1.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        self.values.iter().map(|v| &**v)
    }
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Serialize for Vocabulary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.values.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::index(Vec::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> HashMap<Box<str>, u64> {
        list.iter().map(|&(v, n)| (v.into(), n)).collect()
    }

    #[test]
    fn ids_fall_by_count_then_rise_by_value() {
        let v = Vocabulary::from_counts(counts(&[("b", 2), ("a", 2), ("z", 9), ("c", 1)]), 1);
        assert_eq!(v.values().collect::<Vec<_>>(), ["z", "a", "b", "c"]);
        assert_eq!([v.id("z"), v.id("a"), v.id("b"), v.id("c"), v.id("d")], [1, 2, 3, 4, 0]);
        assert_eq!((v.value(0), v.value(1), v.value(4), v.value(5)), (None, Some("z"), Some("c"), None));
        assert_eq!(v.size(), 5);
    }

    #[test]
    fn rare_values_go_and_the_missing_one_stays() {
        let v = Vocabulary::from_counts(counts(&[("a", 3), ("b", 2), ("c", 1), ("", 1)]), 2);
        assert_eq!(v.values().collect::<Vec<_>>(), ["a", "b", ""]);
        assert_eq!([v.id(""), v.id("c")], [3, 0]);
    }

    #[test]
    fn nothing_kept_leaves_the_out_of_vocabulary_id() {
        let v = Vocabulary::from_counts(counts(&[("a", 1)]), 2);
        assert_eq!((v.size(), v.id("a"), v.id("")), (1, 0, 0));
        assert_eq!(Vocabulary::default().id("a"), 0);
    }

    #[test]
    fn every_value_of_a_large_vocabulary_is_found() {
        let many: Vec<String> = (0..50_000).map(|i| format!("item-{i}")).collect();
        let v = Vocabulary::from_counts(many.iter().map(|m| (m.as_str().into(), 1)).collect(), 1);
        assert!(many.iter().all(|m| v.value(v.id(m)) == Some(m)));
        assert_eq!(v.id("item-50000"), 0);
    }
}
