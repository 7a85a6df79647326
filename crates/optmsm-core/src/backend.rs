//! The operations that layers are written in.
//!
//! A [`Backend`] owns memory of one element type and computes on it. Layers call these operations and
//! nothing else, so a backend that passes the conformance suite (`optmsm-testkit`) computes every model.
//!
//! Conventions: outputs first, then inputs, then scalars. Matrices are row-major with a row stride. Every
//! gradient output takes [`Write`], so that set or add is visible at the call. A shape mistake is a bug in
//! a layer and panics with both shapes; what a user can cause is checked before (`Batch::validate`,
//! `ModelConfig::validate`). Work may be queued: errors of a device surface at [`Backend::download`], and memory
//! may be dropped before the work that uses it was done, so a backend keeps it until then.
//!
//! Operations with a body are compositions of the others, with the same result but for the order of sums; a backend
//! for which one pass is faster than several brings its own.

mod operands;

use std::fmt::Debug;
use std::ops::Range;

use crate::error::Result;
use crate::optim::Update;
use crate::rounding::TableDtype;

pub use operands::{
    Bags, Dropout, Epilogue, FieldLookup, FieldSum, Layout, Mat, MatMut, Part, Products, Segments, TableStep,
    TableView, Write,
};

/// Element type of a backend: `f32`, or `f64` where gradients are checked.
pub trait Elem: num_traits::Float + num_traits::NumAssign + Debug + Default + Send + Sync + 'static {
    /// Rounds to this type.
    fn of(v: f64) -> Self;
    /// Widens.
    fn wide(self) -> f64;
}

impl Elem for f32 {
    fn of(v: f64) -> Self {
        v as f32
    }
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Elem for f64 {
    fn of(v: f64) -> Self {
        v
    }
    fn wide(self) -> f64 {
        self
    }
}

/// Memory and operations of one device.
///
/// `B` is rows of a block, `K` experts, `m` their width, `G` groups; see `model.md` for the rest.
pub trait Backend: Send + Sync + Sized + 'static {
    /// Element type.
    type Elem: Elem;
    /// Memory of elements.
    type Buf: Send + Sync + Debug;
    /// Memory of `u32`.
    type Ids: Send + Sync + Debug;
    /// Embedding tables, which may be stored in a narrower type.
    type Table: Send + Sync + Debug;
    /// Weights of linear maps in the form that products read fastest, made once a step.
    type Packed: Send + Sync + Debug;

    // ---- execution

    /// Name with what was chosen at run time, for example `cpu (avx512, 2 threads)`.
    fn name(&self) -> String;

    /// Number of gradient accumulators. Fixed for a backend, never the number of threads, so that results
    /// do not depend on it.
    fn lanes(&self) -> usize;

    /// Fewest rows that are worth a second lane, at least 1. Fixed for a backend, as [`Backend::lanes`]; a
    /// batch of so many rows or fewer uses one lane.
    fn min_lane_rows(&self) -> usize {
        1
    }

    /// Most rows that one block of a lane takes through the model at a time.
    fn block_rows(&self) -> usize;

    /// Unit roundoff of the type that both operands of a product are rounded to before they are multiplied: 2⁻¹¹ for
    /// tf32, 2⁻⁸ for bf16, 0 where they are multiplied as they are. Products are [`Backend::linear`],
    /// [`Backend::linear_dx`], [`Backend::linear_dw`] and the two of [`Backend::linear_bwd_by_value`]; they are summed
    /// in [`Backend::Elem`] in any case.
    fn product_rounding(&self) -> f64 {
        0.0
    }

    /// Whether gradients of fields are made from the distinct ids of a batch (docs/derivations.md#fields) and not from
    /// its rows. Rows pay where products are nearly free and sums over rows are not; a backend that answers `false`
    /// has one lane, and takes a whole batch in one block.
    fn fields_by_id(&self) -> bool {
        true
    }

