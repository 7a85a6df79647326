//! Products of shapes that the conformance suite is too small for: large tiles, parts of k, groups cut into tiles.
//!
//! Operands are small whole numbers, which every precision holds, and so are their sums: results must be equal.

use optmsm_core::backend::{
    Backend, Dense, Elem, Epilogue, Groups, Layout, Mat, MatMut, Memory, Products, Write,
};
use optmsm_core::reference::Reference;
use optmsm_cuda::{Cuda, Precision};
use optmsm_cuda_host::Host;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Group,
    Columns,
    Rows,
}

/// Shapes, and where matrices lie in their buffers: behind `offset` elements, with `gap` after each row.
#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    groups: usize,
    rows: usize,
    outputs: usize,
    inputs: usize,
    layout: Layout,
    offsets: Vec<u32>,
    offset: usize,
    gap: usize,
}

impl Case {
    fn new(kind: Kind, groups: usize, [rows, outputs, inputs]: [usize; 3], layout: Layout) -> Self {
        Self { kind, groups, rows, outputs, inputs, layout, offsets: Vec::new(), offset: 1, gap: 2 }
    }

    fn aligned(self) -> Self {
        Self { offset: 0, gap: 0, ..self }
    }

    fn by<'a, I>(&self, offsets: &'a I) -> Groups<'a, I> {
        match self.kind {
            Kind::Group => Groups::One(self.groups - 1),
            Kind::Columns => Groups::Columns,
            Kind::Rows => Groups::Rows(offsets),
        }
    }

    fn columns(&self) -> usize {
        if self.kind == Kind::Columns { self.groups } else { 1 }
    }
}

/// A matrix of whole numbers inside a buffer of NaN.
struct Matrix<B: Backend> {
    buf: B::Buf,
    len: usize,
    shape: [usize; 4],
}

impl<B: Backend> Matrix<B> {
    fn new(be: &B, case: &Case, rows: usize, cols: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        Self::behind(be, case, 0, rows, cols, value)
    }

    /// With `front` more numbers in the buffer, from `case.offset` on: those of a row behind the last.
    fn behind(
        be: &B,
        case: &Case,
        front: usize,
        rows: usize,
        cols: usize,
        value: impl Fn(usize, usize) -> f64,
    ) -> Self {
        let (offset, stride) = (case.offset + front, cols + case.gap);
        let mut host = vec![B::Elem::of(f64::NAN); offset + rows * stride + 3];
        for j in 0..front {
            host[case.offset + j] = B::Elem::of(value(rows, j));
        }
        for i in 0..rows {
            for j in 0..cols {
                host[offset + i * stride + j] = B::Elem::of(value(i, j));
            }
        }
        let mut buf = be.alloc(host.len()).unwrap();
        be.upload(&mut buf, &host);
        Self { buf, len: host.len(), shape: [offset, rows, cols, stride] }
    }

    fn mat(&self) -> Mat<'_, B::Buf> {
        let [offset, rows, cols, stride] = self.shape;
        Mat { buf: &self.buf, offset, rows, cols, stride }
    }

    fn mat_mut(&mut self) -> MatMut<'_, B::Buf> {
        let [offset, rows, cols, stride] = self.shape;
        MatMut { buf: &mut self.buf, offset, rows, cols, stride }
    }

    fn get(&self, be: &B) -> Vec<f64> {
        let mut host = vec![B::Elem::of(0.0); self.len];
        be.download(&mut host, &self.buf, 0).unwrap();
        host.into_iter().map(Elem::wide).collect()
    }
}

