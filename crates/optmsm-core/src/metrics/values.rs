//! Values of all metrics, written as a map by their keys.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::set::Set;
use super::{METRICS, Metric};

/// One value per entry of [`METRICS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values([Option<f64>; METRICS.len()]);

impl Values {
    /// Those of a set of rows.
    pub(super) fn of(set: &Set) -> Self {
        Self(std::array::from_fn(|i| (METRICS[i].of)(set)))
    }

    /// That of one metric.
    pub(super) fn get(&self, metric: &Metric) -> Option<f64> {
        METRICS.iter().zip(self.0).find_map(|(m, value)| value.filter(|_| m == metric))
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(METRICS.iter().zip(self.0).map(|(metric, value)| (metric.key, value)))
    }
}

/// A metric that is missing, as in what an older version wrote, has no value.
impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metrics by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut values = Values::default();
                while let Some(key) = map.next_key::<String>()? {
                    match METRICS.iter().position(|metric| metric.key == key) {
                        Some(i) => values.0[i] = map.next_value()?,
                        None => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(values)
            }
        }
        from.deserialize_map(Map)
    }
}
