//! Quantiles of a column in bounded memory, the same for any order of its rows.
//!
//! Values are counted exactly while at most [`MOST`] of them are distinct. Beyond that, the floats are put into cells: the low
//! bits of their order-preserving integers are dropped, one bit more each time there are too many cells. How many bits go depends on
//! the set of values alone — it is the least number that leaves at most [`MOST`] cells, as cells only ever merge — and so do the
//! counts. A cell stands for the value nearest to zero in it, so a quantile's relative error is below 2^(bits − 52): with a million
//! cells over 20 powers of two, 2⁻¹⁵.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::util::mix;

/// Most distinct values that are counted exactly, and most cells after that: 36 MB with the map's spare room, twice as much for the
/// moment in which a bit is dropped.
const MOST: usize = 1 << 20;

/// Counts of a column's values.
#[derive(Clone, Debug)]
pub(crate) struct Quantiles {
    cells: HashMap<u64, u64, BuildHasherDefault<OneWord>>,
    dropped: u32, // bits
    most: usize,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self { cells: HashMap::default(), dropped: 0, most: MOST }
    }
}

/// Hash of a key that is one word.
#[derive(Default)]
struct OneWord(u64);

impl Hasher for OneWord {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(self.0 ^ u64::from(b)));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(word);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

const SIGN: u64 = 1 << 63;

/// Sign and magnitude, without the magnitude's low bits.
fn cell(v: f64, dropped: u32) -> u64 {
    let bits = v.to_bits();
    let magnitude = (bits & !SIGN) >> dropped << dropped;
    if magnitude == 0 { 0 } else { bits & SIGN | magnitude } // -0 is 0
}

impl Quantiles {
    /// Counts a finite value.
    pub(crate) fn add(&mut self, v: f64) {
        *self.cells.entry(cell(v, self.dropped)).or_default() += 1;
        while self.cells.len() > self.most {
            self.dropped += 1;
            let finer = std::mem::take(&mut self.cells);
            for (bits, n) in finer {
                *self.cells.entry(cell(f64::from_bits(bits), self.dropped)).or_default() += n;
            }
        }
    }

    /// Values in order, with the number of rows up to and with each.
    fn cumulative(self) -> Vec<(f64, u64)> {
        let mut values: Vec<_> = self.cells.into_iter().map(|(bits, n)| (f64::from_bits(bits), n)).collect();
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut total = 0;
        for (_, n) in &mut values {
            total += *n;
            *n = total;
        }
        values
    }

    /// The value at each of these places, counted from 0 in the sorted column; places rise, and lie in the column.
    fn at(values: &[(f64, u64)], places: impl Iterator<Item = u64>) -> Vec<f64> {
        places.map(|place| values[values.partition_point(|&(_, upto)| upto <= place)].0).collect()
    }

    /// Cuts that part the sorted column into `parts` runs of (nearly) as many rows, without repeating one: a cut is the first
    /// value of its run, so bucket `i` holds the values from cut `i - 1` to below cut `i`. A value of very many rows leaves
    /// fewer buckets.
    pub(crate) fn cuts(self, parts: u32) -> Vec<f64> {
        let values = self.cumulative();
        let Some(&(_, rows)) = values.last() else { return Vec::new() };
        let place = |i: u32| (u128::from(rows) * u128::from(i) / u128::from(parts)) as u64;
        let mut cuts = Self::at(&values, (1..parts).map(place));
        cuts.dedup();
        // Nothing lies below the least value.
        cuts.retain(|&cut| cut > values[0].0);
        cuts
    }

    /// The least value, the greatest, and those in between that part the column into [`STEPS`] equal steps (fewer for a short
    /// column); repeated where many rows share a value.
    pub(crate) fn ladder(self) -> Vec<f64> {
        let values = self.cumulative();
        let Some(&(_, rows)) = values.last() else { return Vec::new() };
        let steps = STEPS.min(rows - 1).max(1);
        let place = |i: u64| (u128::from(rows - 1) * u128::from(i) / u128::from(steps)) as u64;
        Self::at(&values, (0..=steps).map(place))
    }
}

/// Steps of the ladder that ranks are read from.
const STEPS: u64 = 256;

/// Rank of a value in [0, 1] on a ladder: 0 below it, 1 above it, linear from one rung to the next, the middle of the rungs that it
/// equals; the middle of everything where there is no ladder.
pub(crate) fn rank(v: f64, ladder: &[f64]) -> f64 {
    let (below, upto) = (ladder.partition_point(|&q| q < v), ladder.partition_point(|&q| q <= v));
    let Some(last) = ladder.len().checked_sub(1) else { return 0.5 };
    if below < upto {
        return (below + upto - 1) as f64 / 2.0 / last as f64;
    }
    match below {
        0 => 0.0,
        b if b > last => 1.0,
        b => ((b - 1) as f64 + (v - ladder[b - 1]) / (ladder[b] - ladder[b - 1])) / last as f64,
    }
}

