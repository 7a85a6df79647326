//! Every option of every kind: what a graph says is what the engine computes.

use super::*;
use crate::batch::{Batch, Column};
use crate::config::{FieldKind, Pooling};
use crate::gradcheck::Case;
use crate::learner::{Learner, LearnerConfig};
use crate::models::{self, Kind};
use crate::params::{HostTensor, TableSpec};
use crate::predictor::Predictor;

/// Rounding of sums in another order, of some hundred products of a size below 100: far above 2⁻⁵³ · 10⁴, far below any mistake.
const CLOSE: f64 = 1e-10;

/// Parameters that a case is checked with.
const SEEDS: u64 = 3;

type Rows = Vec<Vec<f64>>;

/// The graph by its definition, row by row.
fn logits(graph: &Graph<f64>, batch: &Batch, kinds: &[FieldKind], tables: &[Vec<f64>]) -> Vec<f64> {
    let n = batch.rows();
    let scenario = |row: usize| batch.scenarios[row] as usize;
    let mut values: Vec<Rows> = Vec::new();
    for (_, Node { op, width }) in graph.nodes() {
        let width = *width;
        let data = |c: &ConstId| &graph.constant(*c).data;
        let bias = |b: &Option<ConstId>, at: usize| b.as_ref().map_or(0.0, |b| data(b)[at]);
        let of = |x: &NodeId| &values[x.index()];
        let table = |t: usize, id: u32| &tables[t][id as usize * width..][..width];
        // Output o of group g.
        let product = |x: &[f64], w: &[f64], g: usize, o: usize, out: usize| -> f64 {
            w[(g * out + o) * x.len()..].iter().zip(x).map(|(w, x)| w * x).sum()
        };
        let each = |f: &dyn Fn(usize, usize) -> f64| -> Rows {
            (0..n).map(|row| (0..width).map(|j| f(row, j)).collect()).collect()
        };
        let value = match op {
            Op::Row(c) => each(&|_, j| data(c)[j]),
            Op::ByScenario(c) => each(&|row, j| data(c)[scenario(row) * width + j]),
            Op::Lookup { field, table: t } => match &batch.columns[*field] {
                Column::Categorical(ids) => each(&|row, j| table(*t, ids[row])[j]),
                other => panic!("{other:?}"),
            },
            Op::LookupBag { field, table: t } => {
                let Column::Multi { offsets, ids, weights } = &batch.columns[*field] else { panic!() };
                let FieldKind::Multi { pooling, .. } = kinds[*field] else { panic!() };
                each(&|row, j| {
                    let list = offsets[row] as usize..offsets[row + 1] as usize;
                    let share = if pooling == Pooling::Mean { list.len() as f64 } else { 1.0 };
                    let weight = |i: usize| weights.get(i).map_or(1.0, |&w| f64::from(w));
                    list.map(|i| weight(i) / share * table(*t, ids[i])[j]).sum()
                })
            }
            Op::Numeric { field, vector } => {
                let Column::Numeric(numbers) = &batch.columns[*field] else { panic!() };
                each(&|row, j| f64::from(numbers[row]) * data(vector)[j])
            }
            Op::Linear { x, weight, bias: b } => {
                each(&|row, o| product(&of(x)[row], data(weight), 0, o, width) + bias(b, o))
            }
            Op::LinearByColumns { x, weight, bias: b } => {
                let [groups, out, inputs] = graph.constant(*weight).shape[..] else { panic!() };
                assert_eq!(groups * out, width);
                each(&|row, j| {
                    let (g, o) = (j / out, j % out);
                    product(&of(x)[row][g * inputs..][..inputs], data(weight), g, o, out) + bias(b, j)
                })
            }
            Op::LinearByScenario { x, weight, bias: b } => each(&|row, o| {
                let s = scenario(row);
                product(&of(x)[row], data(weight), s, o, width) + bias(b, s * width + o)
            }),
            Op::Add(a, b) => each(&|row, j| of(a)[row][j] + of(b)[row][j]),
            Op::Mul(a, b) => each(&|row, j| of(a)[row][j] * of(b)[row][j]),
            Op::Scale(a, b) => each(&|row, j| of(a)[row][0] * of(b)[row][j]),
            Op::Dot(a, b) => each(&|row, _| of(a)[row].iter().zip(&of(b)[row]).map(|(a, b)| a * b).sum()),
            Op::Relu(x) => each(&|row, j| of(x)[row][j].max(0.0)),
            Op::LeakyRelu(x, slope) => each(&|row, j| match of(x)[row][j] {
                v if v > 0.0 => v,
                v => slope * v,
            }),
            Op::Sigmoid(x) => each(&|row, j| 1.0 / (1.0 + (-of(x)[row][j]).exp())),
            Op::Where(d, y) => each(&|row, j| if of(y)[row][j] <= 0.0 { 0.0 } else { of(d)[row][j] }),
            Op::Softmax(x) => each(&|row, j| {
                let all = &of(x)[row];
                1.0 / all.iter().map(|v| (v - all[j]).exp()).sum::<f64>()
            }),
            Op::Mix { alpha, e } => each(&|row, j| {
                of(alpha)[row].iter().enumerate().map(|(k, a)| a * of(e)[row][k * width + j]).sum()
            }),
            Op::SelectByScenario(e) => each(&|row, j| of(e)[row][scenario(row) * width + j]),
            Op::LayerNorm { x, parts, eps } => each(&|row, j| {
                let m = width / parts;
                let part = &of(x)[row][j / m * m..][..m];
                let mean = part.iter().sum::<f64>() / m as f64;
                let var = part.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / m as f64;
                (part[j % m] - mean) / (var + eps).sqrt()
            }),
            Op::Concat(parts) => {
                (0..n).map(|row| parts.iter().flat_map(|p| of(p)[row].clone()).collect()).collect()
            }
            Op::Slice(x, first) => each(&|row, j| of(x)[row][first + j]),
        };
        assert!(value.iter().all(|row| row.len() == width), "{op:?} of {width} columns");
        values.push(value);
    }
    values[graph.output().index()].iter().map(|row| row[0]).collect()
}

