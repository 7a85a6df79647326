//! Rows of matrices and of tables by their ids, numeric fields, segmented sums.

use optmsm_core::backend::{Backend, Bags, Embedding, Epilogue, FieldLookup, FieldSum, Segments, Write};
use optmsm_core::rounding::TableDtype;

use super::elementwise::each_shape;
use super::matrix::*;
use super::table::{Reading, TablePair, VOCABULARY, Viewed, id};
use crate::rng::Rng;

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

/// One field of [`Embedding::reduce_fields`](optmsm_core::backend::Embedding::reduce_fields).
struct Field<B: Backend> {
    starts: (Vec<u32>, B::Ids),
    at: (Vec<u32>, B::Ids),
    coefs: Option<Pair<B>>,
    g: Pair<B>,
    column: usize,
}

pub(super) fn reduce_fields<B: Backend>(be: &B) {
    let mut rng = Rng::new(37);
    for (rows, count, d, view) in [
        (1, 1, 1, View::Dense),
        (9, 3, 4, View::Inside),
        (65, 7, 16, View::Inside),
        (300, 20, 5, View::Dense),
    ] {
        let all = Pair::<B>::random(be, view, rows, count * d + 1, &mut rng);
        let mut fields: Vec<Field<B>> = (0..count)
            .map(|field| {
                // Ids of many rows, of few, lists, a numeric field, and none at all.
                let occurrences = if field % 5 == 4 { 0 } else { rng.below(3 * rows) + 1 };
                let mut starts: Vec<u32> = vec![0];
                while (starts[starts.len() - 1] as usize) < occurrences {
                    let next = if field % 5 == 3 { occurrences } else { 1 + rng.below(1 + field) };
                    starts.push((starts[starts.len() - 1] as usize + next).min(occurrences) as u32);
                }
                let at: Vec<u32> = (0..occurrences).map(|_| rng.below(rows) as u32).collect();
                let coefs = (field % 2 == 1).then(|| Pair::<B>::column(be, 0, occurrences, || rng.value()));
                let g = Pair::<B>::output(be, view, starts.len() - 1, d, Write::Set, &mut rng);
                let [starts, at] = [starts, at].map(|host| (host.clone(), ids(be, &host)));
                Field { starts, at, coefs, g, column: field * d }
            })
            .collect();
        be.reduce_fields(fields.iter_mut().map(|f| {
            let (count, coefs) = (f.starts.0.len() - 1, f.coefs.as_ref().map(|c| &c.buf));
            let segments = Segments { count, starts: &f.starts.1, rows: &f.at.1, coefs };
            FieldSum { g: f.g.mat_mut(), segments, d_out: all.mat().cols(f.column, d) }
        }));
        let sizes = all.host.abs();
        for f in &mut fields {
            let most = f.starts.0.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0) as usize;
            let (count, coefs) = (f.starts.0.len() - 1, f.coefs.as_ref().map(|c| c.host.abs()));
            let mut size = f.g.host.clone();
            let sum = |g: &mut Host, d_out: &Host, coefs: Option<&Host>| {
                let coefs = coefs.map(|c| &c.data);
                let segments = Segments { count, starts: &f.starts.0, rows: &f.at.0, coefs };
                let sum = FieldSum { g: g.mat_mut(), segments, d_out: d_out.mat().cols(f.column, d) };
                oracle().reduce_fields(std::iter::once(sum));
            };
            sum(&mut size, &sizes, coefs.as_ref());
            sum(&mut f.g.host, &all.host, f.coefs.as_ref().map(|c| &c.host));
            f.g.check(be, &format!("reduce_fields, {count} ids of {rows} rows"), product::<B>(&size, most));
        }
    }
}

