//! Operations row by row: embedding, gate, penalty, loss, updates.

use optmsm_core::backend::{Backend, Bags, Dropout, Segments, Write};

use crate::bench::{Pair, U, ids, numbers, reference};

/// A dozen roundings of numbers up to 1 a term; sums have up to 64 terms.
const BOUND: f64 = 12.0 * 64.0 * U;

const WRITES: [Write; 2] = [Write::Set, Write::Add];

fn start<B: Backend>(be: &B, write: Write, rows: usize, cols: usize) -> Pair<B> {
    match write {
        Write::Set => Pair::unset(be, rows, cols),
        Write::Add => Pair::random(be, rows, cols, "start"),
    }
}

/// `fill`, `copy`, `relu`, `relu_bwd`, `row_scale`, `row_dot`.
pub fn elementwise<B: Backend>(be: &B) {
    let host = reference();
    for (n, c) in [(0, 3), (1, 1), (5, 17), (9, 64)] {
        let (x, y, s) =
            (Pair::random(be, n, c, "x"), Pair::random(be, n, c, "y"), Pair::random(be, n, 1, "s"));
        let mut out = Pair::unset(be, n, c);
        let (to, to_host) = out.muts();
        be.fill(to, 0.25);
        host.fill(to_host, 0.25);
        out.compare(be, "fill", 0.0);
        for write in WRITES {
            let mut out = start(be, write, n, c);
            let (to, to_host) = out.muts();
            be.copy(to, write, x.mats().0);
            host.copy(to_host, write, x.mats().1);
            out.compare(be, "copy", BOUND);
            let mut out = start(be, write, n, c);
            let (to, to_host) = out.muts();
            be.row_scale(to, write, s.mats().0, x.mats().0);
            host.row_scale(to_host, write, s.mats().1, x.mats().1);
            out.compare(be, "row_scale", BOUND);
            let mut out = start(be, write, n, 1);
            let (to, to_host) = out.muts();
            be.row_dot(to, write, x.mats().0, y.mats().0);
            host.row_dot(to_host, write, x.mats().1, y.mats().1);
            out.compare(be, "row_dot", BOUND);
        }
        let mut r = Pair::random(be, n, c, "r");
        let (to, to_host) = r.muts();
        be.relu(to);
        host.relu(to_host);
        r.compare(be, "relu", 0.0);
        let mut d = Pair::random(be, n, c, "d");
        let (to, to_host) = d.muts();
        be.relu_bwd(to, r.mats().0);
        host.relu_bwd(to_host, r.mats().1);
        d.compare(be, "relu_bwd", 0.0);
    }
}

/// `dropout`: the same mask, and not the order of rows.
pub fn dropout<B: Backend>(be: &B) {
    let host = reference();
    let drop = Dropout { p: 0.3, seed: 0x1234_5678_9abc, step: 7, site: 3 };
    let rows = [9, 9, 4, 0, 77, 2];
    for c in [1, 3, 4, 5, 33] {
        let mut x = Pair::random(be, 4, c, "x");
        let device_rows = ids(be, &rows);
        let (to, to_host) = x.muts();
        be.dropout(to, &drop, &device_rows, 1);
        host.dropout(to_host, &drop, &rows.to_vec(), 1);
        x.compare(be, "dropout", BOUND);
    }
}

