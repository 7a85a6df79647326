//! Products C (+)= A·B by groups, cut into tiles and parts of k (kernels/gemm.cu).

use std::sync::Arc;

use optmsm_core::backend::{Layout, Write};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::{DEPTH, Kernel, LARGE, Operands, SMALL, shared_bytes};
use crate::launch::Plain;
use crate::memory::{Ids, M, Memory, Span};

/// Blocks that fill a device: two on each of an H100's 132 multiprocessors. A constant, since sums must not depend on the device.
const BLOCKS: usize = 264;

/// Fewest k of a part: below, writing and adding the parts takes longer than the sum.
const PART: usize = 256;

/// The same of large tiles, whose parts are four times as large for twice the operands.
const LARGE_PART: usize = 1024;

/// Threads of a block, and of one of `gemm_sum`.
const THREADS: u32 = 128;

const SUM_THREADS: usize = 256;

/// `ragged` of [`Product`].
const RAGGED_M: u32 = 1;

const RAGGED_K: u32 = 2;

/// As in kernels/gemm.cu, where each field is explained.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Product {
    group_a: u64,
    group_b: u64,
    group_c: u64,
    group_x: u64,
    part_c: u64,
    group_d_b: u64,
    d_b: i64,
    m: u32,
    n: u32,
    k: u32,
    ld_a: u32,
    ld_b: u32,
    ld_c: u32,
    ld_x: u32,
    ld_bias: u32,
    tiles_m: u32,
    tiles_n: u32,
    groups: u32,
    chunk: u32,
    parts: u32,
    ragged: u32,
    add: u32,
    relu: u32,
}

// SAFETY: seven words of eight bytes, then sixteen u32: no padding.
unsafe impl Plain for Product {}

/// Weights of linear maps: a view of the matrix that they were packed from.
#[derive(Debug)]
pub struct Packed<D: Device> {
    groups: usize,
    outputs: usize,
    inputs: usize,
    source: Option<Source<D>>,
}

/// A matrix by its memory.
#[derive(Debug)]
pub(super) struct Source<D: Device> {
    memory: Arc<Memory<D>>,
    offset: usize,
    stride: usize,
    pub(super) layout: Layout,
}

impl<D: Device> Packed<D> {
    pub(crate) fn new(groups: usize, outputs: usize, inputs: usize) -> Self {
        Self { groups, outputs, inputs, source: None }
    }

    pub(crate) fn shape(&self) -> (usize, usize, usize) {
        (self.groups, self.outputs, self.inputs)
    }

    /// Rows and columns of one group's matrix.
    fn matrix(&self, layout: Layout) -> (usize, usize) {
        match layout {
            Layout::OutIn => (self.outputs, self.inputs),
            Layout::InOut => (self.inputs, self.outputs),
        }
    }

    pub(crate) fn view(&mut self, src: M<D>, layout: Layout) {
        let (rows, cols) = self.matrix(layout);
        let same = (src.rows, src.cols) == (self.groups * rows, cols);
        // Rows without gaps may be cut again: a matrix of each group in one row.
        let dense = src.stride == src.cols && src.rows * src.cols == self.groups * rows * cols;
        assert!(same || dense, "{}x{} as {layout:?} of {:?}", src.rows, src.cols, self.shape());
        assert!(src.end() <= src.buf.len, "weights up to {} of {}", src.end(), src.buf.len);
        let stride = if same { src.stride } else { cols };
        let (memory, offset) = (Arc::clone(&src.buf.memory), src.offset);
        self.source = Some(Source { memory, offset, stride, layout });
    }

    pub(super) fn source(&self) -> &Source<D> {
        self.source.as_ref().expect("weights are packed before a product reads them")
    }

    /// `count` groups from `first` on.
    pub(super) fn operand(&self, first: usize, count: usize) -> Operand<'_, D> {
        assert!(first + count <= self.groups, "groups {first}+{count} of {}", self.groups);
        let Source { memory, offset, stride, layout } = self.source();
        let (rows, cols) = self.matrix(*layout);
        let group = rows * stride;
        // Groups without elements have no place in memory.
        let len = if count * rows * cols == 0 { 0 } else { (count * rows - 1) * stride + cols };
        let start = if len == 0 { 0 } else { offset + first * group };
        Operand { span: Span::bytes(memory, 4 * start, 4 * len), ld: *stride, group }
    }
}

