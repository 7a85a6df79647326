//! Embedding tables whose rows all move at every step, though a step computes on those alone that a batch touches
//! (docs/derivations.md#rows-at-rest).

mod scales;
#[cfg(test)]
mod tests;

use crate::backend::{Backend, Elem, TableView};
use crate::error::{Error, Result, TensorErrorKind};
use crate::params::TableSpec;
use crate::params::{TensorSink, TensorSource, initial};
use crate::rounding::TableDtype;

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
}

/// One table: w̃ and ã of each row ([`Scales`]), those of a frozen table being w itself.
#[derive(Debug)]
struct Table<B: Backend> {
    rows: B::Table,
    average: Option<B::Table>,
    frozen: bool,
}

/// A table that a step moves.
pub(crate) struct Moving<'a, B: Backend> {
    pub(crate) rows: &'a mut B::Table,
    /// With its c, as in [`crate::backend::TableStep`].
    pub(crate) average: Option<(&'a mut B::Table, f64)>,
}

impl<B: Backend> Tables<B> {
    /// Zeros; averages of those that training moves when `averaged`.
    pub(crate) fn new(be: &B, specs: &[TableSpec], averaged: bool) -> Result<Self> {
        let table = |t: &TableSpec| -> Result<Table<B>> {
            let average = || be.alloc_table(t.rows, t.width, TableDtype::F32);
            Ok(Table {
                rows: be.alloc_table(t.rows, t.width, t.dtype)?,
                average: (averaged && !t.frozen).then(average).transpose()?,
                frozen: t.frozen,
            })
        };
        Ok(Self { tables: specs.iter().map(table).collect::<Result<_>>()?, scales: Scales::ONE })
    }

    /// Gives the memory of the averages out.
    pub(crate) fn take_averages(&mut self) -> Vec<B::Table> {
        self.tables.iter_mut().filter_map(|t| t.average.take()).collect()
    }

    /// How a table is read: its rows, or with `averaged` their averages if there are any.
    pub(crate) fn view(&self, number: usize, averaged: bool) -> TableView<'_, B> {
        let Table { rows, average, frozen } = &self.tables[number];
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
        for (spec, table) in specs.iter().zip(&mut self.tables) {
            for (first, rows) in pieces(spec) {
                let range = first * spec.width..(first + rows) * spec.width;
                table.put(be, spec, Scales::ONE, first, &initial(&spec.name, range, spec.init, seed))?;
            }
        }
        Ok(())
    }

    /// The averages where there are any, else the rows.
    pub(crate) fn export(
        &self,
        be: &B,
        specs: &[TableSpec],
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        let mut plus = Vec::new();
        for (number, spec) in specs.iter().enumerate() {
            let view = self.view(number, true);
            let scale = B::Elem::of(view.scale);
            export(be, spec, view.table, (&spec.name, spec.dtype), sink, |first, rows| {
                if view.plus.is_none() && view.scale == 1.0 {
                    return Ok(());
                }
                rows.iter_mut().for_each(|w| *w *= scale);
                if let Some((average, factor)) = view.plus {
                    plus.resize(rows.len(), B::Elem::default());
                    be.download_rows(&mut plus, average, first)?;
                    let factor = B::Elem::of(factor);
                    rows.iter_mut()
                        .zip(&plus)
                        .for_each(|(w, &a)| *w = num_traits::Float::mul_add(factor, a, *w));
                }
                rows.iter_mut().for_each(|w| *w = spec.dtype.nearest(*w));
                Ok(())
            })?;
        }
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
        for (spec, table) in specs.iter().zip(&mut self.tables) {
            import(spec, source, &spec.name, |first, data| table.put(be, spec, Scales::ONE, first, data))?;
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
        table.put(be, spec, self.scales, first, data)
    }

    /// State of tables that move, which [`Tables::export`] does not show.
    pub(crate) fn export_state(
        &self,
        be: &B,
        specs: &[TableSpec],
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        for (spec, table) in specs.iter().zip(&self.tables).filter(|(spec, _)| !spec.frozen) {
            export(be, spec, &table.rows, (&current(spec), spec.dtype), sink, |_, _| Ok(()))?;
            if let Some(average) = &table.average {
                export(be, spec, average, (&averaged(spec), TableDtype::F32), sink, |_, _| Ok(()))?;
            }
        }
        sink.begin(SCALES, &Scales::SHAPE, TableDtype::F32);
        sink.piece(&self.scales.parts());
        Ok(())
    }

    /// Takes it, after [`Tables::import`] of the same checkpoint.
    pub(crate) fn import_state(
        &mut self,
        be: &B,
        specs: &[TableSpec],
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        for (spec, table) in specs.iter().zip(&mut self.tables).filter(|(spec, _)| !spec.frozen) {
            import(spec, source, &current(spec), |first, data| {
                put_rows(be, spec, &mut table.rows, first, data, 1.0)
            })?;
            let Some(average) = &mut table.average else { continue };
            import(spec, source, &averaged(spec), |first, data| {
                be.upload_rows(average, first, data);
                Ok(())
            })?;
        }
        self.scales = Scales::of_parts(&source.tensor(SCALES, &Scales::SHAPE)?);
        Ok(())
    }
}

