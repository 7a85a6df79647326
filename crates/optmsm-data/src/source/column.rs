//! A column of decoded rows, and its cells.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, FixedSizeBinaryArray,
    LargeBinaryArray, StructArray,
};
use arrow_schema::{DataType, TimeUnit};

use super::cell::{Cell, Elements, List};

/// Values of a column for the rows of a batch.
pub(crate) struct Column {
    nulls: Option<Vec<bool>>, // true where there is no value
    values: Values,
}

enum Values {
    Missing,
    Constant(Box<[u8]>), // the same in every row: a folder's
    Bool(Vec<bool>),
    Int(Vec<i64>),
    UInt(Vec<u64>),
    Single(Vec<f32>),
    Double(Vec<f64>),
    Text(BinaryArray),
    LargeText(LargeBinaryArray),
    ViewText(BinaryViewArray),
    FixedText(FixedSizeBinaryArray),
    Dictionary(Vec<u32>, Arc<Dictionary>), // places in the dictionary
    Lists(Vec<usize>, Items),              // where a row's items begin; one more for the end
}

/// Distinct values that rows refer to.
pub(crate) struct Dictionary {
    /// Tells dictionaries apart, also later ones in the same memory.
    pub(crate) stamp: u64,
    values: Column,
    len: usize,
}

/// Places of rows' values in a dictionary. The same place in the same dictionary means the same value.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    keys: &'a [u32],
    nulls: Option<&'a [bool]>,
    pub(crate) dictionary: &'a Arc<Dictionary>,
}

impl Keys<'_> {
    /// Place of a row's value; none where there is no value.
    #[inline]
    pub(crate) fn key(&self, row: usize) -> Option<usize> {
        match self.nulls {
            Some(nulls) if nulls[row] => None,
            _ => Some(self.keys[row] as usize),
        }
    }
}

/// Lists whose items are of a dictionary and have no weights.
pub(crate) struct Lists<'a> {
    offsets: &'a [usize],
    nulls: Option<&'a [bool]>,
    pub(crate) keys: Keys<'a>, // of the items
}

impl Lists<'_> {
    /// The items of a row.
    #[inline]
    pub(crate) fn items(&self, row: usize) -> Range<usize> {
        match self.nulls {
            Some(nulls) if nulls[row] => 0..0,
            _ => self.offsets[row]..self.offsets[row + 1],
        }
    }
}

impl Dictionary {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn cell(&self, index: usize) -> Cell<'_> {
        self.values.cell(index)
    }
}

/// The dictionary that a column had in the batch before.
#[derive(Default)]
pub(crate) struct Memory(Option<(ArrayRef, Arc<Dictionary>)>);

struct Items {
    values: Box<Column>,
    weights: Option<Box<Column>>,
}

impl Elements for Items {
    fn cell(&self, i: usize) -> Cell<'_> {
        self.values.cell(i)
    }

    fn weight(&self, i: usize) -> Option<Cell<'_>> {
        self.weights.as_ref().map(|w| w.cell(i))
    }

    fn weighted(&self) -> bool {
        self.weights.is_some()
    }
}

/// Word for the values of a type. Types of one word are read alike. None if the type cannot be read.
pub(crate) fn class(of: &DataType) -> Option<String> {
    use DataType as T;
    let word = match of {
        T::Null => "nothing",
        T::Boolean => "booleans",
        T::Int8 | T::Int16 | T::Int32 | T::Int64 => "numbers",
        T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => "numbers",
        T::Float16 | T::Float32 | T::Float64 => "numbers",
        // As a category 1.5 is not 1.50.
        T::Decimal32(_, digits)
        | T::Decimal64(_, digits)
        | T::Decimal128(_, digits)
        | T::Decimal256(_, digits) => return Some(format!("decimals of {digits} digits after the point")),
        // Integers of their unit: in another one, the same time is another number.
        T::Date32 => "days",
        T::Date64 => "times in milliseconds",
        T::Time32(unit) | T::Time64(unit) | T::Timestamp(unit, _) | T::Duration(unit) => match unit {
            TimeUnit::Second => "times in seconds",
            TimeUnit::Millisecond => "times in milliseconds",
            TimeUnit::Microsecond => "times in microseconds",
            TimeUnit::Nanosecond => "times in nanoseconds",
        },
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "text",
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "text",
        T::Dictionary(_, value) => return class(value).filter(|c| !c.contains("lists")),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => match item.data_type() {
            T::Struct(pair) if pair.len() == 2 => return pairs(pair[0].data_type(), pair[1].data_type()),
            item => return class(item).filter(|c| !c.contains("lists")).map(|c| format!("lists of {c}")),
        },
        T::Map(entry, _) => match entry.data_type() {
            T::Struct(pair) if pair.len() == 2 => return pairs(pair[0].data_type(), pair[1].data_type()),
            _ => return None,
        },
        _ => return None,
    };
    Some(word.to_owned())
}

