//! The operations: computed of what depends on no row, steps of the graph of everything else.

use std::ops::Range;

use super::memory::{Ids, Packed, Tag};
use super::values::{parts, plain, plain_mut, varies};
use super::{Buf, Op, Table, Tracer};
use crate::backend::{
    Bags, Dense, Dropout, Elem, Elementwise, Embedding, Epilogue, Gate, Groups, Layout, Loss, Mat, MatMut,
    Memory, Norm, Penalty, Segments, TableStep, TableView, Update, Write,
};
use crate::optim;

/// An operation that no prediction calls.
#[cold]
fn training(op: &str) -> ! {
    panic!("{op}, which is for training, in a pass that predicts")
}

impl<T: Elem> Dense for Tracer<T> {
    fn pack(&self, dst: &mut Packed<T>, src: Mat<Buf<T>>, layout: Layout) {
        let numbers = self.numbers(src);
        self.plain.pack(&mut dst.0, Mat::new(&numbers, src.rows, src.cols), layout);
    }

    fn linear(
        &self,
        y: MatMut<Buf<T>>,
        x: Mat<Buf<T>>,
        w: &Packed<T>,
        by: Groups<Ids>,
        then: Epilogue<Buf<T>>,
    ) {
        let (groups, outputs, inputs) = self.packed_shape(w);
        if !varies(&x) && !matches!(by, Groups::Rows(_)) {
            let by = match by {
                Groups::One(g) => Groups::One(g),
                _ => Groups::Columns,
            };
            let then = Epilogue { bias: then.bias.map(plain), relu: then.relu };
            return self.plain.linear(plain_mut(y), plain(x), &w.0, by, then);
        }
        let (weights, bias, one) = (w.0.weights(), then.bias.map(|b| self.numbers(b)), inputs * outputs);
        let x = self.read(x);
        let of_one = |g: usize| {
            let weight = self.constant(&[outputs, inputs], weights[g * one..][..one].to_vec());
            let bias = bias.as_ref().map(|b| self.constant(&[outputs], b[g * outputs..][..outputs].to_vec()));
            Op::Linear { x, weight, bias }
        };
        let of_all = || {
            let bias = bias.clone().map(|b| self.constant(&[groups, outputs], b));
            (self.constant(&[groups, outputs, inputs], weights.clone()), bias)
        };
        let op = match by {
            Groups::One(g) => of_one(g),
            Groups::Rows(_) | Groups::Columns if groups == 1 => of_one(0),
            Groups::Columns => {
                let (weight, bias) = of_all();
                Op::LinearByColumns { x, weight, bias }
            }
            Groups::Rows(ids) => {
                ids.assert_groups();
                let (weight, bias) = of_all();
                Op::LinearByScenario { x, weight, bias }
            }
        };
        let mut node = self.push(op, y.cols);
        if then.relu {
            node = self.push(Op::Relu(node), y.cols);
        }
        self.write(y, Write::Set, node);
    }

    fn linear_dx(
        &self,
        _: MatMut<Buf<T>>,
        _: Write,
        _: Mat<Buf<T>>,
        _: &Packed<T>,
        _: Groups<Ids>,
        _: Option<Mat<Buf<T>>>,
    ) {
        training("linear_dx")
    }
    fn linear_dw(&self, _: MatMut<Buf<T>>, _: Write, _: Mat<Buf<T>>, _: Mat<Buf<T>>, _: Groups<Ids>) {
        training("linear_dw")
    }
    fn col_sum(&self, _: MatMut<Buf<T>>, _: Write, _: Mat<Buf<T>>, _: Groups<Ids>) {
        training("col_sum")
    }
    fn col_dot(&self, _: MatMut<Buf<T>>, _: Write, _: Mat<Buf<T>>, _: Mat<Buf<T>>, _: Groups<Ids>) {
        training("col_dot")
    }
}

/// Whether a result is added to what depends on rows.
fn adds_to_node<T>(y: &MatMut<Buf<T>>, write: Write) -> bool {
    write == Write::Add && varies(&y.as_mat())
}

impl<T: Elem> Tracer<T> {
    /// y ← the step that `op` makes of y.
    fn in_place(&self, y: MatMut<Buf<T>>, op: impl FnOnce(super::NodeId) -> Op) {
        let (x, width) = (self.read(y.as_mat()), parts(&y.as_mat()) * y.cols);
        let node = self.push(op(x), width);
        self.write(y, Write::Set, node);
    }

    /// The node of a matrix with a row for each of the block, or one row for all.
    fn read_rows(&self, v: Mat<Buf<T>>) -> super::NodeId {
        if v.rows == 1 { self.row(self.numbers(v)) } else { self.read(v) }
    }
}