/// `gather_rows`, `gather_bags`, `numeric_embed` and its backward, `reduce_rows`.
pub fn embedding<B: Backend>(be: &B) {
    let host = reference();
    for width in [1, 3, 16, 33] {
        let table = Pair::random(be, 6, width, "table");
        let picked = vec![5, 0, 0, 3, 5];
        let device_picked = ids(be, &picked);
        let mut out = Pair::unset(be, 4, width);
        let (to, to_host) = out.muts();
        be.gather_rows(to, table.mats().0, &device_picked, 1);
        host.gather_rows(to_host, table.mats().1, &picked, 1);
        out.compare(be, "gather_rows", 0.0);

        // Row 1 has an empty bag, row 2 the same id twice.
        let (offsets, coefs) = (vec![0, 1, 1, 4, 5], vec![0.5, 1.0, -0.25, 2.0, 0.125]);
        let (device_offsets, device_coefs) = (ids(be, &offsets), numbers(be, &coefs));
        let mut out = Pair::unset(be, 3, width);
        let (to, to_host) = out.muts();
        let bags = Bags { offsets: &device_offsets, ids: &device_picked, coefs: &device_coefs };
        be.gather_bags(to, table.mats().0, bags, 1);
        let bags = Bags { offsets: &offsets, ids: &picked, coefs: &coefs };
        host.gather_bags(to_host, table.mats().1, bags, 1);
        out.compare(be, "gather_bags", BOUND);

        let w = Pair::random(be, 1, width, "w");
        let mut out = Pair::unset(be, 4, width);
        let (to, to_host) = out.muts();
        be.numeric_embed(to, w.mats().0, &device_coefs, 1);
        host.numeric_embed(to_host, w.mats().1, &coefs, 1);
        out.compare(be, "numeric_embed", BOUND);
        for write in WRITES {
            let d = Pair::random(be, 4, width, "d");
            let mut d_w = start(be, write, 1, width);
            let (to, to_host) = d_w.muts();
            be.numeric_embed_bwd(to, write, d.mats().0, &device_coefs, 1);
            host.numeric_embed_bwd(to_host, write, d.mats().1, &coefs, 1);
            d_w.compare(be, "numeric_embed_bwd", BOUND);
        }

        // Two lanes of three rows; id 1 of the two unique ones occurs in both, twice in row 4.
        let lanes = [Pair::random(be, 3, width, "lane 0"), Pair::random(be, 3, width, "lane 1")];
        let (starts, at) = (vec![0, 1, 5], vec![2, 0, 4, 4, 5]);
        for weighted in [false, true] {
            let (mut g, mut g_host) = (be.alloc(2 * width).expect("memory"), vec![f64::NAN; 2 * width]);
            let (device_starts, device_at) = (ids(be, &starts), ids(be, &at));
            let segments = Segments {
                count: 2,
                starts: &device_starts,
                rows: &device_at,
                coefs: weighted.then_some(&device_coefs),
            };
            let to = optmsm_core::backend::MatMut::new(&mut g, 2, width);
            be.reduce_rows(to, segments, 3, |lane| lanes[lane].mats().0);
            let segments =
                Segments { count: 2, starts: &starts, rows: &at, coefs: weighted.then_some(&coefs) };
            let to = optmsm_core::backend::MatMut::new(&mut g_host, 2, width);
            host.reduce_rows(to, segments, 3, |lane| lanes[lane].mats().1);
            let mut got = vec![Default::default(); 2 * width];
            be.download(&mut got, &g, 0).expect("download");
            for (got, want) in got.iter().map(|&v| optmsm_core::backend::Elem::wide(v)).zip(&g_host) {
                assert!((got - want).abs() <= BOUND, "reduce_rows on {}: {got} against {want}", be.name());
            }
        }
    }
}

