//! Folded tables: what linear layers make of each id, computed once (docs/derivations.md#folding).
//!
//! A linear layer reads the embeddings of several fields side by side, y = [e_1 … e_F ; z_s] Wᵀ + b, which is
//! y = Σ_f e_f W_fᵀ + z_s W_zᵀ + b. For a field of ids, the rows e W_fᵀ of all ids are a table `[vocab, N]`: a row's y is then a sum of
//! a few rows of such tables. Fields whose table is beyond the memory allowed are embedded and multiplied as ever. Of a request,
//! whose rows have a user in common, the user's terms are summed once per block of rows.
//!
//! The same terms are added in another order: results differ by rounding.

mod build;

use crate::backend::{Backend, Epilogue, Groups, Mat, MatMut, TableView, Write};
use crate::error::Result;
use crate::layers::embedding::Source;
use crate::model::{Cx, FirstLayer, Folding, Model, Through};
use crate::params::{ParamId, Tensor};
use crate::rounding::TableDtype;
use crate::runtime::Params;

use build::{chosen, fold, multiply};

/// How much is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldOptions {
    /// Bytes that folded tables of fields may take; those of scenarios and numbers, which are small, come on top. The smallest are made
    /// first.
    pub memory: usize,
    /// How their elements are stored. Anything but `f32` rounds each term of a sum.
    pub dtype: TableDtype,
}

impl Default for FoldOptions {
    /// 256 MiB in `f32`.
    fn default() -> Self {
        Self { memory: 256 << 20, dtype: TableDtype::F32 }
    }
}

/// Outcome of folding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldReport {
    /// Bytes that folded tables take.
    pub bytes: usize,
    /// Layers that can be folded, whatever of them fits.
    pub layers: usize,
    /// Fields of these layers that are folded, each counted once per layer.
    pub fields: usize,
    /// Those that are not: their tables would not fit.
    pub left_out: Vec<String>,
}

/// The folded layers of a model.
#[derive(Debug)]
pub(crate) struct Folds<B: Backend> {
    layers: Vec<Layer<B>>,
    sources: Vec<Source>, // by field
    pub(crate) report: FoldReport,
}

/// One layer.
#[derive(Debug)]
struct Layer<B: Backend> {
    first: FirstLayer,
    relu: bool,
    terms: Vec<Term<B>>,
    scenario: Option<B::Table>, // z_s W_zᵀ, [S, N]
    rest: Option<Rest<B>>,
}

/// The term of a field.
#[derive(Debug)]
struct Term<B: Backend> {
    field: usize,
    makes: Makes<B>,
}

#[derive(Debug)]
enum Makes<B: Backend> {
    /// A row of this table `[vocab, N]`.
    Row(B::Table),
    /// Pooled rows of this table.
    Bag(B::Table),
    /// Its value times this vector `[1, N]`.
    Multiple(Tensor<B>),
}

/// Fields that are embedded and multiplied.
#[derive(Debug)]
struct Rest<B: Backend> {
    fields: Vec<usize>,
    packed: B::Packed,
    _weight: Tensor<B>, // which `packed` may be a view of
}

/// Outputs of the folded layers of a block, and scratch.
#[derive(Debug)]
pub(crate) struct Folded<B: Backend> {
    y: Vec<Tensor<B>>,  // [rows, N] by layer
    common: Tensor<B>,  // [1, N]: what all rows of a request have in common
    scratch: Tensor<B>, // [rows, N]
    rest: Tensor<B>,    // [rows, Σ d]
}

/// Outputs of the folded layers of a block.
#[derive(Debug)]
pub(crate) struct Outputs<'a, B: Backend> {
    layers: &'a [Layer<B>],
    y: &'a [Tensor<B>],
}

impl<B: Backend> Clone for Outputs<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Outputs<'_, B> {}

