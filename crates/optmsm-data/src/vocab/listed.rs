//! A list of values that training kept, and their ids.

use crate::hash::hash_bytes;

/// Values of which `values[i]` has id `i + 1`.
///
/// Each string is stored once: the table holds ids, and a look-up compares with the string of the id, so it never allocates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) values: Vec<Box<str>>,
    slots: Vec<u32>, // open addressing, power of two, at most half full; 0 is empty, which no value has as id
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Listed {
    /// Ids by falling count, then by value, of the values that occur at least `min_frequency` times; of these the first
    /// `max_size`, if given.
    ///
    /// The empty value stands for "missing" and is kept however rare, beside the others: it means something else than
    /// "a value too rare to learn".
    pub(crate) fn from_counts(
        mut kept: Vec<(Box<str>, u64)>,
        min_frequency: u64,
        max_size: Option<u64>,
    ) -> Self {
        kept.retain(|(v, n)| *n >= min_frequency || v.is_empty());
        kept.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        // 2^32 distinct values would need over 100 GB of strings alone; what would not fit an id stays 0.
        let most = max_size.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let most = most.min(u32::MAX as usize - 2);
        let mut others = 0;
        kept.retain(|(v, _)| {
            others += usize::from(!v.is_empty());
            v.is_empty() || others <= most
        });
        Self::index(kept.into_iter().map(|(v, _)| v).collect())
    }

    /// Values in the order of their ids.
    pub(crate) fn index(values: Vec<Box<str>>) -> Self {
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

    /// Id of a value; 0 if it is not in the list.
    pub(crate) fn id(&self, value: &str) -> u32 {
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
}