    /// Runs `f`, a whole training step, where operations start fastest, for example on a worker thread.
    fn run_step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        f()
    }

    /// Runs `f` once for every lane, in any order or at the same time; a single lane on the calling thread.
    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync);

    // ---- memory

    /// `len` zeros; writing them may be queued.
    ///
    /// # Errors
    /// When memory is short.
    fn alloc(&self, len: usize) -> Result<Self::Buf>;
    /// `len` zeros, as [`Backend::alloc`].
    fn alloc_ids(&self, len: usize) -> Result<Self::Ids>;
    /// Elements that a buffer holds.
    fn len(&self, buf: &Self::Buf) -> usize;
    /// Copies `src` to the elements of `dst` from `offset` on, which are at least as many. May be queued behind earlier work;
    /// `src` may change as soon as this returns.
    fn upload_at(&self, dst: &mut Self::Buf, offset: usize, src: &[Self::Elem]);
    /// Copies `src` to the start of `dst`, as [`Backend::upload_at`].
    fn upload(&self, dst: &mut Self::Buf, src: &[Self::Elem]) {
        self.upload_at(dst, 0, src);
    }
    /// Copies `src` to the start of `dst`, as [`Backend::upload`].
    fn upload_ids(&self, dst: &mut Self::Ids, src: &[u32]);
    /// Copies `dst.len()` elements from `offset` on, after all queued work; the place where errors of a device surface.
    fn download(&self, dst: &mut [Self::Elem], src: &Self::Buf, offset: usize) -> Result<()>;
    /// Sets every element.
    fn fill(&self, dst: MatMut<Self::Buf>, v: f64);
    /// dst ← src, or dst += src; equal shapes.
    fn copy(&self, dst: MatMut<Self::Buf>, write: Write, src: Mat<Self::Buf>);

    // ---- tables: too large for a second copy, so rows come and go in pieces

    /// `rows` zero rows of `width` elements that are stored as `dtype`; writing them may be queued.
    ///
    /// # Errors
    /// When memory is short, with what is needed.
    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<Self::Table>;
    /// Replaces the rows from `first` on by `src`, row after row, each element by [`TableDtype::nearest`].
    /// May be queued, as [`Backend::upload`].
    fn upload_rows(&self, dst: &mut Self::Table, first: usize, src: &[Self::Elem]);
    /// Copies the rows from `first` on that fill `dst`, after all queued work.
    fn download_rows(&self, dst: &mut [Self::Elem], src: &Self::Table, first: usize) -> Result<()>;

    // ---- dense

    /// Room for `groups` weights of `inputs → outputs`, which only the products `used` will read.
    fn alloc_packed(
        &self,
        groups: usize,
        outputs: usize,
        inputs: usize,
        used: Products,
    ) -> Result<Self::Packed>;
    /// Groups, outputs and inputs of a packed weight.
    fn packed_shape(&self, w: &Self::Packed) -> (usize, usize, usize);
    /// Packs `groups` weights that lie one after the other: `[G·out, in]` or `[G·in, out]`. `src` stays alive and
    /// unchanged while `dst` is used: a backend may keep a view.
    fn pack(&self, dst: &mut Self::Packed, src: Mat<Self::Buf>, layout: Layout);
    /// y = x Wᵀ (+ bias) (then ReLU), for the part of `w` that each row or column uses.
    fn linear(
        &self,
        y: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        w: &Self::Packed,
        part: Part<Self::Ids>,
        then: Epilogue<Self::Buf>,
    );
    /// d_x (+)= d_y W. When x is the output of a ReLU, `relu` is x: d_y W counts as 0 where x ≤ 0, so what is
    /// written is the gradient before that ReLU.
    fn linear_dx(
        &self,
        d_x: MatMut<Self::Buf>,
        write: Write,
        d_y: Mat<Self::Buf>,
        w: &Self::Packed,
        part: Part<Self::Ids>,
        relu: Option<Mat<Self::Buf>>,
    );
    /// d_W = d_yᵀ x, `[G·out, in]`. G = 1 under [`Part::Group`] (pass the rows of that group as `d_w`);
    /// under [`Part::Columns`] G is `d_w.rows · x.cols / (d_y.cols · d_w.cols)`, found from the shapes:
    /// x is `[n, G·in]`, d_y `[n, G·out]`, d_w `[G·out, in]`.
    fn linear_dw(
        &self,
        d_w: MatMut<Self::Buf>,
        write: Write,
        d_y: Mat<Self::Buf>,
        x: Mat<Self::Buf>,
        part: Part<Self::Ids>,
    );
    /// [`Backend::linear_dw`], and d_b (+)= the column sums of d_y as it is, not rounded for products. d_b lies in the
    /// buffer of d_w, as one flat buffer holds all gradients: `d_y.cols` elements from element `d_b` on, none of d_w's.
    /// `part` is [`Part::Group`] or [`Part::Columns`].
    fn linear_dw_bias(
        &self,
        mut d_w: MatMut<Self::Buf>,
        d_b: usize,
        write: Write,
        d_y: Mat<Self::Buf>,
        x: Mat<Self::Buf>,
        part: Part<Self::Ids>,
    ) {
        self.linear_dw(d_w.again(), write, d_y, x, part);
        let d_b = MatMut { buf: d_w.buf, offset: d_b, rows: 1, cols: d_y.cols, stride: d_y.cols };
        self.col_sum(d_b, write, d_y, Part::Group(0));
    }
    /// Column sums: out `[1, n]`, or `[G, n]` by rows of each group under [`Part::Rows`]. An empty group sums to 0.
    fn col_sum(&self, out: MatMut<Self::Buf>, write: Write, x: Mat<Self::Buf>, part: Part<Self::Ids>);
    /// Column sums of products: out[g, :] (+)= Σ x[b, :] ⊙ y[b, :]; shapes, `part` and empty groups as in
    /// [`Backend::col_sum`].
    fn col_dot(
        &self,
        out: MatMut<Self::Buf>,
        write: Write,
        x: Mat<Self::Buf>,
        y: Mat<Self::Buf>,
        part: Part<Self::Ids>,
    );
    /// y ← max(y, 0).
    fn relu(&self, y: MatMut<Self::Buf>);
    /// d ← d where y > 0, else 0: the gradient through y = ReLU(·).
    fn relu_bwd(&self, d: MatMut<Self::Buf>, y: Mat<Self::Buf>);
    /// out ← d where y > 0, else 0: [`Backend::relu_bwd`] of a copy.
    fn relu_bwd_into(&self, mut out: MatMut<Self::Buf>, d: Mat<Self::Buf>, y: Mat<Self::Buf>) {
        self.copy(out.again(), Write::Set, d);
        self.relu_bwd(out, y);
    }
    /// x ← x ⊙ mask / (1 − p); its own backward. `rows[first + i]` is the place of row `i` in the input.
    fn dropout(&self, x: MatMut<Self::Buf>, drop: &Dropout, rows: &Self::Ids, first: usize);
    /// y[b, :] (+)= s[b, 0] · x[b, :]; s is `[B, 1]`.
    fn row_scale(&self, y: MatMut<Self::Buf>, write: Write, s: Mat<Self::Buf>, x: Mat<Self::Buf>);
    /// out[b, 0] (+)= x[b, :] · y[b, :].
    fn row_dot(&self, out: MatMut<Self::Buf>, write: Write, x: Mat<Self::Buf>, y: Mat<Self::Buf>);
    /// y[b, :] (+)= x[b, :] ⊙ v[b, :]; v has the rows of x, or one row for all.
    fn mul(&self, y: MatMut<Self::Buf>, write: Write, x: Mat<Self::Buf>, v: Mat<Self::Buf>);
    /// y[b, :] += v[0, :]; v is `[1, n]`.
    fn add_row(&self, y: MatMut<Self::Buf>, v: Mat<Self::Buf>);
    /// g = 2 σ(o) and y = x ⊙ g, all of one shape.
    fn sigmoid_gate(&self, y: MatMut<Self::Buf>, g: MatMut<Self::Buf>, x: Mat<Self::Buf>, o: Mat<Self::Buf>);
    /// Backward of [`Backend::sigmoid_gate`]: d_o = d_y ⊙ x ⊙ g ⊙ (1 − g/2) (set) and d_x (+)= d_y ⊙ g.
    fn sigmoid_gate_bwd(
        &self,
        d_o: MatMut<Self::Buf>,
        d_x: MatMut<Self::Buf>,
        write: Write,
        d_y: Mat<Self::Buf>,
        x: Mat<Self::Buf>,
        g: Mat<Self::Buf>,
    );

    // ---- embedding: `gather_rows` reads a dense parameter (the scenarios), `lookup…` an embedding table

    /// out[b, :] = x[ids[first + b], :]; the rows of x are `out.cols` wide.
    fn gather_rows(&self, out: MatMut<Self::Buf>, x: Mat<Self::Buf>, ids: &Self::Ids, first: usize);
    /// out[b, :] = table[ids[first + b], :], read as [`TableView`] says; the table's rows are `out.cols` wide.
    fn lookup(&self, out: MatMut<Self::Buf>, table: TableView<Self>, ids: &Self::Ids, first: usize);
    /// Several [`Backend::lookup`]s into columns of `out` that do not overlap; other columns stay.
    fn lookup_fields<'a>(
        &self,
        mut out: MatMut<Self::Buf>,
        fields: impl Iterator<Item = FieldLookup<'a, Self>>,
        first: usize,
    ) {
        fields.for_each(|f| self.lookup(out.again().cols(f.column, f.width), f.table, f.ids, first));
    }
    /// out[b, :] = Σ coef · table[id, :] over the bag of row `first + b`; an empty bag gives 0.
    fn lookup_bags(
        &self,
        out: MatMut<Self::Buf>,
        table: TableView<Self>,
        bags: Bags<Self::Ids, Self::Buf>,
        first: usize,
    );
    /// out[b, :] = values[first + b] · w[0, :].
    fn numeric_embed(&self, out: MatMut<Self::Buf>, w: Mat<Self::Buf>, values: &Self::Buf, first: usize);
    /// g[u, :] = Σ coef · d_out[row, :] over segment `u`, in the order of the segment. Row `r` of the
    /// batch is row `r % lane_rows` of `lane(r / lane_rows)`.
    fn reduce_rows<'a>(
        &self,
        g: MatMut<Self::Buf>,
        segments: Segments<Self::Ids, Self::Buf>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Self::Buf> + Sync,
    );

    /// [`Backend::reduce_rows`] for several fields, each with all rows of the batch in one matrix.
    fn reduce_fields<'a>(&self, fields: impl Iterator<Item = FieldSum<'a, Self>>) {
        fields.for_each(|FieldSum { g, segments, d_out }| {
            self.reduce_rows(g, segments, d_out.rows.max(1), |_| d_out);
        });
    }

    /// Backward of y += e Wᵀ where the rows of e are values x `[n, d]` (times coefficients): with s_u = Σ coef · d_y[row, :]
    /// over segment `u`, sets g `[n, d]` = s W and d_w `[N, d]` = sᵀ x. W is `[N, d]`; `lane_rows` and `lane` as in
    /// [`Backend::reduce_rows`]. Runs on one thread: several fields run side by side under [`Backend::for_lanes`].
    #[allow(clippy::too_many_arguments)]
    fn linear_bwd_by_value<'a>(
        &self,
        g: MatMut<Self::Buf>,
        d_w: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        w: Mat<Self::Buf>,
        segments: Segments<Self::Ids, Self::Buf>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Self::Buf> + Sync,
    );

    // ---- gate (model.md §4)

    /// Softmax of each row.
    fn softmax(&self, alpha: MatMut<Self::Buf>, logits: Mat<Self::Buf>);
    /// d_logit_k = α_k (d_α_k − Σ_j α_j d_α_j).
    fn softmax_bwd(&self, d_logits: MatMut<Self::Buf>, d_alpha: Mat<Self::Buf>, alpha: Mat<Self::Buf>);
    /// mix `[B, m]` = Σ_k α_k e_k, with e `[B, K·m]` and α `[B, K]`.
    fn mix(&self, mix: MatMut<Self::Buf>, alpha: Mat<Self::Buf>, e: Mat<Self::Buf>);
    /// d_α_k = d_mix · e_k (set) and d_e_k (+)= α_k d_mix.
    fn mix_bwd(
        &self,
        d_alpha: MatMut<Self::Buf>,
        d_e: MatMut<Self::Buf>,
        write: Write,
        d_mix: Mat<Self::Buf>,
        alpha: Mat<Self::Buf>,
        e: Mat<Self::Buf>,
    );
    /// α = softmax(logits) and mix = Σ_k α_k e_k; shapes as in [`Backend::mix`].
    fn gate(
        &self,
        mix: MatMut<Self::Buf>,
        mut alpha: MatMut<Self::Buf>,
        logits: Mat<Self::Buf>,
        e: Mat<Self::Buf>,
    ) {
        self.softmax(alpha.again(), logits);
        self.mix(mix, alpha.as_mat(), e);
    }
    /// Backward of [`Backend::gate`]; sets all three gradients: d_α_k = d_mix · e_k, d_logits from it, d_e_k = α_k d_mix.
    fn gate_bwd(
        &self,
        d_logits: MatMut<Self::Buf>,
        mut d_alpha: MatMut<Self::Buf>,
        d_e: MatMut<Self::Buf>,
        d_mix: Mat<Self::Buf>,
        alpha: Mat<Self::Buf>,
        e: Mat<Self::Buf>,
    ) {
        self.mix_bwd(d_alpha.again(), d_e, Write::Set, d_mix, alpha, e);
        self.softmax_bwd(d_logits, d_alpha.as_mat(), alpha);
    }
    /// mix[b, :] = e_g[b, :] for the rows of group `g`; `groups` as in [`Part::Rows`].
    fn select(&self, mix: MatMut<Self::Buf>, e: Mat<Self::Buf>, groups: &Self::Ids);
    /// d_e_g[b, :] (+)= d_mix[b, :] for the rows of group `g`; under [`Write::Set`] the rest becomes 0.
    fn select_bwd(&self, d_e: MatMut<Self::Buf>, write: Write, d_mix: Mat<Self::Buf>, groups: &Self::Ids);

    // ---- norm: normalization by group (partitioned normalization; Sheng et al., CIKM 2021). `groups` and `batch` as in
    // ---- [`Part::Rows`], G groups; statistics are `[G, n]`, group by group

    /// Adds to the sums of each group: sums[g, :] += Σ (x[b, :] − center[g, :]) and squares[g, :] += Σ (x[b, :] − center[g, :])²
    /// over its rows. Near the mean, a center keeps digits that [`Backend::moments`] would lose.
    fn deviations(
        &self,
        sums: MatMut<Self::Buf>,
        squares: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        center: Mat<Self::Buf>,
        groups: &Self::Ids,
    );
    /// Mean and 1/√(variance + `eps`) of each group, and the running statistics after them.
    ///
    /// N is the number of rows of a group by `groups`, which covers the batch; `sums` and `squares` are
    /// [`Backend::deviations`] of all its rows from `running_mean`. With δ = sums/N: mean = running_mean + δ, the
    /// (biased) variance = max(squares/N − δ², 0), then running ← `momentum` · running + (1 − `momentum`) · new for both.
    /// A group without rows gets its running statistics, which stay; its sums are not read.
    #[allow(clippy::too_many_arguments)]
    fn moments(
        &self,
        mean: MatMut<Self::Buf>,
        inv_std: MatMut<Self::Buf>,
        running_mean: MatMut<Self::Buf>,
        running_var: MatMut<Self::Buf>,
        sums: Mat<Self::Buf>,
        squares: Mat<Self::Buf>,
        groups: &Self::Ids,
        eps: f64,
        momentum: f64,
    );
    /// mean = running_mean and inv_std = 1/√(running_var + `eps`): [`Backend::moments`] of groups without rows, for
    /// prediction.
    fn running_moments(
        &self,
        mean: MatMut<Self::Buf>,
        inv_std: MatMut<Self::Buf>,
        running_mean: Mat<Self::Buf>,
        running_var: Mat<Self::Buf>,
        eps: f64,
    );
    /// x̂[b, :] = (x[b, :] − mean[g, :]) ⊙ inv_std[g, :] for the rows of group `g`.
    fn normalize(
        &self,
        x_hat: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        mean: Mat<Self::Buf>,
        inv_std: Mat<Self::Buf>,
        groups: &Self::Ids,
    );
    /// y[b, :] = x[b, :] ⊙ scale[g, :] + shift[g, :] for the rows of group `g`.
    fn affine(
        &self,
        y: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        scale: Mat<Self::Buf>,
        shift: Mat<Self::Buf>,
        groups: &Self::Ids,
    );
    /// Backward of [`Backend::normalize`] through the statistics of the batch, in place:
    /// d[b, :] ← gain[g, :] ⊙ (d[b, :] − sum_d[g, :]/N − x̂[b, :] ⊙ sum_dx[g, :]/N) for the rows of group `g`.
    ///
    /// Rows are those of a block by `groups`; N is the number of rows of the group by `batch`, which covers the
    /// batch. `sum_d` and `sum_dx` are the sums of d and of d ⊙ x̂ over these N rows.
    #[allow(clippy::too_many_arguments)]
    fn norm_bwd(
        &self,
        d: MatMut<Self::Buf>,
        x_hat: Mat<Self::Buf>,
        gain: Mat<Self::Buf>,
        sum_d: Mat<Self::Buf>,
        sum_dx: Mat<Self::Buf>,
        groups: &Self::Ids,
        batch: &Self::Ids,
    );

    // ---- penalty (model.md §3)

    /// inv_norm `[B, K]` = 1 / max(‖e_k‖, ε). With ê_k = e_k · inv_norm_k and cos_ij = ê_i·ê_j, adds to `sums`
    /// `[1, 1 + K(K−1)/2]`: the penalty Σ_b 1/(K(K−1)) Σ_{i≠j} cos², then Σ_b |cos| of each pair (0,1), (0,2) … (1,2) …
    ///
    /// Right for all finite e, of which squares may be out of range.
    fn orthogonality(&self, inv_norm: MatMut<Self::Buf>, sums: MatMut<Self::Buf>, e: Mat<Self::Buf>);
    /// d_e += the gradient of `scale` · Σ_b penalty (scale = λ / rows of the whole batch); at ‖e_k‖ = ε that of the side below. A
    /// zero expert adds 0.
    fn orthogonality_bwd(
        &self,
        d_e: MatMut<Self::Buf>,
        e: Mat<Self::Buf>,
        inv_norm: Mat<Self::Buf>,
        scale: f64,
    );

    /// Backward of all that reads the experts' output e = ReLU(·) under a gate: [`Backend::gate_bwd`], then
    /// [`Backend::orthogonality_bwd`], then d_e is set to 0 where e ≤ 0, which makes it the gradient before that ReLU.
    #[allow(clippy::too_many_arguments)]
    fn gate_orthogonality_bwd(
        &self,
        d_logits: MatMut<Self::Buf>,
        d_alpha: MatMut<Self::Buf>,
        mut d_e: MatMut<Self::Buf>,
        d_mix: Mat<Self::Buf>,
        alpha: Mat<Self::Buf>,
        e: Mat<Self::Buf>,
        inv_norm: Mat<Self::Buf>,
        scale: f64,
    ) {
        self.gate_bwd(d_logits, d_alpha, d_e.again(), d_mix, alpha, e);
        self.orthogonality_bwd(d_e.again(), e, inv_norm, scale);
        self.relu_bwd(d_e, e);
    }

    // ---- loss (model.md §6)

    /// `sum[0, 0] += Σ_b w_b · BCE(o_b, y_b)` and d_o_b = w_b (σ(o_b) − y_b) · scale; `labels` and
    /// `weights` from row `first` on.
    #[allow(clippy::too_many_arguments)]
    fn bce_with_logits(
        &self,
        d_logits: MatMut<Self::Buf>,
        sum: MatMut<Self::Buf>,
        logits: Mat<Self::Buf>,
        labels: &Self::Buf,
        weights: &Self::Buf,
        first: usize,
        scale: f64,
    );
    /// p = σ(o), element by element.
    fn sigmoid(&self, p: MatMut<Self::Buf>, logits: Mat<Self::Buf>);

    // ---- reductions and updates over whole parameter buffers; outside `for_lanes`

    /// acc += x_0 + x_1 + … over the elements `range`, in this order; x_i is `x(i)`, `count` of them.
    fn accumulate<'a>(
        &self,
        acc: &mut Self::Buf,
        count: usize,
        x: impl Fn(usize) -> &'a Self::Buf + Sync,
        range: Range<usize>,
    );
    /// `sum[0]` (+)= Σ x², in a fixed order, over the first `len` elements.
    fn sum_sq(&self, sum: &mut Self::Buf, write: Write, x: &Self::Buf, len: usize);
    /// One step of `update` on the first `len` elements; `state` as [`crate::optim::OptimizerConfig::state`] says.
    fn step_dense(
        &self,
        w: &mut Self::Buf,
        g: &Self::Buf,
        state: &mut [Self::Buf],
        len: usize,
        update: &Update<Self::Buf>,
    );
    /// a ← a + (1 − `keep`)(w − a) over the first `len` elements: the exponential average of w.
    fn average(&self, a: &mut Self::Buf, w: &Self::Buf, len: usize, keep: f64);
    /// One step of the sparse form of `update` on the `g.rows` rows `rows[u]` (unique) of a table, with the
    /// gradient of row `rows[u]` in row `u` of `g`. Calculates in [`Backend::Elem`], then stores every element of
    /// these rows by [`TableDtype::stochastic`] with the words of `rounding`. State is never rounded.
    fn step_rows(&self, step: TableStep<Self>, update: &Update<Self::Buf>);
    /// [`Backend::step_rows`] for several tables.
    fn step_tables<'a>(&self, tables: impl Iterator<Item = TableStep<'a, Self>>, update: &Update<Self::Buf>) {
        tables.for_each(|step| self.step_rows(step, update));
    }
    /// Settles all rows. With `average` = (average, [q, d]), a table in `f32` of the same shape, first
    /// average ← fma(d, average, q · table). Then table ← `factor` · table by [`TableDtype::nearest`].
    fn settle_rows(
        &self,
        table: &mut Self::Table,
        factor: f64,
        average: Option<(&mut Self::Table, [f64; 2])>,
    );
}
