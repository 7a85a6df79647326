//! Gathers from a matrix, numeric fields, segmented sums; for tables see `table.rs`.

use optmsm_core::backend::{Backend, Segments, Write};

use super::elementwise::each_shape;
use super::matrix::*;
use crate::rng::Rng;

const VOCABULARY: usize = 11;

pub(super) fn gather_rows<B: Backend>(be: &B) {
    each_shape(31, |(rows, cols), out, view, rng| {
        for first in [0, 3] {
            let table = Pair::<B>::random(be, view, VOCABULARY, cols, rng);
            // Before `first`: no such row. A wrong read fails.
            let mut at = vec![u32::MAX; first];
            at.extend((0..rows).map(|_| rng.below(VOCABULARY) as u32));
            let mut y = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
            be.gather_rows(y.mat_mut(), table.mat(), &ids(be, &at), first);
            oracle().gather_rows(y.host.mat_mut(), table.host.mat(), &at, first);
            y.check_exact(be, "gather_rows");
        }
    });
}

pub(super) fn numeric_embed<B: Backend>(be: &B) {
    each_shape(33, |(rows, cols), out, view, rng| {
        for first in [0, 5] {
            let w = Pair::<B>::random(be, view, 1, cols, rng);
            let values = Pair::<B>::column(be, first, rows, || rng.value());
            let mut y = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
            be.numeric_embed(y.mat_mut(), w.mat(), &values.buf, first);
            oracle().numeric_embed(y.host.mat_mut(), w.host.mat(), &values.host.data, first);
            y.check(be, "numeric_embed", |i, j| unit::<B>() * y.host.at(i, j).abs());
        }
    });
}

pub(super) fn numeric_embed_bwd<B: Backend>(be: &B) {
    each_shape(34, |(rows, cols), out, view, rng| {
        for (first, write) in [(0, Write::Set), (0, Write::Add), (5, Write::Set), (5, Write::Add)] {
            let d_out = Pair::<B>::random(be, view, rows, cols, rng);
            let values = Pair::<B>::column(be, first, rows, || rng.value());
            let mut d_w = Pair::<B>::output(be, out, 1, cols, write, rng);
            be.numeric_embed_bwd(d_w.mat_mut(), write, d_out.mat(), &values.buf, first);
            let sums = |d_w: &mut Host, d_out: &Host, values: &Host| {
                oracle().numeric_embed_bwd(d_w.mat_mut(), write, d_out.mat(), &values.data, first);
            };
            let mut size = d_w.host.abs();
            sums(&mut size, &d_out.host.abs(), &values.host.abs());
            sums(&mut d_w.host, &d_out.host, &values.host);
            d_w.check(be, "numeric_embed_bwd", product::<B>(&size, rows + 1));
        }
    });
}

pub(super) fn reduce_rows<B: Backend>(be: &B) {
    let mut rng = Rng::new(35);
    // (unique ids, occurrences an id at most, width, rows of the batch, rows of a lane)
    for (count, most, width, rows, lane_rows) in
        [(0, 0, 4, 1, 1), (1, 9, 1, 8, 3), (5, 1, 16, 5, 5), (37, 4, 17, 50, 7), (700, 3, 5, 65, 64)]
    {
        for (view, weighted) in [(View::Dense, false), (View::Inside, true)] {
            let mut starts = vec![0];
            for _ in 0..count {
                starts
                    .push(starts[starts.len() - 1] + (most > 0) as u32 * (1 + rng.below(most.max(1))) as u32);
            }
            let occurrences = starts[count] as usize;
            let at: Vec<u32> = (0..occurrences).map(|_| rng.below(rows) as u32).collect();
            let coefs = Pair::<B>::column(be, 0, occurrences, || rng.value());
            // Each lane keeps its rows in a buffer of its own, behind other columns.
            let lanes: Vec<_> = (0..rows.div_ceil(lane_rows))
                .map(|_| Pair::<B>::random(be, view, lane_rows, width, &mut rng))
                .collect();
            let mut g = Pair::<B>::output(be, view, count, width, Write::Set, &mut rng);

            let (starts_dev, at_dev) = (ids(be, &starts), ids(be, &at));
            let coefs_dev = weighted.then_some(&coefs.buf);
            let segments = Segments { count, starts: &starts_dev, rows: &at_dev, coefs: coefs_dev };
            be.reduce_rows(g.mat_mut(), segments, lane_rows, |lane| lanes[lane].mat());
            let sums = |g: &mut Host, lanes: &[Host], coefs: &Host| {
                let coefs = weighted.then_some(&coefs.data);
                let segments = Segments { count, starts: &starts, rows: &at, coefs };
                oracle().reduce_rows(g.mat_mut(), segments, lane_rows, |lane| lanes[lane].mat());
            };
            let mut size = g.host.clone();
            sums(&mut size, &lanes.iter().map(|l| l.host.abs()).collect::<Vec<_>>(), &coefs.host.abs());
            sums(&mut g.host, &lanes.iter().map(|l| l.host.clone()).collect::<Vec<_>>(), &coefs.host);
            g.check(be, &format!("reduce_rows, {count} ids"), product::<B>(&size, most));
        }
    }
}
