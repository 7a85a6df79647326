//! The graph that a model's forward pass is written down as.

/// A node of a graph; it comes after the nodes that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

impl NodeId {
    /// Its place in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A constant of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConstId(usize);

impl ConstId {
    /// Its place in [`Graph::constants`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Numbers that depend on no row, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant<T> {
    /// Elements along each axis.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<T>,
}

/// One step. `N` are the rows, in any order; every value is `[N, width]` and depends on the same row of what it reads alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The constant `[width]` in every row.
    Row(ConstId),
    /// The row of the constant `[S, width]` that the row's scenario has.
    ByScenario(ConstId),
    /// Row of a table that the id of a categorical field names.
    Lookup {
        /// Number of the field.
        field: usize,
        /// Number of the table.
        table: usize,
    },
    /// Σ coefficient · row of a table over the list of a multi-hot field; 0 of an empty list.
    LookupBag {
        /// Number of the field.
        field: usize,
        /// Number of the table.
        table: usize,
    },
    /// The value of a numeric field times the constant `[width]`.
    Numeric {
        /// Number of the field.
        field: usize,
        /// The factor.
        vector: ConstId,
    },
    /// x Wᵀ + b.
    Linear {
        /// `[N, in]`.
        x: NodeId,
        /// W, `[out, in]`.
        weight: ConstId,
        /// b, `[out]`.
        bias: Option<ConstId>,
    },
    /// Columns `g·in..` of x by the map `g`, to columns `g·out..`.
    LinearByColumns {
        /// `[N, G·in]`.
        x: NodeId,
        /// `[G, out, in]`.
        weight: ConstId,
        /// `[G, out]`.
        bias: Option<ConstId>,
    },
    /// Each row by the map of its scenario.
    LinearByScenario {
        /// `[N, in]`.
        x: NodeId,
        /// `[S, out, in]`.
        weight: ConstId,
        /// `[S, out]`.
        bias: Option<ConstId>,
    },
    /// Sum of elements.
    Add(NodeId, NodeId),
    /// Product of elements.
    Mul(NodeId, NodeId),
    /// Every column of the second times the one column of the first.
    Scale(NodeId, NodeId),
    /// Σ of the products of elements of a row, `[N, 1]`.
    Dot(NodeId, NodeId),
    /// max(x, 0).
    Relu(NodeId),
    /// x where it is above 0, else a slope times x.
    LeakyRelu(NodeId, f64),
    /// 1 / (1 + e⁻ˣ).
    Sigmoid(NodeId),
    /// 0 where the second is at most 0, else the first.
    Where(NodeId, NodeId),
    /// Softmax of each row.
    Softmax(NodeId),
    /// Σ_k α_k e_k.
    Mix {
        /// `[N, K]`.
        alpha: NodeId,
        /// `[N, K·width]`.
        e: NodeId,
    },
    /// Columns `s·width..` of `[N, S·width]`, s being the row's scenario.
    SelectByScenario(NodeId),
    /// (x − mean) / √(variance + eps), of each of `parts` runs of columns on its own.
    LayerNorm {
        /// `[N, width]`.
        x: NodeId,
        /// Runs of columns of the same width.
        parts: usize,
        /// Added to the (biased) variance.
        eps: f64,
    },
    /// Side by side.
    Concat(Vec<NodeId>),
    /// Columns from this one on.
    Slice(NodeId, usize),
}

impl Op {
    /// Nodes that it reads.
    fn reads_mut(&mut self) -> Vec<&mut NodeId> {
        match self {
            Op::Row(_)
            | Op::ByScenario(_)
            | Op::Lookup { .. }
            | Op::LookupBag { .. }
            | Op::Numeric { .. } => Vec::new(),
            Op::Linear { x, .. }
            | Op::LinearByColumns { x, .. }
            | Op::LinearByScenario { x, .. }
            | Op::LayerNorm { x, .. } => vec![x],
            Op::Relu(x)
            | Op::LeakyRelu(x, _)
            | Op::Sigmoid(x)
            | Op::Softmax(x)
            | Op::SelectByScenario(x)
            | Op::Slice(x, _) => vec![x],
            Op::Add(a, b) | Op::Mul(a, b) | Op::Scale(a, b) | Op::Dot(a, b) | Op::Where(a, b) => vec![a, b],
            Op::Mix { alpha, e } => vec![alpha, e],
            Op::Concat(parts) => parts.iter_mut().collect(),
        }
    }

