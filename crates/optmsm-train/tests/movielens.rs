//! The shipped configuration on real data: MovieLens-100K in the folder that `OPTMSM_ML_100K` names.

use std::process::Command;

#[test]
fn the_shipped_configuration_reaches_its_auc() {
    let Ok(data) = std::env::var("OPTMSM_ML_100K") else {
        println!("SKIPPED: OPTMSM_ML_100K names no folder; see examples/README.md for the data");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let auc = |seed: u32| -> f64 {
        let run = folder.path().join(seed.to_string());
        let out = Command::new(env!("CARGO_BIN_EXE_optmsm"))
            .args(["train", "--quiet", "--config"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ml-100k.toml"))
            .args(["--set", &format!("data_dir={data}"), "--set", &format!("train.seed={seed}"), "--run"])
            .arg(&run)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let test = lines.lines().find(|l| l.contains("\"split\":\"test\"")).unwrap();
        let line: serde_json::Value = serde_json::from_str(test).unwrap();
        line["overall"]["auc"].as_f64().unwrap()
    };
    let aucs = [1, 2, 3].map(auc);
    let mean = aucs.iter().sum::<f64>() / 3.0;
    println!("test AUC {aucs:.4?}, mean {mean:.4}");
    // What the best PyTorch baseline (STAR) reached on these files is 0.7904; the goal is 0.790.
    assert!(mean >= 0.790, "test AUC {aucs:.4?}, mean {mean:.4}");
}
