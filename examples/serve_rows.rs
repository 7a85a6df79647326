//! A predictor shared by request threads: one row a call, and how long a call takes.
//!
//! `cargo run --release -p optmsm --example serve_rows -- 4` asks from four threads; 2 when not given.

use std::time::{Duration, Instant};

use optmsm::prelude::*;

/// Calls that each thread makes, after as many that warm it up.
const CALLS: usize = 1000;

fn main() -> Result<()> {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    serve(threads)
}

fn serve(threads: usize) -> Result<()> {
    // Sixteen shared fields and four specific ones, three scenarios.
    let field = |name: String, role, vocab| FieldSpec::new(name, role, FieldKind::Categorical { vocab });
    let shared = (0..16).map(|i| field(format!("shared{i}"), Role::Shared, 1000));
    let specific = (0..4).map(|i| field(format!("specific{i}"), Role::Specific, 50));
    let input = InputSpec { scenarios: 3, fields: shared.chain(specific).collect() };
    let mut config = ModelConfig::default();
    config.experts.hidden = vec![256, 128];
    config.specific.hidden = vec![64];
    config.tower.hidden = vec![128, 64];
    let model = OptMsm::new(&config, &input)?;

    // A server would read the tensors of a trained model from its store; here they are the initial ones.
    let tensors = Learner::builder(Cpu::new()?, model.clone()).max_rows(1).build()?.export()?;
    let predictor = Predictor::new(Cpu::new()?, model, &tensors, 1)?;

    let answer = |thread: usize| -> Result<Vec<Duration>> {
        let mut row = Batch::new(&input);
        let (mut out, mut times) = ([0.0], Vec::with_capacity(CALLS));
        for call in 0..2 * CALLS {
            fill(&mut row, &input, (thread * 2 * CALLS + call) as u32)?;
            let start = Instant::now();
            predictor.predict_into(&mut out, &row)?;
            if call >= CALLS {
                times.push(start.elapsed());
            }
            assert!(out[0] > 0.0 && out[0] < 1.0, "not a probability: {}", out[0]);
        }
        Ok(times)
    };
    let mut times = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let started: Vec<_> = (0..threads).map(|t| scope.spawn(move || answer(t))).collect();
        for thread in started {
            times.extend(thread.join().expect("a thread that answers does not panic")?);
        }
        Ok(())
    })?;
    times.sort_unstable();
    println!("{} single rows from {threads} threads", times.len());
    for percent in [50.0, 90.0, 99.0, 99.9] {
        let at = (times.len() as f64 * percent / 100.0) as usize;
        if let Some(time) = times.get(at.min(times.len().saturating_sub(1))) {
            println!("p{percent:<4} {:7.1} µs", time.as_secs_f64() * 1e6);
        }
    }
    Ok(())
}

/// Makes `row` the only row: a request's scenario and ids. The memory is kept from call to call.
fn fill(row: &mut Batch, input: &InputSpec, request: u32) -> Result<()> {
    let value = |i: usize| {
        let vocab = if i < 16 { 1000 } else { 50 };
        Value::Id(request.wrapping_mul(2_654_435_761).rotate_left(i as u32) % vocab)
    };
    let values: [Value; 20] = std::array::from_fn(value);
    row.clear();
    row.push(input, Row::new(request % input.scenarios as u32, &values))
}

#[test]
fn runs() -> Result<()> {
    serve(3)
}
