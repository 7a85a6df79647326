//! Matrices that exist twice: on the backend under test, and in `f64` for the reference.

use optmsm_core::backend::{Backend, Elem, Mat, MatMut, Write};
use optmsm_core::reference::Reference;

use crate::bounded::Bounded;
use crate::rng::Rng;

/// Both modes of writing.
pub(super) const WRITES: [Write; 2] = [Write::Set, Write::Add];

/// Where a matrix lies in its buffer; around it is NaN, which must be neither read nor overwritten.
#[derive(Clone, Copy, Debug)]
pub(super) enum View {
    /// At the start, rows one after the other.
    Dense,
    /// Behind an offset, with a gap after each row.
    Inside,
}

pub(super) const VIEWS: [View; 2] = [View::Dense, View::Inside];

/// Unit roundoff of a backend's element type.
pub(super) fn unit<B: Backend>() -> f64 {
    <B::Elem as num_traits::Float>::epsilon().wide() / 2.0
}

/// Largest loss to underflow.
pub(super) fn tiny<B: Backend>() -> f64 {
    <B::Elem as num_traits::Float>::min_positive_value().wide()
}

/// The oracle.
pub(super) fn oracle() -> Reference<f64> {
    Reference::new()
}

/// A matrix in `f64` inside a larger buffer.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) data: Vec<f64>,
    offset: usize,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Host {
    fn new(view: View, rows: usize, cols: usize, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let (offset, stride) = match view {
            View::Dense => (0, cols),
            View::Inside => (5, cols + 3),
        };
        let mut host = Host { data: vec![f64::NAN; offset + rows * stride + 7], offset, rows, cols, stride };
        for i in 0..rows {
            for j in 0..cols {
                host.data[offset + i * stride + j] = value(i, j);
            }
        }
        host
    }

    pub(super) fn mat(&self) -> Mat<'_, Vec<f64>> {
        Mat { buf: &self.data, offset: self.offset, rows: self.rows, cols: self.cols, stride: self.stride }
    }

    pub(super) fn mat_mut(&mut self) -> MatMut<'_, Vec<f64>> {
        MatMut {
            buf: &mut self.data,
            offset: self.offset,
            rows: self.rows,
            cols: self.cols,
            stride: self.stride,
        }
    }

    pub(super) fn at(&self, i: usize, j: usize) -> f64 {
        assert!(i < self.rows && j < self.cols, "({i}, {j}) of {}x{}", self.rows, self.cols);
        self.data[self.offset + i * self.stride + j]
    }

    /// Absolute values: a linear operation on them is the scale of its own rounding errors.
    pub(super) fn abs(&self) -> Self {
        Self { data: self.data.iter().map(|v| v.abs()).collect(), ..self.clone() }
    }
}

/// One matrix in both places.
#[derive(Debug)]
pub(super) struct Pair<B: Backend> {
    pub(super) host: Host,
    pub(super) buf: B::Buf,
}

impl<B: Backend> Pair<B> {
    /// Elements are rounded to the backend's type, so both places start from equal numbers.
    pub(super) fn new(
        be: &B,
        view: View,
        rows: usize,
        cols: usize,
        mut value: impl FnMut(usize, usize) -> f64,
    ) -> Self {
        let host = Host::new(view, rows, cols, |i, j| B::Elem::of(value(i, j)).wide());
        let mut buf = be.alloc(host.data.len()).expect("memory for a test");
        be.upload(&mut buf, &host.data.iter().map(|&v| B::Elem::of(v)).collect::<Vec<_>>());
        Self { host, buf }
    }

    /// Random elements.
    pub(super) fn random(be: &B, view: View, rows: usize, cols: usize, rng: &mut Rng) -> Self {
        Self::new(be, view, rows, cols, |_, _| rng.value())
    }

    /// An output: NaN that [`Write::Set`] must not read, or numbers that [`Write::Add`] adds to.
    pub(super) fn output(be: &B, view: View, rows: usize, cols: usize, write: Write, rng: &mut Rng) -> Self {
        Self::new(be, view, rows, cols, |_, _| if write == Write::Set { f64::NAN } else { rng.value() })
    }

    /// `first` NaN, then `len` elements: a column of the batch from row `first` on.
    pub(super) fn column(be: &B, first: usize, len: usize, mut value: impl FnMut() -> f64) -> Self {
        Self::new(be, View::Dense, 1, first + len, |_, j| if j < first { f64::NAN } else { value() })
    }