pub(super) fn linear_bwd_by_value<B: Backend>(be: &B) {
    let mut rng = Rng::new(36);
    // (values, occurrences a value at most, d, N, rows of the batch, rows of a lane)
    for (count, most, d, n, rows, lane_rows) in [
        (0, 0, 3, 5, 1, 1),
        (1, 9, 1, 1, 8, 3),
        (7, 2, 16, 33, 9, 9),
        (130, 3, 5, 70, 65, 64),
        (300, 2, 37, 31, 40, 7),
        (13, 4, 9, 64, 50, 16),
    ] {
        for (view, weighted) in [(View::Dense, false), (View::Inside, true)] {
            let mut starts = vec![0];
            for _ in 0..count {
                // Some values have no occurrence.
                starts.push(starts[starts.len() - 1] + rng.below(most + 1) as u32);
            }
            let occurrences = starts[count] as usize;
            let at: Vec<u32> = (0..occurrences).map(|_| rng.below(rows) as u32).collect();
            let coefs = Pair::<B>::column(be, 0, occurrences, || rng.value());
            let lanes: Vec<_> = (0..rows.div_ceil(lane_rows))
                .map(|_| Pair::<B>::random(be, view, lane_rows, n, &mut rng))
                .collect();
            let (x, w) = (
                Pair::<B>::random(be, view, count, d, &mut rng),
                Pair::<B>::random(be, view, n, d, &mut rng),
            );
            let mut g = Pair::<B>::output(be, view, count, d, Write::Set, &mut rng);
            let mut d_w = Pair::<B>::output(be, view, n, d, Write::Set, &mut rng);

            let (starts_dev, at_dev) = (ids(be, &starts), ids(be, &at));
            let coefs_dev = weighted.then_some(&coefs.buf);
            let segments = Segments { count, starts: &starts_dev, rows: &at_dev, coefs: coefs_dev };
            let lane = |lane: usize| lanes[lane].mat();
            be.linear_bwd_by_value(g.mat_mut(), d_w.mat_mut(), x.mat(), w.mat(), segments, lane_rows, lane);
            let products =
                |g: &mut Host, d_w: &mut Host, [x, w]: [&Host; 2], lanes: &[Host], coefs: &Host| {
                    let coefs = weighted.then_some(&coefs.data);
                    let segments = Segments { count, starts: &starts, rows: &at, coefs };
                    let (g, d_w, lane) = (g.mat_mut(), d_w.mat_mut(), |lane: usize| lanes[lane].mat());
                    oracle().linear_bwd_by_value(g, d_w, x.mat(), w.mat(), segments, lane_rows, lane);
                };
            let (mut g_size, mut d_w_size) = (g.host.clone(), d_w.host.clone());
            let absolute: Vec<_> = lanes.iter().map(|l| l.host.abs()).collect();
            let sizes = [&x.host.abs(), &w.host.abs()];
            products(&mut g_size, &mut d_w_size, sizes, &absolute, &coefs.host.abs());
            let hosts: Vec<_> = lanes.iter().map(|l| l.host.clone()).collect();
            products(&mut g.host, &mut d_w.host, [&x.host, &w.host], &hosts, &coefs.host);
            let what = format!("linear_bwd_by_value, {count} values of {d}, N = {n}");
            // A sum over the segment, then one over N or over the values. The sums are operands of the products, so they are
            // rounded as W and x are; being off by their own roundings changes that in the second order only.
            g.check(be, &what, rounded_product(be, &g_size, most + n + 1));
            d_w.check(be, &what, rounded_product(be, &d_w_size, most + count + 1));
        }
    }
}

pub(super) fn lookup<B: Backend>(be: &B) {
    each_shape(92, |(rows, cols), out, _, rng| {
        for dtype in TableDtype::ALL {
            use Reading::{Averaged, Plain, Scaled};
            for (first, reading) in [(0, Plain), (3, Plain), (0, Scaled), (3, Averaged)] {
                let table = Viewed::<B>::random(be, cols, dtype, reading, rng);
                // Before `first`: no such row. A wrong read fails.
                let mut at = vec![u32::MAX; first];
                at.extend((0..rows).map(|_| id(rng)));
                let mut y = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
                be.lookup(y.mat_mut(), table.dev(), &ids(be, &at), first);
                let mut size = y.host.clone();
                oracle().lookup(size.mat_mut(), table.abs(be).host(), &at, first);
                oracle().lookup(y.host.mat_mut(), table.host(), &at, first);
                let allowed = |i, j| 2.0 * table.roundings() as f64 * unit::<B>() * size.at(i, j);
                y.check(be, &format!("lookup, {reading:?}"), allowed);
            }
        }
    });
}

