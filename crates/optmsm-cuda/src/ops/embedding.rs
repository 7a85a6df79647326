//! Embeddings (kernels/embedding.cu).

use optmsm_core::backend::{
    Bags, Dense, Embedding, FieldLookup, FieldSum, Groups, Layout, Mat, MatMut, Memory, Segments, TableView,
    Write,
};
use optmsm_core::rounding::TableDtype;

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::Kernel;
use crate::launch::Plain;
use crate::memory::{Buf, Buffer, Ids, M, MM, Span};
use crate::ops::dense::Packed;

/// Fields of one launch.
const FIELDS: usize = 32;

/// As in kernels/embedding.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Reading {
    average: u64,
    scale: f32,
    factor: f32,
}

impl Reading {
    /// Rows as they are stored.
    const PLAIN: Self = Self { average: 0, scale: 1.0, factor: 0.0 };

    /// As `view` says, with the average that is read.
    fn of<'a, D: Device>(view: &TableView<'a, Cuda<D>>) -> (Self, Option<Span<'a, D>>) {
        let plus = view.plus.map(|(average, factor)| {
            assert!(average.follows(view.table), "an average is of the table's shape, in f32");
            (average.span(), factor as f32)
        });
        let (average, factor) = plus.map_or((0, 0.0), |(average, factor)| (average.pointer(), factor));
        (Self { average, scale: view.scale as f32, factor }, plus.map(|p| p.0))
    }
}

/// The same.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct LookupField {
    out: u64,
    table: u64,
    ids: u64,
    reading: Reading,
    ld_out: u32,
    stride: u32,
    width: u32,
    dtype: u16,
    vector: u16,
}

/// The same.
#[repr(C)]
#[derive(Clone, Copy)]
struct LookupFields {
    fields: [LookupField; FIELDS],
}

// SAFETY: four numbers of 8 bytes, five of 4 and two of 2 a field, 56 bytes: no padding.
unsafe impl Plain for LookupFields {}

/// Rows of a table, or of a dense matrix, to be read by ids.
struct Source<'a, D: Device> {
    out: Span<'a, D>,
    ld_out: usize,
    rows: Span<'a, D>,
    stride: usize,
    width: usize,
    dtype: TableDtype,
    ids: Span<'a, D>,
    reading: Reading,
    average: Option<Span<'a, D>>,
}

/// As in kernels/embedding.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct BagsOf {
    out: u64,
    table: u64,
    offsets: u64,
    ids: u64,
    coefs: u64,
    reading: Reading,
    ld_out: u32,
    width: u32,
    dtype: u16,
    vector: u16,
    rows: u32,
}

// SAFETY: six numbers of 8 bytes, four of 4, two of 2 and one of 4: no padding.
unsafe impl Plain for BagsOf {}

/// Occurrences of a chunk; as in kernels/embedding.cu.
const CHUNK: usize = 32;

/// As in kernels/embedding.cu.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sum {
    g: u64,
    d_out: u64,
    starts: u64,
    rows: u64,
    coefs: u64,
    count: u32,
    ld_g: u32,
    width: u32,
    records: u32,
    ld_d: u32,
    lanes: u16,
    vector: u16,
}

/// The same.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sums {
    fields: [Sum; FIELDS],
}

// SAFETY: five numbers of 8 bytes, five of 4 and two of 2 a field, 64 bytes: no padding.
unsafe impl Plain for Sums {}

impl<D: Device> Embedding for Cuda<D> {
    fn gather_rows(&self, out: MM<D>, x: M<D>, ids: &Ids<D>, first: usize) {
        assert_eq!(out.cols, x.cols, "columns of the output and of x");
        let source = Source {
            out: Span::mat_mut(&out),
            ld_out: out.stride,
            rows: Span::mat(&x),
            stride: x.stride,
            width: out.cols,
            dtype: TableDtype::F32,
            ids: ids.span(first, out.rows),
            reading: Reading::PLAIN,
            average: None,
        };
        lookups(self, &[Some(source)], out.rows);
    }

    fn lookup(&self, out: MM<D>, table: TableView<Self>, ids: &Ids<D>, first: usize) {
        lookups(self, &[Some(of_table(&out, (0, out.cols), table, ids, first))], out.rows);
    }

