//! Reductions and updates; one step of an update rule on one element (model.md §9).

use std::ops::Range;

use super::{Reference, Table, put, view};
use crate::backend::{TableStep, Update, Write};
use crate::elem::Elem;
use crate::optim::{self, Rule};

impl<T: Elem> Update for Reference<T> {
    fn accumulate<'a>(
        &self,
        acc: &mut Vec<T>,
        count: usize,
        x: impl Fn(usize) -> &'a Vec<T> + Sync,
        range: Range<usize>,
    ) {
        for i in 0..count {
            acc[range.clone()].iter_mut().zip(&x(i)[range.clone()]).for_each(|(a, &x)| *a += x);
        }
    }

    fn sum_sq(&self, sum: &mut Vec<T>, write: Write, x: &Vec<T>, len: usize) {
        put(&mut sum[0], write, x[..len].iter().fold(T::zero(), |sum, &x| sum + x * x));
    }

    fn step_dense(
        &self,
        w: &mut Vec<T>,
        g: &Vec<T>,
        state: &mut [Vec<T>],
        len: usize,
        update: &optim::Update<Vec<T>>,
    ) {
        let rule = Scalars::new(update, update.adam_dense());
        for (i, (w, &g)) in w[..len].iter_mut().zip(&g[..len]).enumerate() {
            rule.element(w, g, state, i);
        }
    }

    fn average(&self, a: &mut Vec<T>, w: &Vec<T>, len: usize, keep: f64) {
        let share = T::of(1.0 - keep);
        a[..len].iter_mut().zip(w).for_each(|(a, &w)| *a += share * (w - *a));
    }

    fn step_rows(&self, step: TableStep<Self>, update: &optim::Update<Vec<T>>) {
        let TableStep { table, g, state, mut average, rows, rounding } = step;
        let rule = Scalars::new(update, update.adam_rows());
        for (g, &row) in view(g).outer_iter().zip(rows) {
            let before = table.row(row).to_vec();
            table.step(row, |j| g[j], state, &rule, update, &rounding);
            if let Some((average, c)) = &mut average {
                average.follow(row, &before, table.row(row), T::of(*c));
            }
        }
    }

    fn settle_rows(&self, table: &mut Table<T>, factor: f64, average: Option<(&mut Table<T>, [f64; 2])>) {
        if let Some((average, [q, d])) = average {
            average.settle(table, T::of(q), T::of(d));
        }
        table.scale(T::of(factor));
    }
}

/// An update's constants in the element type.
pub(super) struct Scalars<T> {
    rule: Rule,
    pub(super) clip: T,
    pub(super) lr: T,
    pub(super) decay: T,
    beta1: T,
    beta2: T,
    /// 1 − β, not from the rounded β: 1 − f32(0.999) would be off by 3e-5.
    rest1: T,
    rest2: T,
    pub(super) eps: T,
    momentum: T,
    adam_rate: T,
    root_scale: T,
}

impl<T: Elem> Scalars<T> {
    pub(super) fn new(update: &optim::Update<Vec<T>>, (adam_rate, root_scale): (f64, f64)) -> Self {
        let clip = update.clip.as_ref().map_or(1.0, |c| c.factor(c.sum_sq[0].wide()));
        Self {
            rule: update.rule,
            clip: T::of(clip),
            lr: T::of(update.lr),
            decay: T::of(update.weight_decay),
            beta1: T::of(update.beta1),
            beta2: T::of(update.beta2),
            rest1: T::of(1.0 - update.beta1),
            rest2: T::of(1.0 - update.beta2),
            eps: T::of(update.eps),
            momentum: T::of(update.momentum),
            adam_rate: T::of(adam_rate),
            root_scale: T::of(root_scale),
        }
    }

    /// Moves one element; its state is element `i` of each state buffer.
    pub(super) fn element(&self, w: &mut T, g: T, state: &mut [Vec<T>], i: usize) {
        let one = T::one();
        let mut g = self.clip * g;
        if self.rule == Rule::AdamW {
            *w *= one - self.lr * self.decay;
        } else {
            g += self.decay * *w;
        }
        match (self.rule, state) {
            (Rule::Sgd, []) => *w -= self.lr * g,
            (Rule::Sgd, [v]) => {
                v[i] = self.momentum * v[i] + g;
                *w -= self.lr * v[i];
            }
            (Rule::Adam | Rule::AdamW, [m, v]) => {
                m[i] = self.beta1 * m[i] + self.rest1 * g;
                v[i] = self.beta2 * v[i] + self.rest2 * g * g;
                *w -= self.adam_rate * m[i] / (v[i].sqrt() * self.root_scale + self.eps);
            }
            (Rule::Adagrad, [sum]) => {
                sum[i] += g * g;
                *w -= self.lr * g / (sum[i].sqrt() + self.eps);
            }
            (rule, state) => panic!("{rule:?} with {} state buffers", state.len()),
        }
    }
}