pub(super) fn lookup_fields<B: Backend>(be: &B) {
    let rng = &mut Rng::new(94);
    for (rows, width, count) in [(0, 3, 2), (1, 1, 1), (5, 4, 0), (33, 16, 7), (7, 5, 40), (65, 9, 3)] {
        for (view, first) in [(View::Dense, 0), (View::Inside, 3)] {
            let fields: Vec<_> = (0..count)
                .map(|field| {
                    let reading = [Reading::Plain, Reading::Scaled, Reading::Averaged][field / 3 % 3];
                    let table = Viewed::<B>::random(be, width, TableDtype::ALL[field % 3], reading, rng);
                    let mut at = vec![u32::MAX; first];
                    at.extend((0..rows).map(|_| id(rng)));
                    // Another field's column before every second one stays as it is.
                    let column = (field + field.div_ceil(2)) * width;
                    (table, ids(be, &at), at, column)
                })
                .collect();
            let mut y = Pair::<B>::output(be, view, rows, (2 * count + 1) * width, Write::Add, rng);
            be.lookup_fields(
                y.mat_mut(),
                fields.iter().map(|(t, ids, _, column)| FieldLookup {
                    table: t.dev(),
                    ids,
                    column: *column,
                    width,
                }),
                first,
            );
            let mut size = y.host.clone();
            let on_host = |y: &mut Host, tables: &[&Viewed<B>]| {
                let fields = fields.iter().zip(tables).map(|((_, _, ids, column), t)| FieldLookup {
                    table: t.host(),
                    ids,
                    column: *column,
                    width,
                });
                oracle().lookup_fields(y.mat_mut(), fields, first);
            };
            let sizes: Vec<_> = fields.iter().map(|(t, ..)| t.abs(be)).collect();
            on_host(&mut size, &sizes.iter().collect::<Vec<_>>());
            on_host(&mut y.host, &fields.iter().map(|(t, ..)| t).collect::<Vec<_>>());
            y.check(be, &format!("lookup_fields, {count} fields of {width}"), |i, j| {
                let of = fields.iter().find(|(.., column)| (*column..column + width).contains(&j));
                let roundings = of.map_or(0, |(t, ..)| t.roundings());
                2.0 * roundings as f64 * unit::<B>() * size.at(i, j)
            });
        }
    }
}

