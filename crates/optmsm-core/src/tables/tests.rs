//! Rows that rest against every row moved at every step, in `f64`, by the definition.

use super::*;
use crate::backend::{Embedding, Mat, MatMut, TableStep, Update};
use crate::optim::{self, AverageConfig, OptimizerConfig, Rule, Schedule, ScheduleConfig};
use crate::params::{HostTensor, Init};
use crate::philox::Stream;
use crate::reference::Reference;
use crate::rounding::{Rounding, Rows};

const ROWS: usize = 11;
const WIDTH: usize = 6;
const STEPS: u64 = 120;

fn spec(name: &str, dtype: TableDtype, frozen: bool) -> TableSpec {
    let (rows, width, init) = (ROWS, WIDTH, Init::Normal(0.5));
    TableSpec { name: name.into(), rows, width, dtype, init, frozen, fields: vec![0], shared: None }
}

/// Every rule, with a decay of up to a sixth of a row a step.
fn rules() -> impl Iterator<Item = OptimizerConfig> {
    let rules = [Rule::Sgd, Rule::Adam, Rule::AdamW, Rule::Adagrad, Rule::RowwiseAdagrad];
    let config = |rule, momentum| {
        let (lr, weight_decay) = (0.05, 10.0 / 3.0);
        OptimizerConfig { rule, momentum, lr, weight_decay, ..OptimizerConfig::default() }
    };
    rules.into_iter().map(move |rule| config(rule, 0.0)).chain([config(Rule::Sgd, 0.9)])
}

/// Learning rate over the steps: a warm-up, then half a cosine.
fn schedule() -> ScheduleConfig {
    ScheduleConfig { kind: Schedule::Cosine, warmup: 10, factor: Some(0.2), ..ScheduleConfig::default() }
        .resolved(STEPS)
}

/// Bounds of what rounding does to a table of a type.
struct Rounds {
    /// Storing a number, relative to it.
    relative: f64,
    /// The same, absolutely.
    absolute: f64,
    /// A calculation on both sides, relative to its result.
    unit: f64,
}

impl Rounds {
    fn of<T: Elem>(dtype: TableDtype) -> Self {
        let unit = F64 + if size_of::<T>() == 4 { 2f64.powi(-24) } else { F64 };
        // Rounding at random takes a number by up to a spacing.
        let [spacing, absolute] = match dtype {
            TableDtype::F16 => [2f64.powi(-10), 2f64.powi(-24)],
            TableDtype::Bf16 => [2f64.powi(-7), 0.0],
            TableDtype::F32 => [0.0, 0.0],
        };
        Self { relative: spacing + unit, absolute, unit }
    }
}

/// A sum in an optimizer's state, with its bound.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    off: f64,
}

impl Sum {
    /// self ← `keep` · self + `part`. Rounds `keep` and its product, the sum, and up to 8 times what makes `part`.
    fn add(&mut self, keep: f64, part: f64, unit: f64) -> Self {
        let kept = keep * self.value;
        self.value = kept + part;
        self.off = keep * self.off + unit * (2.0 * kept.abs() + 8.0 * part.abs() + self.value.abs());
        *self
    }
}

/// Half a spacing of `f64`, in which scales are kept and [`Literal`] is calculated.
const F64: f64 = 1.0 / (1u64 << 53) as f64;

/// All rows, with the bounds of how far rounding may have taken a table of the type from them.
struct Literal {
    w: Vec<f64>,
    a: Vec<f64>,
    state: [Vec<Sum>; 2],
    off_w: Vec<f64>,
    off_a: Vec<f64>,
}