impl<'a, B: Backend> Outputs<'a, B> {
    /// That of the layer with this weight.
    pub(crate) fn of(&self, weight: ParamId, rows: usize) -> Option<Mat<'a, B::Buf>> {
        let own = self.layers.iter().position(|layer| layer.first.weight == weight)?;
        Some(self.y[own].mat(rows))
    }
}

impl<B: Backend> Folds<B> {
    /// Folds what fits.
    ///
    /// # Errors
    /// When memory is short, or the device failed.
    pub(crate) fn new<M: Model<B>>(
        be: &B,
        model: &M,
        params: &Params<B>,
        options: FoldOptions,
    ) -> Result<Self> {
        let spec = model.spec();
        let folding = spec.readers().iter().filter_map(|reader| match reader.through() {
            Through::Linear(first) => first.folds.map(|folds| (reader, first, folds)),
            Through::Embedded => None,
        });
        // A layer that reads something else, too, is more than a sum of these terms.
        let folding = folding.filter(|(reader, first, folds)| {
            let scenario = folds.scenario.map_or(0, |z| params.dense.mat(z).cols);
            params.dense.mat_as(first.weight, first.outputs).cols == reader.width() + scenario
        });
        let folding: Vec<_> = folding.collect();
        let chosen = chosen(spec, folding.iter().map(|(reader, first, _)| (*reader, first.outputs)), options);
        let mut report = FoldReport { layers: folding.len(), ..FoldReport::default() };
        let mut layers = Vec::new();
        for ((reader, first, folds), chosen) in folding.into_iter().zip(chosen) {
            let weight = params.dense.mat_as(first.weight, first.outputs);
            let (mut terms, mut rest) = (Vec::new(), Vec::new());
            for (place, fits) in reader.places().iter().zip(chosen) {
                if !fits {
                    let name = &spec.input().fields[place.field].name;
                    if !report.left_out.contains(name) {
                        report.left_out.push(name.clone());
                    }
                    rest.push((place.field, place.column));
                    continue;
                }
                let columns = weight.cols(place.column, spec.embedding().dim());
                let (makes, bytes) = fold(be, spec, params, place.field, columns, options.dtype)?;
                report.fields += 1;
                report.bytes += bytes;
                terms.push(Term { field: place.field, makes });
            }
            let Folding { relu, scenario } = folds;
            let scenario = scenario.map(|z| -> Result<B::Table> {
                let z = params.dense.mat(z);
                let w_z = weight.cols(reader.width(), z.cols);
                let mut table = be.alloc_table(z.rows, first.outputs, TableDtype::F32)?;
                let embed = |e: MatMut<B::Buf>, from: std::ops::Range<usize>| {
                    be.copy(e, Write::Set, z.rows(from.start, from.len()));
                };
                multiply(be, w_z, z.rows, embed, |at, rows| be.upload_rows(&mut table, at, rows))?;
                report.bytes += z.rows * first.outputs * 4;
                Ok(table)
            });
            let rest = Rest::new(be, weight, &rest, spec.embedding().dim())?;
            layers.push(Layer { first, relu, terms, scenario: scenario.transpose()?, rest });
        }
        let sources = spec.embedding().fields().iter().map(|field| field.source).collect();
        Ok(Self { layers, sources, report })
    }

    /// Room for the outputs of `rows` rows.
    pub(crate) fn alloc(&self, be: &B, rows: usize) -> Result<Folded<B>> {
        let widest = self.layers.iter().map(|layer| layer.first.outputs).max().unwrap_or(0);
        let rest = self.layers.iter().filter_map(|layer| layer.rest.as_ref());
        let rest = rest.map(|rest| be.packed_shape(&rest.packed).2).max().unwrap_or(0);
        let y = self.layers.iter().map(|layer| Tensor::new(be, rows, layer.first.outputs));
        Ok(Folded {
            y: y.collect::<Result<_>>()?,
            common: Tensor::new(be, 1, widest)?,
            scratch: Tensor::new(be, rows, widest)?,
            rest: Tensor::new(be, rows, rest)?,
        })
    }