/// Whether cells of a type can be read.
pub(crate) fn can_be_read(of: &DataType) -> bool {
    class(of).is_some()
}

fn pairs(value: &DataType, weight: &DataType) -> Option<String> {
    let flat = |t| class(t).filter(|c| !c.contains("lists"));
    Some(format!("lists of {} with {}", flat(value)?, flat(weight)?))
}

impl Column {
    /// The same value in every row.
    pub(crate) fn constant(value: Option<&[u8]>) -> Self {
        let values = value.map_or(Values::Missing, |v| Values::Constant(v.into()));
        Self { nulls: None, values }
    }

    /// Takes over an array of a type that [`class`] names.
    ///
    /// # Errors
    /// In words, what of the array cannot be read.
    pub(crate) fn new(array: &ArrayRef, memory: &mut Memory) -> Result<Self, String> {
        let nulls = array.nulls().filter(|n| n.null_count() > 0);
        let nulls = nulls.map(|n| n.iter().map(|valid| !valid).collect());
        Ok(Self { nulls, values: Values::new(array, memory)? })
    }

    #[inline]
    pub(crate) fn cell(&self, row: usize) -> Cell<'_> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls[row]) {
            return Cell::Missing;
        }
        match &self.values {
            Values::Missing => Cell::Missing,
            Values::Constant(text) => Cell::Text(text),
            Values::Bool(v) => Cell::Bool(v[row]),
            Values::Int(v) => Cell::Int(v[row]),
            Values::UInt(v) => Cell::UInt(v[row]),
            Values::Single(v) => Cell::Single(v[row]),
            Values::Double(v) => Cell::Double(v[row]),
            Values::Text(v) => Cell::Text(v.value(row)),
            Values::LargeText(v) => Cell::Text(v.value(row)),
            Values::ViewText(v) => Cell::Text(v.value(row)),
            Values::FixedText(v) => Cell::Text(v.value(row)),
            Values::Dictionary(keys, dictionary) => dictionary.cell(keys[row] as usize),
            Values::Lists(offsets, items) => {
                Cell::List(List { elements: items, start: offsets[row], end: offsets[row + 1] })
            }
        }
    }

    /// Places of the rows' values in the column's dictionary, if it has one.
    pub(crate) fn keys(&self) -> Option<Keys<'_>> {
        match &self.values {
            Values::Dictionary(keys, dictionary) => {
                Some(Keys { keys, nulls: self.nulls.as_deref(), dictionary })
            }
            _ => None,
        }
    }
}

impl Column {
    /// Its lists, if their items are of a dictionary and have no weights.
    pub(crate) fn lists(&self) -> Option<Lists<'_>> {
        match &self.values {
            Values::Lists(offsets, Items { values, weights: None }) => {
                Some(Lists { offsets, nulls: self.nulls.as_deref(), keys: values.keys()? })
            }
            _ => None,
        }
    }
}

