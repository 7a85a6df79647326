//! Orthogonality penalty (kernels/penalty.cu): e `[B, K·m]`.

use optmsm_core::backend::{Penalty, Write};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::Kernel;
use crate::launch::{Launcher, Recording, Workspace};
use crate::memory::{M, MM, Span};
use crate::ops::reduce;
use crate::ops::rows::{expect_shape, lanes_of};

/// Floats of shared memory that every device gives without being asked.
const SHARED: usize = 48 * 1024 / 4;

/// Most blocks of the forward pass: enough for the device, and their partial sums are added one after the other.
const BLOCKS: usize = 512;

/// Floats of the workspace at most where rows need more than [`SHARED`].
const WIDE: usize = 1 << 24;

/// How rows are dealt out.
struct Rows {
    blocks: usize,
    threads: usize,
    lanes: usize,
    /// Floats of shared memory; 0 where a row's do not fit and a block is one warp with a workspace.
    shared: usize,
}

impl Rows {
    /// For `rows` rows of `experts` experts of `width`, each row with `floats` floats of its own.
    fn new(rows: usize, experts: usize, width: usize, floats: usize) -> Self {
        // Many experts need much memory a row: fewer rows side by side.
        let lanes = if experts > 32 { 32 } else { lanes_of(width) };
        let warp = 32 / lanes;
        let warps = (SHARED / (floats * warp)).min(8);
        if warps == 0 {
            let blocks = rows.min(BLOCKS).min((WIDE / floats).max(1));
            return Self { blocks, threads: 32, lanes: 32, shared: 0 };
        }
        let groups = warps * warp;
        Self { blocks: rows.div_ceil(groups), threads: 32 * warps, lanes, shared: groups * floats }
    }

    fn launch<'a, D: Device>(&self, recording: &'a mut Recording<'_, D>, kernel: Kernel) -> Launcher<'a> {
        recording.launch_with(kernel, [self.blocks, 1, 1], self.threads as u32, 4 * self.shared)
    }
}

impl<D: Device> Penalty for Cuda<D> {
    fn orthogonality(&self, inv_norm: MM<D>, sums: MM<D>, e: M<D>) {
        let (rows, experts) = (inv_norm.rows, inv_norm.cols);
        if rows * experts == 0 {
            return;
        }
        let (width, terms) = (e.cols / experts, 1 + experts * (experts - 1) / 2);
        expect_shape("e", (e.rows, e.cols), (rows, experts * width));
        expect_shape("the sums", (sums.rows, sums.cols), (1, terms));
        let mut by = Rows::new(rows, experts, width, terms);
        by.blocks = by.blocks.min(BLOCKS);
        let mut recording = self.record();
        let parts = recording.workspace(by.blocks * terms);
        by.launch(&mut recording, Kernel::Orthogonality)
            .write(Span::mat_mut(&inv_norm)) // float* inv_norm
            .size(inv_norm.stride) // unsigned ld_inv_norm
            .write_workspace(parts) // float* parts
            .read(Span::mat(&e)) // const float* e
            .size(e.stride) // unsigned ld_e
            .size(rows) // unsigned rows
            .size(experts) // unsigned experts
            .size(width) // unsigned width
            .f32(per_pair(2.0, experts)) // float factor
            .size(by.lanes) // unsigned lanes
            .u32(u32::from(by.shared > 0)) // unsigned in_shared
            .go();
        if experts > 1 {
            reduce::sum_parts(&mut recording, sums, Write::Add, parts, by.blocks);
        }
    }