    pub(super) fn mat(&self) -> Mat<'_, B::Buf> {
        let Host { offset, rows, cols, stride, .. } = self.host;
        Mat { buf: &self.buf, offset, rows, cols, stride }
    }

    pub(super) fn mat_mut(&mut self) -> MatMut<'_, B::Buf> {
        let Host { offset, rows, cols, stride, .. } = self.host;
        MatMut { buf: &mut self.buf, offset, rows, cols, stride }
    }

    /// The backend's numbers, padding and all.
    pub(super) fn download(&self, be: &B) -> Vec<f64> {
        let mut got = vec![B::Elem::default(); self.host.data.len()];
        be.download(&mut got, &self.buf, 0).expect("download");
        got.into_iter().map(Elem::wide).collect()
    }

    /// Compares with the reference: elements within `tolerance(row, column)`, all else untouched.
    #[track_caller]
    pub(super) fn check(&self, be: &B, what: &str, tolerance: impl Fn(usize, usize) -> f64) {
        let Host { offset, rows, cols, stride, .. } = self.host;
        for (at, (got, &want)) in self.download(be).into_iter().zip(&self.host.data).enumerate() {
            let (i, j) = if at < offset || stride == 0 {
                (usize::MAX, 0)
            } else {
                ((at - offset) / stride, (at - offset) % stride)
            };
            if i >= rows || j >= cols {
                assert!(got.is_nan(), "{what}: {got} was written outside, at {at}");
                continue;
            }
            let allowed = tolerance(i, j);
            assert!(allowed >= 0.0, "{what}: tolerance {allowed} at ({i}, {j})");
            let off = (got - want).abs();
            let same = got == want || (got.is_nan() && want.is_nan());
            assert!(
                same || off <= allowed,
                "{what}: ({i}, {j}) is {got}, not {want}: off by {off:e}, allowed {allowed:e}"
            );
        }
    }

    /// Compares with the reference, where nothing is rounded.
    #[track_caller]
    pub(super) fn check_exact(&self, be: &B, what: &str) {
        self.check(be, what, |_, _| 0.0);
    }
}

/// Sums of `terms` products, when `size` is what the operation gives on absolute values: one rounding for
/// each product and sum, in any order, doubled for the second order.
pub(super) fn product<'a, B: Backend>(size: &'a Host, terms: usize) -> impl Fn(usize, usize) -> f64 + 'a {
    move |i, j| 2.0 * (terms + 1) as f64 * unit::<B>() * size.at(i, j)
}

/// The same where both operands are rounded before they are multiplied, by v relatively: a product is then off by at
/// most (1 + v)² − 1 of its size. The sums of rounded operands are (1 + v)² larger, which the doubling covers.
pub(super) fn rounded_product<'a, B: Backend>(
    be: &B,
    size: &'a Host,
    terms: usize,
) -> impl Fn(usize, usize) -> f64 + 'a {
    let (v, sums) = (be.product_rounding(), product::<B>(size, terms));
    move |i, j| sums(i, j) + (2.0 * v + v * v) * size.at(i, j)
}

/// The tolerance of an element that the reference must have by its definition: `want`, with what may be lost in the backend's type.
#[track_caller]
pub(super) fn defined(reference: &Host, i: usize, j: usize, want: Bounded) -> f64 {
    let (has, off) = (reference.at(i, j), (reference.at(i, j) - want.value).abs());
    // The bound is one of the backend's type; that of f64 is 2⁻²⁹ of it in single precision, the same in double precision.
    let allowed = 2.0 * want.error * (f64::EPSILON / 2.0 / want.unit());
    assert!(off <= allowed, "the reference has {has} at ({i}, {j}), which by definition is {want:?}");
    2.0 * want.error
}

/// Ids on the backend.
pub(super) fn ids<B: Backend>(be: &B, host: &[u32]) -> B::Ids {
    let mut ids = be.alloc_ids(host.len()).expect("memory for a test");
    be.upload_ids(&mut ids, host);
    ids
}

/// Offsets of `groups` groups over `rows` rows, often with empty groups.
pub(super) fn offsets(groups: usize, rows: usize, rng: &mut Rng) -> Vec<u32> {
    let mut cuts: Vec<u32> = (1..groups).map(|_| rng.below(rows + 1) as u32).collect();
    if let [first, second, ..] = cuts[..] {
        // An empty group among them, whatever was drawn.
        cuts[1] = if second > first { first } else { second };
    }
    cuts.sort_unstable();
    [0].into_iter().chain(cuts).chain([rows as u32]).collect()
}