    fn lookup_fields<'a>(
        &self,
        out: MM<D>,
        mut fields: impl Iterator<Item = FieldLookup<'a, Self>>,
        first: usize,
    ) {
        loop {
            let few: [_; FIELDS] = std::array::from_fn(|_| fields.next());
            if few[0].is_none() {
                return;
            }
            let source =
                |f: &FieldLookup<'a, Cuda<D>>| of_table(&out, (f.column, f.width), f.table, f.ids, first);
            lookups(self, &few.each_ref().map(|f| f.as_ref().map(source)), out.rows);
        }
    }

    fn lookup_bags(&self, out: MM<D>, view: TableView<Self>, bags: Bags<Ids<D>, Buf<D>>, first: usize) {
        let (table, (reading, average)) = (view.table, Reading::of(&view));
        assert_eq!(out.cols, table.width, "columns of the output and of the table");
        if out.rows * out.cols == 0 {
            return;
        }
        let (to, offsets) = (Span::mat_mut(&out), bags.offsets.span(first, out.rows + 1));
        let (ids, coefs) = (bags.ids.span(0, bags.ids.len), bags.coefs.span(0, bags.coefs.len));
        let aligned = in_fours(out.cols, &[(to.pointer(), out.stride)]);
        let of = BagsOf {
            out: to.pointer(),
            table: table.span().pointer(),
            offsets: offsets.pointer(),
            ids: ids.pointer(),
            coefs: coefs.pointer(),
            reading,
            ld_out: size(out.stride),
            width: size(out.cols),
            dtype: dtype_code(table.dtype),
            vector: aligned.into(),
            rows: size(out.rows),
        };
        let units = out.rows * if aligned { out.cols / 4 } else { out.cols };
        let mut recording = self.record();
        let launch = recording
            .launch(Kernel::LookupBags, [(size(units) as usize).div_ceil(256), 1, 1], 256)
            .plain(&of) // Bags bags
            .also(to, true);
        let reads = [table.span(), offsets, ids, coefs].into_iter().chain(average);
        reads.fold(launch, |launch, span| launch.also(span, false)).go();
    }

    fn numeric_embed(&self, out: MM<D>, w: M<D>, values: &Buf<D>, first: usize) {
        assert_eq!(out.cols, w.cols, "columns of the output and of w");
        if out.rows * out.cols == 0 {
            return;
        }
        self.record()
            .launch(Kernel::NumericEmbed, [(size(out.rows * out.cols) as usize).div_ceil(1024), 1, 1], 256)
            .write(Span::mat_mut(&out)) // float* out
            .size(out.stride) // unsigned ld_out
            .size(out.rows) // unsigned rows
            .size(out.cols) // unsigned cols
            .read(Span::mat(&w.rows(0, 1))) // const float* w
            .read(values.span(first, out.rows)) // const float* values
            .go();
    }

    // Not on the path of a training step, whose rows all lie in one lane: how many lanes there are is read back.
    fn reduce_rows<'a>(
        &self,
        g: MM<D>,
        segments: Segments<Ids<D>, Buf<D>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> M<'a, D> + Sync,
    ) {
        if segments.count == 0 {
            return;
        }
        let lanes = last_row(self, &segments).map_or(1, |row| row / lane_rows + 1);
        if lanes == 1 {
            let d_out = lane(0);
            return self.reduce_fields(std::iter::once(FieldSum { g, segments, d_out }));
        }
        let (rows, cols) = (lanes * lane_rows, g.cols);
        let Some(mut all) = temporary(self, rows * cols) else { return };
        for i in 0..lanes {
            let from = lane(i);
            let to = MatMut::new(&mut all, rows, cols).rows(i * lane_rows, from.rows);
            self.copy(to, Write::Set, from);
        }
        let d_out = Mat::new(&all, rows, cols);
        self.reduce_fields(std::iter::once(FieldSum { g, segments, d_out }));
    }

    fn reduce_fields<'a>(&self, fields: impl Iterator<Item = FieldSum<'a, Self>>) {
        let mut fields = fields.filter(|f| f.segments.count * f.g.cols > 0);
        loop {
            let few: [_; FIELDS] = std::array::from_fn(|_| fields.next());
            if few[0].is_none() {
                return;
            }
            let mut sums = Sums { fields: [Sum::default(); FIELDS] };
            let (mut grid, mut elements) = ([0, 0, 0], 0);
            for (to, f) in sums.fields.iter_mut().zip(few.iter().flatten()) {
                let ([g, d_out, starts, rows], coefs) = spans(f);
                assert_eq!(f.g.cols, f.d_out.cols, "columns of the sums and of what is summed");
                let width = f.g.cols;
                let aligned =
                    in_fours(width, &[(g.pointer(), f.g.stride), (d_out.pointer(), f.d_out.stride)]);
                let units = if aligned { width / 4 } else { width };
                let lanes = units.next_power_of_two().clamp(4, 32);
                *to = Sum {
                    g: g.pointer(),
                    d_out: d_out.pointer(),
                    starts: starts.pointer(),
                    rows: rows.pointer(),
                    coefs: coefs.map_or(0, |c| c.pointer()),
                    count: size(f.segments.count),
                    ld_g: size(f.g.stride),
                    width: size(width),
                    records: size(elements),
                    ld_d: size(f.d_out.stride),
                    lanes: lanes as u16,
                    vector: aligned.into(),
                };
                // Room for as many occurrences as there can be, so that the grid is the same for every batch; one block
                // more takes the ids without any that come last.
                let room = f.segments.rows.len;
                grid[0] = grid[0].max(room / (256 / lanes * CHUNK) + 1);
                grid[1] += 1;
                grid[2] = grid[2].max(units.div_ceil(lanes));
                elements += room.div_ceil(CHUNK) * (2 * width.next_multiple_of(4) + 4);
            }
            let mut recording = self.record();
            let records = recording.workspace(elements);
            let launch = recording
                .launch(Kernel::ReduceFieldsWalk, grid, 256)
                .plain(&sums) // FieldSums fields
                .write_workspace(records); // float* records
            few.iter()
                .flatten()
                .fold(launch, |launch, f| {
                    let ([g, read @ ..], coefs) = spans(f);
                    let launch = launch.also(g, true);
                    read.into_iter().chain(coefs).fold(launch, |launch, span| launch.also(span, false))
                })
                .go();
            let launch = recording
                .launch(Kernel::ReduceFieldsJoin, grid, 256)
                .plain(&sums) // FieldSums fields
                .read_workspace(records); // const float* records
            few.iter()
                .flatten()
                .fold(launch, |launch, f| {
                    let ([g, _, starts, _], _) = spans(f);
                    launch.also(g, true).also(starts, false)
                })
                .go();
        }
    }

    // Not on the path of a training step: this backend makes the gradients of fields from rows.
    fn linear_bwd_by_value<'a>(
        &self,
        g: MM<D>,
        d_w: MM<D>,
        x: M<D>,
        w: M<D>,
        segments: Segments<Ids<D>, Buf<D>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> M<'a, D> + Sync,
    ) {
        let (count, n) = (segments.count, w.rows);
        let Some(mut sums) = temporary(self, count * n) else { return };
        self.reduce_rows(MatMut::new(&mut sums, count, n), segments, lane_rows, lane);
        let s = Mat::new(&sums, count, n);
        let mut packed = Packed::new(1, n, w.cols);
        packed.view(w, Layout::OutIn);
        self.linear_dx(g.rows(0, count), Write::Set, s, &packed, Groups::One(0), None);
        self.linear_dw(d_w, Write::Set, s, x.rows(0, count), Groups::One(0));
    }
}

