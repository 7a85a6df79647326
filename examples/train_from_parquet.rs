//! From a Parquet file to a test AUC: a schema is fitted on the training file and reads every later one.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use optmsm::data::{Dataset, Schema, SynthConfig, synth};
use optmsm::prelude::*;

/// Rows per step.
const ROWS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("optmsm-train-from-parquet-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = train(&folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

fn train(folder: &Path) -> Result<(), Box<dyn Error>> {
    // Clicks whose true probabilities are known; your own files take their place.
    let synthetic = SynthConfig { rows: 20_000, ..SynthConfig::default() };
    let (train, test) = (folder.join("train.parquet"), folder.join("test.parquet"));
    synth::write_parquet(&synthetic, 0..16_000, File::create(&train)?)?;
    synth::write_parquet(&synthetic, 16_000..20_000, File::create(&test)?)?;

    // Which columns are fields, and of what kind; vocabularies and statistics come from the training file.
    let schema = Schema::fit(&synth::data_config(), &*train)?;
    let (train, test) = (Dataset::load(&*train, &schema)?.batch, Dataset::load(&*test, &schema)?.batch);
    let input = schema.input_spec();
    let mut learner = Learner::builder(Cpu::new()?, OptMsm::new(&ModelConfig::default(), &input)?)
        .optimizer(OptimizerConfig { lr: 0.003, ..OptimizerConfig::default() })
        .max_rows(ROWS)
        .seed(1)
        .build()?;
    let rows: Vec<u32> = (0..train.rows() as u32).collect();
    let mut batch = Batch::new(&input);
    for epoch in 1..=2 {
        let mut sum = 0.0;
        for rows in rows.chunks(ROWS) {
            batch.clear();
            batch.push_rows(&train, rows);
            sum += learner.step(&batch)?.total();
        }
        println!("epoch {epoch}  loss {:.4}", sum / rows.chunks(ROWS).len() as f64);
    }
    let auc = metrics::auc(&learner.predict(&test)?, &test.labels).unwrap_or(f64::NAN);
    println!("test auc {auc:.4}");
    assert!(auc > 0.6, "the example should learn this");
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    main()
}
