//! An ONNX graph that grows step by step.

use std::collections::HashMap;

use super::proto::{
    Attribute, Dimension, Elem, Entry, Graph, Node, Shape, Tensor, TensorType, Type, ValueInfo,
};
use crate::tables::little_endian;

/// Name of a value.
pub(super) type Name = String;

/// Attribute of a step.
pub(super) fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(i), kind: 2, ..Attribute::default() }
}

/// Attribute of a step.
pub(super) fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(f), kind: 1, ..Attribute::default() }
}

/// Attribute of a step.
pub(super) fn ints(name: &str, ints: Vec<i64>) -> Attribute {
    Attribute { name: name.into(), ints, kind: 7, ..Attribute::default() }
}

/// Attribute of a step.
pub(super) fn strings(name: &str, strings: Vec<String>) -> Attribute {
    Attribute { name: name.into(), strings, kind: 8, ..Attribute::default() }
}

/// Steps, constants, inputs and outputs.
#[derive(Default)]
pub(super) struct Builder {
    graph: Graph,
    /// Constants of integers by their shape and elements.
    integers: HashMap<(Vec<i64>, Vec<i64>), Name>,
    /// Values made of one constant alone, by what made them.
    made: HashMap<String, Name>,
}

impl Builder {
    /// A name that nothing has. Inputs, whose names are the user's, are there before all steps.
    fn fresh(&self, what: &str) -> Name {
        let mut name = format!("{} {what}", self.graph.node.len() + self.graph.initializer.len());
        while self.graph.input.iter().any(|input| input.name == name) {
            name += "'";
        }
        name
    }

    /// The result of a step.
    pub(super) fn op(&mut self, op: &str, inputs: &[&str], attribute: Vec<Attribute>) -> Name {
        let out = self.fresh(op);
        self.step(op, "", inputs, &out, attribute);
        out
    }

    /// A step whose result has this name.
    pub(super) fn named(&mut self, op: &str, inputs: &[&str], out: &str, attribute: Vec<Attribute>) {
        self.step(op, "", inputs, out, attribute);
    }

    fn step(&mut self, op: &str, domain: &str, inputs: &[&str], out: &str, attribute: Vec<Attribute>) {
        self.graph.node.push(Node {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![out.to_owned()],
            name: format!("{} {op}", self.graph.node.len()),
            op_type: op.to_owned(),
            attribute,
            domain: domain.to_owned(),
        });
    }

    /// Numbers of texts; that of texts that are not among the keys is `other`.
    pub(super) fn label_encoder(&mut self, text: &str, keys: Vec<(String, i64)>, other: i64) -> Name {
        let (keys, values): (Vec<String>, Vec<i64>) = keys.into_iter().unzip();
        let out = self.fresh("LabelEncoder");
        let lists =
            vec![strings("keys_strings", keys), ints("values_int64s", values), int("default_int64", other)];
        self.step("LabelEncoder", "ai.onnx.ml", &[text], &out, lists);
        out
    }

    fn constant(&mut self, elem: Elem, shape: &[usize], raw: Vec<u8>) -> Name {
        let name = self.fresh("constant");
        self.graph.initializer.push(Tensor {
            dims: shape.iter().map(|&d| d as i64).collect(),
            data_type: elem as i32,
            name: name.clone(),
            raw_data: Some(raw),
            ..Tensor::default()
        });
        name
    }

    /// A constant.
    pub(super) fn floats(&mut self, shape: &[usize], data: &[f32]) -> Name {
        self.constant(Elem::Float, shape, little_endian(data))
    }

    /// A constant.
    pub(super) fn doubles(&mut self, shape: &[usize], data: &[f64]) -> Name {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(Elem::Double, shape, raw)
    }

    /// A constant, made once.
    pub(super) fn integers(&mut self, shape: &[usize], data: &[i64]) -> Name {
        let key = (shape.iter().map(|&d| d as i64).collect(), data.to_vec());
        if let Some(name) = self.integers.get(&key) {
            return name.clone();
        }
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        let name = self.constant(Elem::Int64, shape, raw);
        self.integers.insert(key, name.clone());
        name
    }

    /// A constant of one dimension.
    pub(super) fn axis(&mut self, data: &[i64]) -> Name {
        self.integers(&[data.len()], data)
    }

    /// A table, whose values come later.
    pub(super) fn table(&mut self, name: &str, rows: usize, width: usize) {
        self.graph.initializer.push(Tensor {
            dims: vec![rows as i64, width as i64],
            data_type: Elem::Float as i32,
            name: name.to_owned(),
            ..Tensor::default()
        });
    }

    /// The result of `make`, made once for each key.
    pub(super) fn once(&mut self, key: &str, make: impl FnOnce(&mut Self) -> Name) -> Name {
        if let Some(name) = self.made.get(key) {
            return name.clone();
        }
        let name = make(self);
        self.made.insert(key.to_owned(), name.clone());
        name
    }

    /// x in another shape, whose first dimension that is -1 is what is left.
    pub(super) fn reshape(&mut self, x: &str, shape: &[i64]) -> Name {
        let shape = self.axis(shape);
        self.op("Reshape", &[x, &shape], vec![])
    }

    /// x with a dimension of 1 more.
    pub(super) fn unsqueeze(&mut self, x: &str, axis: i64) -> Name {
        let axis = self.axis(&[axis]);
        self.op("Unsqueeze", &[x, &axis], vec![])
    }

    /// Sums along an axis, which stays with one element or goes.
    pub(super) fn sum(&mut self, x: &str, axis: i64, stays: bool) -> Name {
        let axis = self.axis(&[axis]);
        self.op("ReduceSum", &[x, &axis], vec![int("keepdims", stays.into())])
    }

    /// x in another type.
    pub(super) fn cast(&mut self, x: &str, to: Elem) -> Name {
        self.op("Cast", &[x], vec![int("to", to as i64)])
    }

    /// Adds an input whose dimensions have these names.
    pub(super) fn input(&mut self, name: &str, elem: Elem, dims: &[&str], doc: &str) {
        let info = info(name, elem, dims, doc);
        self.graph.input.push(info);
    }

    /// Adds an output, `[N]` of 32-bit numbers.
    pub(super) fn output(&mut self, name: &str, doc: &str) {
        let info = info(name, Elem::Float, &["N"], doc);
        self.graph.output.push(info);
    }

    /// The graph.
    pub(super) fn finish(self, name: &str, doc: &str) -> Graph {
        Graph { name: name.to_owned(), doc_string: doc.to_owned(), ..self.graph }
    }
}

fn info(name: &str, elem: Elem, dims: &[&str], doc: &str) -> ValueInfo {
    let dim = dims.iter().map(|&dim| Dimension { dim_param: dim.to_owned() }).collect();
    let tensor_type = Some(TensorType { elem_type: elem as i32, shape: Some(Shape { dim }) });
    ValueInfo { name: name.to_owned(), kind: Some(Type { tensor_type }), doc_string: doc.to_owned() }
}

/// An entry of a list of texts by name.
pub(super) fn entry(key: &str, value: impl Into<String>) -> Entry {
    Entry { key: key.to_owned(), value: value.into() }
}
