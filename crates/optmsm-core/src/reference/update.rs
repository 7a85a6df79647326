//! One step of an update rule on one element (model.md §9).

use crate::backend::Elem;
use crate::optim::{Rule, Update};

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
    pub(super) fn new(update: &Update<Vec<T>>, (adam_rate, root_scale): (f64, f64)) -> Self {
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