/// A matrix, and elements from one group's part of it to the next one's.
pub(super) struct Operand<'a, D: Device> {
    span: Span<'a, D>,
    ld: usize,
    group: usize,
}

impl<'a, D: Device> Operand<'a, D> {
    pub(super) fn new(m: &M<'a, D>, group: usize) -> Self {
        Self { span: Span::mat(m), ld: m.stride, group }
    }
}

/// Parts of a product that each group has of its own, by the groups' offsets.
pub(super) enum Ragged<'a, D: Device> {
    No,
    /// Rows of A and C.
    Rows(&'a Ids<D>),
    /// k.
    Depth(&'a Ids<D>),
}

/// C (+)= A·B by groups and what follows.
pub(super) struct Job<'a, D: Device> {
    pub(super) c: Operand<'a, D>,
    pub(super) write: Write,
    pub(super) a: Operand<'a, D>,
    pub(super) b: Operand<'a, D>,
    pub(super) operands: Operands,
    pub(super) bias: Option<Operand<'a, D>>,
    pub(super) relu: bool,
    pub(super) mask: Option<Operand<'a, D>>,
    /// Where the sums of A over k go, by the way: `[groups, m]` in the allocation of C.
    pub(super) line_sums: Option<Operand<'a, D>>,
    /// C is `[m, n]` for each group; rows or k of all groups together where they have their own.
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) groups: usize,
    pub(super) ragged: Ragged<'a, D>,
    /// Whether the sums over k may be cut: into a number of parts that depends on m.
    pub(super) parts: bool,
}

/// How a [`Job`] is cut into blocks.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    /// Rows and columns of a tile.
    tile: usize,
    tiles_m: usize,
    tiles_n: usize,
    /// k of a part.
    chunk: usize,
    /// Parts of k: of each group, or of all together where groups have their own k.
    parts: usize,
}

