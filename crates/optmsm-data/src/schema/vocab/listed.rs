//! A list of values that training kept, and their ids.

use crate::util::{hash_bytes, same};

/// Values of which `values[i]` has id `i + 1`.
///
/// Each string is stored once: the table holds ids with half of their strings' hashes, and a look-up compares with the string of an
/// id whose half is the same, so it never allocates and seldom looks at another string.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) values: Vec<Box<str>>,
    slots: Vec<Slot>, // open addressing, power of two, at most half full
}

/// A place of the table; that of id 0, which no value has, is empty.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    id: u32,
    half: u32, // the high one: where a string goes depends on the low bits
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
        let mut slots = vec![Slot::default(); (2 * values.len()).next_power_of_two()];
        for (i, value) in values.iter().enumerate() {
            let hash = hash_bytes(value.as_bytes());
            let mut at = hash as usize & (slots.len() - 1);
            while slots[at].id != 0 {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = Slot { id: i as u32 + 1, half: (hash >> 32) as u32 };
        }
        Self { values, slots }
    }

    /// Id of a value; 0 if it is not in the list.
    #[inline]
    pub(crate) fn id(&self, value: &[u8]) -> u32 {
        if self.values.is_empty() {
            return 0;
        }
        let hash = hash_bytes(value);
        let mut at = hash as usize & (self.slots.len() - 1);
        loop {
            let Slot { id, half } = self.slots[at];
            if id == 0 || half == (hash >> 32) as u32 && same(self.values[id as usize - 1].as_bytes(), value)
            {
                return id;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}