impl Literal {
    /// One step of every row; `g` has the gradients of the rows that are touched. Averages are stored as a − q/p · w, where q/p is
    /// at most `lean` before and after the step.
    fn step(
        &mut self,
        rule: &OptimizerConfig,
        (t, share, keep): (u64, f64, f64),
        g: &[(u32, Vec<f64>)],
        rounds: &Rounds,
        (settled, lean): (bool, f64),
    ) {
        let (before, lr) = ([self.w.clone(), self.a.clone()], rule.lr * share);
        for w in self.w.iter_mut().chain(&mut self.off_w) {
            *w *= 1.0 - lr * rule.weight_decay;
        }
        for (off, w) in self.off_w.iter_mut().zip(&self.w) {
            // Settling rounds numbers below the smallest normal one; the decay is rounded here and in p.
            *off += rounds.absolute + 2.0 * F64 * w.abs();
        }
        let (unit, exact) = (rounds.unit, |value| Sum { value, off: 0.0 });
        let [first, second] = &mut self.state;
        for (id, g) in g {
            let mean = g.iter().map(|g| g * g).sum::<f64>() / WIDTH as f64;
            let row = *id as usize * WIDTH;
            for (j, &g) in g.iter().enumerate() {
                let (s, r) = (&mut first[row + j], &mut second[row + j]);
                // Δ = rate · over / (√under + ε), and how far 1 − βᵗ may be off, which the program calculates from βᵗ.
                let (rate, bias, over, under) = match rule.rule {
                    Rule::Sgd => (lr, 0.0, s.add(rule.momentum, g, unit), None),
                    Rule::Adam | Rule::AdamW => {
                        let [c, d] = [rule.beta1, rule.beta2].map(|beta| -(t as f64 * beta.ln()).exp_m1());
                        let m = s.add(rule.beta1, (1.0 - rule.beta1) * g, unit);
                        let v = r.add(rule.beta2, (1.0 - rule.beta2) * g * g, unit);
                        (lr * d.sqrt() / c, 5.0 * F64 * (1.0 / c + 1.0 / d), m, Some((v, 1e-8)))
                    }
                    Rule::Adagrad => (lr, 0.0, exact(g), Some((s.add(1.0, g * g, unit), 1e-10))),
                    Rule::RowwiseAdagrad => (lr, 0.0, exact(g), Some((s.add(1.0, mean, unit), 1e-10))),
                };
                let (root, off_root) = under.map_or((1.0, 0.0), |(sum, eps)| {
                    let root = sum.value.sqrt();
                    (root + eps, 0.5 * sum.off / root)
                });
                let delta = rate * over.value / root;
                let (w, off) = (&mut self.w[row + j], &mut self.off_w[row + j]);
                *w -= delta;
                *off += rate * over.off / root + delta.abs() * (off_root / root + 8.0 * unit + bias);
                *off += rounds.relative * (w.abs() + *off) + rounds.absolute;
            }
        }
        for (a, w) in self.a.iter_mut().zip(&self.w).chain(self.off_a.iter_mut().zip(&self.off_w)) {
            *a = keep * *a + (1.0 - keep) * w;
        }
        let [w, a] = before;
        for i in 0..ROWS * WIDTH {
            // a = q·w̃ + d·ã. At rest q, d and `self.a` are rounded: 4 roundings of q·w̃, 2 of a and 1 of its value before.
            // Settling rounds ã: 3 of q·w̃ and 2 of a. A row that moves takes ã along by q/d · (w̃' − w̃): 3 of q·w̃ each, and
            // 1 of ã' = (a' − q·w̃')/d, besides the 3 of q that no longer go with the same w̃. Together, less than 16 of each.
            let moved = settled || g.iter().any(|(id, _)| *id as usize == i / WIDTH);
            let unit = if moved { rounds.unit } else { F64 };
            let terms = lean * (w[i].abs() + self.w[i].abs() + self.off_w[i]) + a[i].abs() + self.a[i].abs();
            self.off_a[i] += 16.0 * unit * (terms + self.off_a[i]);
        }
    }
}

/// All rows of a table as lookups give them.
fn read<T: Elem>(tables: &Tables<Reference<T>>, number: usize, averaged: bool) -> Vec<f64> {
    let ids: Vec<u32> = (0..ROWS as u32).collect();
    let mut out = vec![T::zero(); ROWS * WIDTH];
    let view = tables.view(number, averaged);
    Reference::<T>::new().lookup(MatMut::new(&mut out, ROWS, WIDTH), view, &ids, 0);
    out.into_iter().map(Elem::wide).collect()
}

