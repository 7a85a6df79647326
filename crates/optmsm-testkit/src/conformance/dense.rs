//! Products with packed weights, and sums by column.

use optmsm_core::backend::{Backend, Dense, Epilogue, Groups, Layout, Mat, MatMut, Memory, Products, Write};

use super::matrix::*;
use crate::bounded::Bounded;
use crate::rng::Rng;

/// Around the tiles of every kernel: 4 to 16 rows, 4 to 64 columns.
const ROWS: [usize; 9] = [0, 1, 3, 6, 8, 9, 14, 17, 70];

const WIDTHS: [usize; 12] = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65];

const DEPTHS: [usize; 8] = [0, 1, 2, 5, 31, 32, 33, 70];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Group,
    Columns,
    Rows,
}

/// One product's shape and variant.
#[derive(Debug)]
struct Shape {
    rows: usize,
    outputs: usize,
    inputs: usize,
    kind: Kind,
    groups: usize,
    offsets: Vec<u32>,
    layout: Layout,
}

impl Shape {
    /// Columns of `x` and of `y`.
    fn widths(&self) -> (usize, usize) {
        let times = if let Kind::Columns = self.kind { self.groups } else { 1 };
        (times * self.inputs, times * self.outputs)
    }

    fn by<'a, I>(&self, offsets: &'a I) -> Groups<'a, I> {
        match self.kind {
            Kind::Group => Groups::One(self.groups - 1),
            Kind::Columns => Groups::Columns,
            Kind::Rows => Groups::Rows(offsets),
        }
    }

    fn weights<B: Backend>(&self, be: &B, rng: &mut Rng) -> (Pair<B>, B::Packed) {
        let (rows, cols) = match self.layout {
            Layout::OutIn => (self.groups * self.outputs, self.inputs),
            Layout::InOut => (self.groups * self.inputs, self.outputs),
        };
        let w = Pair::<B>::random(be, rng.pick(&VIEWS), rows, cols, rng);
        let mut packed = be
            .alloc_packed(self.groups, self.outputs, self.inputs, Products::Both)
            .expect("memory for a test");
        // Packing twice must leave nothing of the first.
        let other = Pair::<B>::random(be, View::Dense, rows, cols, rng);
        be.pack(&mut packed, other.mat(), self.layout);
        be.pack(&mut packed, w.mat(), self.layout);
        (w, packed)
    }

    fn reference_weights(&self, w: Mat<Vec<f64>>) -> optmsm_core::reference::Packed<f64> {
        let mut packed =
            oracle().alloc_packed(self.groups, self.outputs, self.inputs, Products::Both).expect("memory");
        oracle().pack(&mut packed, w, self.layout);
        packed
    }
}

/// Elements of a page: rows so far apart fall into one cache set, and kernels may copy them.
const PAGE: usize = 1024;

fn a_page_apart(outputs: usize, inputs: usize) -> Shape {
    let (rows, kind, layout) = (50, Kind::Group, Layout::OutIn);
    Shape { rows, outputs, inputs, kind, groups: 1, offsets: vec![0, 50], layout }
}

fn each_shape(seed: u64, mut f: impl FnMut(&Shape, &mut Rng)) {
    let mut rng = Rng::new(seed);
    for rows in ROWS {
        for outputs in WIDTHS {
            for kind in [Kind::Group, Kind::Columns, Kind::Rows] {
                let groups = 1 + rng.below(4);
                let shape = Shape {
                    rows,
                    outputs,
                    inputs: rng.pick(&DEPTHS),
                    kind,
                    groups,
                    offsets: offsets(groups, rows, &mut rng),
                    layout: rng.pick(&[Layout::OutIn, Layout::InOut]),
                };
                f(&shape, &mut rng);
            }
        }
    }
}

pub(super) fn linear<B: Backend>(be: &B) {
    let check = |s: &Shape, rng: &mut Rng| {
        let (wide_in, wide_out) = s.widths();
        let (w, packed) = s.weights(be, rng);
        let x = Pair::<B>::random(be, rng.pick(&VIEWS), s.rows, wide_in, rng);
        let mut y = Pair::<B>::output(be, rng.pick(&VIEWS), s.rows, wide_out, Write::Set, rng);
        let bias = Pair::<B>::random(be, rng.pick(&VIEWS), s.groups, s.outputs, rng);
        let with = rng.pick(&[true, false]);
        let relu = rng.pick(&[true, false]);
        let at = ids(be, &s.offsets);

        be.linear(
            y.mat_mut(),
            x.mat(),
            &packed,
            s.by(&at),
            Epilogue { bias: with.then(|| bias.mat()), relu },
        );
        let product_of = |y: &mut Host, x: &Host, w: &Host, bias: &Host, relu: bool| {
            let then = Epilogue { bias: with.then(|| bias.mat()), relu };
            oracle().linear(y.mat_mut(), x.mat(), &s.reference_weights(w.mat()), s.by(&s.offsets), then);
        };
        let mut size = y.host.clone();
        product_of(&mut size, &x.host.abs(), &w.host.abs(), &bias.host.abs(), false);
        product_of(&mut y.host, &x.host, &w.host, &bias.host, relu);
        y.check(
            be,
            &format!("linear, {s:?}, bias {with}, relu {relu}"),
            rounded_product(be, &size, s.inputs + 1),
        );
    };
    each_shape(11, check);
    check(&a_page_apart(130, PAGE), &mut Rng::new(15));
}

