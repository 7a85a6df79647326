//! Whole-buffer reductions and the optimizers' steps (model.md §9).

use optmsm_core::backend::{Backend, Elem, Update};
use optmsm_core::optim::{self, Clip, OptimizerConfig, Rule};
use optmsm_core::rounding::TableDtype;

use super::matrix::*;
use super::table::{Step, TablePair};
use crate::bounded::Bounded;
use crate::rng::Rng;

/// Around vector widths, and beyond what one parallel task takes.
const LENGTHS: [usize; 6] = [0, 1, 15, 17, 1000, 70_001];

pub(super) fn accumulate<B: Backend>(be: &B) {
    let mut rng = Rng::new(71);
    for len in LENGTHS {
        for count in [0, 1, 3, 9] {
            let parts: Vec<_> = (0..count).map(|_| Pair::<B>::column(be, 0, len, || rng.value())).collect();
            let mut acc = Pair::<B>::column(be, 0, len, || rng.value());
            let range = len / 3..len;
            be.accumulate(&mut acc.buf, count, |i| &parts[i].buf, range.clone());
            let absolute: Vec<_> = parts.iter().map(|part| part.host.abs()).collect();
            let mut size = acc.host.abs();
            oracle().accumulate(&mut size.data, count, |i| &absolute[i].data, range.clone());
            oracle().accumulate(&mut acc.host.data, count, |i| &parts[i].host.data, range);
            acc.check(be, "accumulate", product::<B>(&size, count));
        }
    }
}

pub(super) fn sum_sq<B: Backend>(be: &B) {
    let mut rng = Rng::new(72);
    for len in LENGTHS {
        for write in WRITES {
            let x = Pair::<B>::column(be, 0, len, || rng.value());
            let mut sum = Pair::<B>::output(be, View::Dense, 1, 1, write, &mut rng);
            let mut size = sum.host.abs();
            be.sum_sq(&mut sum.buf, write, &x.buf, len);
            oracle().sum_sq(&mut sum.host.data, write, &x.host.data, len);
            oracle().sum_sq(&mut size.data, write, &x.host.data, len);
            sum.check(be, "sum_sq", product::<B>(&size, len));
        }
    }
}

/// Every rule, with and without its extras: (configuration, number of the step, ‖g‖² to clip at).
pub(super) fn cases(tables: bool) -> Vec<(OptimizerConfig, u64, Option<f64>)> {
    let mut cases = vec![];
    for rule in [Rule::Sgd, Rule::Adam, Rule::AdamW, Rule::Adagrad, Rule::RowwiseAdagrad] {
        if rule == Rule::RowwiseAdagrad && !tables {
            continue;
        }
        for (weight_decay, momentum, t, clip) in [
            (0.0, 0.0, 1, None),
            (0.01, 0.9, 3, Some(40.0)),
            (0.0, 0.9, 1000, Some(0.01)),
            (0.1, 0.0, 2, None),
        ] {
            let config = OptimizerConfig { rule, lr: 0.02, weight_decay, momentum, ..Default::default() };
            cases.push((config, t, clip));
        }
    }
    cases
}

pub(super) fn update<'a, T>(config: &OptimizerConfig, t: u64, sum_sq: Option<&'a T>) -> optim::Update<'a, T> {
    optim::Update::new(config, t, 0.75, sum_sq.map(|sum_sq| Clip { max_norm: 1.5, sum_sq }))
}

/// State starts at 0, as momentum of either sign, or as a sum of squares.
pub(super) fn state_value(t: u64, rule: Rule, index: usize, rng: &mut Rng) -> f64 {
    match (t, rule, index) {
        (1, ..) => 0.0,
        (_, Rule::Sgd, _) | (_, Rule::Adam | Rule::AdamW, 0) => rng.value(),
        _ => rng.uniform(),
    }
}

/// A rule's constants, each rounded once; 1 − β may be formed from the rounded β.
pub(super) struct Constants {
    rule: Rule,
    u: f64,
    clip: Bounded,
    lr: Bounded,
    decay: Bounded,
    beta1: Bounded,
    beta2: Bounded,
    eps: Bounded,
    momentum: Bounded,
    adam: (Bounded, Bounded),
}

impl Constants {
    pub(super) fn new<T>(update: &optim::Update<T>, sum_sq: Option<f64>, adam: (f64, f64), u: f64) -> Self {
        let r = |v| Bounded::rounded(v, u);
        let clip = update.clip.as_ref().zip(sum_sq).map_or(1.0, |(c, s)| c.factor(s));
        Self {
            rule: update.rule,
            u,
            clip: r(clip),
            lr: r(update.lr),
            decay: r(update.weight_decay),
            beta1: r(update.beta1),
            beta2: r(update.beta2),
            eps: r(update.eps),
            momentum: r(update.momentum),
            adam: (r(adam.0), r(adam.1)),
        }
    }

