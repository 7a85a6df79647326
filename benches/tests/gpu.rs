//! All that is measured on a GPU, small and on the CPU: that it runs, and that the report has every part. The times mean nothing.

use std::time::{Duration, Instant};

use optmsm_benches::gpu::measure::{Program, Run};
use optmsm_benches::gpu::{Effort, report};
use optmsm_benches::work::with_tables;
use optmsm_cuda::Precision;
use serde_json::Value;

#[test]
fn everything_that_is_measured_on_a_gpu_runs_on_the_host() {
    if optmsm_cuda_host::cuda(Precision::F32, 1).is_none() {
        return;
    }
    let program = Program {
        models: vec![("tiny", with_tables(|_| 20))],
        op_rows: vec![5],
        check_rows: 4,
        train_rows: vec![6],
        forward_rows: vec![1, 3],
        turns: 1,
        turn: 0.0,
        effort: Effort::LOOK,
        until: Instant::now() + Duration::from_secs(60),
    };
    let mut lines = Vec::<Value>::new();
    let mut emit = |line| {
        lines.push(line);
        Ok(())
    };
    let open = |precision| Ok(optmsm_cuda_host::cuda(precision, 3).ok_or("no host")?);
    Run { open, program, peer: None, emit: &mut emit }.all().unwrap();
    let count = |kind: &str| lines.iter().filter(|l| l["kind"] == kind).count();
    let failed: Vec<_> = lines.iter().filter(|l| l["kind"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:?}");
    let counts = ["device", "ceiling", "train", "product", "op", "forward"].map(count);
    // Six layers, three products, three precisions.
    assert_eq!(counts, [1, 1, 1, 54, 15, 2]);

    let folder = std::env::temp_dir().join(format!("optmsm-gpu-report-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(folder.join("results.jsonl"), text.join("\n")).unwrap();
    std::fs::write(folder.join("steps.tsv"), "operations\t0\t3\nmemcheck\tskipped\t0\n").unwrap();
    std::fs::write(folder.join("operations.log"), "test result: ok. 5 passed; 0 failed\n").unwrap();
    let report = report::markdown(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    for part in [
        "| operations | passed | 3 | test result: ok. 5 passed; 0 failed |",
        "| memcheck | **skipped** | 0 | nothing |",
        "| train/tiny/6 | ours, tf32, planned in turn |",
        "| forward/tiny/3 | ours, bf16 |",
        "| experts, second dw | 5 | bf16 |",
        "| gate_orthogonality_bwd | 5 |",
        "| copy | ",
    ] {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
}