pub(super) fn lookup_sum<B: Backend>(be: &B) {
    let rng = &mut Rng::new(95);
    for (rows, width, count) in
        [(0, 3, 2), (1, 1, 1), (5, 4, 0), (33, 16, 7), (7, 5, 40), (65, 9, 16), (4, 300, 17), (2, 128, 3)]
    {
        for (view, first, relu, biased) in
            [(View::Dense, 0, false, true), (View::Inside, 3, true, true), (View::Inside, 1, true, false)]
        {
            let terms: Vec<_> = (0..count)
                .map(|term| {
                    let table = TablePair::<B>::random(be, width, TableDtype::ALL[term % 3], rng);
                    let mut at = vec![u32::MAX; first];
                    at.extend((0..rows).map(|_| id(rng)));
                    (table, ids(be, &at), at)
                })
                .collect();
            let mut y = Pair::<B>::output(be, view, rows, width, Write::Set, rng);
            let mut scratch = Pair::<B>::output(be, View::Inside, rows, width, Write::Set, rng);
            let bias = Pair::<B>::random(be, View::Inside, 1, width, rng);
            let then = Epilogue { bias: biased.then(|| bias.mat()), relu };
            let of_terms = terms.iter().map(|(table, ids, _)| (&table.dev, ids));
            be.lookup_sum(y.mat_mut(), of_terms, scratch.mat_mut(), first, then);
            let on_host = |y: &mut Host, tables: &[&TablePair<B>], bias: &Host, relu| {
                let mut scratch = y.clone();
                let then = Epilogue { bias: biased.then(|| bias.mat()), relu };
                let terms = tables.iter().zip(&terms).map(|(table, (_, _, ids))| (&table.host, ids));
                oracle().lookup_sum(y.mat_mut(), terms, scratch.mat_mut(), first, then);
            };
            let mut size = y.host.clone();
            let sizes: Vec<_> = terms.iter().map(|(table, ..)| table.abs(be)).collect();
            on_host(&mut size, &sizes.iter().collect::<Vec<_>>(), &bias.host.abs(), false);
            on_host(
                &mut y.host,
                &terms.iter().map(|(table, ..)| table).collect::<Vec<_>>(),
                &bias.host,
                relu,
            );
            y.check(be, &format!("lookup_sum, {count} terms of {width}"), product::<B>(&size, count + 1));
        }
    }
    // A ReLU leaves NaN as it is, so that a row that is none is seen.
    let table = TablePair::<B>::new(be, 1, 1, TableDtype::F32, |_, _| f64::NAN);
    let (mut y, mut scratch) = (Pair::<B>::column(be, 0, 1, || 0.0), Pair::<B>::column(be, 0, 1, || 0.0));
    let (at, then) = (ids(be, &[0]), Epilogue { bias: None, relu: true });
    be.lookup_sum(y.mat_mut(), std::iter::once((&table.dev, &at)), scratch.mat_mut(), 0, then);
    assert!(y.download(be)[0].is_nan(), "NaN became {}", y.download(be)[0]);
}

pub(super) fn lookup_bags<B: Backend>(be: &B) {
    const LONGEST: usize = 6;
    each_shape(93, |(rows, cols), out, _, rng| {
        use Reading::{Averaged, Plain, Scaled};
        let readings = [(0, Plain), (2, Plain), (0, Scaled), (2, Averaged)];
        for (dtype, (first, reading)) in TableDtype::ALL.into_iter().flat_map(|d| readings.map(|r| (d, r))) {
            let table = Viewed::<B>::random(be, cols, dtype, reading, rng);
            let mut offsets = vec![0];
            for _ in 0..first + rows {
                // One bag in three is empty; ids repeat within a bag.
                let len = if rng.below(3) == 0 { 0 } else { rng.below(LONGEST + 1) };
                offsets.push(offsets[offsets.len() - 1] + len as u32);
            }
            let count = offsets[first + rows] as usize;
            let at: Vec<u32> = (0..count).map(|_| id(rng)).collect();
            let coefs = Pair::<B>::column(be, 0, count, || rng.value());
            let mut y = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
            let (offsets_dev, at_dev) = (ids(be, &offsets), ids(be, &at));
            let bags = Bags { offsets: &offsets_dev, ids: &at_dev, coefs: &coefs.buf };
            be.lookup_bags(y.mat_mut(), table.dev(), bags, first);
            let pooled = |y: &mut Host, table: &Viewed<B>, coefs: &Host| {
                let bags = Bags { offsets: &offsets, ids: &at, coefs: &coefs.data };
                oracle().lookup_bags(y.mat_mut(), table.host(), bags, first);
            };
            let mut size = y.host.clone();
            pooled(&mut size, &table.abs(be), &coefs.host.abs());
            pooled(&mut y.host, &table, &coefs.host);
            let allowed = product::<B>(&size, LONGEST + table.roundings());
            y.check(be, &format!("lookup_bags, {dtype:?}, {reading:?}"), allowed);
        }
    });
}