    /// Constants that it reads.
    fn constants_mut(&mut self) -> Vec<&mut ConstId> {
        match self {
            Op::Row(c) | Op::ByScenario(c) | Op::Numeric { vector: c, .. } => vec![c],
            Op::Linear { weight, bias, .. }
            | Op::LinearByColumns { weight, bias, .. }
            | Op::LinearByScenario { weight, bias, .. } => [weight].into_iter().chain(bias).collect(),
            _ => Vec::new(),
        }
    }
}

/// A step, and the columns of its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The step.
    pub op: Op,
    /// Columns.
    pub width: usize,
}

/// A forward pass from scenario, ids and numbers of a row to its logit, `[N, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph<T> {
    nodes: Vec<Node>,
    constants: Vec<Constant<T>>,
    output: NodeId,
}

impl<T> Graph<T> {
    /// The steps in an order in which each comes after those that it reads.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i), node))
    }

    /// A step.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Numbers that steps read.
    pub fn constants(&self) -> &[Constant<T>] {
        &self.constants
    }

    /// One of them.
    pub fn constant(&self, id: ConstId) -> &Constant<T> {
        &self.constants[id.0]
    }

    /// The logit.
    pub fn output(&self) -> NodeId {
        self.output
    }
}

/// A graph that grows. A step that is there already is not made again.
#[derive(Debug)]
pub(super) struct Growing<T> {
    nodes: Vec<Node>,
    constants: Vec<Constant<T>>,
}

impl<T: PartialEq> Growing<T> {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), constants: Vec::new() }
    }

    pub(super) fn constant(&mut self, shape: &[usize], data: Vec<T>) -> ConstId {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        let constant = Constant { shape: shape.to_vec(), data };
        ConstId(place(&mut self.constants, constant))
    }

    pub(super) fn push(&mut self, op: Op, width: usize) -> NodeId {
        NodeId(place(&mut self.nodes, Node { op, width }))
    }

    pub(super) fn width(&self, id: NodeId) -> usize {
        self.nodes[id.0].width
    }

    /// The nodes that lead to `output`.
    pub(super) fn finish(self, output: NodeId) -> Graph<T> {
        let Self { mut nodes, constants } = self;
        let mut used = vec![false; nodes.len()];
        let mut read = vec![false; constants.len()];
        used[output.0] = true;
        for i in (0..nodes.len()).rev().filter(|&i| i <= output.0) {
            if used[i] {
                nodes[i].op.reads_mut().into_iter().for_each(|x| used[x.0] = true);
                nodes[i].op.constants_mut().into_iter().for_each(|c| read[c.0] = true);
            }
        }
        let numbers = |kept: &[bool]| -> Vec<usize> {
            let mut next = 0..;
            kept.iter().map(|&kept| if kept { next.next().unwrap_or(0) } else { usize::MAX }).collect()
        };
        let (of_node, of_constant) = (numbers(&used), numbers(&read));
        let mut nodes: Vec<Node> =
            nodes.into_iter().zip(&used).filter(|(_, u)| **u).map(|(n, _)| n).collect();
        for node in &mut nodes {
            node.op.reads_mut().into_iter().for_each(|x| x.0 = of_node[x.0]);
            node.op.constants_mut().into_iter().for_each(|c| c.0 = of_constant[c.0]);
        }
        let constants = constants.into_iter().zip(&read).filter(|(_, r)| **r).map(|(c, _)| c).collect();
        Graph { nodes, constants, output: NodeId(of_node[output.0]) }
    }
}

/// Place of something in a list, at the end of which it is put if it is not there.
fn place<T: PartialEq>(list: &mut Vec<T>, new: T) -> usize {
    list.iter().position(|old| *old == new).unwrap_or_else(|| {
        list.push(new);
        list.len() - 1
    })
}
