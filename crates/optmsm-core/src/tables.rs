//! Embedding tables whose rows all move at every step, though a step computes on those alone that a batch touches
//! (docs/derivations.md#rows-at-rest).

mod scales;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::backend::{Backend, Elem, MatMut, TableView};
use crate::error::{Error, Result, TensorErrorKind};
use crate::params::TableSpec;
use crate::params::{TensorSink, TensorSource, initial};
use crate::rounding::{Rows, TableDtype};

pub(crate) use scales::Rest;
use scales::Scales;

/// Elements of a table that are on their way to or from it at a time.
pub(crate) const PIECE: usize = 1 << 16;

/// Prefix of the names of what is stored of parameters that are not exported as such.
pub(crate) const CURRENT: &str = "optimizer.current.";
/// Name of [`Scales`] in a checkpoint.
const SCALES: &str = "optimizer.scales";

/// The embedding tables of a model, with their averages where there are any.
#[derive(Debug)]
pub struct Tables<B: Backend> {
    tables: Vec<Table<B>>,
    scales: Scales,
    ids: Rows, // which are here
}

/// One table: w̃ and ã of each row ([`Scales`]), those of a frozen table being w itself.
#[derive(Debug)]
struct Table<B: Backend> {
    rows: B::Table,
    average: Option<B::Table>,
    frozen: bool,
    room: usize, // rows
}

/// Numbers that are stored for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The row as it is exported: its average where there is one.
    Exported,
    /// w̃.
    Current,
    /// ã.
    Average,
}

impl Stored {
    /// Name of a table of these in a checkpoint.
    pub(crate) fn name(self, spec: &TableSpec) -> String {
        match self {
            Self::Exported => spec.name.clone(),
            Self::Current => format!("{CURRENT}{}", spec.name),
            Self::Average => format!("optimizer.average.{}", spec.name),
        }
    }

    /// Type that they are stored in.
    pub(crate) fn dtype(self, spec: &TableSpec) -> TableDtype {
        if self == Self::Average { TableDtype::F32 } else { spec.dtype }
    }
}

/// A table that a step moves.
pub(crate) struct Moving<'a, B: Backend> {
    pub(crate) rows: &'a mut B::Table,
    /// With its c, as in [`crate::backend::TableStep`].
    pub(crate) average: Option<(&'a mut B::Table, f64)>,
}

impl<B: Backend> Tables<B> {
    /// Zeros for the rows `ids`; averages of those that training moves when `averaged`.
    pub(crate) fn new(be: &B, specs: &[TableSpec], averaged: bool, ids: Rows) -> Result<Self> {
        let table = |spec| Table::new(be, spec, averaged, ids.count(spec.rows));
        let tables = specs.iter().map(table).collect::<Result<_>>()?;
        Ok(Self { tables, scales: Scales::ONE, ids })
    }

    /// Room for the ids that `rows` rows touch at most, but for lists, which a step brings from where they are: [`Tables::copy`].
    pub(crate) fn copies(be: &B, specs: &[TableSpec], averaged: bool, rows: usize) -> Result<Self> {
        let table =
            |spec: &TableSpec| Table::new(be, spec, averaged, (rows * spec.fields.len()).min(spec.rows));
        let tables = specs.iter().map(table).collect::<Result<_>>()?;
        Ok(Self { tables, scales: Scales::ONE, ids: Rows::ALL })
    }

    /// Ids of the rows that are here.
    pub(crate) fn ids(&self) -> Rows {
        self.ids
    }

    /// Gives the memory of the averages out.
    pub(crate) fn take_averages(&mut self) -> Vec<B::Table> {
        self.tables.iter_mut().filter_map(|t| t.average.take()).collect()
    }