pub(super) fn linear_dx<B: Backend>(be: &B) {
    let check = |s: &Shape, rng: &mut Rng| {
        let (wide_in, wide_out) = s.widths();
        let (w, packed) = s.weights(be, rng);
        let write = rng.pick(&WRITES);
        let d_y = Pair::<B>::random(be, rng.pick(&VIEWS), s.rows, wide_out, rng);
        let mut d_x = Pair::<B>::output(be, rng.pick(&VIEWS), s.rows, wide_in, write, rng);
        // Half of it above 0; zeros and NaN among the rest.
        let x = Pair::<B>::new(be, rng.pick(&VIEWS), s.rows, wide_in, |i, j| match (i + j) % 5 {
            0 => 0.0,
            1 if i % 3 == 0 => f64::NAN,
            _ => rng.value(),
        });
        let mask = rng.pick(&[true, false]);
        let at = ids(be, &s.offsets);

        be.linear_dx(d_x.mat_mut(), write, d_y.mat(), &packed, s.by(&at), mask.then(|| x.mat()));
        let product_of = |d_x: &mut Host, d_y: &Host, w: &Host| {
            let (w, x) = (s.reference_weights(w.mat()), mask.then(|| x.host.mat()));
            oracle().linear_dx(d_x.mat_mut(), write, d_y.mat(), &w, s.by(&s.offsets), x);
        };
        let mut size = d_x.host.abs();
        product_of(&mut size, &d_y.host.abs(), &w.host.abs());
        product_of(&mut d_x.host, &d_y.host, &w.host);
        d_x.check(
            be,
            &format!("linear_dx, {write:?}, mask {mask}, {s:?}"),
            rounded_product(be, &size, s.outputs + 1),
        );
    };
    // Here the depth is `outputs`, so inputs and outputs change places.
    each_shape(12, |s, rng| {
        check(&Shape { outputs: s.inputs, inputs: s.outputs, offsets: s.offsets.clone(), ..*s }, rng);
    });
    check(&a_page_apart(PAGE, 130), &mut Rng::new(16));
}

pub(super) fn linear_dw<B: Backend>(be: &B) {
    let check = |s: &Shape, rng: &mut Rng| {
        let (wide_in, wide_out) = s.widths();
        let write = rng.pick(&WRITES);
        let x = Pair::<B>::random(be, rng.pick(&VIEWS), s.rows, wide_in, rng);
        let d_y = Pair::<B>::random(be, rng.pick(&VIEWS), s.rows, wide_out, rng);
        let groups = if let Kind::Group = s.kind { 1 } else { s.groups };
        let mut d_w = Pair::<B>::output(be, rng.pick(&VIEWS), groups * s.outputs, s.inputs, write, rng);
        let at = ids(be, &s.offsets);

        be.linear_dw(d_w.mat_mut(), write, d_y.mat(), x.mat(), s.by(&at));
        let product_of = |d_w: &mut Host, d_y: &Host, x: &Host| {
            oracle().linear_dw(d_w.mat_mut(), write, d_y.mat(), x.mat(), s.by(&s.offsets));
        };
        let mut size = d_w.host.abs();
        product_of(&mut size, &d_y.host.abs(), &x.host.abs());
        product_of(&mut d_w.host, &d_y.host, &x.host);
        d_w.check(be, &format!("linear_dw, {write:?}, {s:?}"), rounded_product(be, &size, s.rows + 1));
    };
    each_reduction(13, check);
}

/// Shapes of products that sum over rows.
fn each_reduction(seed: u64, mut check: impl FnMut(&Shape, &mut Rng)) {
    each_shape(seed, |s, rng| {
        // Without inputs there is no d_w, and its shape could not tell the number of groups.
        let s = &Shape { inputs: s.inputs.max(1), offsets: s.offsets.clone(), ..*s };
        check(s, rng);
    });
    // More rows than any blocking of the reduction.
    for kind in [Kind::Group, Kind::Columns, Kind::Rows] {
        let offsets = vec![0, 1, 1, 700];
        let layout = Layout::OutIn;
        check(
            &Shape { rows: 700, outputs: 9, inputs: 33, kind, groups: 3, offsets, layout },
            &mut Rng::new(seed + 1),
        );
    }
}

