//! Reductions and updates over parameter buffers and tables (kernels/update.cu).

use std::ops::Range;

use optmsm_core::backend::{TableStep, Update, Write};
use optmsm_core::optim::{self, Rule};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::Kernel;
use crate::launch::{Launcher, Plain};
use crate::memory::{Buf, Span, Table};
use crate::ops::embedding::{dtype_code, in_fours};

/// Buffers that one launch adds.
const ADDENDS: usize = 8;

/// As in kernels/update.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Addends {
    x: [u64; ADDENDS],
}

// SAFETY: one array of numbers.
unsafe impl Plain for Addends {}

/// Elements that one block squares at least.
const SQUARES: usize = 4096;

/// Blocks that square at most.
const SQUARE_BLOCKS: usize = 1024;

/// An update's constants, each calculated in `f64` and rounded once; as in kernels/update.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Scalars {
    max_norm: f64,
    kind: u32,
    lr: f32,
    decay: f32,
    shrink: f32,
    betas: [f32; 2],
    rests: [f32; 2],
    eps: f32,
    momentum: f32,
    rate: f32,
    root_scale: f32,
}

// SAFETY: 8 bytes, then 12 words of 4: no padding.
unsafe impl Plain for Scalars {}

impl Scalars {
    fn new<T>(update: &optim::Update<T>, (rate, root_scale): (f64, f64), states: usize) -> Self {
        let (kind, wanted) = match (update.rule, states) {
            (Rule::Sgd, 0) => (0, 0),
            (Rule::Sgd, _) => (1, 1),
            (Rule::Adam, _) => (2, 2),
            (Rule::AdamW, _) => (3, 2),
            (Rule::Adagrad, _) => (4, 1),
            (Rule::RowwiseAdagrad, _) => (5, 1),
        };
        assert_eq!(states, wanted, "state buffers of {:?}", update.rule);
        let (beta1, beta2) = (update.beta1, update.beta2);
        Self {
            max_norm: update.clip.as_ref().map_or(0.0, |c| c.max_norm),
            kind,
            lr: update.lr as f32,
            decay: update.weight_decay as f32,
            shrink: (1.0 - update.lr * update.weight_decay) as f32,
            betas: [beta1 as f32, beta2 as f32],
            // Not from the rounded β: 1 − f32(0.999) would be off by 3e-5.
            rests: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
            eps: update.eps as f32,
            momentum: update.momentum as f32,
            rate: rate as f32,
            root_scale: root_scale as f32,
        }
    }
}

/// As in kernels/update.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct DenseStep {
    w: u64,
    g: u64,
    state: [u64; 2],
}

// SAFETY: four numbers of 8 bytes.
unsafe impl Plain for DenseStep {}

/// Tables of one launch: their descriptions take 2.5 KB at most.
const TABLES: usize = 28;

/// As in kernels/update.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Step {
    table: u64,
    g: u64,
    state: [u64; 2],
    rows: u64,
    seed: u64,
    average: u64,
    c: f32,
    step: u32,
    site: u32,
    count: u32,
    width: u32,
    ld_g: u32,
    dtype: u32,
    vector: u32,
}

/// The same.
#[repr(C)]
#[derive(Clone, Copy)]
struct Steps {
    tables: [Step; TABLES],
}

// SAFETY: seven numbers of 8 bytes and eight of 4 a table, 88 bytes: no padding.
unsafe impl Plain for Steps {}

/// As in kernels/update.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Settle {
    table: u64,
    average: u64,
    len: u64,
    factor: f32,
    q: f32,
    d: f32,
    dtype: u32,
}

// SAFETY: three numbers of 8 bytes, then four of 4: no padding.
unsafe impl Plain for Settle {}