impl Values {
    fn new(array: &ArrayRef, memory: &mut Memory) -> Result<Self, String> {
        use DataType as T;
        Ok(match array.data_type() {
            T::Null => Values::Missing,
            T::Boolean => Values::Bool(array.as_boolean().values().iter().collect()),
            T::Int8 => ints::<Int8Type>(array),
            T::Int16 => ints::<Int16Type>(array),
            T::Int32 => ints::<Int32Type>(array),
            T::Int64 => ints::<Int64Type>(array),
            T::UInt8 => ints::<UInt8Type>(array),
            T::UInt16 => ints::<UInt16Type>(array),
            T::UInt32 => ints::<UInt32Type>(array),
            T::UInt64 => Values::UInt(array.as_primitive::<UInt64Type>().values().to_vec()),
            T::Date32 => ints::<Date32Type>(array),
            T::Date64 => ints::<Date64Type>(array),
            T::Time32(TimeUnit::Second) => ints::<Time32SecondType>(array),
            T::Time32(_) => ints::<Time32MillisecondType>(array),
            T::Time64(TimeUnit::Microsecond) => ints::<Time64MicrosecondType>(array),
            T::Time64(_) => ints::<Time64NanosecondType>(array),
            T::Timestamp(TimeUnit::Second, _) => ints::<TimestampSecondType>(array),
            T::Timestamp(TimeUnit::Millisecond, _) => ints::<TimestampMillisecondType>(array),
            T::Timestamp(TimeUnit::Microsecond, _) => ints::<TimestampMicrosecondType>(array),
            T::Timestamp(TimeUnit::Nanosecond, _) => ints::<TimestampNanosecondType>(array),
            T::Duration(TimeUnit::Second) => ints::<DurationSecondType>(array),
            T::Duration(TimeUnit::Millisecond) => ints::<DurationMillisecondType>(array),
            T::Duration(TimeUnit::Microsecond) => ints::<DurationMicrosecondType>(array),
            T::Duration(TimeUnit::Nanosecond) => ints::<DurationNanosecondType>(array),
            T::Float16 => Values::Single(
                array.as_primitive::<Float16Type>().values().iter().map(|v| v.to_f32()).collect(),
            ),
            T::Float32 => Values::Single(array.as_primitive::<Float32Type>().values().to_vec()),
            T::Float64 => Values::Double(array.as_primitive::<Float64Type>().values().to_vec()),
            T::Decimal32(..) => decimals::<Decimal32Type>(array),
            T::Decimal64(..) => decimals::<Decimal64Type>(array),
            T::Decimal128(..) => decimals::<Decimal128Type>(array),
            T::Decimal256(..) => decimals::<Decimal256Type>(array),
            T::Utf8 => Values::Text(array.as_string::<i32>().clone().into()),
            T::LargeUtf8 => Values::LargeText(array.as_string::<i64>().clone().into()),
            T::Utf8View => Values::ViewText(array.as_string_view().clone().to_binary_view()),
            T::Binary => Values::Text(array.as_binary::<i32>().clone()),
            T::LargeBinary => Values::LargeText(array.as_binary::<i64>().clone()),
            T::BinaryView => Values::ViewText(array.as_binary_view().clone()),
            T::FixedSizeBinary(_) => Values::FixedText(array.as_fixed_size_binary().clone()),
            T::Dictionary(..) => dictionary(array, memory)?,
            T::List(_) => {
                let list = array.as_list::<i32>();
                lists(list.offsets(), |from, len| Items::new(&list.values().slice(from, len), memory))?
            }
            T::LargeList(_) => {
                let list = array.as_list::<i64>();
                lists(list.offsets(), |from, len| Items::new(&list.values().slice(from, len), memory))?
            }
            T::FixedSizeList(_, size) => {
                let list = array.as_fixed_size_list();
                let offsets = (0..=list.len()).map(|row| row * *size as usize).collect();
                Values::Lists(offsets, Items::new(list.values(), memory)?)
            }
            T::Map(..) => {
                let map = array.as_map();
                lists(map.offsets(), |from, len| Items::pairs(&map.entries().slice(from, len)))?
            }
            other => return Err(format!("values of type {other} cannot be read")),
        })
    }
}

fn ints<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &ArrayRef) -> Values {
    Values::Int(array.as_primitive::<T>().values().iter().map(|&v| v.into()).collect())
}

