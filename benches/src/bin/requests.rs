//! One user and many candidates in process: rows of whole fields, folded rows, folded requests.
use optmsm_benches::{standard, work};
use optmsm_core::batch::{Batch, Column, Request};
use optmsm_core::fold::FoldOptions;
use optmsm_core::models;
use optmsm_core::predictor::Predictor;
use optmsm_core::rounding::TableDtype;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for large in [false, true] {
        let (config, input) = standard(large);
        let parameters = work::initial(&config, &input)?;
        for threads in [1, 2] {
            let make = || -> Result<_, Box<dyn std::error::Error>> {
                Ok(Predictor::new(work::cpu(threads)?, models::build(&config, &input)?, &parameters, 2048)?)
            };
            let plain = make()?;
            let start = Instant::now();
            let folded = make()?.fold(FoldOptions::default())?;
            eprintln!("fold: {:?} {:?}", start.elapsed(), folded.folded());
            let narrow = make()?.fold(FoldOptions { dtype: TableDtype::Bf16, ..FoldOptions::default() })?;
            for count in [1usize, 50, 500, 2000] {
                let batches: Vec<Batch> = (0..8).map(|s| work::rows(&input, count as u64, s)).collect();
                let requests: Vec<Request> = batches
                    .iter()
                    .map(|batch| {
                        let mut user = Batch::new(&input);
                        user.push_row(batch, 0);
                        let mut items = batch.clone();
                        items.scenarios.clear();
                        items.labels.clear();
                        user.labels.clear();
                        for (f, (u, i)) in user.columns.iter_mut().zip(&mut items.columns).enumerate() {
                            if (8..16).contains(&f) {
                                *u = Column::new(input.fields[f].kind);
                            } else {
                                *i = Column::new(input.fields[f].kind);
                            }
                        }
                        Request::new(&input, &user, items, count).unwrap()
                    })
                    .collect();
                let time = |f: &dyn Fn(usize)| {
                    let mut times = Vec::new();
                    for i in 0..(20000 / count).clamp(60, 3000) {
                        let start = Instant::now();
                        f(i % 8);
                        times.push(start.elapsed().as_secs_f64() * 1e6);
                    }
                    times.sort_by(f64::total_cmp);
                    times[times.len() / 2]
                };
                let a = time(&|i| drop(plain.predict(requests[i].rows()).unwrap()));
                let b = time(&|i| drop(folded.predict(requests[i].rows()).unwrap()));
                let c = time(&|i| drop(folded.score(&requests[i]).unwrap()));
                let d = time(&|i| drop(narrow.score(&requests[i]).unwrap()));
                println!("large {large} threads {threads} count {count}: plain {a:.1} folded rows {b:.1} request {c:.1} bf16 {d:.1} µs");
            }
        }
    }
    Ok(())
}
