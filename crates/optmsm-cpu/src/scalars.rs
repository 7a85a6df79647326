//! One step of an update rule on slices (model.md §9); docs/derivations.md#optimizers.

use optmsm_core::optim::{Rule, Update};

use crate::memory::Buffer;

/// An update's constants in single precision.
#[derive(Clone, Copy)]
pub(crate) struct Scalars {
    pub(crate) rule: Rule,
    clip: f32,
    lr: f32,
    decay: f32,
    beta1: f32,
    beta2: f32,
    /// 1 − β, not from the rounded β: 1 − f32(0.999) would be off by 3e-5.
    rest1: f32,
    rest2: f32,
    eps: f32,
    momentum: f32,
    adam_rate: f32,
    root_scale: f32,
}

impl Scalars {
    pub(crate) fn new(update: &Update<Buffer>, (adam_rate, root_scale): (f64, f64)) -> Self {
        let clip = update.clip.as_ref().map_or(1.0, |c| c.factor(f64::from(c.sum_sq[0])));
        Self {
            rule: update.rule,
            clip: clip as f32,
            lr: update.lr as f32,
            decay: update.weight_decay as f32,
            beta1: update.beta1 as f32,
            beta2: update.beta2 as f32,
            rest1: (1.0 - update.beta1) as f32,
            rest2: (1.0 - update.beta2) as f32,
            eps: update.eps as f32,
            momentum: update.momentum as f32,
            adam_rate: adam_rate as f32,
            root_scale: root_scale as f32,
        }
    }

    /// Adam and AdamW.
    #[inline(always)]
    pub(crate) fn adam(&self, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let decoupled = self.rule == Rule::AdamW;
        let (keep, l2) = if decoupled { (1.0 - self.lr * self.decay, 0.0) } else { (1.0, self.decay) };
        for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = self.clip * g + l2 * *w;
            *m = self.beta1 * *m + self.rest1 * g;
            *v = self.beta2 * *v + self.rest2 * g * g;
            *w = keep * *w - self.adam_rate * *m / (v.sqrt() * self.root_scale + self.eps);
        }
    }

    /// The rules with one state buffer.
    #[inline(always)]
    pub(crate) fn one_state(&self, w: &mut [f32], g: &[f32], s: &mut [f32]) {
        let adagrad = self.rule == Rule::Adagrad;
        for ((w, &g), s) in w.iter_mut().zip(g).zip(s) {
            let g = self.clip * g + self.decay * *w;
            if adagrad {
                *s += g * g;
                *w -= self.lr * g / (s.sqrt() + self.eps);
            } else {
                *s = self.momentum * *s + g;
                *w -= self.lr * *s;
            }
        }
    }

    /// SGD without momentum.
    #[inline(always)]
    pub(crate) fn no_state(&self, w: &mut [f32], g: &[f32]) {
        w.iter_mut().zip(g).for_each(|(w, &g)| *w -= self.lr * (self.clip * g + self.decay * *w));
    }

    /// The gradient as the rules use it: clipped, with weight decay.
    #[inline(always)]
    fn gradient(&self, w: f32, g: f32) -> f32 {
        self.clip * g + self.decay * w
    }

    /// Row-wise Adagrad, first: adds the squares of a part of a row.
    #[inline(always)]
    pub(crate) fn add_squares(&self, sum: &mut f32, w: &[f32], g: &[f32]) {
        for (&w, &g) in w.iter().zip(g) {
            *sum += self.gradient(w, g) * self.gradient(w, g);
        }
    }

    /// Second: the row's accumulator, and its rate.
    #[inline(always)]
    pub(crate) fn rowwise_rate(&self, sum: &mut f32, squares: f32, width: usize) -> f32 {
        *sum += squares / width as f32;
        self.lr / (sum.sqrt() + self.eps)
    }

    /// Third: moves a part of the row.
    #[inline(always)]
    pub(crate) fn move_row(&self, w: &mut [f32], g: &[f32], rate: f32) {
        w.iter_mut().zip(g).for_each(|(w, &g)| *w -= rate * self.gradient(*w, g));
    }
}
