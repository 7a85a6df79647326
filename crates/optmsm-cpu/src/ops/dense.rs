//! Products with packed weights by group, and sums by column.

use optmsm_core::backend::{Dense, Epilogue, Groups, Layout, Memory, Write};

use super::{M, MM, column, each_group, rows_of, rows_of_mut};
use crate::Cpu;
use crate::gemm::{Product, Reduction, accumulate, multiply};
use crate::memory::Buffer;
use crate::packed::Packed;
use crate::rows::{put, row, row_mut};

impl Dense for Cpu {
    fn pack(&self, dst: &mut Packed, src: M, layout: Layout) {
        self.pool.install(|| dst.fill(src, layout));
    }

    fn linear(&self, mut y: MM, x: M, w: &Packed, by: Groups<Vec<u32>>, then: Epilogue<Buffer>) {
        assert_eq!(y.rows, x.rows, "rows of y and x");
        each_group(by, w.groups, x.rows, |g, first, n| {
            let x = x.rows(first, n).cols(column(by, g, w.inputs), w.inputs);
            let mut y = y.again().rows(first, n).cols(column(by, g, w.outputs), w.outputs);
            let product = Product {
                m: n,
                n: w.outputs,
                k: w.inputs,
                a: rows_of(x),
                b: w.forward(g),
                bf16: w.is_bf16(),
                c: rows_of_mut(&mut y),
                add: false,
                relu: then.relu,
                bias: then.bias.as_ref().map(|bias| row(bias, g)),
                mask: None,
            };
            multiply(self.isa, product);
        });
    }

    fn linear_dx(
        &self,
        mut d_x: MM,
        write: Write,
        d_y: M,
        w: &Packed,
        by: Groups<Vec<u32>>,
        relu: Option<M>,
    ) {
        assert_eq!(d_x.rows, d_y.rows, "rows of d_x and d_y");
        each_group(by, w.groups, d_y.rows, |g, first, n| {
            let d_y = d_y.rows(first, n).cols(column(by, g, w.outputs), w.outputs);
            let first_column = column(by, g, w.inputs);
            let mut d_x = d_x.again().rows(first, n).cols(first_column, w.inputs);
            let relu = relu.map(|x| x.rows(first, n).cols(first_column, w.inputs));
            let product = Product {
                m: n,
                n: w.inputs,
                k: w.outputs,
                a: rows_of(d_y),
                b: w.backward(g),
                bf16: w.is_bf16(),
                c: rows_of_mut(&mut d_x),
                add: write == Write::Add,
                relu: false,
                bias: None,
                mask: relu.map(rows_of),
            };
            multiply(self.isa, product);
        });
    }

    fn linear_dw(&self, mut d_w: MM, write: Write, d_y: M, x: M, by: Groups<Vec<u32>>) {
        assert_eq!(d_y.rows, x.rows, "rows of d_y and x");
        let inputs = d_w.cols;
        let groups = match by {
            Groups::One(_) => 1,
            Groups::Columns => x.cols / inputs.max(1),
            Groups::Rows(_) => d_w.rows / d_y.cols.max(1),
        };
        let outputs = d_w.rows / groups.max(1);
        if write == Write::Set {
            self.fill(d_w.again(), 0.0);
        }
        let by = if let Groups::One(_) = by { Groups::One(0) } else { by };
        each_group(by, groups, x.rows, |g, first, n| {
            let d_y = d_y.rows(first, n).cols(column(by, g, outputs), outputs);
            let x = x.rows(first, n).cols(column(by, g, inputs), inputs);
            let mut d_w = d_w.again().rows(g * outputs, outputs);
            let c = rows_of_mut(&mut d_w);
            accumulate(
                self.isa,
                Reduction { m: outputs, n: inputs, k: n, a: rows_of(d_y), b: rows_of(x), c },
            );
        });
    }

    fn col_sum(&self, mut out: MM, write: Write, x: M, by: Groups<Vec<u32>>) {
        assert_eq!(out.cols, x.cols, "columns of the sums and of x");
        if write == Write::Set {
            self.fill(out.again(), 0.0);
        }
        let by = if let Groups::Rows(_) = by { by } else { Groups::One(0) };
        each_group(by, out.rows, x.rows, |g, first, n| {
            let sums = row_mut(&mut out, g);
            self.isa.vectorise(
                #[inline(always)]
                || (first..first + n).for_each(|b| put(sums, Write::Add, row(&x, b).iter().copied())),
            );
        });
    }

    fn col_dot(&self, mut out: MM, write: Write, x: M, y: M, by: Groups<Vec<u32>>) {
        assert_eq!(out.cols, x.cols, "columns of the sums and of x");
        assert_eq!((y.rows, y.cols), (x.rows, x.cols), "shapes of x and y");
        if write == Write::Set {
            self.fill(out.again(), 0.0);
        }
        let by = if let Groups::Rows(_) = by { by } else { Groups::One(0) };
        each_group(by, out.rows, x.rows, |g, first, n| {
            let sums = row_mut(&mut out, g);
            self.isa.vectorise(
                #[inline(always)]
                || {
                    for b in first..first + n {
                        put(sums, Write::Add, row(&x, b).iter().zip(row(&y, b)).map(|(x, y)| x * y));
                    }
                },
            );
        });
    }
}
