//! Grouping against a sorted map.

use std::collections::BTreeMap;

use super::PlannedColumn;
use super::sort::Sorter;
use crate::philox::Stream;

/// Random ids of a kind, and their number.
fn ids(len: usize, seed: u64, id: impl Fn(f64) -> f64) -> Vec<u32> {
    let stream = Stream::new(seed, "ids");
    (0..len as u64).map(|i| id(stream.uniform(i)) as u32).collect()
}

/// Columns of every length and range of ids that makes a difference: digits end at 2¹¹ and 2²².
fn columns() -> Vec<Vec<u32>> {
    let mut columns = Vec::new();
    for (seed, len) in (0..).zip([0, 1, 2, 3, 100, 2047, 2048, 5000]) {
        for vocab in [1.0, 2.0, 50.0, 2047.0, 2048.0, 2049.0, 4_194_304.0, 4_194_305.0, 4_294_967_296.0] {
            columns.push(ids(len, seed, |u| u * vocab));
            columns.push(ids(len, seed, |u| u.powi(3) * vocab));
            columns.push(ids(len, seed, |_| vocab - 1.0));
        }
        // Only the lowest, the middle or the highest digit differs.
        for (first, step) in [(5.0, 1.0), (7.0, 2048.0), (9.0, 4_194_304.0)] {
            columns.push(ids(len, seed, |u| first + step * (u * 1023.0).floor()));
        }
        columns.push((0..len as u32).rev().collect());
        columns.push((0..len as u32).map(|i| u32::MAX - i / 3).collect());
    }
    columns
}

#[test]
fn ids_are_grouped_in_ascending_order_and_rows_stay_in_theirs() {
    // One column and one sorter for all, as from batch to batch.
    let (mut column, mut sorter) = (PlannedColumn::<f64>::default(), Sorter::default());
    for ids in columns() {
        let mut groups = BTreeMap::<u32, Vec<u32>>::new();
        ids.iter().zip(0..).for_each(|(&id, row)| groups.entry(id).or_default().push(row));
        column.ids = ids;
        column.segment(&mut sorter);
        assert!(column.unique.iter().eq(groups.keys()));
        assert_eq!(column.starts.len(), groups.len() + 1);
        assert_eq!(column.starts[0], 0);
        for (range, rows) in column.starts.windows(2).zip(groups.values()) {
            assert_eq!(&column.rows[range[0] as usize..range[1] as usize], rows);
        }
        assert_eq!(column.rows.len(), column.ids.len());
        assert!(column.coefs.is_empty());
    }
}

#[test]
fn ids_of_lists_bring_their_rows_and_coefficients() {
    let (mut column, mut sorter) = (PlannedColumn::<f64>::default(), Sorter::default());
    for (seed, ids) in (0..).zip(columns()) {
        let stream = Stream::new(seed, "lists");
        // Lists of up to four ids, some empty, the last one the longest.
        let mut offsets = vec![0];
        for row in 0..ids.len() as u64 / 3 {
            let next = offsets[row as usize] + (stream.uniform(row) * 5.0) as u32;
            offsets.push(next.min(ids.len() as u32));
        }
        offsets.push(ids.len() as u32);
        column.values = (0..ids.len()).map(|i| i as f64 - 7.5).collect();
        let mut groups = BTreeMap::<u32, Vec<(u32, f64)>>::new();
        for (row, bag) in (0..).zip(offsets.windows(2)) {
            let bag = bag[0] as usize..bag[1] as usize;
            for (&id, &value) in ids[bag.clone()].iter().zip(&column.values[bag]) {
                groups.entry(id).or_default().push((row, value));
            }
        }
        (column.ids, column.offsets) = (ids, offsets);
        column.segment(&mut sorter);
        assert!(column.unique.iter().eq(groups.keys()));
        let ends = groups.values().scan(0, |end, group| {
            *end += group.len() as u32;
            Some(*end)
        });
        assert!(column.starts.iter().copied().eq([0].into_iter().chain(ends)));
        let got = column.rows.iter().copied().zip(column.coefs.iter().copied());
        assert!(got.eq(groups.into_values().flatten()));
    }
}

#[test]
fn a_column_no_longer_than_one_before_allocates_nothing() {
    let (mut column, mut sorter) = (PlannedColumn::<f64>::default(), Sorter::default());
    let memory = |c: &PlannedColumn<f64>, s: &Sorter| {
        [c.unique.capacity(), c.starts.capacity(), c.rows.capacity()]
            .into_iter()
            .chain(s.capacities())
            .sum::<usize>()
    };
    // Three passes, which leave the sorter's two buffers exchanged.
    column.ids = ids(5000, 1, |u| u * 4_294_967_296.0);
    column.segment(&mut sorter);
    let warm = memory(&column, &sorter);
    for ids in columns() {
        column.ids = ids;
        column.segment(&mut sorter);
        assert_eq!(memory(&column, &sorter), warm);
    }
}
