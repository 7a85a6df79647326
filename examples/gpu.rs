//! Training on a GPU: a model is the same on every backend. Without a device it says why and ends well.

use optmsm::prelude::*;

fn main() -> Result<()> {
    match Cuda::probe() {
        Ok(devices) => devices.iter().for_each(|device| println!("{device:?}")),
        Err(problem) => {
            println!("no GPU to train on: {problem}");
            return Ok(());
        }
    }
    let user = FieldSpec::new("user", Role::Shared, FieldKind::Categorical { vocab: 50 });
    let input = InputSpec { scenarios: 2, fields: vec![user] };
    let mut batch = Batch::new(&input);
    for i in 0..2000u32 {
        let (user, scenario) = (i % 49 + 1, i / 7 % 2);
        let label = if user % 2 == scenario { 1.0 } else { 0.0 };
        batch.push(&input, Row::new(scenario, &[Value::Id(user)]).label(label))?;
    }
    let cuda = Cuda::new(CudaOptions::default())?;
    let model = OptMsm::new(&ModelConfig::default(), &input)?;
    let optimizer = OptimizerConfig { lr: 0.01, ..OptimizerConfig::default() };
    let mut learner = Learner::builder(cuda, model).optimizer(optimizer).max_rows(2000).build()?;
    for step in 1..=100 {
        let loss = learner.step(&batch)?;
        if step % 25 == 0 {
            println!("step {step:>3}  loss {:.4}", loss.total());
        }
    }
    let auc = metrics::auc(&learner.predict(&batch)?, &batch.labels).unwrap_or(f64::NAN);
    println!("auc {auc:.4}");
    assert!(auc > 0.95, "the example should learn this");
    Ok(())
}

#[test]
fn runs() -> Result<()> {
    main()
}
