//! Products and what goes with them.

use optmsm_core::backend::{Backend, Epilogue, Layout, Part, Write};

use crate::bench::{Pair, U, ids, reference};

/// Rows, inputs, outputs: 0, 1, tiles of every kernel ± 1.
const SHAPES: [(usize, usize, usize); 9] = [
    (0, 3, 2),
    (1, 1, 1),
    (1, 7, 33),
    (7, 8, 31),
    (8, 16, 32),
    (9, 17, 15),
    (33, 5, 65),
    (40, 64, 17),
    (13, 130, 9),
];

/// Products of length k of numbers up to 1: 2·k·u·(|A||B|) with |A||B| ≤ k, and a rounding for bias or add.
fn bound(k: usize) -> f64 {
    2.0 * (k * k) as f64 * U + 4.0 * U
}

/// Groups of `rows` rows: the middle one empty.
fn offsets(rows: usize) -> Vec<u32> {
    let cut = (rows / 3) as u32;
    vec![0, cut, cut, rows as u32]
}

/// `linear`, `linear_dx`, `linear_dw` for every part, layout, epilogue and write.
pub fn products<B: Backend>(be: &B) {
    let host = reference();
    for (n, inputs, outputs) in SHAPES {
        for part in 0..3 {
            let groups = 3;
            let wide = if part == 1 { groups } else { 1 };
            let bounds = offsets(n);
            let device_bounds = ids(be, &bounds);
            for layout in [Layout::OutIn, Layout::InOut] {
                let what = format!("{n}x{inputs}x{outputs}, part {part}, {layout:?}");
                let weights = Pair::random(be, 1, groups * outputs * inputs, "weights");
                let (mut w, mut w_host) = (
                    be.alloc_packed(groups, outputs, inputs).expect("memory"),
                    host.alloc_packed(groups, outputs, inputs).expect("memory"),
                );
                let (src, src_host) = weights.mats();
                be.pack(&mut w, src, layout);
                host.pack(&mut w_host, src_host, layout);
                let device_part = match part {
                    0 => Part::Group(2),
                    1 => Part::Columns,
                    _ => Part::Rows(&device_bounds),
                };
                let host_part = match part {
                    0 => Part::Group(2),
                    1 => Part::Columns,
                    _ => Part::Rows(&bounds),
                };
                let x = Pair::random(be, n, wide * inputs, "x");
                let d_y = Pair::random(be, n, wide * outputs, "d_y");
                let bias = Pair::random(be, groups, outputs, "bias");
                for (has_bias, relu) in [(false, false), (true, false), (true, true), (false, true)] {
                    let mut y = Pair::unset(be, n, wide * outputs);
                    let (to, to_host) = y.muts();
                    let (b, b_host) = bias.mats();
                    be.linear(
                        to,
                        x.mats().0,
                        &w,
                        device_part,
                        Epilogue { bias: has_bias.then_some(b), relu },
                    );
                    let then = Epilogue { bias: has_bias.then_some(b_host), relu };
                    host.linear(to_host, x.mats().1, &w_host, host_part, then);
                    y.compare(be, &format!("linear {what}"), bound(inputs));
                }
                for write in [Write::Set, Write::Add] {
                    let start = |rows, cols| match write {
                        Write::Set => Pair::unset(be, rows, cols),
                        Write::Add => Pair::random(be, rows, cols, "start"),
                    };
                    let mut d_x = start(n, wide * inputs);
                    let (to, to_host) = d_x.muts();
                    be.linear_dx(to, write, d_y.mats().0, &w, device_part);
                    host.linear_dx(to_host, write, d_y.mats().1, &w_host, host_part);
                    d_x.compare(be, &format!("linear_dx {what} {write:?}"), bound(outputs));
                    let own = if part == 0 { 1 } else { groups };
                    let mut d_w = start(own * outputs, inputs);
                    let (to, to_host) = d_w.muts();
                    be.linear_dw(to, write, d_y.mats().0, x.mats().0, device_part);
                    host.linear_dw(to_host, write, d_y.mats().1, x.mats().1, host_part);
                    d_w.compare(be, &format!("linear_dw {what} {write:?}"), bound(n));
                    let mut sums = start(if part == 2 { groups } else { 1 }, wide * outputs);
                    let (to, to_host) = sums.muts();
                    let whole = |p| if part == 2 { p } else { Part::Group(0) };
                    be.col_sum(to, write, d_y.mats().0, whole(device_part));
                    let host_whole = if part == 2 { host_part } else { Part::Group(0) };
                    host.col_sum(to_host, write, d_y.mats().1, host_whole);
                    sums.compare(be, &format!("col_sum {what} {write:?}"), bound(n));
                }
            }
        }
    }
}