/// −4..=4, without a pattern.
fn whole(salt: usize) -> impl Fn(usize, usize) -> f64 {
    move |i, j| {
        let mut h = (salt as u64) << 48 ^ (i as u64) << 24 ^ j as u64;
        for _ in 0..2 {
            h = (h ^ h >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        ((h >> 40) % 9) as f64 - 4.0
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Linear,
    Dx,
    Dw,
    DwBias,
}

fn run<B: Backend>(be: &B, case: &Case, op: Op, write: Write) -> Vec<f64> {
    let Case { groups, rows, outputs, inputs, layout, .. } = *case;
    let mut at = be.alloc_ids(case.offsets.len().max(1)).unwrap();
    be.upload_ids(&mut at, &case.offsets);
    let out = |rows, cols| match write {
        Write::Set => Matrix::new(be, case, rows, cols, |_, _| f64::NAN),
        Write::Add => Matrix::new(be, case, rows, cols, whole(4)),
    };
    let x = || Matrix::new(be, case, rows, case.columns() * inputs, whole(1));
    let d_y = || Matrix::new(be, case, rows, case.columns() * outputs, whole(2));
    let (height, width) = if layout == Layout::OutIn { (outputs, inputs) } else { (inputs, outputs) };
    let w = Matrix::new(be, case, groups * height, width, whole(3));
    let mut packed = be.alloc_packed(groups, outputs, inputs, Products::Both).unwrap();
    be.pack(&mut packed, w.mat(), layout);
    let mut result;
    match op {
        Op::Linear => {
            result = Matrix::new(be, case, rows, case.columns() * outputs, |_, _| f64::NAN);
            let bias = Matrix::new(be, case, groups, outputs, whole(5));
            let then = Epilogue { bias: Some(bias.mat()), relu: write == Write::Set };
            be.linear(result.mat_mut(), x().mat(), &packed, case.by(&at), then);
        }
        Op::Dx => {
            result = out(rows, case.columns() * inputs);
            let x = x();
            let mask = (write == Write::Add).then(|| x.mat());
            be.linear_dx(result.mat_mut(), write, d_y().mat(), &packed, case.by(&at), mask);
        }
        Op::Dw => {
            let groups = if case.kind == Kind::Group { 1 } else { groups };
            result = out(groups * outputs, inputs);
            be.linear_dw(result.mat_mut(), write, d_y().mat(), x().mat(), case.by(&at));
        }
        Op::DwBias => {
            let groups = if case.kind == Kind::Group { 1 } else { groups };
            let start = |i: usize, j: usize| if write == Write::Set { f64::NAN } else { whole(4)(i, j) };
            // In front of the weights, as it may be.
            let front = case.columns() * outputs;
            result = Matrix::behind(be, case, front, groups * outputs, inputs, start);
            be.linear_dw_bias(result.mat_mut(), case.offset, write, d_y().mat(), x().mat(), case.by(&at));
        }
    }
    result.get(be)
}

/// Compares with the reference, and says which kernels ran.
fn check(case: &Case, op: Op, write: Write, kernels: &[&str]) {
    let want = run(&Reference::<f64>::new(), case, op, write);
    for precision in Precision::ALL {
        let Some(be) = optmsm_cuda_host::cuda(precision, 3) else { return };
        let got = run(&be, case, op, write);
        let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
        let off = got.iter().zip(&want).position(|(&a, &b)| !same(a, b));
        assert!(off.is_none(), "{op:?} {write:?} {precision:?} {case:?}: element {off:?}");
        for kernel in kernels {
            let name = format!("{kernel}_{}", precision.name());
            let launched = be.device().launched();
            assert!(launched.contains(name.as_str()), "{op:?} {case:?} ran {launched:?}, not {name}");
        }
    }
}

// As many groups as make large tiles fill a GPU.
const MANY: usize = 132;

#[test]
fn large_tiles_of_both_layouts() {
    let case = Case::new(Kind::Columns, MANY, [70, 97, 34], Layout::OutIn);
    check(&case, Op::Linear, Write::Set, &["gemm_nt_128"]);
    let case = Case::new(Kind::Columns, MANY, [97, 100, 20], Layout::InOut).aligned();
    check(&case, Op::Linear, Write::Add, &["gemm_nn_128"]);
    let case = Case::new(Kind::Columns, MANY, [100, 20, 128], Layout::OutIn).aligned();
    check(&case, Op::Dx, Write::Add, &["gemm_nn_128"]);
}

#[test]
fn large_tiles_of_gradients() {
    let case = Case::new(Kind::Columns, MANY, [40, 97, 100], Layout::OutIn);
    check(&case, Op::Dw, Write::Add, &["gemm_tn_128"]);
    check(&case.clone().aligned(), Op::Dw, Write::Set, &["gemm_tn_128"]);
    check(&case, Op::DwBias, Write::Set, &["gemm_tn_128"]);
    // Two tiles by two: a bias is added once.
    let case = Case::new(Kind::Columns, MANY / 4, [40, 225, 250], Layout::OutIn);
    check(&case, Op::DwBias, Write::Add, &["gemm_tn_128"]);
}

#[test]
fn large_tiles_never_cross_a_group() {
    let rows = 130 * 128;
    let mut case = Case::new(Kind::Rows, 4, [rows, 97, 12], Layout::OutIn);
    case.offsets = vec![0, 129, 129, 9000, rows as u32];
    check(&case, Op::Linear, Write::Set, &["gemm_nt_128"]);
}

/// Seven stages go through three places.
#[test]
fn long_sums() {
    for layout in [Layout::OutIn, Layout::InOut] {
        for case in [
            Case::new(Kind::Group, 2, [130, 70, 197], layout),
            Case::new(Kind::Columns, 2, [64, 64, 224], layout).aligned(),
        ] {
            check(&case, Op::Linear, Write::Set, &[]);
            check(&case, Op::Dw, Write::Add, &[]);
            let case = Case { outputs: case.inputs, inputs: case.outputs, ..case };
            check(&case, Op::Dx, Write::Set, &[]);
        }
    }
}

#[test]
fn parts_of_k_are_added() {
    for kind in [Kind::Group, Kind::Columns, Kind::Rows] {
        let mut case = Case::new(kind, 3, [1100, 33, 12], Layout::OutIn);
        case.offsets = vec![0, 257, 257, 1100];
        check(&case, Op::Dw, Write::Set, &["gemm_tn_64", "gemm_sum"]);
        check(&case.clone().aligned(), Op::Dw, Write::Add, &["gemm_tn_64", "gemm_sum"]);
        if kind != Kind::Rows {
            check(&case, Op::DwBias, Write::Add, &["gemm_tn_64", "gemm_sum"]);
            let tiles = Case { outputs: 130, inputs: 70, ..case.clone() };
            check(&tiles, Op::DwBias, Write::Set, &["gemm_tn_64", "gemm_sum"]);
            check(&tiles.aligned(), Op::DwBias, Write::Add, &["gemm_tn_64", "gemm_sum"]);
        }
        // Here k is `outputs`.
        let mut case = Case { rows: 70, outputs: 1040, offsets: vec![0, 1, 1, 70], ..case };
        check(&case, Op::Dx, Write::Set, &["gemm_nn_64", "gemm_sum"]);
        case.layout = Layout::InOut;
        check(&case, Op::Dx, Write::Add, &["gemm_nt_64", "gemm_sum"]);
    }
}

/// Fifty parts, the last one short.
#[test]
fn a_bias_of_many_rows() {
    let case = Case::new(Kind::Group, 1, [50 * 256 + 77, 33, 12], Layout::OutIn);
    check(&case, Op::DwBias, Write::Set, &["gemm_tn_64", "gemm_sum"]);
}

/// More groups than a warp has lanes, most of them empty.
#[test]
fn many_groups() {
    let mut case = Case::new(Kind::Rows, 100, [300, 5, 9], Layout::OutIn);
    case.offsets = (0..=100)
        .map(|g| {
            if g < 40 {
                0
            } else if g < 71 {
                7
            } else {
                10 * (g - 70)
            }
        })
        .collect();
    for op in [Op::Linear, Op::Dx, Op::Dw] {
        check(&case, op, Write::Set, &[]);
    }
}

/// Large and small tiles give a row the same bits.
#[test]
fn tiles_add_in_one_order() {
    let (rows, outputs, inputs) = (MANY * 128, 97, 77);
    let number = |salt| {
        let whole = whole(salt);
        move |i: usize, j: usize| whole(i, j) * 0.37 + whole(j, i + 1) * 0.011
    };
    for precision in Precision::ALL {
        let rows_of = |rows: usize, large: bool| -> Option<Vec<f64>> {
            let be: Cuda<Host> = optmsm_cuda_host::cuda(precision, 7)?;
            let case = Case::new(Kind::Group, 1, [rows, outputs, inputs], Layout::OutIn).aligned();
            let x = Matrix::new(&be, &case, rows, inputs, number(1));
            let w = Matrix::new(&be, &case, outputs, inputs, number(2));
            let mut y = Matrix::new(&be, &case, rows, outputs, |_, _| f64::NAN);
            let mut packed = be.alloc_packed(1, outputs, inputs, Products::Forward).unwrap();
            be.pack(&mut packed, w.mat(), Layout::OutIn);
            be.linear(y.mat_mut(), x.mat(), &packed, Groups::One(0), Epilogue::NONE);
            let y = y.get(&be);
            let kernel = format!("gemm_nt_{}_{}", if large { 128 } else { 64 }, precision.name());
            assert!(be.device().launched().contains(kernel.as_str()), "{kernel}");
            Some(y)
        };
        let (Some(all), Some(few)) = (rows_of(rows, true), rows_of(70, false)) else { return };
        let few = &few[..70 * outputs];
        assert!(few.iter().all(|v| v.is_finite()));
        assert!(all[..few.len()] == *few, "{precision:?}");
    }
}
