//! A model outside the library: a factorization machine with a linear part of its own for each scenario.
//!
//! For a row of scenario s with field embeddings e_f: o = b_s + w_s · [e_1 ; e_2 ; …] + Σ_{f<g} e_f · e_g.
//! Its gradients are checked by finite differences, then it learns what a linear model cannot: a product of two fields.

use optmsm::backend::{Backend, Mat, MatMut, Products, Write};
use optmsm::gradcheck;
use optmsm::layers::{EmbeddingConfig, ScenarioLinear};
use optmsm::model::{Builder, Cx, Fields, Grads, ModelSpec, Reader, ReaderGrads};
use optmsm::params::{Flat, Tensor};
use optmsm::prelude::*;

/// The factorization machine.
#[derive(Clone, Debug)]
struct ScenarioFm {
    spec: ModelSpec,
    linear: ScenarioLinear,
}

impl ScenarioFm {
    /// A model for these inputs, with embeddings of width `dim`.
    fn new(input: &InputSpec, dim: usize) -> Result<Self> {
        input.validate()?;
        let config = EmbeddingConfig { dim, init_std: 0.1, dtype: TableDtype::F32 };
        let mut build = Builder::new(config, input);
        let reader = Reader::embedded(build.embedding(), Fields::All);
        let shape = [reader.width(), 1];
        let linear = ScenarioLinear::new(&mut build.params, "linear", input.scenarios, shape, false);
        Ok(Self { spec: build.build(vec![reader], Vec::new()), linear })
    }

    /// First columns of each pair of fields, and their width.
    fn pairs(&self) -> (impl Iterator<Item = (usize, usize)>, usize) {
        let (fields, d) = (self.spec.input().fields.len(), self.spec.embedding().dim());
        ((0..fields).flat_map(move |g| (0..g).map(move |f| (f * d, g * d))), d)
    }
}

impl<B: Backend> Model<B> for ScenarioFm {
    type Prepared = B::Packed;
    /// e `[rows, Σ d]`.
    type Activations = Tensor<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }
    fn alloc_prepared(&self, be: &B, training: bool) -> Result<B::Packed> {
        self.linear.alloc(be, Products::of(training))
    }
    fn alloc_activations(&self, be: &B, rows: usize, _: bool) -> Result<Tensor<B>> {
        Tensor::new(be, rows, self.spec.readers()[0].width())
    }
    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }
    fn prepare(&self, be: &B, packed: &mut B::Packed, params: &Flat<B>, _: &Flat<B>) {
        self.linear.pack(be, packed, params);
    }
    fn forward(
        &self,
        cx: Cx<B>,
        mut logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Tensor<B>,
        packed: &B::Packed,
    ) {
        self.spec.embed(cx, 0, act.mat_mut(cx.x.rows));
        let e = act.mat(cx.x.rows);
        self.linear.forward(cx, logits.again(), e, packed);
        let (pairs, d) = self.pairs();
        pairs.for_each(|(f, g)| cx.be.row_dot(logits.again(), Write::Add, e.cols(f, d), e.cols(g, d)));
    }
    fn embedded<'a>(&self, act: &'a Tensor<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.mat(rows)
    }
    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut Tensor<B>,
        packed: &B::Packed,
        _: usize,
    ) {
        // ∂o/∂e_f = w_s's columns of f + Σ_{g≠f} e_g
        let (e, d_o, mut d_e) = (act.mat(cx.x.rows), d_logits.as_mat(), readers.reader(0));
        self.linear.backward(cx, &mut grads.dense, (d_e.again(), Write::Set), None, d_o, e, packed);
        let (pairs, d) = self.pairs();
        for (f, g) in pairs {
            cx.be.row_scale(d_e.again().cols(f, d), Write::Add, d_o, e.cols(g, d));
            cx.be.row_scale(d_e.again().cols(g, d), Write::Add, d_o, e.cols(f, d));
        }
    }
    fn finish(&self, _: &B, _: &mut Grads<B>, (): &mut (), _: &B::Packed, _: &Flat<B>) {}
}

fn main() -> Result<()> {
    let field = |name: &str, vocab| FieldSpec::new(name, Role::Shared, FieldKind::Categorical { vocab });
    let input = InputSpec { scenarios: 2, fields: vec![field("user", 50), field("item", 20)] };
    let model = ScenarioFm::new(&input, 4)?;
    let batch = gradcheck::random_batch(&input, 12, true, 1);
    for tensor in gradcheck::check_model(&model, &batch)? {
        println!("{:<24} relative error {:.0e}", tensor.name, tensor.error);
        assert!(tensor.error < 1e-6 && tensor.checked > 0, "a wrong derivative");
    }
    // A click where user and item are both even or both odd: no sum of their effects says that.
    let mut batch = Batch::new(&input);
    for i in 0..2000u32 {
        let (user, item) = (i % 49 + 1, i % 19 + 1);
        let label = if (user + item) % 2 == 0 { 1.0 } else { 0.0 };
        batch.push(&input, Row::new(i / 7 % 2, &[Value::Id(user), Value::Id(item)]).label(label))?;
    }
    let optimizer = OptimizerConfig { lr: 0.02, ..OptimizerConfig::default() };
    let learner = Learner::builder(Cpu::new()?, model).optimizer(optimizer);
    let mut learner = learner.max_rows(2000).build()?;
    for _ in 0..200 {
        learner.step(&batch)?;
    }
    let auc = metrics::auc(&learner.predict(&batch)?, &batch.labels).unwrap_or(f64::NAN);
    println!("auc {auc:.4}");
    assert!(auc > 0.95, "the example should learn this");
    Ok(())
}

/// It can be exported as the library's models can: [`optmsm::trace`] knows no architecture.
#[test]
fn is_traced() -> Result<()> {
    use optmsm::trace::{Op, trace};
    let field = |name: &str, vocab| FieldSpec::new(name, Role::Shared, FieldKind::Categorical { vocab });
    let input = InputSpec { scenarios: 2, fields: vec![field("user", 50), field("item", 20)] };
    let model = ScenarioFm::new(&input, 4)?;
    let learner = Learner::builder(Cpu::new()?, model.clone()).max_rows(1).build()?;
    let graph = trace(&model, &learner.export()?)?;
    let has = |wanted: fn(&Op) -> bool| graph.nodes().filter(|(_, node)| wanted(&node.op)).count();
    assert_eq!(has(|op| matches!(op, Op::Lookup { .. })), 2);
    assert_eq!(has(|op| matches!(op, Op::LinearByScenario { .. })), 1);
    assert_eq!(has(|op| matches!(op, Op::Dot(..))), 1, "the product of user and item");
    assert_eq!(graph.node(graph.output()).width, 1);
    Ok(())
}

#[test]
fn runs() -> Result<()> {
    main()
}
