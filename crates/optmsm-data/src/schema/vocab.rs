//! The ids of a field's values.

mod listed;
mod saved;

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::quote;
use crate::fault::{Parsed, fault};
use crate::source::utf8;
use crate::util::xxh64;

pub(crate) use listed::Listed;

/// Which id a value of a field has: by a list of the values that training kept, by a hash, or as the value says.
///
/// Id 0 is out-of-vocabulary. Then come the values; the last id is that of a missing value, where it has one of its own.
/// Copies share the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    ids: Ids,
    own_missing: bool,
    /// Name of the table whose first field writes the list down for this one too.
    pub(crate) borrowed: Option<String>,
}

/// How a value becomes an id.
#[derive(Clone, Debug, PartialEq)]
enum Ids {
    Listed(Arc<Listed>),
    Hashed(Hashed),
    /// Integer `v` below this has id `v + 1`.
    Integers(u32),
}

/// Value `v` has id `1 + xxh64(v, xxh64(salt, 0)) % buckets`.
#[derive(Clone, Debug, PartialEq)]
struct Hashed {
    buckets: u32,
    salt: String,
    seed: u64,
}

impl Hashed {
    fn new(buckets: u32, salt: String) -> Self {
        Self { seed: xxh64(salt.as_bytes(), 0), buckets, salt }
    }
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::new(Ids::Listed(Arc::default()), false)
    }
}

impl Vocabulary {
    fn new(ids: Ids, own_missing: bool) -> Self {
        Self { ids, own_missing, borrowed: None }
    }

    /// By a list.
    pub(crate) fn listed(list: Listed, own_missing: bool) -> Self {
        Self::new(Ids::Listed(Arc::new(list)), own_missing)
    }

    /// By XXH64 into `buckets` (at least one) ids; fields of other salts share no pattern of collisions.
    pub(crate) fn hashed(buckets: u32, salt: &str, own_missing: bool) -> Self {
        Self::new(Ids::Hashed(Hashed::new(buckets, salt.to_owned())), own_missing)
    }

    /// Integers below `below`.
    pub(crate) fn of_integers(below: u32, own_missing: bool) -> Self {
        Self::new(Ids::Integers(below), own_missing)
    }

    /// The same ids for another field of the table `table`.
    pub(crate) fn lend(&self, table: &str) -> Self {
        Self { borrowed: Some(table.to_owned()), ..self.clone() }
    }

