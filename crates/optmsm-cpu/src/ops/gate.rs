//! Gate and selection (model.md §4).

use optmsm_core::backend::{Gate, Groups, Memory, Write};

use super::{M, MM, each_group};
use crate::Cpu;
use crate::exp::exp;
use crate::rows::{dot, joined, put, row, row_mut};

impl Gate for Cpu {
    fn softmax(&self, mut alpha: MM, logits: M) {
        assert_eq!((alpha.rows, alpha.cols), (logits.rows, logits.cols), "shapes of α and logits");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..logits.rows {
                    let l = row(&logits, b);
                    let max = l.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    put(row_mut(&mut alpha, b), Write::Set, l.iter().map(|l| l - max));
                }
                let mut all = joined(alpha.again());
                for b in 0..all.rows {
                    row_mut(&mut all, b).iter_mut().for_each(|a| *a = exp(*a));
                }
                for b in 0..alpha.rows {
                    let a = row_mut(&mut alpha, b);
                    let scale = 1.0 / a.iter().sum::<f32>();
                    a.iter_mut().for_each(|a| *a *= scale);
                }
            },
        );
    }

    fn softmax_bwd(&self, mut d_logits: MM, d_alpha: M, alpha: M) {
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..alpha.rows {
                    let (d, a) = (row(&d_alpha, b), row(&alpha, b));
                    let mean = dot(a, d);
                    put(row_mut(&mut d_logits, b), Write::Set, a.iter().zip(d).map(|(a, d)| a * (d - mean)));
                }
            },
        );
    }

    fn mix(&self, mut mix: MM, alpha: M, e: M) {
        let m = mix.cols;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..e.rows {
                    let (out, mut write) = (row_mut(&mut mix, b), Write::Set);
                    for (&a, e) in row(&alpha, b).iter().zip(row(&e, b).chunks_exact(m)) {
                        put(out, write, e.iter().map(|e| a * e));
                        write = Write::Add;
                    }
                }
            },
        );
    }

    fn mix_bwd(&self, mut d_alpha: MM, mut d_e: MM, write: Write, d_mix: M, alpha: M, e: M) {
        let m = d_mix.cols;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..e.rows {
                    let (d, a, e) = (row(&d_mix, b), row(&alpha, b), row(&e, b).chunks_exact(m));
                    row_mut(&mut d_alpha, b).iter_mut().zip(e).for_each(|(d_alpha, e)| *d_alpha = dot(d, e));
                    for (&a, d_e) in a.iter().zip(row_mut(&mut d_e, b).chunks_exact_mut(m)) {
                        put(d_e, write, d.iter().map(|d| a * d));
                    }
                }
            },
        );
    }

    fn select(&self, mut mix: MM, e: M, groups: &Vec<u32>) {
        let m = mix.cols;
        each_group(Groups::Rows(groups), e.cols / m, e.rows, |g, first, n| {
            self.copy(mix.again().rows(first, n), Write::Set, e.rows(first, n).cols(g * m, m));
        });
    }

    fn select_bwd(&self, mut d_e: MM, write: Write, d_mix: M, groups: &Vec<u32>) {
        let m = d_mix.cols;
        if write == Write::Set {
            self.fill(d_e.again(), 0.0);
        }
        each_group(Groups::Rows(groups), d_e.cols / m, d_mix.rows, |g, first, n| {
            self.copy(d_e.again().rows(first, n).cols(g * m, m), Write::Add, d_mix.rows(first, n));
        });
    }
}