/// Steps on a table that moves and a frozen one against [`Literal`]; says how often rows were settled.
fn follow<T: Elem>(rule: &OptimizerConfig, dtype: TableDtype, decay: Option<f64>) -> usize {
    let be = Reference::<T>::new();
    let specs = [spec("moving", dtype, false), spec("frozen", dtype, true)];
    let mut tables = Tables::new(&be, &specs, decay.is_some(), Rows::ALL).unwrap();
    tables.init(&be, &specs, 3).unwrap();
    let (start, frozen) = (read(&tables, 0, false), read(&tables, 1, false));
    assert_eq!(start, read(&tables, 0, true), "an average starts at the parameters");
    let rounds = Rounds::of::<T>(dtype);
    let zeros = || vec![0.0; ROWS * WIDTH];
    let (w, a) = (start.clone(), start);
    let mut literal = Literal {
        w,
        a,
        state: [Sum::default(); 2].map(|sum| vec![sum; ROWS * WIDTH]),
        off_w: zeros(),
        off_a: zeros(),
    };
    let (buffers, per_row) = rule.state();
    let mut state: Vec<Vec<T>> =
        (0..buffers).map(|_| vec![T::zero(); if per_row { ROWS } else { ROWS * WIDTH }]).collect();
    let (draw, values) = (Stream::new(5, "rows"), Stream::new(6, "gradients"));
    let (mut settled, mut largest) = (0, 0.0f64);
    for t in 1..=STEPS {
        let share = schedule().share(t);
        let keep = decay.map_or(1.0, |decay| AverageConfig { decay, ..AverageConfig::default() }.keep(t));
        // Rows 9 and 10 are never touched, the others in one step of four.
        let touched = (0..9u32).filter(|&id| draw.uniform(t * 16 + u64::from(id)) < 0.25);
        let gradient = |id: u32| {
            (0..WIDTH).map(|j| T::of(values.normal(t * 97 + u64::from(id) * 7 + j as u64))).collect()
        };
        let moved: Vec<(u32, Vec<T>)> = touched.map(|id| (id, gradient(id))).collect();
        let ids: Vec<u32> = moved.iter().map(|m| m.0).collect();
        let g: Vec<T> = moved.iter().flat_map(|m| m.1.clone()).collect();

        let before = tables.scales;
        let shrink = 1.0 - rule.lr * share * rule.weight_decay;
        let (rows, p) = tables.rest(&be, Rest { shrink, keep });
        let mut update = optim::Update::new(rule, t, share, None);
        (update.weight_decay, update.lr) = (0.0, update.lr / p);
        for Moving { rows: table, average } in rows.flatten() {
            let (g, rounding) = (Mat::new(&g, ids.len(), WIDTH), Rounding::new(1, t as u32, 0));
            be.step_rows(TableStep { table, g, state: &mut state, average, rows: &ids, rounding }, &update);
        }
        let settles = tables.scales.p > before.p || tables.scales.d > before.d;
        settled += usize::from(settles);

        let wide: Vec<_> = moved.iter().map(|(id, g)| (*id, g.iter().map(|v| v.wide()).collect())).collect();
        let lean = [before, tables.scales].map(|scales| scales.q / scales.p);
        literal.step(rule, (t, share, keep), &wide, &rounds, (settles, lean[0].max(lean[1])));
        let rows = [(false, &literal.w, &literal.off_w), (true, &literal.a, &literal.off_a)];
        for (averaged, want, off) in rows.into_iter().take(1 + usize::from(decay.is_some())) {
            let w = literal.w.iter().zip(&literal.off_w).map(|(w, off)| w.abs() + off);
            let wanted = want.iter().zip(off).zip(w);
            for (i, (got, ((want, off), w))) in read(&tables, 0, averaged).iter().zip(wanted).enumerate() {
                // Reading rounds too: p and the product of w = p·w̃; q, d, the product and the sum of a = q·w̃ + d·ã, where d·ã
                // is a − q·w̃.
                let size = want.abs() + off;
                let read = if averaged { 3.0 * lean[1] * w + 2.0 * size } else { 2.0 * size };
                let allowed = off + rounds.unit * read;
                let error = (got - want).abs();
                assert!(
                    error <= allowed,
                    "{rule:?}, {dtype:?}, {decay:?}, step {t}: element {i}, averaged {averaged}, is {got}, not {want}: {allowed:e}"
                );
                largest = largest.max(error / allowed);
            }
        }
    }
    assert!(largest > 1e-2, "the bound is never approached: {largest}");
    for averaged in [false, true] {
        assert_eq!(read(&tables, 1, averaged), frozen, "a frozen table moved");
    }
    settled
}

#[test]
fn every_row_decays_and_averages_as_if_it_were_moved_at_every_step() {
    for rule in rules() {
        for decay in [None, Some(0.5), Some(0.98)] {
            let times = [
                follow::<f64>(&rule, TableDtype::F32, decay),
                follow::<f32>(&rule, TableDtype::F32, decay),
                follow::<f32>(&rule, TableDtype::F16, decay),
                follow::<f32>(&rule, TableDtype::Bf16, decay),
            ];
            assert!(times[0] >= 4 && times == [times[0]; 4], "settled {times:?} times");
        }
    }
}