    /// Whether it says nothing that the first version of the file could not.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.ids, Ids::Listed(_)) && !self.own_missing && self.borrowed.is_none()
    }

    /// Ids of values: without those of out-of-vocabulary and missing values.
    fn known(&self) -> usize {
        match &self.ids {
            Ids::Listed(list) => list.values.len(),
            Ids::Hashed(hashed) => hashed.buckets as usize,
            Ids::Integers(below) => *below as usize,
        }
    }

    /// N, of integers below N.
    pub fn integers(&self) -> Option<usize> {
        matches!(self.ids, Ids::Integers(_)).then(|| self.known())
    }

    /// Buckets N and seed, of values that have id `1 + xxh64(value, seed) % N`.
    pub fn buckets(&self) -> Option<(u32, u64)> {
        match &self.ids {
            Ids::Hashed(Hashed { buckets, seed, .. }) => Some((*buckets, *seed)),
            _ => None,
        }
    }

    /// Whether values are looked up in a list, which finds no fault with them.
    pub(crate) fn is_listed(&self) -> bool {
        matches!(self.ids, Ids::Listed(_))
    }

    /// Number of ids: values, out-of-vocabulary, and missing if it has an id of its own.
    pub fn size(&self) -> usize {
        1 + self.known() + usize::from(self.own_missing)
    }

    /// The id that a missing value has for itself; otherwise the empty text is a value like any other.
    pub fn missing_id(&self) -> Option<u32> {
        self.own_missing.then(|| self.known() as u32 + 1)
    }

    /// Id of a value; 0 if it has none.
    pub fn id(&self, value: &str) -> u32 {
        self.find(value).unwrap_or(0)
    }

    /// Id of a value.
    ///
    /// # Errors
    /// It should be an integer in a range and is not.
    pub(crate) fn find(&self, value: &str) -> Parsed<u32> {
        if let Some(id) = self.missing_id().filter(|_| value.is_empty()) {
            return Ok(id);
        }
        match &self.ids {
            Ids::Listed(list) => Ok(list.id(value.as_bytes())),
            Ids::Hashed(hashed) => {
                Ok(1 + (xxh64(value.as_bytes(), hashed.seed) % u64::from(hashed.buckets)) as u32)
            }
            Ids::Integers(_) if value.is_empty() => Ok(0),
            Ids::Integers(below) => match value.trim().parse::<u64>().ok().or_else(|| whole(value)) {
                Some(v) if v < u64::from(*below) => Ok(v as u32 + 1),
                _ => out_of_range(&quote(value), *below),
            },
        }
    }

    /// [`Vocabulary::find`] of bytes that are not yet known to be UTF-8. All listed values are, so one that is found need not be checked.
    #[inline]
    pub(crate) fn find_bytes(&self, value: &[u8]) -> Parsed<u32> {
        if let Ids::Listed(list) = &self.ids
            && !value.is_empty()
            && let id @ 1.. = list.id(value)
        {
            return Ok(id);
        }
        self.find(utf8(value)?)
    }

    /// Id of an integer that is not written out, if that decides.
    pub(crate) fn find_integer(&self, value: Option<u64>) -> Option<u32> {
        match (&self.ids, value) {
            (Ids::Integers(below), Some(v)) if v < u64::from(*below) => Some(v as u32 + 1),
            _ => None,
        }
    }

    /// Value of an id, where it is known: not for hashes, and for 0 and missing values only as a listed one.
    pub fn value(&self, id: u32) -> Option<Cow<'_, str>> {
        let at = (id as usize).checked_sub(1)?;
        match &self.ids {
            Ids::Listed(list) => list.values.get(at).map(|v| Cow::Borrowed(&**v)),
            Ids::Hashed(_) => None,
            Ids::Integers(below) => (at < *below as usize).then(|| Cow::Owned(at.to_string())),
        }
    }

    /// Values of a list in the order of their ids, from id 1; none where there is no list.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        let list: &[Box<str>] = match &self.ids {
            Ids::Listed(list) => &list.values,
            Ids::Hashed(_) | Ids::Integers(_) => &[],
        };
        list.iter().map(|v| &**v)
    }

    /// A value that a list has more than once.
    pub(crate) fn repeated(&self) -> Option<&str> {
        let Ids::Listed(list) = &self.ids else { return None };
        let repeated = list.values.iter().zip(1..).find(|(value, id)| list.id(value.as_bytes()) != *id);
        repeated.map(|(value, _)| &**value)
    }

    /// How a value becomes an id, in a few words.
    pub fn describe(&self) -> String {
        match &self.ids {
            Ids::Listed(list) => format!("{} values", list.values.len()),
            Ids::Hashed(hashed) => format!("hash into {}", hashed.buckets),
            Ids::Integers(below) => format!("integers below {below}"),
        }
    }
}

/// An integer that was written as a float, as programs do where a column has missing values.
fn whole(value: &str) -> Option<u64> {
    let v = value.trim().parse::<f64>().ok()?;
    (v >= 0.0 && v.fract() == 0.0 && v < 9e15).then_some(v as u64)
}

#[cold]
fn out_of_range(value: &str, below: u32) -> Parsed<u32> {
    fault(
        format!("{value} is not an integer from 0 to {}", below - 1),
        format!("fix the value, raise ids (now {below}), or leave ids out to learn the values"),
    )
}

#[cfg(test)]
mod tests;