impl<T: Elem> Elementwise for Tracer<T> {
    fn relu(&self, y: MatMut<Buf<T>>) {
        match varies(&y.as_mat()) {
            true => self.in_place(y, Op::Relu),
            false => self.plain.relu(plain_mut(y)),
        }
    }

    fn relu_bwd(&self, d: MatMut<Buf<T>>, y: Mat<Buf<T>>) {
        match varies(&d.as_mat()) || varies(&y) {
            true => {
                let y = self.read(y);
                self.in_place(d, |d| Op::Where(d, y));
            }
            false => self.plain.relu_bwd(plain_mut(d), plain(y)),
        }
    }

    fn leaky_relu(&self, y: MatMut<Buf<T>>, slope: f64) {
        match varies(&y.as_mat()) {
            true => self.in_place(y, |x| Op::LeakyRelu(x, slope)),
            false => self.plain.leaky_relu(plain_mut(y), slope),
        }
    }

    fn leaky_relu_bwd(&self, _: MatMut<Buf<T>>, _: Mat<Buf<T>>, _: f64) {
        training("leaky_relu_bwd")
    }

    fn dropout(&self, _: MatMut<Buf<T>>, _: &Dropout, _: &Ids, _: usize) {
        training("dropout")
    }

    fn row_scale(&self, y: MatMut<Buf<T>>, write: Write, s: Mat<Buf<T>>, x: Mat<Buf<T>>) {
        if !(varies(&s) || varies(&x) || adds_to_node(&y, write)) {
            return self.plain.row_scale(plain_mut(y), write, plain(s), plain(x));
        }
        let (s, x) = (self.read(s), self.read(x));
        let node = self.push(Op::Scale(s, x), y.cols);
        self.write(y, write, node);
    }

    fn row_dot(&self, out: MatMut<Buf<T>>, write: Write, x: Mat<Buf<T>>, y: Mat<Buf<T>>) {
        if !(varies(&x) || varies(&y) || adds_to_node(&out, write)) {
            return self.plain.row_dot(plain_mut(out), write, plain(x), plain(y));
        }
        let (x, y) = (self.read(x), self.read(y));
        let node = self.push(Op::Dot(x, y), 1);
        self.write(out, write, node);
    }

    fn mul(&self, y: MatMut<Buf<T>>, write: Write, x: Mat<Buf<T>>, v: Mat<Buf<T>>) {
        if !(varies(&x) || varies(&v) || adds_to_node(&y, write)) {
            return self.plain.mul(plain_mut(y), write, plain(x), plain(v));
        }
        let (x, v) = (self.read(x), self.read_rows(v));
        let node = self.push(Op::Mul(x, v), parts(&y.as_mat()) * y.cols);
        self.write(y, write, node);
    }

    fn add_row(&self, y: MatMut<Buf<T>>, v: Mat<Buf<T>>) {
        match varies(&y.as_mat()) {
            true => {
                let v = self.read_rows(v);
                self.write(y, Write::Add, v);
            }
            false => self.plain.add_row(plain_mut(y), plain(v)),
        }
    }

    fn sigmoid_gate(&self, y: MatMut<Buf<T>>, g: MatMut<Buf<T>>, x: Mat<Buf<T>>, o: Mat<Buf<T>>) {
        let (x, o, width) = (self.read(x), self.read(o), parts(&y.as_mat()) * y.cols);
        let sigmoid = self.push(Op::Sigmoid(o), width);
        let two = self.row(vec![T::of(2.0); width]);
        let factor = self.push(Op::Mul(sigmoid, two), width);
        self.write(g, Write::Set, factor);
        let node = self.push(Op::Mul(x, factor), width);
        self.write(y, Write::Set, node);
    }

    fn sigmoid_gate_bwd(
        &self,
        _: MatMut<Buf<T>>,
        _: MatMut<Buf<T>>,
        _: Write,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
    ) {
        training("sigmoid_gate_bwd")
    }
}

impl<T: Elem> Embedding for Tracer<T> {
    fn gather_rows(&self, out: MatMut<Buf<T>>, x: Mat<Buf<T>>, ids: &Ids, first: usize) {
        match ids.tag {
            Tag::Numbers => self.plain.gather_rows(plain_mut(out), plain(x), &ids.values, first),
            Tag::Scenarios => {
                let node = self.by_scenario(x.rows, self.numbers(x));
                self.write(out, Write::Set, node);
            }
            other => panic!("{other:?}, where rows of a parameter are gathered"),
        }
    }

    fn lookup(&self, out: MatMut<Buf<T>>, table: TableView<Self>, ids: &Ids, _: usize) {
        let op = Op::Lookup { field: ids.field(), table: number(&table) };
        let node = self.push(op, out.cols);
        self.write(out, Write::Set, node);
    }

