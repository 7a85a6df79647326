//! A model in thirty lines: data in memory, train, predict, save, load.

use optmsm::prelude::*;

fn main() -> Result<()> {
    // Two scenarios; a user clicks when its number is even in the first and odd in the second.
    let field = |name: &str, vocab| FieldSpec::new(name, Role::Shared, FieldKind::Categorical { vocab });
    let input = InputSpec { scenarios: 2, fields: vec![field("user", 50), field("item", 20)] };
    let mut batch = Batch::new(&input);
    for i in 0..2000u32 {
        let (user, item, scenario) = (i % 49 + 1, i % 19 + 1, i / 7 % 2);
        let label = if user % 2 == scenario { 1.0 } else { 0.0 };
        batch.push(&input, Row::new(scenario, &[Value::Id(user), Value::Id(item)]).label(label))?;
    }
    let model = OptMsm::new(&ModelConfig::default(), &input)?;
    let optimizer = OptimizerConfig { lr: 0.01, ..OptimizerConfig::default() };
    let learner = Learner::builder(Cpu::new()?, model.clone());
    let mut learner = learner.optimizer(optimizer).max_rows(2000).seed(1).build()?;
    for step in 1..=100 {
        let loss = learner.step(&batch)?;
        if step % 25 == 0 {
            println!("step {step:>3}  loss {:.4}", loss.total());
        }
    }
    // What a program stores is a list of named tensors; a predictor starts from any source of them.
    let saved: Vec<HostTensor<f32>> = learner.export()?;
    let predictor = Predictor::new(Cpu::new()?, model, &saved, 2000)?;
    let predictions = predictor.predict(&batch)?;
    assert_eq!(predictions, learner.predict(&batch)?);
    let auc = metrics::auc(&predictions, &batch.labels).unwrap_or(f64::NAN);
    println!("auc {auc:.4}");
    assert!(auc > 0.95, "the example should learn this");
    Ok(())
}

#[test]
fn runs() -> Result<()> {
    main()
}