impl<D: Device> Update for Cuda<D> {
    fn accumulate<'a>(
        &self,
        acc: &mut Buf<D>,
        count: usize,
        x: impl Fn(usize) -> &'a Buf<D> + Sync,
        range: Range<usize>,
    ) {
        let (start, len) = (range.start, range.len());
        if len == 0 {
            return;
        }
        for first in (0..count).step_by(ADDENDS) {
            let few = ADDENDS.min(count - first);
            let spans: [_; ADDENDS] =
                std::array::from_fn(|i| (i < few).then(|| x(first + i).span(start, len)));
            let addends = Addends { x: spans.map(|span| span.map_or(0, |span| span.pointer())) };
            let mut recording = self.record();
            let launch = recording
                .launch(Kernel::Accumulate, [len.div_ceil(1024), 1, 1], 256)
                .write(acc.span(start, len)) // float* acc
                .size(len) // unsigned len
                .plain(&addends) // Addends from
                .size(few); // unsigned count
            spans.into_iter().flatten().fold(launch, |launch, span| launch.also(span, false)).go();
        }
    }

    fn sum_sq(&self, sum: &mut Buf<D>, write: Write, x: &Buf<D>, len: usize) {
        let parts = len.div_ceil(SQUARES).clamp(1, SQUARE_BLOCKS);
        let mut recording = self.record();
        let between = recording.workspace(parts);
        recording
            .launch(Kernel::SumSqParts, [parts, 1, 1], 256)
            .write_workspace(between) // float* parts
            .read(x.span(0, len)) // const float* x
            .size(len) // unsigned len
            .go();
        recording
            .launch(Kernel::SumSqJoin, [1, 1, 1], 256)
            .write(sum.span(0, 1)) // float* sum
            .read_workspace(between) // const float* parts
            .size(parts) // unsigned count
            .u32((write == Write::Add).into()) // unsigned add
            .go();
    }

    fn step_dense(
        &self,
        w: &mut Buf<D>,
        g: &Buf<D>,
        state: &mut [Buf<D>],
        len: usize,
        update: &optim::Update<Buf<D>>,
    ) {
        assert!(update.rule != Rule::RowwiseAdagrad, "row-wise Adagrad is for tables");
        let rule = Scalars::new(update, update.adam_dense(), state.len());
        if len == 0 {
            return;
        }
        let (w, g) = (w.span(0, len), g.span(0, len));
        let state = state.iter().map(|s| s.span(0, len));
        let mut pointers = [0; 2];
        pointers.iter_mut().zip(state.clone()).for_each(|(to, s)| *to = s.pointer());
        let step = DenseStep { w: w.pointer(), g: g.pointer(), state: pointers };
        let mut recording = self.record();
        let launch = recording
            .launch(Kernel::StepDense, [len.div_ceil(1024), 1, 1], 256)
            .plain(&step) // DenseStep step
            .also(w, true)
            .also(g, false)
            .size(len) // unsigned len
            .read_or_null(clip_norm(update)) // const float* sum_sq
            .plain(&rule); // Rule rule
        state.fold(launch, |launch, s| launch.also(s, true)).go();
    }

    fn average(&self, a: &mut Buf<D>, w: &Buf<D>, len: usize, keep: f64) {
        if len == 0 {
            return;
        }
        self.record()
            .launch(Kernel::Average, [len.div_ceil(1024), 1, 1], 256)
            .write(a.span(0, len)) // float* a
            .read(w.span(0, len)) // const float* w
            .size(len) // unsigned len
            .f32((1.0 - keep) as f32) // float share
            .go();
    }

    fn step_rows(&self, step: TableStep<Self>, update: &optim::Update<Buf<D>>) {
        self.step_tables(std::iter::once(step), update);
    }

    fn step_tables<'a>(
        &self,
        tables: impl Iterator<Item = TableStep<'a, Self>>,
        update: &optim::Update<Buf<D>>,
    ) {
        let mut tables = tables.filter(|t| t.g.rows * t.g.cols > 0);
        loop {
            let few: [_; TABLES] = std::array::from_fn(|_| tables.next());
            let Some(first) = &few[0] else { return };
            let rule = Scalars::new(update, update.adam_rows(), first.state.len());
            let mut steps = Steps { tables: [Step::default(); TABLES] };
            let (mut blocks, mut count) = (0, 0);
            for (to, t) in steps.tables.iter_mut().zip(few.iter().flatten()) {
                assert_eq!(t.state.len(), first.state.len(), "state buffers of tables in one step");
                *to = describe(t);
                blocks = blocks.max((t.g.rows * lanes(t.g.cols)).div_ceil(256));
                count += 1;
            }
            let mut recording = self.record();
            let launch = recording
                .launch(Kernel::StepTables, [blocks, count, 1], 256)
                .plain(&steps) // TableSteps tables
                .read_or_null(clip_norm(update)) // const float* sum_sq
                .plain(&rule); // Rule rule
            few.iter().flatten().fold(launch, regions).go();
        }
    }

    fn settle_rows(&self, table: &mut Table<D>, factor: f64, average: Option<(&mut Table<D>, [f64; 2])>) {
        let len = table.rows * table.width;
        if len == 0 {
            return;
        }
        let [q, d] = average.as_ref().map_or([0.0; 2], |(_, scales)| *scales);
        let average = average.map(|(average, _)| {
            assert!(average.follows(table), "an average is of the table's shape, in f32");
            average.span()
        });
        let settle = Settle {
            table: table.span().pointer(),
            average: average.map_or(0, |average| average.pointer()),
            len: len as u64,
            factor: factor as f32,
            q: q as f32,
            d: d as f32,
            dtype: dtype_code(table.dtype).into(),
        };
        let mut recording = self.record();
        let launch = recording
            .launch(Kernel::SettleRows, [len.div_ceil(1024), 1, 1], 256)
            .plain(&settle) // Settle s
            .also(table.span(), true);
        match average {
            Some(average) => launch.also(average, true).go(),
            None => launch.go(),
        }
    }
}