/// Number of a table's type; as in kernels/include/rounding.cuh.
pub(crate) fn dtype_code(dtype: TableDtype) -> u16 {
    match dtype {
        TableDtype::F32 => 0,
        TableDtype::F16 => 1,
        TableDtype::Bf16 => 2,
    }
}

/// Whether kernels may take four columns at a time: `cols` is a multiple of four, and so is every row's place in the matrices of
/// these addresses and strides. Tables are dense and begin at a multiple of 256, so their width decides.
pub(crate) fn in_fours(cols: usize, places: &[(u64, usize)]) -> bool {
    cols.is_multiple_of(4)
        && places.iter().all(|(pointer, stride)| pointer.is_multiple_of(16) && stride.is_multiple_of(4))
}

/// A kernel's `unsigned`.
fn size(v: usize) -> u32 {
    u32::try_from(v).unwrap_or_else(|_| panic!("{v} elements are more than a kernel's u32"))
}

/// One launch for at most [`FIELDS`] sources, for `rows` ids each.
fn lookups<D: Device>(cuda: &Cuda<D>, sources: &[Option<Source<D>>], rows: usize) {
    let mut of = LookupFields { fields: [LookupField::default(); FIELDS] };
    let (mut blocks, mut count) = (0, 0);
    for (to, s) in of.fields.iter_mut().zip(sources.iter().flatten()) {
        let aligned = in_fours(s.width, &[(s.out.pointer(), s.ld_out), (s.rows.pointer(), s.stride)]);
        let units = rows * if aligned { s.width / 4 } else { s.width };
        blocks = blocks.max((size(units) as usize).div_ceil(1024));
        count += 1;
        *to = LookupField {
            out: s.out.pointer(),
            table: s.rows.pointer(),
            ids: s.ids.pointer(),
            reading: s.reading,
            ld_out: size(s.ld_out),
            stride: size(s.stride),
            width: size(s.width),
            dtype: dtype_code(s.dtype),
            vector: aligned.into(),
        };
    }
    if blocks == 0 {
        return;
    }
    let mut recording = cuda.record();
    let launch = recording
        .launch(Kernel::LookupFields, [blocks, count, 1], 256)
        .plain(&of) // LookupFields fields
        .size(rows); // unsigned rows
    let sources = sources.iter().flatten();
    sources
        .fold(launch, |launch, s| {
            let reads = [Some(s.rows), Some(s.ids), s.average].into_iter().flatten();
            reads.fold(launch.also(s.out, true), |launch, read| launch.also(read, false))
        })
        .go();
}