/// Softmax, mix, select, penalty, loss, for K = 1…8.
pub fn gate_penalty_loss<B: Backend>(be: &B) {
    let host = reference();
    let n = 7;
    for (k, m) in (1..=8).flat_map(|k| [1, 5, 16].map(|m| (k, m))) {
        let logits = Pair::random(be, n, k, "logits");
        let mut alpha = Pair::unset(be, n, k);
        let (to, to_host) = alpha.muts();
        be.softmax(to, logits.mats().0);
        host.softmax(to_host, logits.mats().1);
        alpha.compare(be, "softmax", BOUND);
        let d_alpha = Pair::random(be, n, k, "d_alpha");
        let mut d_logits = Pair::unset(be, n, k);
        let (to, to_host) = d_logits.muts();
        be.softmax_bwd(to, d_alpha.mats().0, alpha.mats().0);
        host.softmax_bwd(to_host, d_alpha.mats().1, alpha.mats().1);
        d_logits.compare(be, "softmax_bwd", BOUND);

        // Row 2 has an expert that is exactly zero.
        let noise = Pair::<B>::random(be, n, k * m, "e");
        let values: Vec<f64> = (0..n * k * m)
            .map(|i| {
                let (row, col) = (i / (k * m), i % (k * m));
                if row == 2 && col < m {
                    0.0
                } else {
                    noise.host[noise.mats().1.offset + row * noise.mats().1.stride + col]
                }
            })
            .collect();
        let e = Pair::of(be, n, k * m, |i| values[i]);
        let mut mix = Pair::unset(be, n, m);
        let (to, to_host) = mix.muts();
        be.mix(to, alpha.mats().0, e.mats().0);
        host.mix(to_host, alpha.mats().1, e.mats().1);
        mix.compare(be, "mix", BOUND);
        let groups: Vec<u32> = (0..=k as u32).map(|g| g * n as u32 / k as u32).collect();
        let device_groups = ids(be, &groups);
        let (to, to_host) = mix.muts();
        be.select(to, e.mats().0, &device_groups);
        host.select(to_host, e.mats().1, &groups);
        mix.compare(be, "select", 0.0);
        for write in WRITES {
            let (mut d_alpha, mut d_e) = (Pair::unset(be, n, k), start(be, write, n, k * m));
            let d_mix = Pair::random(be, n, m, "d_mix");
            let ((to, to_host), (to_e, to_e_host)) = (d_alpha.muts(), d_e.muts());
            be.mix_bwd(to, to_e, write, d_mix.mats().0, alpha.mats().0, e.mats().0);
            host.mix_bwd(to_host, to_e_host, write, d_mix.mats().1, alpha.mats().1, e.mats().1);
            d_alpha.compare(be, "mix_bwd, d_alpha", BOUND);
            d_e.compare(be, "mix_bwd, d_e", BOUND);
            let mut d_e = start(be, write, n, k * m);
            let (to, to_host) = d_e.muts();
            be.select_bwd(to, write, d_mix.mats().0, &device_groups);
            host.select_bwd(to_host, write, d_mix.mats().1, &groups);
            d_e.compare(be, "select_bwd", BOUND);
        }

        let pairs = k * (k - 1) / 2;
        let (mut inv_norm, mut sums) = (Pair::unset(be, n, k), Pair::of(be, 1, 1 + pairs, |_| 0.5));
        let ((to, to_host), (to_sums, to_sums_host)) = (inv_norm.muts(), sums.muts());
        be.orthogonality(to, to_sums, e.mats().0);
        host.orthogonality(to_host, to_sums_host, e.mats().1);
        // A cosine is m products over two norms, each of relative error m·u.
        sums.compare(be, "orthogonality, sums", 2.0 * BOUND);
        inv_norm.compare(be, "orthogonality, inverse norms", BOUND);
        let mut d_e = Pair::random(be, n, k * m, "d_e");
        let (to, to_host) = d_e.muts();
        be.orthogonality_bwd(to, e.mats().0, inv_norm.mats().0, 0.1);
        host.orthogonality_bwd(to_host, e.mats().1, inv_norm.mats().1, 0.1);
        // Divided by a norm, the smallest of which is the smallest |e| when m = 1.
        let smallest = values.iter().filter(|v| **v != 0.0).fold(1.0, |s: f64, v| s.min(v.abs()));
        d_e.compare(be, "orthogonality_bwd", 4.0 * BOUND / smallest);
    }
    let logits = Pair::of(be, n, 1, |i| [-90.0, -3.0, -0.5, 0.0, 0.5, 3.0, 90.0][i]);
    let (labels, weights) =
        ([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.5, 2.0, 1.0, 1.0, 1.0, 0.25]);
    let (y, w) = (numbers(be, &labels), numbers(be, &weights));
    let (mut d, mut sum) = (Pair::unset(be, n, 1), Pair::of(be, 1, 1, |_| 0.5));
    let ((to, to_host), (to_sum, to_sum_host)) = (d.muts(), sum.muts());
    be.bce_with_logits(to, to_sum, logits.mats().0, &y, &w, 1, 0.2);
    host.bce_with_logits(to_host, to_sum_host, logits.mats().1, &labels.to_vec(), &weights.to_vec(), 1, 0.2);
    d.compare(be, "bce_with_logits, gradient", BOUND);
    sum.compare(be, "bce_with_logits, sum", BOUND);
    let mut p = Pair::unset(be, n, 1);
    let (to, to_host) = p.muts();
    be.sigmoid(to, logits.mats().0);
    host.sigmoid(to_host, logits.mats().1);
    p.compare(be, "sigmoid", BOUND);
}

/// `accumulate` and `sum_sq` on lengths around a task's share; `for_lanes` visits every lane once.
pub fn reductions<B: Backend>(be: &B) {
    let host = reference();
    for len in [0, 1, 1000, 16 * 1024 - 1, 16 * 1024 + 1, 50_000] {
        let x: Vec<f64> = (0..len).map(|i| f64::from(((i * 37 % 101) as f32 - 50.0) / 64.0)).collect();
        let (mut acc, mut acc_host) = (numbers(be, &x), x.clone());
        let device = numbers(be, &x);
        be.accumulate(&mut acc, &device, len);
        host.accumulate(&mut acc_host, &x, len);
        let mut got = vec![Default::default(); len];
        be.download(&mut got, &acc, 0).expect("download");
        assert!(
            got.iter().zip(&acc_host).all(|(&g, &w)| optmsm_core::backend::Elem::wide(g) == w),
            "accumulate"
        );
        for write in WRITES {
            let (mut sum, mut sum_host) = (numbers(be, &[2.0]), vec![2.0]);
            be.sum_sq(&mut sum, write, &device, len);
            host.sum_sq(&mut sum_host, write, &x, len);
            let mut got = [Default::default()];
            be.download(&mut got, &sum, 0).expect("download");
            let off = (optmsm_core::backend::Elem::wide(got[0]) - sum_host[0]).abs();
            // Squares are positive, so the sum is well conditioned: len·u.
            assert!(off <= (len + 2) as f64 * U * sum_host[0].max(1.0), "sum_sq of {len}: off by {off:.1e}");
        }
    }
    let mut lanes = vec![0usize; 13];
    be.for_lanes(&mut lanes, |index, lane| *lane += index + 1);
    assert!(lanes.iter().enumerate().all(|(i, &lane)| lane == i + 1), "for_lanes: {lanes:?}");
}