/// The squared norm that gradients are clipped by.
fn clip_norm<'a, D: Device>(update: &optim::Update<'a, Buf<D>>) -> Option<Span<'a, D>> {
    update.clip.as_ref().map(|c| c.sum_sq.span(0, 1))
}

/// Lanes that share a row of `width`, one for four columns; as in kernels/update.cu.
fn lanes(width: usize) -> usize {
    width.div_ceil(4).next_power_of_two().min(32)
}

/// Step of one table, as the kernel reads it.
fn describe<D: Device>(t: &TableStep<Cuda<D>>) -> Step {
    let TableStep { table, g, state, average, rows, rounding } = t;
    assert_eq!(table.width, g.cols, "columns of the table and of its gradient");
    let (average, c) = average.as_ref().map_or((0, 0.0), |(average, c)| {
        assert!(average.follows(table), "an average is of the table's shape, in f32");
        (average.span().pointer(), *c as f32)
    });
    let mut pointers = [0; 2];
    pointers.iter_mut().zip(state.iter()).for_each(|(to, s)| *to = s.span(0, s.len).pointer());
    let size = |v: usize| u32::try_from(v).unwrap_or_else(|_| panic!("{v} is more than a kernel's u32"));
    let vector = in_fours(g.cols, &[(Span::mat(g).pointer(), g.stride)]);
    Step {
        table: table.span().pointer(),
        g: Span::mat(g).pointer(),
        state: pointers,
        rows: rows.span(0, g.rows).pointer(),
        seed: rounding.seed,
        average,
        c,
        step: rounding.step,
        site: rounding.site,
        count: size(g.rows),
        width: size(g.cols),
        ld_g: size(g.stride),
        dtype: dtype_code(table.dtype).into(),
        vector: vector.into(),
    }
}

/// Notes what a step of one table touches: which rows of table and state is known on the device only.
fn regions<'l, D: Device>(launch: Launcher<'l>, t: &TableStep<Cuda<D>>) -> Launcher<'l> {
    let launch =
        launch.also(t.table.span(), true).also(Span::mat(&t.g), false).also(t.rows.span(0, t.g.rows), false);
    let launch = match &t.average {
        Some((average, _)) => launch.also(average.span(), true),
        None => launch,
    };
    t.state.iter().fold(launch, |launch, s| launch.also(s.span(0, s.len), true))
}