impl<D: Device> Job<'_, D> {
    /// A function of shapes only. The tile never changes a sum: both add in the same order of k.
    fn cut(&self) -> Cut {
        let tiles = |tile: usize| {
            let rows = match self.ragged {
                // Each group may end with a part of a tile.
                Ragged::Rows(_) => self.m / tile + self.groups,
                _ => self.m.div_ceil(tile),
            };
            (rows, self.n.div_ceil(tile))
        };
        let copies = if let Ragged::No = self.ragged { self.groups } else { 1 };
        let blocks = |tile| tiles(tile).0 * tiles(tile).1 * copies;
        let most = |part: usize| if self.parts { (self.k / part).max(1) } else { 1 };
        // A large tile reads each operand half as often, and pays where at most a fourth more is padding and where it fills the
        // device: from parts that are deep enough that writing and adding them does not take longer than is saved.
        let large = 16 * blocks(LARGE) <= 5 * blocks(SMALL) && blocks(LARGE) * most(LARGE_PART) >= BLOCKS / 2;
        let tile = if large { LARGE } else { SMALL };
        let (tiles_m, tiles_n) = tiles(tile);
        let wanted = (BLOCKS / blocks(tile).max(1)).clamp(1, most(if large { LARGE_PART } else { PART }));
        let chunk = self.k.div_ceil(wanted).next_multiple_of(DEPTH).max(DEPTH);
        let parts = match self.ragged {
            Ragged::Depth(_) => self.k / chunk + self.groups,
            _ => self.k.div_ceil(chunk).max(1),
        };
        Cut { tile, tiles_m, tiles_n, chunk, parts }
    }

    pub(super) fn run(self, cuda: &Cuda<D>) {
        if self.m == 0 || self.n == 0 || self.groups == 0 {
            return;
        }
        let cut = self.cut();
        let Self { m, n, groups, .. } = self;
        let (ragged, offsets) = match self.ragged {
            Ragged::No => (0, None),
            Ragged::Rows(offsets) => (RAGGED_M, Some(offsets)),
            Ragged::Depth(offsets) => (RAGGED_K, Some(offsets)),
        };
        let offsets = offsets.map(|o| o.span(0, groups + 1));
        let (bias, mask, line_sums) = (self.bias.as_ref(), self.mask.as_ref(), self.line_sums.as_ref());
        let whole = Product {
            group_a: self.a.group as u64,
            group_b: self.b.group as u64,
            group_c: self.c.group as u64,
            group_x: mask.map_or(0, |x| x.group as u64),
            part_c: 0,
            group_d_b: line_sums.map_or(0, |sums| sums.group as u64),
            d_b: line_sums.map_or(0, |sums| elements_between(&self.c.span, &sums.span)),
            m: word(m),
            n: word(n),
            k: word(self.k),
            ld_a: word(self.a.ld),
            ld_b: word(self.b.ld),
            ld_c: word(self.c.ld),
            ld_x: mask.map_or(0, |x| word(x.ld)),
            ld_bias: bias.map_or(0, |bias| word(bias.ld)),
            tiles_m: word(cut.tiles_m),
            tiles_n: word(cut.tiles_n),
            groups: word(groups),
            chunk: word(cut.chunk),
            parts: word(cut.parts),
            ragged,
            add: u32::from(self.write == Write::Add),
            relu: u32::from(self.relu),
        };
        let (bias, mask, line_sums) = (bias.map(|b| b.span), mask.map(|x| x.span), line_sums.map(|s| s.span));
        let copies = if ragged == 0 { groups } else { 1 };
        let grid = [cut.tiles_n * cut.tiles_m * copies * cut.parts, 1, 1];
        let shared = shared_bytes(cut.tile);
        let kernel = Kernel::gemm(cuda.precision(), self.operands, cut.tile == LARGE);
        let mut recording = cuda.record();
        // An empty group has no part, and its C is set nevertheless: by the sum of the parts.
        if cut.parts == 1 && ragged != RAGGED_K {
            let launch = recording
                .launch_with(kernel, grid, THREADS, shared)
                .write(self.c.span) // float* c
                .read(self.a.span) // const float* a
                .read(self.b.span) // const float* b
                .read_or_null(bias) // const float* bias
                .read_or_null(mask) // const float* x
                .read_or_null(offsets) // const unsigned* offsets
                .plain(&whole); // Product p
            line_sums.into_iter().fold(launch, |launch, sums| launch.also(sums, true)).go();
            return;
        }
        assert!(bias.is_none() && !self.relu, "the sum of the parts has no bias and no ReLU");
        // [parts, copies, m, n], each m·n followed by its line sums.
        let each = m * n + if line_sums.is_some() { m } else { 0 };
        let sums = recording.workspace(cut.parts * copies * each);
        let group = if ragged == 0 { each as u64 } else { 0 };
        let partial = Product {
            group_c: group,
            part_c: (copies * each) as u64,
            group_d_b: group,
            d_b: if line_sums.is_some() { (m * n) as i64 } else { 0 },
            ld_c: word(n),
            add: 0,
            ..whole
        };
        recording
            .launch_with(kernel, grid, THREADS, shared)
            .write_workspace(sums) // float* c
            .read(self.a.span) // const float* a
            .read(self.b.span) // const float* b
            .read_or_null(None::<Span<D>>) // const float* bias
            .read_or_null(None::<Span<D>>) // const float* x
            .read_or_null(offsets) // const unsigned* offsets
            .plain(&partial) // Product p
            .go();
        // Rows of all groups lie one after the other: for the sum they are one group.
        let summed = if ragged == RAGGED_M { Product { groups: 1, ragged: 0, ..whole } } else { whole };
        let grid = [each.div_ceil(SUM_THREADS) * summed.groups as usize, 1, 1];
        let launch = recording
            .launch(Kernel::gemm_sum(cuda.precision()), grid, SUM_THREADS as u32)
            .write(self.c.span) // float* c
            .read_workspace(sums) // const float* sums
            .read_or_null(mask) // const float* x
            .read_or_null(offsets) // const unsigned* offsets
            .plain(&summed); // Product p
        line_sums.into_iter().fold(launch, |launch, sums| launch.also(sums, true)).go();
    }
}

/// Elements from the first of `c` to the first of `other`, in one allocation.
fn elements_between<D: Device>(c: &Span<D>, other: &Span<D>) -> i64 {
    (other.pointer() as i64 - c.pointer() as i64) / size_of::<f32>() as i64
}

fn word(v: usize) -> u32 {
    u32::try_from(v).unwrap_or_else(|_| panic!("{v} rows or columns are more than a kernel's u32"))
}