/// Bucket of a value, from 0.
pub(crate) fn bucket(v: f64, cuts: &[f64]) -> u32 {
    cuts.partition_point(|&cut| cut <= v) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use optmsm_core::philox::Stream;

    fn of(values: impl IntoIterator<Item = f64>) -> Quantiles {
        limited(MOST, values)
    }

    fn limited(most: usize, values: impl IntoIterator<Item = f64>) -> Quantiles {
        let mut q = Quantiles { most, ..Quantiles::default() };
        values.into_iter().for_each(|v| q.add(v));
        q
    }

    #[test]
    fn cuts_by_hand() {
        assert_eq!(of((0..10).map(f64::from)).cuts(5), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(of((0..10).map(f64::from)).cuts(4), [2.0, 5.0, 7.0]); // places 2.5, 5, 7.5
        // Nine zeros: all cuts but none above the least value.
        assert_eq!(of([0.0; 9].into_iter().chain([5.0])).cuts(4), [0.0; 0]);
        assert_eq!(of([0.0, 0.0, 0.0, 1.0, 2.0, 2.0]).cuts(3), [2.0]);
        assert_eq!(of([3.0]).cuts(4), [0.0; 0]);
        assert_eq!(of([]).cuts(4), [0.0; 0]);
        assert_eq!(of([-0.0, 0.0, 1.0, 1.0]).cuts(2), [1.0]);
        assert_eq!([-9.0, 1.9, 2.0, 3.0, 4.0, 99.0].map(|v| bucket(v, &[2.0, 4.0])), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn buckets_of_distinct_values_are_as_large_as_each_other() {
        for (rows, parts) in [(1000u32, 7), (64, 64), (100, 3), (5, 9)] {
            let cuts = of((0..rows).map(f64::from)).cuts(parts);
            let mut sizes = vec![0; cuts.len() + 1];
            (0..rows).for_each(|v| sizes[bucket(v.into(), &cuts) as usize] += 1);
            assert_eq!(sizes.len(), parts.min(rows) as usize);
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
        }
    }

    #[test]
    fn ranks_by_hand() {
        let ladder = of([10.0, 20.0, 40.0]).ladder();
        assert_eq!(ladder, [10.0, 20.0, 40.0]);
        let ranks = [5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 41.0].map(|v| rank(v, &ladder));
        assert_eq!(ranks, [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        // Rungs 0 to 4: three of them equal.
        let ladder = of([1.0, 2.0, 2.0, 2.0, 3.0]).ladder();
        assert_eq!([1.0, 2.0, 2.5, 3.0].map(|v| rank(v, &ladder)), [0.0, 0.5, 0.875, 1.0]);
        let one = of([7.0, 7.0]).ladder();
        assert_eq!([6.0, 7.0, 8.0].map(|v| rank(v, &one)), [0.0, 0.5, 1.0]);
        assert_eq!([6.0, 7.0, 8.0].map(|v| rank(v, &of([7.0]).ladder())), [0.0, 0.5, 1.0]);
        assert_eq!(rank(3.0, &[]), 0.5);
        assert_eq!(of((0..10_000).map(f64::from)).ladder().len(), 257);
    }

    #[test]
    fn a_rank_is_close_to_the_share_of_smaller_values() {
        let stream = Stream::new(1, "ranks");
        let mut values: Vec<f64> = (0..5000).map(|i| stream.normal(i).exp()).collect();
        let ladder = of(values.iter().copied()).ladder();
        values.sort_unstable_by(f64::total_cmp);
        for (i, &v) in values.iter().enumerate() {
            // A rung is at most one row off, and within a step of 1/256 anything is possible.
            assert!((rank(v, &ladder) - i as f64 / 4999.0).abs() <= 1.0 / 256.0 + 1.0 / 4999.0);
        }
    }

    #[test]
    fn more_distinct_values_than_are_kept_lose_precision_but_not_the_order_of_rows() {
        let stream = Stream::new(2, "many");
        let values: Vec<f64> = (0..20_000).map(|i| 100.0 * stream.normal(i)).collect();
        let exact = of(values.iter().copied()).cuts(10);
        let forth = limited(4096, values.iter().copied());
        let back = limited(4096, values.iter().rev().copied());
        assert!(forth.cells.len() <= 4096 && forth.dropped > 0);
        assert_eq!((forth.dropped, &forth.cells), (back.dropped, &back.cells));
        // One bit less would have been too many cells.
        let finer: std::collections::HashSet<u64> =
            values.iter().map(|&v| cell(v, forth.dropped - 1)).collect();
        assert!(finer.len() > 4096);
        let error = 2f64.powi(forth.dropped as i32 - 52);
        assert_eq!(forth.cells.values().sum::<u64>(), 20_000);
        for (a, b) in forth.cuts(10).iter().zip(&exact) {
            assert!((a - b).abs() <= error * b.abs(), "{a} {b} {error}");
        }
    }
}
