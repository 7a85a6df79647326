//! Products with weights (kernels/gemm.cu), and sums by column (kernels/dense.cu).

use optmsm_core::backend::{Dense, Epilogue, Groups, Layout, Write};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::{Kernel, Operands};
use crate::memory::{Buf, Ids, M, MM, Span};
use crate::ops::reduce::by_column;
use crate::ops::rows::expect_shape;

mod product;

pub use product::Packed;
use product::{Job, Operand, Ragged};

impl<D: Device> Dense for Cuda<D> {
    fn pack(&self, dst: &mut Packed<D>, src: M<D>, layout: Layout) {
        dst.view(src, layout);
    }

    fn linear(&self, y: MM<D>, x: M<D>, w: &Packed<D>, by: Groups<Ids<D>>, then: Epilogue<Buf<D>>) {
        let (groups, outputs, inputs) = w.shape();
        let columns = if let Groups::Columns = by { groups } else { 1 };
        assert_eq!((y.rows, y.cols), (x.rows, columns * outputs), "shape of y");
        assert_eq!(x.cols, columns * inputs, "columns of x");
        if let Some(bias) = &then.bias {
            assert_eq!((bias.rows, bias.cols), (groups, outputs), "shape of the bias");
        }
        let (first, count, ragged) = groups_of(by, groups);
        // Zero where rows, not columns, belong to groups.
        let step = |width: usize| if columns == 1 { 0 } else { width };
        Job {
            c: Operand::new(&y.as_mat(), step(outputs)),
            write: Write::Set,
            a: Operand::new(&x, step(inputs)),
            b: w.operand(first, count),
            operands: match w.source().layout {
                Layout::OutIn => Operands::Nt,
                Layout::InOut => Operands::Nn,
            },
            bias: then.bias.map(|bias| Operand::new(&bias.rows(first, count), 0)),
            relu: then.relu,
            mask: None,
            line_sums: None,
            m: x.rows,
            n: outputs,
            k: inputs,
            groups: count,
            ragged,
            // A row's result must not depend on how many rows there are.
            parts: false,
        }
        .run(self);
    }

    fn linear_dx(
        &self,
        d_x: MM<D>,
        write: Write,
        d_y: M<D>,
        w: &Packed<D>,
        by: Groups<Ids<D>>,
        relu: Option<M<D>>,
    ) {
        let (groups, outputs, inputs) = w.shape();
        let columns = if let Groups::Columns = by { groups } else { 1 };
        assert_eq!((d_x.rows, d_x.cols), (d_y.rows, columns * inputs), "shape of d_x");
        assert_eq!(d_y.cols, columns * outputs, "columns of d_y");
        if let Some(x) = &relu {
            assert_eq!((x.rows, x.cols), (d_x.rows, d_x.cols), "shape of x");
        }
        let (first, count, ragged) = groups_of(by, groups);
        let step = |width: usize| if columns == 1 { 0 } else { width };
        Job {
            c: Operand::new(&d_x.as_mat(), step(inputs)),
            write,
            a: Operand::new(&d_y, step(outputs)),
            b: w.operand(first, count),
            operands: match w.source().layout {
                Layout::OutIn => Operands::Nn,
                Layout::InOut => Operands::Nt,
            },
            bias: None,
            relu: false,
            mask: relu.map(|x| Operand::new(&x, step(inputs))),
            line_sums: None,
            m: d_y.rows,
            n: inputs,
            k: outputs,
            groups: count,
            ragged,
            parts: true,
        }
        .run(self);
    }

    fn linear_dw(&self, d_w: MM<D>, write: Write, d_y: M<D>, x: M<D>, by: Groups<Ids<D>>) {
        weight_gradient(self, &d_w.as_mat(), None, write, d_y, x, by);
    }

    // d_y is read once: the tiles that the product is made from are summed for the bias.
    fn linear_dw_bias(&self, d_w: MM<D>, d_b: usize, write: Write, d_y: M<D>, x: M<D>, by: Groups<Ids<D>>) {
        assert!(!matches!(by, Groups::Rows(_)), "a bias of one row's group");
        if d_w.rows * d_w.cols == 0 {
            let d_b = MM { buf: d_w.buf, offset: d_b, rows: 1, cols: d_y.cols, stride: d_y.cols };
            return self.col_sum(d_b, write, d_y, Groups::One(0));
        }
        let d_w = d_w.as_mat();
        let d_b = M { offset: d_b, rows: 1, cols: d_y.cols, stride: d_y.cols, ..d_w };
        weight_gradient(self, &d_w, Some(d_b), write, d_y, x, by);
    }

    fn col_sum(&self, out: MM<D>, write: Write, x: M<D>, by: Groups<Ids<D>>) {
        assert_eq!(out.cols, x.cols, "columns of the sums and of x");
        by_column(self, [out], write, x.rows, by, Kernel::ColSumParts, |launch| {
            launch
                .read(Span::mat(&x)) // const float* x
                .size(x.stride) // unsigned ld_x
        });
    }

    fn col_dot(&self, out: MM<D>, write: Write, x: M<D>, y: M<D>, by: Groups<Ids<D>>) {
        assert_eq!(out.cols, x.cols, "columns of the sums and of x");
        expect_shape("y", (y.rows, y.cols), (x.rows, x.cols));
        by_column(self, [out], write, x.rows, by, Kernel::ColDotParts, |launch| {
            launch
                .read(Span::mat(&x)) // const float* x
                .size(x.stride) // unsigned ld_x
                .read(Span::mat(&y)) // const float* y
                .size(y.stride) // unsigned ld_y
        });
    }
}

/// The groups of a part, from the weight's: the first, how many, and what they have of their own.
fn groups_of<'a, D: Device>(by: Groups<'a, Ids<D>>, groups: usize) -> (usize, usize, Ragged<'a, D>) {
    match by {
        Groups::One(g) => (g, 1, Ragged::No),
        Groups::Columns => (0, groups, Ragged::No),
        Groups::Rows(offsets) => (0, groups, Ragged::Rows(offsets)),
    }
}

fn weight_gradient<D: Device>(
    cuda: &Cuda<D>,
    d_w: &M<D>,
    d_b: Option<M<D>>,
    write: Write,
    d_y: M<D>,
    x: M<D>,
    by: Groups<Ids<D>>,
) {
    assert_eq!(d_y.rows, x.rows, "rows of d_y and x");
    if d_w.rows == 0 || d_w.cols == 0 {
        return;
    }
    let inputs = d_w.cols;
    let (groups, columns, ragged) = match by {
        Groups::One(_) => (1, 1, Ragged::No),
        Groups::Columns => (x.cols / inputs, x.cols / inputs, Ragged::No),
        Groups::Rows(offsets) => (d_w.rows / d_y.cols.max(1), 1, Ragged::Depth(offsets)),
    };
    let outputs = d_w.rows / groups.max(1);
    assert_eq!((d_w.rows, d_y.cols), (groups * outputs, columns * outputs), "outputs of d_w and d_y");
    assert_eq!(x.cols, columns * inputs, "columns of x");
    let step = |width: usize| if columns == 1 { 0 } else { width };
    Job {
        c: Operand::new(d_w, outputs * d_w.stride),
        write,
        a: Operand::new(&d_y, step(outputs)),
        b: Operand::new(&x, step(inputs)),
        operands: Operands::Tn,
        bias: None,
        relu: false,
        mask: None,
        line_sums: d_b.map(|d_b| Operand::new(&d_b, step(outputs))),
        m: outputs,
        n: inputs,
        k: x.rows,
        groups,
        ragged,
        parts: true,
    }
    .run(cuda);
}