    fn lookup_bags(&self, out: MatMut<Buf<T>>, table: TableView<Self>, bags: Bags<Ids, Buf<T>>, _: usize) {
        let op = Op::LookupBag { field: bags.ids.field(), table: number(&table) };
        let node = self.push(op, out.cols);
        self.write(out, Write::Set, node);
    }

    fn numeric_embed(&self, out: MatMut<Buf<T>>, w: Mat<Buf<T>>, values: &Buf<T>, first: usize) {
        let Some(field) = values.field else {
            return self.plain.numeric_embed(plain_mut(out), plain(w), &values.values, first);
        };
        let vector = self.constant_of(w, &[w.cols]);
        let node = self.push(Op::Numeric { field, vector }, out.cols);
        self.write(out, Write::Set, node);
    }

    fn reduce_rows<'a>(
        &self,
        _: MatMut<Buf<T>>,
        _: Segments<Ids, Buf<T>>,
        _: usize,
        _: impl Fn(usize) -> Mat<'a, Buf<T>> + Sync,
    ) {
        training("reduce_rows")
    }

    fn linear_bwd_by_value<'a>(
        &self,
        _: MatMut<Buf<T>>,
        _: MatMut<Buf<T>>,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
        _: Segments<Ids, Buf<T>>,
        _: usize,
        _: impl Fn(usize) -> Mat<'a, Buf<T>> + Sync,
    ) {
        training("linear_bwd_by_value")
    }
}

/// Number of a table that is read as it is.
fn number<T: Elem>(view: &TableView<Tracer<T>>) -> usize {
    assert!(view.scale == 1.0 && view.plus.is_none(), "a table of a run that still trains");
    view.table.number
}

impl<T: Elem> Gate for Tracer<T> {
    fn softmax(&self, alpha: MatMut<Buf<T>>, logits: Mat<Buf<T>>) {
        if !varies(&logits) {
            return self.plain.softmax(plain_mut(alpha), plain(logits));
        }
        let logits = self.read(logits);
        let node = self.push(Op::Softmax(logits), alpha.cols);
        self.write(alpha, Write::Set, node);
    }

    fn softmax_bwd(&self, _: MatMut<Buf<T>>, _: Mat<Buf<T>>, _: Mat<Buf<T>>) {
        training("softmax_bwd")
    }

    fn mix(&self, mix: MatMut<Buf<T>>, alpha: Mat<Buf<T>>, e: Mat<Buf<T>>) {
        if !varies(&alpha) && !varies(&e) {
            return self.plain.mix(plain_mut(mix), plain(alpha), plain(e));
        }
        let (alpha, e) = (self.read(alpha), self.read(e));
        let node = self.push(Op::Mix { alpha, e }, mix.cols);
        self.write(mix, Write::Set, node);
    }

    fn mix_bwd(
        &self,
        _: MatMut<Buf<T>>,
        _: MatMut<Buf<T>>,
        _: Write,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
    ) {
        training("mix_bwd")
    }

    fn select(&self, mix: MatMut<Buf<T>>, e: Mat<Buf<T>>, groups: &Ids) {
        groups.assert_groups();
        if e.cols == mix.cols {
            return self.copy(mix, Write::Set, e);
        }
        let e = self.read(e);
        let node = self.push(Op::SelectByScenario(e), mix.cols);
        self.write(mix, Write::Set, node);
    }

    fn select_bwd(&self, _: MatMut<Buf<T>>, _: Write, _: Mat<Buf<T>>, _: &Ids) {
        training("select_bwd")
    }
}

impl<T: Elem> Norm for Tracer<T> {
    fn deviations(&self, _: MatMut<Buf<T>>, _: MatMut<Buf<T>>, _: Mat<Buf<T>>, _: Mat<Buf<T>>, _: &Ids) {
        training("deviations")
    }

    fn moments(
        &self,
        _: MatMut<Buf<T>>,
        _: MatMut<Buf<T>>,
        _: MatMut<Buf<T>>,
        _: MatMut<Buf<T>>,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
        _: &Ids,
        _: f64,
        _: f64,
    ) {
        training("moments")
    }

    fn running_moments(
        &self,
        mean: MatMut<Buf<T>>,
        inv_std: MatMut<Buf<T>>,
        running_mean: Mat<Buf<T>>,
        running_var: Mat<Buf<T>>,
        eps: f64,
    ) {
        let (mean, inv_std) = (plain_mut(mean), plain_mut(inv_std));
        self.plain.running_moments(mean, inv_std, plain(running_mean), plain(running_var), eps);
    }