/// Rows of `table` to columns `column..` of `out`.
fn of_table<'a, D: Device>(
    out: &'a MM<D>,
    (column, width): (usize, usize),
    view: TableView<'a, Cuda<D>>,
    ids: &'a Ids<D>,
    first: usize,
) -> Source<'a, D> {
    let (table, (reading, average)) = (view.table, Reading::of(&view));
    assert_eq!(width, table.width, "columns of the output and of the table");
    Source {
        out: Span::mat(&out.as_mat().cols(column, width)),
        ld_out: out.stride,
        rows: table.span(),
        stride: width,
        width,
        dtype: table.dtype,
        ids: ids.span(first, out.rows),
        reading,
        average,
    }
}

/// Memory that a field's sums read and write.
fn spans<'a, D: Device>(f: &'a FieldSum<Cuda<D>>) -> ([Span<'a, D>; 4], Option<Span<'a, D>>) {
    let Segments { count, starts, rows, coefs } = f.segments;
    let of = [
        Span::mat(&f.g.as_mat().rows(0, count)),
        Span::mat(&f.d_out),
        starts.span(0, count + 1),
        rows.span(0, rows.len),
    ];
    (of, coefs.map(|c| c.span(0, c.len)))
}

/// The largest row that the segments name, read back from the device. `None` without occurrences; a device that failed
/// says so at the next download.
fn last_row<D: Device>(cuda: &Cuda<D>, segments: &Segments<Ids<D>, Buf<D>>) -> Option<usize> {
    let words = |ids: &Ids<D>, first: usize, len: usize| {
        let mut bytes = vec![0; 4 * len];
        cuda.read(&mut bytes, ids.span(first, len).pointer()).ok()?;
        Some(bytes.chunks_exact(4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>())
    };
    let occurrences = words(segments.starts, segments.count, 1)?[0] as usize;
    words(segments.rows, 0, occurrences)?.into_iter().max().map(|row| row as usize)
}

/// Memory for one operation. Where there is none, the next download says so.
fn temporary<D: Device>(cuda: &Cuda<D>, len: usize) -> Option<Buf<D>> {
    match cuda.shared.alloc(4 * len) {
        Ok(memory) => Some(Buffer::new(memory, len)),
        Err(e) => {
            cuda.shared.queue().fail(e);
            None
        }
    }
}
