//! Products of the standard work, on one thread or divided among threads as a step divides them.

use optmsm_core::backend::{Dense, Epilogue, Groups, Layout, Mat, MatMut, Memory, Products, Write};
use optmsm_core::error::Result;
use optmsm_cpu::{Buffer, Cpu, Packed};

use crate::work::{cpu, random, zeros};

/// Which product, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// y `[m, n]` = x `[m, k]` · W `[n, k]`ᵀ.
    Forward(usize, usize, usize),
    /// d_W `[m, n]` = d_y `[k, m]`ᵀ · x `[k, n]`.
    Weight(usize, usize, usize),
}

/// The layers of the standard work at B = 4096, smaller blocks of them, a weight gradient, and a square.
pub const SHAPES: [Shape; 7] = [
    Shape::Forward(4096, 768, 256),
    Shape::Forward(4096, 256, 512),
    Shape::Forward(4096, 128, 256),
    Shape::Forward(4096, 64, 128),
    Shape::Forward(512, 256, 512),
    Shape::Weight(256, 512, 4096),
    Shape::Forward(1024, 1024, 1024),
];

impl Shape {
    /// m, n and k.
    pub fn sizes(self) -> (usize, usize, usize) {
        let (Shape::Forward(m, n, k) | Shape::Weight(m, n, k)) = self;
        (m, n, k)
    }

    /// Two per multiply-add.
    pub fn flop(self) -> f64 {
        let (m, n, k) = self.sizes();
        2.0 * (m * n * k) as f64
    }

    /// For example `x·Wᵀ 4096×256×512`.
    pub fn name(self) -> String {
        let (m, n, k) = self.sizes();
        let kind = if matches!(self, Shape::Forward(..)) { "x·Wᵀ" } else { "dW" };
        format!("{kind} {m}×{n}×{k}")
    }
}

/// A product with its operands, each thread's share of the output in a buffer of its own.
pub struct Product {
    cpu: Cpu,
    shape: Shape,
    left: Buffer,
    right: Buffer,
    packed: Packed,
    shares: Vec<Buffer>,
}

impl Product {
    /// Random operands.
    ///
    /// # Errors
    /// When memory or threads are short.
    pub fn new(shape: Shape, threads: usize) -> Result<Self> {
        let cpu = cpu(threads)?;
        let (m, n, k) = shape.sizes();
        // d_W packs nothing: it reads both matrices in place.
        let (outputs, inputs) = if matches!(shape, Shape::Forward(..)) { (n, k) } else { (0, 0) };
        let packed = cpu.alloc_packed(1, outputs, inputs, Products::Forward)?;
        let (left, right) = (random(m * k, "left"), random(n * k, "right"));
        let mut product = Self { packed, left, right, shape, shares: Vec::new(), cpu };
        product.shares = (0..threads).map(|i| zeros(product.share(i).1 * n)).collect();
        product.pack();
        Ok(product)
    }

    /// First row of the output and number of rows of thread `i`.
    fn share(&self, i: usize) -> (usize, usize) {
        let (m, ..) = self.shape.sizes();
        let threads = self.cpu.threads();
        (m * i / threads, m * (i + 1) / threads - m * i / threads)
    }

    /// Packs the weight of a forward product, which a step does once for all blocks.
    pub fn pack(&mut self) {
        if let Shape::Forward(_, n, k) = self.shape {
            self.cpu.pack(&mut self.packed, Mat::new(&self.right, n, k), Layout::OutIn);
        }
    }

    /// The product, with what [`Product::pack`] left.
    pub fn run(&mut self) {
        let mut shares = std::mem::take(&mut self.shares);
        let (this, block) = (&*self, self.cpu.block_rows());
        self.cpu.for_lanes(&mut shares, |i, out| {
            let (first, rows) = this.share(i);
            match this.shape {
                Shape::Forward(m, n, k) => {
                    let (x, mut y) = (Mat::new(&this.left, m, k), MatMut::new(out, rows, n));
                    for at in (0..rows).step_by(block) {
                        let size = block.min(rows - at);
                        let (y, x) = (y.again().rows(at, size), x.rows(first + at, size));
                        this.cpu.linear(y, x, &this.packed, Groups::One(0), Epilogue::NONE);
                    }
                }
                Shape::Weight(m, n, k) => {
                    let d_y = Mat::new(&this.left, k, m).cols(first, rows);
                    let (d_w, x) = (MatMut::new(out, rows, n), Mat::new(&this.right, k, n));
                    this.cpu.linear_dw(d_w, Write::Set, d_y, x, Groups::One(0));
                }
            }
        });
        self.shares = shares;
    }

    /// Largest error of the last product against `f64` sums, over the largest result, at a few elements.
    pub fn error(&self) -> f64 {
        let (m, n, k) = self.shape.sizes();
        let at = |i: usize, j: usize, l: usize| match self.shape {
            Shape::Forward(..) => (self.left[i * k + l], self.right[j * k + l]),
            Shape::Weight(..) => (self.left[l * m + i], self.right[l * n + j]),
        };
        let (mut error, mut scale) = (0.0f64, 0.0f64);
        for share in 0..self.shares.len() {
            let (first, rows) = self.share(share);
            for (i, j) in [(0, 0), (rows / 2, n / 3), (rows - 1, n - 1)] {
                let terms = (0..k).map(|l| at(first + i, j, l));
                let want: f64 = terms.map(|(a, b)| f64::from(a) * f64::from(b)).sum();
                error = error.max((f64::from(self.shares[share][i * n + j]) - want).abs());
                scale = scale.max(want.abs());
            }
        }
        error / scale
    }
}