/// Name of a table's w̃ in a checkpoint.
fn current(spec: &TableSpec) -> String {
    format!("{CURRENT}{}", spec.name)
}

/// Name of a table's ã in a checkpoint.
fn averaged(spec: &TableSpec) -> String {
    format!("optimizer.average.{}", spec.name)
}

impl<B: Backend> Table<B> {
    /// Rows that a step moves, with the average's c.
    fn moving(&mut self, c: f64) -> Option<Moving<'_, B>> {
        let Self { rows, average, frozen } = self;
        (!*frozen).then(|| Moving { rows, average: average.as_mut().map(|average| (average, c)) })
    }

    /// Sets rows to `data`, and their averages to the same.
    fn put(
        &mut self,
        be: &B,
        spec: &TableSpec,
        scales: Scales,
        first: usize,
        data: &[B::Elem],
    ) -> Result<()> {
        let Scales { p, q, d } = if self.frozen { Scales::ONE } else { scales };
        put_rows(be, spec, &mut self.rows, first, data, p)?;
        if let Some(average) = &mut self.average {
            // The average starts at the numbers that the table now holds, which may be rounded.
            let stored = |w: &B::Elem| spec.dtype.nearest(B::Elem::of(w.wide() / p)).wide();
            let rows: Vec<_> = data.iter().map(|w| B::Elem::of((p - q) * stored(w) / d)).collect();
            be.upload_rows(average, first, &rows);
        }
        Ok(())
    }
}

/// Brings a table of the shape of `spec` to `sink` under a name and a type, each piece from a row on being edited first.
fn export<B: Backend>(
    be: &B,
    spec: &TableSpec,
    table: &B::Table,
    (name, dtype): (&str, TableDtype),
    sink: &mut dyn TensorSink<B::Elem>,
    mut edit: impl FnMut(usize, &mut [B::Elem]) -> Result<()>,
) -> Result<()> {
    let mut host = Vec::new();
    sink.begin(name, &[spec.rows, spec.width], dtype);
    for (first, rows) in pieces(spec) {
        host.resize(rows * spec.width, B::Elem::default());
        be.download_rows(&mut host, table, first)?;
        edit(first, &mut host)?;
        sink.piece(&host);
    }
    Ok(())
}

/// Calls `put` with a row and what `source` has from it on of a table of the shape of `spec`, until all is there.
fn import<E: Elem>(
    spec: &TableSpec,
    source: &dyn TensorSource<E>,
    name: &str,
    mut put: impl FnMut(usize, &[E]) -> Result<()>,
) -> Result<()> {
    let mut first = 0;
    source.pieces(name, &[spec.rows, spec.width], &mut |data| {
        put(first, data)?;
        first += data.len() / spec.width;
        Ok(())
    })
}

/// `(first row, rows)` of each piece of a table.
fn pieces(spec: &TableSpec) -> impl Iterator<Item = (usize, usize)> {
    let (rows, step) = (spec.rows, (PIECE / spec.width).max(1));
    (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
}

/// Uploads rows divided by `p`, unless that takes a finite number of them out of the range of the table's type.
fn put_rows<B: Backend>(
    be: &B,
    spec: &TableSpec,
    table: &mut B::Table,
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
        let (row, value) = (first + at / spec.width, data[at].wide());
        let kind = TensorErrorKind::Range { row, value, dtype: spec.dtype.name(), decaying: p != 1.0 };
        return Err(Error::tensor(&spec.name, kind));
    }
    be.upload_rows(table, first, stored);
    Ok(())
}