/// Lists whose items begin at the offsets. `items(first, n)` returns `n` of the column's items from `first` on.
fn lists<T: Copy + TryInto<usize>>(
    offsets: &[T],
    items: impl FnOnce(usize, usize) -> Result<Items, String>,
) -> Result<Values, String> {
    let places = offsets.iter().map(|&o| o.try_into().map_err(|_| "a list begins nowhere".to_owned()));
    let mut places = places.collect::<Result<Vec<usize>, _>>()?;
    let first = places.first().copied().unwrap_or(0);
    places.iter_mut().for_each(|place| *place -= first);
    let items = items(first, places.last().copied().unwrap_or(0))?;
    Ok(Values::Lists(places, items))
}

/// Decimals as the digits that a CSV would hold.
fn decimals<T: DecimalType + ArrowPrimitiveType>(array: &ArrayRef) -> Values {
    let array = array.as_primitive::<T>();
    let text = (0..array.len()).map(|row| array.is_valid(row).then(|| array.value_as_string(row)));
    Values::Text(BinaryArray::from_iter(text))
}

fn dictionary(array: &ArrayRef, memory: &mut Memory) -> Result<Values, String> {
    static STAMP: AtomicU64 = AtomicU64::new(0);
    let array = array.as_any_dictionary();
    let values = array.values();
    if values.is_empty() {
        return Ok(Values::Missing);
    }
    let shared = match memory.0.take() {
        Some((before, shared)) if Arc::ptr_eq(&before, values) => shared,
        _ => {
            let column = Column::new(values, &mut Memory::default())?;
            let stamp = STAMP.fetch_add(1, Ordering::Relaxed);
            Arc::new(Dictionary { stamp, values: column, len: values.len() })
        }
    };
    memory.0 = Some((values.clone(), shared.clone()));
    let keys = match array.keys().as_primitive_opt::<Int32Type>() {
        // Keys of a Parquet file's dictionaries. Where there is no value, the key may be anything.
        Some(keys) => {
            let last = shared.len as u32 - 1;
            keys.values().iter().map(|&key| (key as u32).min(last)).collect()
        }
        None => {
            let keys = array.normalized_keys().into_iter().map(u32::try_from).collect::<Result<_, _>>();
            keys.map_err(|_| "a dictionary of more than 2^32 values".to_owned())?
        }
    };
    Ok(Values::Dictionary(keys, shared))
}

impl Items {
    fn new(values: &ArrayRef, memory: &mut Memory) -> Result<Self, String> {
        if let DataType::Struct(_) = values.data_type() {
            return Self::pairs(values.as_struct());
        }
        Ok(Self { values: Box::new(Column::new(values, memory)?), weights: None })
    }

    /// The first of two columns holds the values, the second the weights.
    fn pairs(pairs: &StructArray) -> Result<Self, String> {
        let [values, weights] = pairs.columns() else {
            return Err(format!("pairs of a value and a weight are wanted, not {}", pairs.data_type()));
        };
        let mut values = Column::new(values, &mut Memory::default())?;
        if let Some(nulls) = pairs.nulls() {
            let none = values.nulls.get_or_insert_with(|| vec![false; pairs.len()]);
            none.iter_mut().zip(nulls.iter()).for_each(|(none, valid)| *none |= !valid);
        }
        let weights = Column::new(weights, &mut Memory::default())?;
        Ok(Self { values: Box::new(values), weights: Some(Box::new(weights)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_another_unit_are_another_kind() {
        let stamp = |unit, zone: Option<&str>| class(&DataType::Timestamp(unit, zone.map(Into::into)));
        let milliseconds = stamp(TimeUnit::Millisecond, None);
        assert_eq!(milliseconds.as_deref(), Some("times in milliseconds"));
        assert_ne!(milliseconds, stamp(TimeUnit::Microsecond, None));
        // The zone is for people: the number is that of UTC.
        assert_eq!(milliseconds, stamp(TimeUnit::Millisecond, Some("Europe/Berlin")));
        assert_eq!(milliseconds, class(&DataType::Date64));
        assert_ne!(class(&DataType::Date32), class(&DataType::Date64));
    }

    #[test]
    fn decimals_of_other_digits_are_another_kind() {
        let one = class(&DataType::Decimal128(10, 1));
        assert_eq!(one.as_deref(), Some("decimals of 1 digits after the point"));
        assert_eq!(one, class(&DataType::Decimal64(18, 1)));
        assert_ne!(one, class(&DataType::Decimal128(10, 2)));
    }
}