    /// How a table is read: its rows, or with `averaged` their averages if there are any.
    pub(crate) fn view(&self, number: usize, averaged: bool) -> TableView<'_, B> {
        let Table { rows, average, frozen, .. } = &self.tables[number];
        let Scales { p, q, d } = if *frozen { Scales::ONE } else { self.scales };
        match average {
            Some(average) if averaged => TableView { table: rows, scale: q, plus: Some((average, d)) },
            _ => TableView { table: rows, scale: p, plus: None },
        }
    }

    /// Moves all rows as a step moves those that it does not touch. Returns the tables for the touched rows to be moved (`None`:
    /// frozen), and p, by which their rates are divided.
    pub(crate) fn rest(&mut self, be: &B, rest: Rest) -> (impl Iterator<Item = Option<Moving<'_, B>>>, f64) {
        if let Some((factor, settled)) = self.scales.settled(rest) {
            let average = [self.scales.q, self.scales.d];
            for table in self.tables.iter_mut().filter(|t| !t.frozen) {
                be.settle_rows(&mut table.rows, factor, table.average.as_mut().map(|a| (a, average)));
            }
            self.scales = settled;
        }
        let c = self.scales.q / self.scales.d;
        self.scales = self.scales.after(rest);
        (self.tables.iter_mut().map(move |table| table.moving(c)), self.scales.p)
    }

    /// Initial values, rounded to the nearest that the tables' types hold.
    pub(crate) fn init(&mut self, be: &B, specs: &[TableSpec], seed: u64) -> Result<()> {
        self.scales = Scales::ONE;
        let ids = self.ids;
        for (spec, table) in specs.iter().zip(&mut self.tables) {
            for (first, rows) in pieces(spec, PIECE, 1) {
                let of = |ids: Range<usize>| {
                    initial(&spec.name, ids.start * spec.width..ids.end * spec.width, spec.init, seed)
                };
                let (own, all) = (ids.count(first)..ids.count(first + rows), first..first + rows);
                let each = || own.clone().map(|row| ids.id(row as u32) as usize);
                let data =
                    if own.len() == rows { of(all) } else { each().flat_map(|id| of(id..id + 1)).collect() };
                table.put(be, spec, Scales::ONE, ids, own.start, &data)?;
            }
        }
        Ok(())
    }

    /// The averages where there are any, else the rows; all of them are here.
    pub(crate) fn export(
        &self,
        be: &B,
        specs: &[TableSpec],
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        (0..specs.len()).try_for_each(|number| self.bring(be, specs, (number, Stored::Exported), sink))
    }

    /// Brings what is stored of a table to `sink`, in pieces.
    fn bring(
        &self,
        be: &B,
        specs: &[TableSpec],
        (number, stored): (usize, Stored),
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        let (spec, mut host) = (&specs[number], Vec::new());
        sink.begin(&stored.name(spec), &[spec.rows, spec.width], stored.dtype(spec));
        for (first, rows) in pieces(spec, PIECE, 1) {
            host.resize(rows * spec.width, B::Elem::default());
            self.read(be, spec, (number, stored), first, &mut host)?;
            sink.piece(&host);
        }
        Ok(())
    }

    /// Copies what is stored of the rows from `first` on that fill `to`.
    pub(crate) fn read(
        &self,
        be: &B,
        spec: &TableSpec,
        (number, stored): (usize, Stored),
        first: usize,
        to: &mut [B::Elem],
    ) -> Result<()> {
        let Table { rows, average, .. } = &self.tables[number];
        match (stored, average) {
            (Stored::Average, Some(average)) => return be.download_rows(to, average, first),
            _ => be.download_rows(to, rows, first)?,
        }
        let view = self.view(number, true);
        if stored != Stored::Exported || (view.plus.is_none() && view.scale == 1.0) {
            return Ok(());
        }
        let scale = B::Elem::of(view.scale);
        to.iter_mut().for_each(|w| *w *= scale);
        if let Some((average, factor)) = view.plus {
            let mut plus = vec![B::Elem::default(); to.len()];
            be.download_rows(&mut plus, average, first)?;
            let factor = B::Elem::of(factor);
            to.iter_mut().zip(&plus).for_each(|(w, &a)| *w = num_traits::Float::mul_add(factor, a, *w));
        }
        to.iter_mut().for_each(|w| *w = spec.dtype.nearest(*w));
        Ok(())
    }

    /// Rows; averages start there.
    pub(crate) fn import(
        &mut self,
        be: &B,
        specs: &[TableSpec],
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        self.scales = Scales::ONE;
        let ids = self.ids;
        for (spec, table) in specs.iter().zip(&mut self.tables) {
            import(spec, source, Stored::Exported, ids, |first, data| {
                table.put(be, spec, Scales::ONE, ids, first, data)
            })?;
        }
        Ok(())
    }

    /// Replaces rows of a table, from row `first` on; their averages start there.
    pub(crate) fn set_rows(
        &mut self,
        be: &B,
        specs: &[TableSpec],
        name: &str,
        first: usize,
        data: &[B::Elem],
    ) -> Result<()> {
        let fail = |kind| Err(Error::tensor(name, kind));
        let Some((spec, table)) = specs.iter().zip(&mut self.tables).find(|(spec, _)| spec.name == name)
        else {
            return fail(TensorErrorKind::Unknown);
        };
        let rows = data.len() / spec.width;
        if rows * spec.width != data.len() || rows > spec.rows.saturating_sub(first) {
            let table = [spec.rows, spec.width];
            return fail(TensorErrorKind::Rows { first, numbers: data.len(), table });
        }
        let (first, own) = self.ids.of(first, spec.width, data);
        table.put(be, spec, self.scales, self.ids, first, &own)
    }

    /// State of tables that move, which [`Tables::export`] does not show; all rows are here.
    pub(crate) fn export_state(
        &self,
        be: &B,
        specs: &[TableSpec],
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        self.state(specs).try_for_each(|of| self.bring(be, specs, of, sink))?;
        self.export_scales(sink);
        Ok(())
    }

    /// The tables that have such state, and what is stored of them.
    pub(crate) fn state(&self, specs: &[TableSpec]) -> impl Iterator<Item = (usize, Stored)> {
        let moving = (0..specs.len()).filter(|&number| !specs[number].frozen);
        moving.flat_map(|number| {
            let average = self.tables[number].average.as_ref().map(|_| (number, Stored::Average));
            [Some((number, Stored::Current)), average].into_iter().flatten()
        })
    }

    /// Brings the numbers that all rows have in common to `sink`.
    pub(crate) fn export_scales(&self, sink: &mut dyn TensorSink<B::Elem>) {
        sink.begin(SCALES, &Scales::SHAPE, TableDtype::F32);
        sink.piece(&self.scales.parts());
    }

    /// Takes the state, after [`Tables::import`] of the same checkpoint.
    pub(crate) fn import_state(
        &mut self,
        be: &B,
        specs: &[TableSpec],
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        let ids = self.ids;
        for (spec, table) in specs.iter().zip(&mut self.tables).filter(|(spec, _)| !spec.frozen) {
            import(spec, source, Stored::Current, ids, |first, data| {
                put_rows(be, spec, &mut table.rows, ids, first, data, 1.0)
            })?;
            let Some(average) = &mut table.average else { continue };
            import(spec, source, Stored::Average, ids, |first, data| {
                be.upload_rows(average, first, data);
                Ok(())
            })?;
        }
        self.scales = Scales::of_parts(&source.tensor(SCALES, &Scales::SHAPE)?);
        Ok(())
    }

    /// Copies `rows` rows of a table as they are stored, of the ids at `ids`, to the front of `to` `[rows, width]`.
    pub(crate) fn pick(&self, be: &B, (number, stored): (usize, Stored), ids: &B::Ids, to: MatMut<B::Buf>) {
        let Table { rows, average, .. } = &self.tables[number];
        let table = if stored == Stored::Average { average.as_ref().unwrap_or(rows) } else { rows };
        be.lookup(to, TableView { table, scale: 1.0, plus: None }, ids, 0);
    }

    /// Whether a table has an average.
    pub(crate) fn averages(&self, number: usize) -> bool {
        self.tables[number].average.is_some()
    }

    /// Sets the first rows of a table to `data`, as they are stored elsewhere; makes room for them.
    pub(crate) fn copy(
        &mut self,
        be: &B,
        spec: &TableSpec,
        (number, stored): (usize, Stored),
        data: &[B::Elem],
    ) -> Result<()> {
        let count = data.len() / spec.width;
        let table = &mut self.tables[number];
        if count > table.room {
            *table = Table::new(be, spec, table.average.is_some(), count.next_power_of_two().min(spec.rows))?;
        }
        let to = match (stored, &mut table.average) {
            (Stored::Average, Some(average)) => average,
            _ => &mut table.rows,
        };
        be.upload_rows(to, 0, data);
        Ok(())
    }

    /// From now on reads its rows as `of` reads its own.
    pub(crate) fn read_as(&mut self, of: &Self) {
        self.scales = of.scales;
    }
}