    fn normalize(
        &self,
        x_hat: MatMut<Buf<T>>,
        x: Mat<Buf<T>>,
        mean: Mat<Buf<T>>,
        inv_std: Mat<Buf<T>>,
        groups: &Ids,
    ) {
        groups.assert_groups();
        let (x, width) = (self.read(x), x_hat.cols);
        let minus = self.numbers(mean).into_iter().map(|v| -v).collect();
        let minus = self.by_scenario(mean.rows, minus);
        let inv_std = self.by_scenario(inv_std.rows, self.numbers(inv_std));
        let centered = self.push(Op::Add(x, minus), width);
        let node = self.push(Op::Mul(centered, inv_std), width);
        self.write(x_hat, Write::Set, node);
    }

    fn affine(
        &self,
        y: MatMut<Buf<T>>,
        x: Mat<Buf<T>>,
        scale: Mat<Buf<T>>,
        shift: Mat<Buf<T>>,
        groups: &Ids,
    ) {
        groups.assert_groups();
        let (x, width) = (self.read(x), y.cols);
        let scale = self.by_scenario(scale.rows, self.numbers(scale));
        let shift = self.by_scenario(shift.rows, self.numbers(shift));
        let scaled = self.push(Op::Mul(x, scale), width);
        let node = self.push(Op::Add(scaled, shift), width);
        self.write(y, Write::Set, node);
    }

    fn norm_bwd(
        &self,
        _: MatMut<Buf<T>>,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
        _: Mat<Buf<T>>,
        _: &Ids,
        _: &Ids,
    ) {
        training("norm_bwd")
    }

    /// 1/√(variance + eps) is left out: backward passes alone read it.
    fn layer_norm(&self, x_hat: MatMut<Buf<T>>, inv_std: MatMut<Buf<T>>, x: Mat<Buf<T>>, eps: f64) {
        if !varies(&x) {
            return self.plain.layer_norm(plain_mut(x_hat), plain_mut(inv_std), plain(x), eps);
        }
        let (parts, x) = (parts(&x), self.read(x));
        let node = self.push(Op::LayerNorm { x, parts, eps }, parts * x_hat.cols);
        self.write(x_hat, Write::Set, node);
    }

    fn layer_norm_bwd(&self, _: MatMut<Buf<T>>, _: Mat<Buf<T>>, _: Mat<Buf<T>>) {
        training("layer_norm_bwd")
    }
}

impl<T: Elem> Penalty for Tracer<T> {
    fn orthogonality(&self, _: MatMut<Buf<T>>, _: MatMut<Buf<T>>, _: Mat<Buf<T>>) {
        training("orthogonality")
    }
    fn orthogonality_bwd(&self, _: MatMut<Buf<T>>, _: Mat<Buf<T>>, _: Mat<Buf<T>>, _: f64) {
        training("orthogonality_bwd")
    }
}

impl<T: Elem> Loss for Tracer<T> {
    fn bce_with_logits(
        &self,
        _: MatMut<Buf<T>>,
        _: MatMut<Buf<T>>,
        _: Mat<Buf<T>>,
        _: &Buf<T>,
        _: &Buf<T>,
        _: usize,
        _: f64,
    ) {
        training("bce_with_logits")
    }

    fn sigmoid(&self, p: MatMut<Buf<T>>, logits: Mat<Buf<T>>) {
        if !varies(&logits) {
            return self.plain.sigmoid(plain_mut(p), plain(logits));
        }
        let (width, logits) = (parts(&logits) * logits.cols, self.read(logits));
        let node = self.push(Op::Sigmoid(logits), width);
        self.write(p, Write::Set, node);
    }

    fn sigmoid_bwd(&self, _: MatMut<Buf<T>>, _: Mat<Buf<T>>) {
        training("sigmoid_bwd")
    }
}

impl<T: Elem> Update for Tracer<T> {
    fn accumulate<'a>(
        &self,
        _: &mut Buf<T>,
        _: usize,
        _: impl Fn(usize) -> &'a Buf<T> + Sync,
        _: Range<usize>,
    ) {
        training("accumulate")
    }
    fn sum_sq(&self, _: &mut Buf<T>, _: Write, _: &Buf<T>, _: usize) {
        training("sum_sq")
    }
    fn step_dense(&self, _: &mut Buf<T>, _: &Buf<T>, _: &mut [Buf<T>], _: usize, _: &optim::Update<Buf<T>>) {
        training("step_dense")
    }
    fn average(&self, _: &mut Buf<T>, _: &Buf<T>, _: usize, _: f64) {
        training("average")
    }
    fn step_rows(&self, _: TableStep<Self>, _: &optim::Update<Buf<T>>) {
        training("step_rows")
    }
    fn settle_rows(&self, _: &mut Table, _: f64, _: Option<(&mut Table, [f64; 2])>) {
        training("settle_rows")
    }
}