    /// New weights and state of one row (or of any slice, when the rule is not by rows).
    pub(super) fn step(&self, w: &[f64], g: &[f64], state: &[Vec<f64>]) -> (Vec<Bounded>, Vec<Vec<Bounded>>) {
        let exact = |v: &[f64]| v.iter().map(|&v| Bounded::exact(v, self.u)).collect::<Vec<_>>();
        let one = Bounded::exact(1.0, self.u);
        let adamw = self.rule == Rule::AdamW;
        let mut w = exact(w);
        let mut state: Vec<_> = state.iter().map(|s| exact(s)).collect();
        let g: Vec<_> = exact(g)
            .iter()
            .zip(&w)
            .map(|(&g, &w)| if adamw { self.clip * g } else { self.clip * g + self.decay * w })
            .collect();
        if self.rule == Rule::RowwiseAdagrad {
            let width = Bounded::exact(w.len() as f64, self.u);
            state[0][0] = state[0][0] + Bounded::dot(&g, &g, self.u) / width;
        }
        for (j, (w, &g)) in w.iter_mut().zip(&g).enumerate() {
            let step = match (self.rule, &mut state[..]) {
                (Rule::Sgd, []) => self.lr * g,
                (Rule::Sgd, [v]) => {
                    v[j] = self.momentum * v[j] + g;
                    self.lr * v[j]
                }
                (Rule::Adam | Rule::AdamW, [m, v]) => {
                    m[j] = self.beta1 * m[j] + (one - self.beta1) * g;
                    v[j] = self.beta2 * v[j] + (one - self.beta2) * g * g;
                    self.adam.0 * m[j] / (v[j].sqrt() * self.adam.1 + self.eps)
                }
                (Rule::Adagrad, [sum]) => {
                    sum[j] = sum[j] + g * g;
                    self.lr * g / (sum[j].sqrt() + self.eps)
                }
                (Rule::RowwiseAdagrad, [sum]) => self.lr * g / (sum[0].sqrt() + self.eps),
                (rule, state) => panic!("{rule:?} with {} state buffers", state.len()),
            };
            *w = if adamw { *w * (one - self.lr * self.decay) - step } else { *w - step };
        }
        (w, state)
    }
}

/// Checks the bound's own value, and returns twice the bound.
pub(super) fn tolerance(bound: Bounded, want: f64) -> f64 {
    let off = (bound.value - want).abs();
    assert!(off <= 1e-9 * (1.0 + want.abs()), "the bound's own value is off by {off:e}: {bound:?}");
    2.0 * bound.error
}

pub(super) fn step_dense<B: Backend>(be: &B) {
    let mut rng = Rng::new(73);
    for (config, t, clip) in cases(false) {
        for len in LENGTHS.into_iter().filter(|&len| len < 2000 || t == 3) {
            let mut w = Pair::<B>::column(be, 0, len, || rng.value());
            let g = Pair::<B>::column(be, 0, len, || rng.value());
            let norm = clip.map(|v| Pair::<B>::column(be, 0, 1, || v));
            let mut state: Vec<_> = (0..config.state().0)
                .map(|s| Pair::<B>::column(be, 0, len, || state_value(t, config.rule, s, &mut rng)))
                .collect();
            let before: Vec<_> = state.iter().map(|s| s.host.data[..len].to_vec()).collect();

            let on_host = update(&config, t, norm.as_ref().map(|n| &n.host.data));
            let sum_sq = norm.as_ref().map(|n| n.host.at(0, 0));
            let constants = Constants::new(&on_host, sum_sq, on_host.adam_dense(), unit::<B>());
            let (new_w, new_state) = constants.step(&w.host.data[..len], &g.host.data[..len], &before);

            let mut bufs: Vec<_> = state.iter_mut().map(|s| take(be, &mut s.buf)).collect();
            be.step_dense(
                &mut w.buf,
                &g.buf,
                &mut bufs,
                len,
                &update(&config, t, norm.as_ref().map(|n| &n.buf)),
            );
            let mut hosts: Vec<_> = state.iter().map(|s| s.host.data.clone()).collect();
            oracle().step_dense(&mut w.host.data, &g.host.data, &mut hosts, len, &on_host);
            let what = format!("step_dense, {config:?}, step {t}, clip {clip:?}, {len} elements");
            w.check(be, &what, |_, j| tolerance(new_w[j], w.host.at(0, j)));
            for (((s, buf), host), new) in state.iter_mut().zip(bufs).zip(hosts).zip(&new_state) {
                (s.buf, s.host.data) = (buf, host);
                s.check(be, &what, |_, j| tolerance(new[j], s.host.at(0, j)));
            }
        }
    }
}

pub(super) fn average<B: Backend>(be: &B) {
    let mut rng = Rng::new(76);
    for (len, keep) in LENGTHS.into_iter().flat_map(|len| [(len, 0.18), (len, 0.999)]) {
        let mut a = Pair::<B>::column(be, 0, len, || rng.value());
        let w = Pair::<B>::column(be, 0, len, || rng.value());
        let u = unit::<B>();
        let bounds: Vec<_> = (0..len)
            .map(|j| {
                let [a, w] = [a.host.at(0, j), w.host.at(0, j)].map(|v| Bounded::exact(v, u));
                a + Bounded::rounded(1.0 - keep, u) * (w - a)
            })
            .collect();
        be.average(&mut a.buf, &w.buf, len, keep);
        oracle().average(&mut a.host.data, &w.host.data, len, keep);
        a.check(be, &format!("average, {len} elements"), |_, j| tolerance(bounds[j], a.host.at(0, j)));
    }
}

