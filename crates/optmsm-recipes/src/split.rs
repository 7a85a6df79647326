//! Splits by time and by hashes.

use optmsm_data::{Result, Split};

use crate::error;

/// The points in time at which validation and test rows begin.
///
/// The first 80 % of the rows in time are for training, the next 10 % for validation, the last 10 % for the test. Rows of
/// one point in time stay together, so no row is as late as one of a later part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeSplit {
    valid: i64,
    test: i64,
}

impl TimeSplit {
    /// Of all rows' times, in any order and unit.
    pub(crate) fn new(file: &str, mut times: Vec<i64>) -> Result<Self> {
        times.sort_unstable();
        let at = |tenths: usize| times.get(times.len() * tenths / 10).copied();
        match (times.first(), at(8), at(9)) {
            (Some(&first), Some(valid), Some(test)) if first < valid && valid < test => {
                Ok(Self { valid, test })
            }
            _ => Err(error(
                file,
                format!("its {} rows lie at too few points in time to split them", times.len()),
                "give a file with more rows",
            )),
        }
    }

    /// The last tenth of the rows in time for validation; none for the test, which is a file of its own.
    pub(crate) fn without_test(file: &str, mut times: Vec<i64>) -> Result<Self> {
        times.sort_unstable();
        match (times.first(), times.get(times.len() * 9 / 10)) {
            (Some(&first), Some(&valid)) if first < valid => Ok(Self { valid, test: i64::MAX }),
            _ => Err(error(
                file,
                format!("its {} rows lie at too few points in time to split them", times.len()),
                "give a file with more rows",
            )),
        }
    }

    /// The split of a row.
    pub(crate) fn part(self, time: i64) -> Split {
        match time {
            t if t < self.valid => Split::Train,
            t if t < self.test => Split::Valid,
            _ => Split::Test,
        }
    }
}

/// A number of a key that is random to the eye, and the same everywhere.
pub(crate) fn hash(key: &[u8]) -> u64 {
    // FNV-1a with the finalizer of SplitMix64, since the last digits of a key need not be random.
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Training (80 %), validation (10 %) or test (10 %), by a key: equal ones stay together, whatever else is in the file.
pub(crate) fn by_hash(key: &[u8]) -> Split {
    match hash(key) % 10 {
        8 => Split::Valid,
        9 => Split::Test,
        _ => Split::Train,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_hash_have_their_sizes() {
        let mut counts = [0.0; 3];
        (0..100_000).for_each(|i| counts[by_hash(i.to_string().as_bytes()) as usize] += 1.0);
        for (count, share) in counts.into_iter().zip([0.8, 0.1, 0.1]) {
            // Five standard errors of a binomial count.
            let sigma = f64::sqrt(1e5 * share * (1.0 - share));
            assert!((count - 1e5 * share).abs() < 5.0 * sigma, "{counts:?}");
        }
    }

    #[test]
    fn equal_times_stay_together() {
        // Ten rows: validation begins with the ninth (time 5), the test with the tenth (time 9).
        let times = vec![9, 1, 2, 3, 5, 4, 5, 5, 0, 2];
        let split = TimeSplit::new("f", times).unwrap();
        assert_eq!(split, TimeSplit { valid: 5, test: 9 });
        assert_eq!([4, 5, 8, 9].map(|t| split.part(t).name()), ["train", "valid", "valid", "test"]);
    }

    #[test]
    fn too_few_points_in_time() {
        let message = TimeSplit::new("f", vec![1, 1, 2, 2]).unwrap_err().to_string();
        assert_eq!(
            message,
            "f: its 4 rows lie at too few points in time to split them; give a file with more rows"
        );
        assert!(TimeSplit::new("f", vec![]).is_err());
        assert!(TimeSplit::without_test("f", vec![3, 3]).is_err());
        let split = TimeSplit::without_test("f", (0..20).collect()).unwrap();
        assert_eq!([17, 18, 99].map(|t| split.part(t).name()), ["train", "valid", "valid"]);
    }
}