/// Without decay an average alone settles now and then, and rows are stored as they are.
#[test]
fn rows_that_only_average_are_stored_as_they_are() {
    let rule = OptimizerConfig { lr: 0.05, ..OptimizerConfig::default() };
    assert!(follow::<f64>(&rule, TableDtype::F32, Some(0.5)) >= 3);
    let be = Reference::<f32>::new();
    let mut tables = Tables::new(&be, &[spec("moving", TableDtype::F16, false)], true, Rows::ALL).unwrap();
    for t in 1..=500 {
        let keep = AverageConfig { decay: 0.5, ..AverageConfig::default() }.keep(t);
        let (_, p) = tables.rest(&be, Rest { shrink: 1.0, keep });
        assert_eq!(p, 1.0);
    }
}

#[test]
fn rows_set_late_are_read_as_they_were_set_and_average_from_there() {
    let (be, specs) = (Reference::<f64>::new(), [spec("moving", TableDtype::F32, false)]);
    let mut tables = Tables::new(&be, &specs, true, Rows::ALL).unwrap();
    tables.init(&be, &specs, 3).unwrap();
    (0..40).for_each(|_| drop(tables.rest(&be, Rest { shrink: 0.97, keep: 0.9 })));
    let data: Vec<f64> = (0..2 * WIDTH).map(|i| i as f64 - 4.5).collect();
    tables.set_rows(&be, &specs, "moving", 3, &data).unwrap();
    for averaged in [false, true] {
        let got = read(&tables, 0, averaged);
        for (got, want) in got[3 * WIDTH..5 * WIDTH].iter().zip(&data) {
            assert!((got - want).abs() < 1e-13, "{got}, not {want}");
        }
    }
}

/// Under decay a row is stored as up to 2⁴ times what it stands for.
#[test]
fn rows_set_late_that_do_not_fit_are_refused_as_they_were_given() {
    let refused = |dtype, limit: f32| {
        let (be, specs) = (Reference::<f32>::new(), [spec("moving", dtype, false)]);
        let mut tables = Tables::new(&be, &specs, true, Rows::ALL).unwrap();
        tables.init(&be, &specs, 3).unwrap();
        // p = ½ · ½ · ½.
        (0..3).for_each(|_| drop(tables.rest(&be, Rest { shrink: 0.5, keep: 0.9 })));
        let before = read(&tables, 0, false);
        let mut data = vec![0.125 * limit; 2 * WIDTH];
        tables.set_rows(&be, &specs, "moving", 3, &data).unwrap();
        assert_eq!(read(&tables, 0, false)[3 * WIDTH], f64::from(0.125 * limit));
        data[WIDTH + 1] = 0.25 * limit;
        let error = tables.set_rows(&be, &specs, "moving", 5, &data).unwrap_err().to_string();
        assert_eq!(read(&tables, 0, false)[5 * WIDTH..], before[5 * WIDTH..], "refused rows were set");
        assert!(error.contains("moving") && error.contains("row 6 holds"), "{error}");
        error
    };
    let text = refused(TableDtype::F16, 65504.0);
    assert!(text.contains("1.6376e4, out of the range of f16 for rows that decay"), "{text}");
    let text = refused(TableDtype::F32, f32::MAX);
    assert!(text.contains("e37, out of the range of f32 for rows that decay"), "{text}");
}

#[test]
fn scales_survive_a_checkpoint_in_single_precision() {
    let mut scales = Scales::ONE;
    for t in 1..300 {
        let rest = Rest { shrink: 1.0 - 0.1 / f64::from(t), keep: 0.999 - 0.3 / f64::from(t) };
        scales = scales.settled(rest).map_or(scales, |(_, settled)| settled).after(rest);
        assert_eq!(Scales::of_parts(&scales.parts::<f32>()), scales);
        assert_eq!(Scales::of_parts(&scales.parts::<f64>()), scales);
    }
}

#[test]
fn an_import_forgets_what_was_stored() {
    let (be, specs) = (Reference::<f64>::new(), [spec("moving", TableDtype::F32, false)]);
    let mut tables = Tables::new(&be, &specs, true, Rows::ALL).unwrap();
    (0..40).for_each(|_| drop(tables.rest(&be, Rest { shrink: 0.9, keep: 0.9 })));
    let data: Vec<f64> = (0..ROWS * WIDTH).map(|i| 0.1 * i as f64).collect();
    let source = vec![HostTensor { name: "moving".into(), shape: vec![ROWS, WIDTH], data: data.clone() }];
    tables.import(&be, &specs, &source).unwrap();
    assert_eq!([false, true].map(|averaged| read(&tables, 0, averaged)), [data.clone(), data]);
}