    /// Makes the outputs of a block. With `same`, its rows are of one scenario, and have the same value of the fields of which it is
    /// true.
    pub(crate) fn sum<'a>(
        &'a self,
        cx: Cx<B>,
        own: &'a mut Folded<B>,
        same: Option<&[bool]>,
    ) -> Outputs<'a, B> {
        let Folded { y, common, scratch, rest } = own;
        for (layer, y) in self.layers.iter().zip(&mut *y) {
            let (n, outputs) = (cx.x.rows, layer.first.outputs);
            let bias = cx.params.mat_as(layer.first.bias, 1);
            let mut memory = (&mut *scratch, &mut *rest);
            let y = y.mat_mut(n);
            match same {
                None => layer.sum(cx, &self.sources, y, bias, &|_| true, true, layer.relu, &mut memory),
                Some(same) => {
                    let to = MatMut::new(common.buf_mut(), 1, outputs);
                    layer.sum(cx, &self.sources, to, bias, &|field| same[field], true, false, &mut memory);
                    let common = Mat::new(common.buf(), 1, outputs);
                    layer.sum(
                        cx,
                        &self.sources,
                        y,
                        common,
                        &|field| !same[field],
                        false,
                        layer.relu,
                        &mut memory,
                    );
                }
            }
        }
        Outputs { layers: &self.layers, y: &own.y }
    }
}

impl<B: Backend> Layer<B> {
    /// y = ReLU?(start + Σ of the fields `of`), with the scenario's term if `scenario`; of the first `y.rows` rows of the block.
    #[allow(clippy::too_many_arguments)] // what is added, and memory
    fn sum(
        &self,
        Cx { be, x, .. }: Cx<B>,
        sources: &[Source],
        mut y: MatMut<B::Buf>,
        start: Mat<B::Buf>,
        of: &dyn Fn(usize) -> bool,
        scenario: bool,
        relu: bool,
        (scratch, embedded): &mut (&mut Tensor<B>, &mut Tensor<B>),
    ) {
        let (n, outputs) = (y.rows, y.cols);
        let mut scratch = MatMut::new(scratch.buf_mut(), n, outputs);
        let own = || self.terms.iter().filter(|term| of(term.field));
        let rows = own().filter_map(|term| match &term.makes {
            Makes::Row(table) => Some((table, &x.inputs.columns[term.field].ids)),
            Makes::Bag(_) | Makes::Multiple(_) => None,
        });
        let scenario = self.scenario.as_ref().filter(|_| scenario);
        let scenario = scenario.map(|table| (table, x.inputs.scenarios()));
        let more = own().any(|term| !matches!(term.makes, Makes::Row(_)));
        let rest = self.rest.as_ref().filter(|rest| rest.fields.iter().any(|&field| of(field)));
        let last = !more && rest.is_none();
        let then = Epilogue { bias: Some(start), relu: relu && last };
        be.lookup_sum(y.again(), rows.chain(scenario), scratch.again(), x.first, then);
        if last {
            return;
        }
        for term in own() {
            let input = &x.inputs.columns[term.field];
            match &term.makes {
                Makes::Row(_) => continue,
                Makes::Bag(table) => {
                    be.lookup_bags(scratch.again(), TableView::of(table), input.bags(), x.first);
                }
                Makes::Multiple(w) => be.numeric_embed(scratch.again(), w.mat(1), &input.values, x.first),
            }
            be.copy(y.again(), Write::Add, scratch.as_mat());
        }
        if let Some(rest) = rest {
            let inputs = be.packed_shape(&rest.packed).2;
            let mut e = MatMut::new(embedded.buf_mut(), n, inputs);
            rest.embed(be, sources, x, e.again(), of);
            be.linear(scratch.again(), e.as_mat(), &rest.packed, Groups::One(0), Epilogue::NONE);
            be.copy(y.again(), Write::Add, scratch.as_mat());
        }
        if relu {
            be.relu(y);
        }
    }
}