pub(super) fn linear_dw_bias<B: Backend>(be: &B) {
    each_reduction(17, |s, rng| {
        let groups = match s.kind {
            Kind::Group => 1,
            Kind::Columns => s.groups,
            Kind::Rows => return,
        };
        let (wide_in, wide_out) = s.widths();
        let write = rng.pick(&WRITES);
        let x = Pair::<B>::random(be, rng.pick(&VIEWS), s.rows, wide_in, rng);
        let d_y = Pair::<B>::random(be, rng.pick(&VIEWS), s.rows, wide_out, rng);
        // One buffer: d_w, a gap, d_b. Each is checked in a row of its own.
        let (outputs, len) = (groups * s.outputs, groups * s.outputs * s.inputs);
        let first = rng.pick(&[0, 3]);
        let d_b = first + len + rng.pick(&[0, 16]);
        let inside = |j: usize| (first..first + len).contains(&j) || j >= d_b;
        let mut grads = Pair::<B>::new(be, View::Dense, 1, d_b + wide_out, |_, j| {
            if write == Write::Set && inside(j) { f64::NAN } else { rng.value() }
        });
        let at = ids(be, &s.offsets);

        let d_w =
            MatMut { buf: &mut grads.buf, offset: first, rows: outputs, cols: s.inputs, stride: s.inputs };
        be.linear_dw_bias(d_w, d_b, write, d_y.mat(), x.mat(), s.by(&at));
        let product_of = |grads: &mut Host, d_y: &Host, x: &Host| {
            let (rows, cols) = (outputs, s.inputs);
            let d_w = MatMut { buf: &mut grads.data, offset: first, rows, cols, stride: cols };
            oracle().linear_dw_bias(d_w, d_b, write, d_y.mat(), x.mat(), s.by(&s.offsets));
        };
        let mut size = grads.host.abs();
        product_of(&mut size, &d_y.host.abs(), &x.host.abs());
        product_of(&mut grads.host, &d_y.host, &x.host);
        let (weight, bias) = (rounded_product(be, &size, s.rows + 1), product::<B>(&size, s.rows));
        grads.check(be, &format!("linear_dw_bias, {write:?}, {s:?}"), |i, j| match j {
            _ if !inside(j) => 0.0,
            _ if j >= d_b => bias(i, j),
            _ => weight(i, j),
        });
    });
}

pub(super) fn col_sum<B: Backend>(be: &B) {
    super::elementwise::each_shape(24, |(rows, cols), out, view, rng| {
        for write in WRITES {
            for groups in [0, 1, 2, 4] {
                let x = Pair::<B>::random(be, view, rows, cols, rng);
                let offsets = offsets(groups.max(1), rows, rng);
                let at = ids(be, &offsets);
                let mut sum = Pair::<B>::output(be, out, groups.max(1), cols, write, rng);
                let by_rows = groups > 0;
                be.col_sum(
                    sum.mat_mut(),
                    write,
                    x.mat(),
                    if by_rows { Groups::Rows(&at) } else { Groups::One(0) },
                );
                let sums_of = |sum: &mut Host, x: &Host| {
                    let by = if by_rows { Groups::Rows(&offsets) } else { Groups::One(0) };
                    oracle().col_sum(sum.mat_mut(), write, x.mat(), by);
                };
                let mut size = sum.host.abs();
                sums_of(&mut size, &x.host.abs());
                sums_of(&mut sum.host, &x.host);
                sum.check(be, &format!("col_sum, {groups} groups, {write:?}"), product::<B>(&size, rows));
            }
        }
    });
}

pub(super) fn col_dot<B: Backend>(be: &B) {
    let u = unit::<B>();
    super::elementwise::each_shape(35, |(rows, cols), out, view, rng| {
        for (write, groups) in WRITES.into_iter().flat_map(|write| [0, 1, 2, 4].map(|n| (write, n))) {
            let x = Pair::<B>::random(be, view, rows, cols, rng);
            let y = Pair::<B>::random(be, rng.pick(&VIEWS), rows, cols, rng);
            let offsets = offsets(groups.max(1), rows, rng);
            let at = ids(be, &offsets);
            let by = if groups > 0 { Groups::Rows(&at) } else { Groups::One(0) };
            let mut sum = Pair::<B>::output(be, out, groups.max(1), cols, write, rng);
            let before = sum.host.clone();
            be.col_dot(sum.mat_mut(), write, x.mat(), y.mat(), by);
            let by = if groups > 0 { Groups::Rows(&offsets) } else { Groups::One(0) };
            oracle().col_dot(sum.host.mat_mut(), write, x.host.mat(), y.host.mat(), by);
            sum.check(be, &format!("col_dot, {groups} groups, {write:?}"), |g, j| {
                let rows = offsets[g] as usize..offsets[g + 1] as usize;
                let exact = |m: &Host, b: usize| Bounded::exact(m.at(b, j), u);
                let mut terms: Vec<_> = rows.map(|b| exact(&x.host, b) * exact(&y.host, b)).collect();
                terms.extend((write == Write::Add).then(|| exact(&before, g)));
                defined(&sum.host, g, j, Bounded::sum(&terms, u))
            });
        }
    });
}