/// Moves a buffer out.
pub(super) fn take<B: Backend>(be: &B, buf: &mut B::Buf) -> B::Buf {
    std::mem::replace(buf, be.alloc(0).expect("memory for a test"))
}

pub(super) fn settle_rows<B: Backend>(be: &B) {
    let rng = &mut Rng::new(95);
    // Numbers that a factor takes to the end of the range, to ties between the smallest numbers, and to 0.
    let special = [65_504.0, 6.103_515_6e-5, 3.0 * 2f64.powi(-24), 2f64.powi(-24), 1e-6, 0.0];
    for (dtype, average) in TableDtype::ALL.into_iter().flat_map(|d| [(d, false), (d, true)]) {
        for (rows, width) in [(1, 1), (9, 7), (40, 64), (3000, 33)] {
            for factor in [1.0, 0.125, 2f64.powi(-9), 0.3] {
                let mut table = TablePair::<B>::new(be, rows, width, dtype, |i, j| match (i + j) % 3 {
                    0 => rng.pick(&special) * rng.value().signum(),
                    _ => rng.value(),
                });
                let mut follower = TablePair::<B>::new(be, rows, width, TableDtype::F32, |_, _| rng.value());
                let [(before, _), (lagged, _)] = [&table, &follower].map(|t| t.download(be));
                let [q, d] = [0.6, 1e-3];
                let average_dev = average.then_some((&mut follower.dev, [q, d]));
                be.settle_rows(&mut table.dev, factor, average_dev);
                let average_host = average.then_some((&mut follower.host, [q, d]));
                oracle().settle_rows(&mut table.host, factor, average_host);
                let what = format!("settle_rows, {rows} rows of {width}, {dtype:?}, times {factor}");
                let (_, got) = table.download(be);
                for (i, (&got, &w)) in got.iter().zip(&before).enumerate() {
                    let want = dtype.nearest(B::Elem::of(factor) * B::Elem::of(w)).wide();
                    assert_eq!(got, want, "{what}: {w}, element {i}");
                }
                let (want, got) = follower.download(be);
                for (i, (&want, &got)) in want.iter().zip(&got).enumerate() {
                    let exact = if average { d * lagged[i] + q * before[i] } else { lagged[i] };
                    let size = if average { d * lagged[i].abs() + q * before[i].abs() } else { 0.0 };
                    let allowed = 2.0 * 3.0 * unit::<B>() * size;
                    assert!((got - exact).abs() <= allowed, "{what}: average {i} is {got}, not {exact}");
                    assert!((want - exact).abs() <= 1e-15 * size, "{what}: the reference's is {want}");
                }
            }
        }
    }
}

pub(super) fn step_rows<B: Backend>(be: &B) {
    let rng = &mut Rng::new(74);
    for (config, t, clip) in cases(true) {
        for (table_rows, width, count) in
            [(5, 4, 0), (1, 1, 1), (9, 16, 4), (40, 17, 40), (12, 150, 7), (3000, 5, 1500)]
        {
            for (dtype, ascending) in TableDtype::ALL.into_iter().flat_map(|d| [(d, true), (d, false)]) {
                if table_rows > 100 && t != 3 {
                    continue;
                }
                let shape = (table_rows, width, count);
                let norm = clip.map(|v| Pair::<B>::column(be, 0, 1, || v));
                let mut one = Step::new(be, &config, (t, norm.as_ref()), shape, dtype, ascending, rng);
                let on_device = update(&config, t, norm.as_ref().map(|n| &n.buf));
                be.step_rows(one.on_device(), &on_device);
                one.check(be, &format!("step_rows, {config:?}, step {t}"));
            }
        }
    }
}

pub(super) fn step_tables<B: Backend>(be: &B) {
    let rng = &mut Rng::new(75);
    for (config, t, clip) in cases(true) {
        for shapes in
            [&[][..], &[(9, 4, 9)], &[(5, 4, 0), (40, 16, 40), (1, 1, 1), (300, 5, 130), (12, 16, 7)]]
        {
            let norm = clip.map(|v| Pair::<B>::column(be, 0, 1, || v));
            let tables = shapes.iter().zip(TableDtype::ALL.iter().cycle());
            let mut steps: Vec<_> = tables
                .map(|(&shape, &dtype)| Step::new(be, &config, (t, norm.as_ref()), shape, dtype, true, rng))
                .collect();
            let on_device = update(&config, t, norm.as_ref().map(|n| &n.buf));
            be.step_tables(steps.iter_mut().map(Step::on_device), &on_device);
            for one in steps {
                one.check(be, &format!("step_tables, {config:?}, step {t}"));
            }
        }
    }
}
