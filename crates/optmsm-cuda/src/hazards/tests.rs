use super::*;
use crate::kernels::Kernel;

/// Bytes `start..end` of allocation `base`.
fn bytes(base: u64, start: u64, end: u64, write: bool) -> Region {
    Region { base, start, end, stride: end - start, width: end - start, write }
}

/// Columns `first..first + width` of `rows` rows, `stride` apart.
fn columns(first: u64, width: u64, rows: u64, stride: u64, write: bool) -> Region {
    Region { base: 1, start: first, end: first + (rows - 1) * stride + width, stride, width, write }
}

fn edges(launches: &[&[Region]]) -> Vec<Vec<u32>> {
    let mut work = Work::default();
    for regions in launches {
        work.begin(Kernel::ZeroWords, [1, 1, 1], 32, 0);
        regions.iter().for_each(|r| work.region(*r));
        work.end();
    }
    let mut hazards = Hazards::default();
    // Twice: nothing of the first time may be left.
    hazards.find(&work);
    hazards.find(&work);
    (0..launches.len()).map(|n| hazards.of(n).to_vec()).collect()
}

#[test]
fn a_reader_waits_for_the_writer_and_the_next_writer_for_the_readers() {
    let (w, r) = (bytes(1, 0, 64, true), bytes(1, 0, 64, false));
    assert_eq!(edges(&[&[w], &[r], &[r], &[w]]), [vec![], vec![0], vec![0], vec![1, 2]]);
}

#[test]
fn other_memory_and_other_parts_do_not_wait() {
    let launches: &[&[Region]] = &[
        &[bytes(1, 0, 64, true)],
        &[bytes(2, 0, 64, true)],
        &[bytes(1, 64, 128, true)],
        &[bytes(1, 32, 96, false)],
    ];
    assert_eq!(edges(launches), [vec![], vec![], vec![], vec![0, 2]]);
}

#[test]
fn what_follows_from_another_wait_is_left_out() {
    let (a, b) = (bytes(1, 0, 64, true), bytes(2, 0, 64, true));
    let read = |r: Region| Region { write: false, ..r };
    // 2 reads both, but 1 waits for 0 already.
    assert_eq!(edges(&[&[a], &[read(a), b], &[read(a), read(b)]]), [vec![], vec![0], vec![1]]);
}

#[test]
fn columns_side_by_side_do_not_wait() {
    let left = columns(0, 16, 10, 48, true);
    let right = columns(16, 32, 10, 48, true);
    let both = columns(0, 48, 10, 48, false);
    assert_eq!(edges(&[&[left], &[right], &[both]]), [vec![], vec![], vec![0, 1]]);
    // A view whose rows cross the stride's end meets the next row's first columns.
    let crossing = columns(40, 16, 5, 48, true);
    assert_eq!(edges(&[&[left], &[crossing]]), [vec![], vec![0]]);
    // Rows of other strides interleave somehow: they wait.
    assert_eq!(edges(&[&[left], &[columns(16, 4, 10, 20, true)]]), [vec![], vec![0]]);
}

#[test]
fn a_part_that_was_read_still_counts_after_another_part_was_written() {
    let whole = bytes(1, 0, 64, false);
    let launches: &[&[Region]] =
        &[&[whole], &[bytes(1, 0, 32, true)], &[bytes(1, 32, 64, true)], &[bytes(1, 0, 64, true)]];
    assert_eq!(edges(launches), [vec![], vec![0], vec![0], vec![1, 2]]);
}

/// Against the definition: every pair that conflicts is ordered, directly or through others.
#[test]
fn every_conflict_is_ordered_and_nothing_else_is() {
    let mut state = 1u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for _ in 0..200 {
        let count = 1 + below(90) as usize;
        let launches: Vec<Vec<Region>> = (0..count)
            .map(|_| {
                let parts = 1 + below(3);
                let one = |_| {
                    let (first, write) = (below(40), below(2) == 0);
                    if below(2) == 0 {
                        bytes(1 + below(3), 48 * first, 48 * (first + 1 + below(4)), write)
                    } else {
                        columns(below(40), 1 + below(8), 1 + below(9), 48, write)
                    }
                };
                (0..parts).map(one).collect()
            })
            .collect();
        let views: Vec<&[Region]> = launches.iter().map(|l| l.as_slice()).collect();
        let edges = edges(&views);
        let mut reach = vec![vec![false; count]; count];
        for (n, before) in edges.iter().enumerate() {
            for &b in before {
                let b = b as usize;
                assert!(b < n);
                reach[n][b] = true;
                (0..b).for_each(|i| reach[n][i] |= reach[b][i]);
            }
        }
        let conflict = |a: &[Region], b: &[Region]| {
            a.iter().any(|a| b.iter().any(|b| (a.write || b.write) && a.overlaps(b)))
        };
        // The closure of the conflicts is the closure of the edges.
        let mut want = vec![vec![false; count]; count];
        for n in 0..count {
            for b in (0..n).rev() {
                if conflict(views[n], views[b]) {
                    want[n][b] = true;
                    (0..b).for_each(|i| want[n][i] |= want[b][i]);
                }
            }
        }
        assert_eq!(reach, want);
        // No edge follows from the others.
        for before in &edges {
            for (i, &b) in before.iter().enumerate() {
                assert!(before[i + 1..].iter().all(|&c| !reach[c as usize][b as usize]));
            }
        }
    }
}

#[test]
fn overlap_of_views_is_that_of_their_bytes() {
    let set = |r: &Region| -> std::collections::BTreeSet<u64> {
        let rows = (r.end - r.start - r.width) / r.stride + 1;
        (0..rows).flat_map(|i| (0..r.width).map(move |j| r.start + i * r.stride + j)).collect()
    };
    for (a, b) in (0..12 * 12).map(|i| (i / 12, i % 12)) {
        for (wa, wb) in [(1, 1), (3, 4), (6, 2), (5, 6)] {
            let (x, y) = (columns(a, wa, 3, 6, true), columns(b, wb, 2, 6, false));
            let meet = !set(&x).is_disjoint(&set(&y));
            assert_eq!(x.overlaps(&y), meet, "{x:?} {y:?}");
        }
    }
}
