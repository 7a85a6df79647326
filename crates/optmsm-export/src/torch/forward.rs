//! The steps of a traced graph as lines of Python.

use std::fmt::Write;

use optmsm_core::trace::{ConstId, Graph, Node, NodeId, Op};

use super::quoted;
use crate::Trained;
use crate::answer::Curves;

/// Name of a constant's tensor.
pub(super) fn constant(id: usize) -> String {
    format!("constants.{id}")
}

fn value(id: NodeId) -> String {
    format!("x{}", id.index())
}

fn tensor(id: ConstId) -> String {
    format!("t(\"{}\")", constant(id.index()))
}

/// Body of `logit`.
pub(super) fn logit(trained: &Trained) -> String {
    let graph = trained.graph;
    let mut lines = String::new();
    for (id, node) in graph.nodes() {
        let (name, made) = (value(id), expression(trained, graph, node));
        writeln!(lines, "        {name} = {made}  # [N, {}]", node.width).ok(); // a String takes all
    }
    lines + &format!("        return {}[:, 0]\n", value(graph.output()))
}

fn expression(trained: &Trained, graph: &Graph<f32>, Node { op, width }: &Node) -> String {
    let table = |number: usize| format!("t({})", quoted(&trained.tables[number].name));
    let field = |number: usize| format!("fields[{}]", quoted(&trained.schema.fields[number].name));
    let bias = |bias: &Option<ConstId>| bias.map_or("None".into(), tensor);
    match op {
        Op::Row(c) => format!("{}.expand(n, {width})", tensor(*c)),
        Op::ByScenario(c) => format!("{}[scenario]", tensor(*c)),
        Op::Lookup { field: f, table: t } => format!("lookup({}, {})", table(*t), field(*f)),
        Op::LookupBag { field: f, table: t } => format!("lookup_bag({}, {})", table(*t), field(*f)),
        Op::Numeric { field: f, vector } => format!("{}[:, None] * {}", field(*f), tensor(*vector)),
        Op::Linear { x, weight, bias: b } => {
            format!("F.linear({}, {}, {})", value(*x), tensor(*weight), bias(b))
        }
        Op::LinearByColumns { x, weight, bias: b } => {
            format!("linear_by_columns({}, {}, {})", value(*x), tensor(*weight), bias(b))
        }
        Op::LinearByScenario { x, weight, bias: b } => {
            format!("linear_by_scenario({}, scenario, {}, {})", value(*x), tensor(*weight), bias(b))
        }
        Op::Add(a, b) => format!("{} + {}", value(*a), value(*b)),
        Op::Mul(a, b) | Op::Scale(a, b) => format!("{} * {}", value(*a), value(*b)),
        Op::Dot(a, b) => format!("({} * {}).sum(1, keepdim=True)", value(*a), value(*b)),
        Op::Relu(x) => format!("torch.relu({})", value(*x)),
        Op::LeakyRelu(x, slope) => format!("F.leaky_relu({}, {slope:?})", value(*x)),
        Op::Sigmoid(x) => format!("torch.sigmoid({})", value(*x)),
        Op::Where(d, y) => format!("torch.where({} <= 0, 0.0, {})", value(*y), value(*d)),
        Op::Softmax(x) => format!("torch.softmax({}, 1)", value(*x)),
        Op::Mix { alpha, e } => format!("mix({}, {})", value(*alpha), value(*e)),
        Op::SelectByScenario(e) => format!("select_by_scenario({}, scenario, {width})", value(*e)),
        Op::LayerNorm { x, parts, eps } => format!("layer_norm({}, {parts}, {eps:?})", value(*x)),
        Op::Concat(parts) => {
            let parts: Vec<String> = parts.iter().map(|&part| value(part)).collect();
            format!("torch.cat([{}], 1)", parts.join(", "))
        }
        Op::Slice(x, first) => {
            let of = graph.node(*x).width;
            format!("{}[:, {first}:{}]", value(*x), (first + width).min(of))
        }
    }
}

/// The result of `forward` for z.
pub(super) fn answer(curves: &Curves) -> &'static str {
    match curves {
        Curves::Plain => "        return sigmoid(z)\n",
        Curves::Lines(_) => {
            "        line = self.tensor(\"answer.lines\")[scenario]\n        return sigmoid(line[:, 0] * z + line[:, 1])\n"
        }
        Curves::Points(_) => {
            "        points = [self.tensor(\"answer.\" + name)[scenario] for name in (\"logits\", \"probabilities\", \"last\")]\n        \
             return between(z, *points)\n"
        }
    }
}