impl<B: Backend> Table<B> {
    /// Zeros.
    fn new(be: &B, spec: &TableSpec, averaged: bool, rows: usize) -> Result<Self> {
        let average = || be.alloc_table(rows, spec.width, TableDtype::F32);
        Ok(Self {
            rows: be.alloc_table(rows, spec.width, spec.dtype)?,
            average: (averaged && !spec.frozen).then(average).transpose()?,
            frozen: spec.frozen,
            room: rows,
        })
    }

    /// Rows that a step moves, with the average's c.
    fn moving(&mut self, c: f64) -> Option<Moving<'_, B>> {
        let Self { rows, average, frozen, .. } = self;
        (!*frozen).then(|| Moving { rows, average: average.as_mut().map(|average| (average, c)) })
    }

    /// Sets rows to `data`, and their averages to the same.
    fn put(
        &mut self,
        be: &B,
        spec: &TableSpec,
        scales: Scales,
        ids: Rows,
        first: usize,
        data: &[B::Elem],
    ) -> Result<()> {
        let Scales { p, q, d } = if self.frozen { Scales::ONE } else { scales };
        put_rows(be, spec, &mut self.rows, ids, first, data, p)?;
        if let Some(average) = &mut self.average {
            // The average starts at the numbers that the table now holds, which may be rounded.
            let stored = |w: &B::Elem| spec.dtype.nearest(B::Elem::of(w.wide() / p)).wide();
            let rows: Vec<_> = data.iter().map(|w| B::Elem::of((p - q) * stored(w) / d)).collect();
            be.upload_rows(average, first, &rows);
        }
        Ok(())
    }
}