    fn orthogonality_bwd(&self, d_e: MM<D>, e: M<D>, inv_norm: M<D>, scale: f64) {
        let (rows, experts) = (inv_norm.rows, inv_norm.cols);
        let c = per_pair(4.0 * scale, experts);
        if rows == 0 || c == 0.0 {
            return;
        }
        let width = e.cols / experts;
        expect_shape("e", (e.rows, e.cols), (rows, experts * width));
        expect_shape("e's gradient", (d_e.rows, d_e.cols), (rows, experts * width));
        let mut recording = self.record();
        let (by, wide) = backward_rows(&mut recording, rows, experts, width);
        let launch = by
            .launch(&mut recording, Kernel::OrthogonalityBwd)
            .write(Span::mat_mut(&d_e)) // float* d_e
            .size(d_e.stride) // unsigned ld_d_e
            .read(Span::mat(&e)) // const float* e
            .size(e.stride) // unsigned ld_e
            .read(Span::mat(&inv_norm)) // const float* inv_norm
            .size(inv_norm.stride); // unsigned ld_inv_norm
        or_null::<D>(launch, wide) // float* wide
            .size(rows) // unsigned rows
            .size(experts) // unsigned experts
            .size(width) // unsigned width
            .f32(c) // float c
            .size(by.lanes) // unsigned lanes
            .go();
    }

    fn gate_orthogonality_bwd(
        &self,
        d_logits: MM<D>,
        d_alpha: MM<D>,
        d_e: MM<D>,
        d_mix: M<D>,
        alpha: M<D>,
        e: M<D>,
        inv_norm: M<D>,
        scale: f64,
    ) {
        let (rows, experts, width) = (d_mix.rows, alpha.cols, d_mix.cols);
        expect_shape("α", (alpha.rows, alpha.cols), (rows, experts));
        expect_shape("α's gradient", (d_alpha.rows, d_alpha.cols), (rows, experts));
        expect_shape("the logits' gradient", (d_logits.rows, d_logits.cols), (rows, experts));
        expect_shape("the inverse norms", (inv_norm.rows, inv_norm.cols), (rows, experts));
        expect_shape("e", (e.rows, e.cols), (rows, experts * width));
        expect_shape("e's gradient", (d_e.rows, d_e.cols), (rows, experts * width));
        if rows * experts == 0 {
            return;
        }
        let mut recording = self.record();
        let (by, wide) = backward_rows(&mut recording, rows, experts, width);
        let launch = by
            .launch(&mut recording, Kernel::GateOrthogonalityBwd)
            .write(Span::mat_mut(&d_logits)) // float* d_logits
            .size(d_logits.stride) // unsigned ld_d_logits
            .write(Span::mat_mut(&d_alpha)) // float* d_alpha
            .size(d_alpha.stride) // unsigned ld_d_alpha
            .write(Span::mat_mut(&d_e)) // float* d_e
            .size(d_e.stride) // unsigned ld_d_e
            .read(Span::mat(&d_mix)) // const float* d_mix
            .size(d_mix.stride) // unsigned ld_d_mix
            .read(Span::mat(&alpha)) // const float* alpha
            .size(alpha.stride) // unsigned ld_alpha
            .read(Span::mat(&e)) // const float* e
            .size(e.stride) // unsigned ld_e
            .read(Span::mat(&inv_norm)) // const float* inv_norm
            .size(inv_norm.stride); // unsigned ld_inv_norm
        or_null::<D>(launch, wide) // float* wide
            .size(rows) // unsigned rows
            .size(experts) // unsigned experts
            .size(width) // unsigned width
            .f32(per_pair(4.0 * scale, experts)) // float c
            .size(by.lanes) // unsigned lanes
            .go();
    }
}

/// `v / (K(K−1))`, 0 where there are no pairs.
fn per_pair(v: f64, experts: usize) -> f32 {
    if experts > 1 { (v / (experts * (experts - 1)) as f64) as f32 } else { 0.0 }
}

/// Rows of the backward pass, and the workspace of those that are too wide.
fn backward_rows<D: Device>(
    recording: &mut Recording<'_, D>,
    rows: usize,
    experts: usize,
    width: usize,
) -> (Rows, Option<Workspace>) {
    let floats = experts * experts.next_multiple_of(4);
    let by = Rows::new(rows, experts, width, floats);
    let wide = (by.shared == 0).then(|| recording.workspace(by.blocks * floats));
    (by, wide)
}

fn or_null<D: Device>(launch: Launcher<'_>, wide: Option<Workspace>) -> Launcher<'_> {
    match wide {
        Some(wide) => launch.write_workspace(wide),
        None => launch.read_or_null::<D>(None),
    }
}