/// Steps of a case's graph. ReLUs of a small model may all be shut; of some parameters they are not.
fn check(case: &Case) -> usize {
    let (varied, steps): (Vec<bool>, Vec<usize>) = (0..SEEDS).map(|seed| check_with(case, seed)).unzip();
    assert!(varied.contains(&true), "{}: the same in every row", case.name);
    steps[0]
}

/// Whether logits differ from row to row, and the steps of the graph.
fn check_with(case: &Case, seed: u64) -> (bool, usize) {
    let be = Reference::<f64>::new();
    let model = models::build(&case.config, &case.input).unwrap();
    let learner = Learner::new(be.clone(), model.clone(), LearnerConfig::default(), 1, seed).unwrap();
    let mut params = learner.export().unwrap();
    // Initial biases, shifts and statistics are 0 or 1, by which mistakes could hide.
    for HostTensor { name, data, .. } in &mut params {
        let name = name.as_str();
        data.iter_mut().enumerate().for_each(|(i, v)| *v += 0.05 * ((i * 7 + name.len()) % 11) as f64 / 11.0);
    }
    let predictor = Predictor::new(be, model, &params, 64).unwrap();
    let batch = case.batch(13, 5);
    let graph = trace(&models::build::<Tracer<f64>>(&case.config, &case.input).unwrap(), &params).unwrap();
    let table = |t: &TableSpec| params.iter().find(|p| p.name == t.name).unwrap().data.clone();
    let tables: Vec<_> = predictor.spec().embedding().tables().iter().map(table).collect();
    let kinds: Vec<_> = case.input.fields.iter().map(|f| f.kind).collect();
    let wanted = predictor.logits(&batch).unwrap();
    let found = logits(&graph, &batch, &kinds, &tables);
    for (row, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let far = (found - wanted).abs() / wanted.abs().max(1.0);
        assert!(far < CLOSE, "{}, row {row}: {found}, wanted {wanted}", case.name);
    }
    (wanted.iter().any(|o| *o != wanted[0]), graph.nodes().count())
}

#[test]
fn a_graph_computes_what_its_model_does() {
    for kind in Kind::ALL {
        let cases = kind.cases();
        let nodes: Vec<usize> = cases.iter().map(check).collect();
        println!("{:15} {} cases, at most {} steps", kind.name(), cases.len(), nodes.iter().max().unwrap());
    }
}