/// Calls `put` with a row and what `source` has from it on of the rows `ids` of a table, until all is there.
fn import<E: Elem>(
    spec: &TableSpec,
    source: &dyn TensorSource<E>,
    stored: Stored,
    ids: Rows,
    mut put: impl FnMut(usize, &[E]) -> Result<()>,
) -> Result<()> {
    let mut first = 0;
    source.pieces(&stored.name(spec), &[spec.rows, spec.width], &mut |data| {
        let (row, own) = ids.of(first, spec.width, data);
        first += data.len() / spec.width;
        put(row, &own)
    })
}

/// `(first row, rows)` of each piece of a table, of `piece` elements or so; all but the last have a multiple of `step` rows.
pub(crate) fn pieces(spec: &TableSpec, piece: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    let (rows, step) = (spec.rows, (piece / spec.width / step).max(1) * step);
    (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
}

/// Uploads rows divided by `p`, unless that takes a finite number of them out of the range of the table's type.
fn put_rows<B: Backend>(
    be: &B,
    spec: &TableSpec,
    table: &mut B::Table,
    ids: Rows,
    first: usize,
    data: &[B::Elem],
    p: f64,
) -> Result<()> {
    let scaled: Vec<B::Elem>;
    let stored = if p == 1.0 {
        data
    } else {
        scaled = data.iter().map(|w| B::Elem::of(w.wide() / p)).collect();
        &scaled
    };
    let lost =
        |(w, s): (&B::Elem, &B::Elem)| w.wide().is_finite() && !spec.dtype.nearest(*s).wide().is_finite();
    if let Some(at) = data.iter().zip(stored).position(lost) {
        let (row, value) = (ids.id((first + at / spec.width) as u32) as usize, data[at].wide());
        let kind = TensorErrorKind::Range { row, value, dtype: spec.dtype.name(), decaying: p != 1.0 };
        return Err(Error::tensor(&spec.name, kind));
    }
    be.upload_rows(table, first, stored);
    Ok(())
}
