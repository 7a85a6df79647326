//! From ids and numbers to the logit: the steps of a traced graph.

use std::collections::HashMap;

use optmsm_core::trace::{ConstId, Graph, Node, NodeId, Op};

use super::builder::{Builder, Name, float, int};
use super::fields::{Encoded, axis};
use crate::{TOGETHER, Trained};

/// Steps that were written, by the values of the graph.
pub(super) struct Forward<'a> {
    b: &'a mut Builder,
    trained: &'a Trained<'a>,
    fields: &'a [Encoded],
    scenario: &'a str,
    /// Values `[N, width]`, or `[1, width]` of what is the same in all rows.
    flat: HashMap<NodeId, Name>,
    /// Values `[G, N, width / G]`, which products by columns take and make: G and the name.
    grouped: HashMap<NodeId, (usize, Name)>,
}

impl<'a> Forward<'a> {
    pub(super) fn new(
        b: &'a mut Builder,
        trained: &'a Trained,
        fields: &'a [Encoded],
        scenario: &'a str,
    ) -> Self {
        Self { b, trained, fields, scenario, flat: HashMap::new(), grouped: HashMap::new() }
    }

    fn graph(&self) -> &'a Graph<f32> {
        self.trained.graph
    }

    /// Writes all steps; returns the logits `[N, 1]`.
    pub(super) fn write(mut self) -> Name {
        for (id, node) in self.graph().nodes() {
            self.step(id, node);
        }
        self.rows(self.graph().output())
    }

    fn constant(&mut self, id: ConstId, shape: &[usize]) -> Name {
        let data = &self.graph().constant(id).data;
        let key = format!("{} {shape:?}", id.index());
        self.b.once(&key, |b| b.floats(shape, data))
    }

    /// Groups, outputs and inputs of weights.
    fn shape(&self, id: ConstId) -> [usize; 3] {
        match self.graph().constant(id).shape[..] {
            [out, inputs] => [1, out, inputs],
            [groups, out, inputs] => [groups, out, inputs],
            _ => unreachable!("weights have two or three axes"),
        }
    }

    /// Weights `[G, out, in]` as `[G, in, out]`.
    fn transposed(&self, id: ConstId) -> (usize, usize, usize, Vec<f32>) {
        let [groups, out, inputs] = self.shape(id);
        let data = &self.graph().constant(id).data;
        let at = |g: usize, i: usize, o: usize| data[(g * out + o) * inputs + i];
        let elements =
            (0..groups).flat_map(|g| (0..inputs).flat_map(move |i| (0..out).map(move |o| at(g, i, o))));
        (groups, inputs, out, elements.collect())
    }

    /// Weights of one group as `[in, out]`, of several as `[G, in, out]`; made once, however many steps read them.
    fn weights(&mut self, id: ConstId) -> Name {
        let (groups, inputs, out, data) = self.transposed(id);
        self.b.once(&format!("weights {}", id.index()), |b| match groups {
            1 => b.floats(&[inputs, out], &data),
            _ => b.floats(&[groups, inputs, out], &data),
        })
    }

    /// A value as `[N, width]`, or `[1, width]`.
    fn flat(&mut self, id: NodeId) -> Name {
        if let Some(name) = self.flat.get(&id) {
            return name.clone();
        }
        let width = self.graph().node(id).width as i64;
        let (_, grouped) = self.grouped[&id].clone();
        let rows = self.b.op("Transpose", &[&grouped], vec![super::builder::ints("perm", vec![1, 0, 2])]);
        let name = self.b.reshape(&rows, &[-1, width]);
        self.flat.insert(id, name.clone());
        name
    }

    /// A value as `[N, width]`.
    fn rows(&mut self, id: NodeId) -> Name {
        let name = self.flat(id);
        let Node { op: Op::Row(_), width } = self.graph().node(id) else { return name };
        let (width, scenario) = (self.b.axis(&[*width as i64]), self.scenario);
        self.b.once(&format!("rows {}", id.index()), |b| {
            let n = b.op("Shape", &[scenario], vec![]);
            let shape = b.op("Concat", &[&n, &width], axis(0));
            b.op("Expand", &[&name, &shape], vec![])
        })
    }

    /// A value as `[G, N, width / G]`.
    fn grouped(&mut self, id: NodeId, groups: usize) -> Name {
        match self.grouped.get(&id) {
            Some((own, name)) if *own == groups => return name.clone(),
            _ => {}
        }
        let width = self.graph().node(id).width / groups;
        let flat = self.flat(id);
        let parts = self.b.reshape(&flat, &[-1, groups as i64, width as i64]);
        let name = self.b.op("Transpose", &[&parts], vec![super::builder::ints("perm", vec![1, 0, 2])]);
        self.grouped.insert(id, (groups, name.clone()));
        name
    }

    fn binary(&mut self, op: &str, x: NodeId, y: NodeId) -> Name {
        let (x, y) = (self.flat(x), self.flat(y));
        self.b.op(op, &[&x, &y], vec![])
    }

    /// Writes a step that is made element by element, in whatever shape there is of x.
    fn each(&mut self, id: NodeId, x: NodeId, op: impl FnOnce(&mut Builder, &str) -> Name) {
        match (self.flat.get(&x), self.grouped.get(&x)) {
            (None, Some((groups, name))) => {
                let (groups, name) = (*groups, name.clone());
                let made = op(self.b, &name);
                self.grouped.insert(id, (groups, made));
            }
            _ => {
                let x = self.flat(x);
                let made = op(self.b, &x);
                self.flat.insert(id, made);
            }
        }
    }

    fn step(&mut self, id: NodeId, Node { op, width }: &Node) {
        let width = *width;
        let made = match op {
            Op::Row(c) => self.constant(*c, &[1, width]),
            Op::ByScenario(c) => {
                let s = self.graph().constant(*c).shape[0];
                let constant = self.constant(*c, &[s, width]);
                self.b.op("Gather", &[&constant, self.scenario], axis(0))
            }
            Op::Lookup { field, table } => self.lookup(*field, *table),
            Op::LookupBag { field, table } => self.bag(*field, *table),
            Op::Numeric { field, vector } => {
                let Encoded::Numbers(name) = &self.fields[*field] else {
                    unreachable!("field {field} is no number")
                };
                let vector = self.constant(*vector, &[1, width]);
                let column = self.b.once(&format!("number {field}"), |b| b.unsqueeze(name, 1));
                self.b.op("Mul", &[&column, &vector], vec![])
            }
            Op::Linear { x, weight, bias } => {
                let (x, weight) = (self.flat(*x), self.weights(*weight));
                match bias {
                    Some(bias) => {
                        let bias = self.constant(*bias, &[width]);
                        self.b.op("Gemm", &[&x, &weight, &bias], vec![])
                    }
                    None => self.b.op("MatMul", &[&x, &weight], vec![]),
                }
            }
            Op::LinearByColumns { x, weight, bias } => {
                let [groups, out, _] = self.shape(*weight);
                let (x, weight) = (self.grouped(*x, groups), self.weights(*weight));
                let mut made = self.b.op("MatMul", &[&x, &weight], vec![]);
                if let Some(bias) = bias {
                    let bias = self.constant(*bias, &[groups, 1, out]);
                    made = self.b.op("Add", &[&made, &bias], vec![]);
                }
                self.grouped.insert(id, (groups, made));
                return;
            }
            Op::LinearByScenario { x, weight, bias } => self.linear_by_scenario(*x, *weight, *bias),
            Op::Add(x, y) => self.binary("Add", *x, *y),
            Op::Mul(x, y) | Op::Scale(x, y) => self.binary("Mul", *x, *y),
            Op::Dot(x, y) => {
                let products = self.binary("Mul", *x, *y);
                self.b.sum(&products, 1, true)
            }
            Op::Relu(x) => return self.each(id, *x, |b, x| b.op("Relu", &[x], vec![])),
            Op::LeakyRelu(x, slope) => {
                let slope = vec![float("alpha", *slope as f32)];
                return self.each(id, *x, |b, x| b.op("LeakyRelu", &[x], slope));
            }
            Op::Sigmoid(x) => return self.each(id, *x, |b, x| b.op("Sigmoid", &[x], vec![])),
            Op::Where(d, y) => {
                let (d, y, zero) = (self.flat(*d), self.flat(*y), self.b.floats(&[], &[0.0]));
                let shut = self.b.op("LessOrEqual", &[&y, &zero], vec![]);
                self.b.op("Where", &[&shut, &zero, &d], vec![])
            }
            Op::Softmax(x) => {
                let x = self.flat(*x);
                self.b.op("Softmax", &[&x], axis(-1))
            }
            Op::Mix { alpha, e } => self.mix(*alpha, *e),
            Op::SelectByScenario(e) => {
                let e = self.rows(*e);
                let parts = self.b.reshape(&e, &[0, -1, width as i64]);
                self.pick(&parts)
            }
            Op::LayerNorm { x, parts, eps } => {
                let m = width / parts;
                let (scale, x) = (self.b.floats(&[m], &vec![1.0; m]), self.flat(*x));
                let attributes = vec![int("axis", -1), float("epsilon", *eps as f32)];
                let x = if *parts == 1 { x } else { self.b.reshape(&x, &[-1, *parts as i64, m as i64]) };
                let made = self.b.op("LayerNormalization", &[&x, &scale], attributes);
                if *parts == 1 { made } else { self.b.reshape(&made, &[-1, width as i64]) }
            }
            Op::Concat(parts) => {
                let parts: Vec<Name> = parts.iter().map(|&part| self.rows(part)).collect();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                self.b.op("Concat", &parts, axis(1))
            }
            Op::Slice(x, first) => {
                let x = self.flat(*x);
                let (start, end) = (self.b.axis(&[*first as i64]), self.b.axis(&[(first + width) as i64]));
                let axes = self.b.axis(&[1]);
                self.b.op("Slice", &[&x, &start, &end, &axes], vec![])
            }
        };
        self.flat.insert(id, made);
    }

    fn lookup(&mut self, field: usize, table: usize) -> Name {
        let Encoded::Ids(ids) = &self.fields[field] else { unreachable!("field {field} has no id") };
        let table = &self.trained.tables[table].name;
        self.b.op("Gather", &[table, ids], axis(0))
    }

    fn bag(&mut self, field: usize, table: usize) -> Name {
        let Encoded::Bag { ids, coefs, missing } = &self.fields[field] else {
            unreachable!("field {field} has no list")
        };
        let table = &self.trained.tables[table].name;
        let (rows, coefs) = (self.b.op("Gather", &[table, ids], axis(0)), self.b.unsqueeze(coefs, 2));
        let scaled = self.b.op("Mul", &[&rows, &coefs], vec![]);
        let sum = self.b.sum(&scaled, 1, false);
        match missing {
            None => sum,
            Some((is_missing, id)) => {
                let id = self.b.axis(&[*id]);
                let own = self.b.op("Gather", &[table, &id], axis(0));
                self.b.op("Where", &[is_missing, &own, &sum], vec![])
            }
        }
    }

    /// The row of `[N, S, width]` that each row's scenario has.
    fn pick(&mut self, parts: &str) -> Name {
        let scenario = self.scenario;
        let places = self.b.once("places", |b| b.unsqueeze(scenario, 1));
        self.b.op("GatherND", &[parts, &places], vec![int("batch_dims", 1)])
    }

    fn linear_by_scenario(&mut self, x: NodeId, weight: ConstId, bias: Option<ConstId>) -> Name {
        let [s, out, _] = self.shape(weight);
        let x = self.rows(x);
        if s <= TOGETHER {
            let weight = self.side_by_side(weight);
            let made = match bias {
                Some(bias) => {
                    let bias = self.constant(bias, &[s * out]);
                    self.b.op("Gemm", &[&x, &weight, &bias], vec![])
                }
                None => self.b.op("MatMul", &[&x, &weight], vec![]),
            };
            let parts = self.b.reshape(&made, &[0, s as i64, out as i64]);
            return self.pick(&parts);
        }
        let weight = self.weights(weight);
        let weight = self.b.op("Gather", &[&weight, self.scenario], axis(0));
        let x = self.b.unsqueeze(&x, 1);
        let made = self.b.op("MatMul", &[&x, &weight], vec![]);
        let made = self.b.reshape(&made, &[-1, out as i64]);
        match bias {
            Some(bias) => {
                let bias = self.constant(bias, &[s, out]);
                let bias = self.b.op("Gather", &[&bias, self.scenario], axis(0));
                self.b.op("Add", &[&made, &bias], vec![])
            }
            None => made,
        }
    }

    /// Weights `[S, out, in]` as `[in, S·out]`, made once.
    fn side_by_side(&mut self, id: ConstId) -> Name {
        let (s, inputs, out, data) = self.transposed(id);
        let at = |i: usize, s: usize, o: usize| data[(s * inputs + i) * out + o];
        self.b.once(&format!("side by side {}", id.index()), |b| {
            let rows = (0..inputs).flat_map(|i| (0..s).flat_map(move |s| (0..out).map(move |o| at(i, s, o))));
            b.floats(&[inputs, s * out], &rows.collect::<Vec<f32>>())
        })
    }

    fn mix(&mut self, alpha: NodeId, e: NodeId) -> Name {
        let (k, width) = (self.graph().node(alpha).width, self.graph().node(e).width);
        let alpha = self.flat(alpha);
        match (self.flat.get(&e), self.grouped.get(&e)) {
            (None, Some((groups, name))) if *groups == k => {
                let name = name.clone();
                let alpha = self.b.op("Transpose", &[&alpha], vec![super::builder::ints("perm", vec![1, 0])]);
                let alpha = self.b.unsqueeze(&alpha, 2);
                let scaled = self.b.op("Mul", &[&name, &alpha], vec![]);
                self.b.sum(&scaled, 0, false)
            }
            _ => {
                let e = self.flat(e);
                let parts = self.b.reshape(&e, &[-1, k as i64, (width / k) as i64]);
                let alpha = self.b.unsqueeze(&alpha, 2);
                let scaled = self.b.op("Mul", &[&parts, &alpha], vec![]);
                self.b.sum(&scaled, 1, false)
            }
        }
    }
}

/// Adds the output `logit` of logits `[N, 1]`.
pub(super) fn output(b: &mut Builder, logits: &str) {
    let axis = b.axis(&[1]);
    b.named("Squeeze", &[logits, &axis], crate::fields::OUTPUTS[1], vec![]);
}
