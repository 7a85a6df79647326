//! The measured numbers as a page.

use std::fmt::Write;

use serde_json::Value;

/// docs/benchmarks/cpu-amd.md, or that of another maker, with its picture.
pub(crate) fn markdown(compared: &Value, scaled: &Value, run: &Value, picture: &str) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "# CPU: ours and PyTorch\n\nWritten by `cargo xtask bench --python PATH`, which measures; not by hand.\n\n{}\n{}\n{}\n{}\n{}",
        circumstances(compared, run),
        comparison(compared, picture),
        modes(compared),
        batches(scaled),
        tables(scaled),
    );
    page
}

/// docs/benchmarks/models-speed.md.
pub(crate) fn models(compared: &Value, run: &Value) -> String {
    let mut rows = String::new();
    for work in works(compared) {
        let _ = writeln!(
            rows,
            "| {} | {:.0} | {} | {:.0} % |",
            text(&work["name"]).trim_start_matches("model/"),
            // Two operations each, and training takes three times the products of a prediction.
            number(&work["flop"]) / 6e3 / number(&work["rows"]),
            against_best(work),
            100.0 * number(&work["share"]),
        );
    }
    format!(
        "# Training the other models on a CPU: ours and PyTorch\n\n\
         Written by `cargo xtask bench --models --python PATH`, which measures; not by hand. OptMSM itself is in [cpu-amd.md](cpu-amd.md).\n\n\
         {}\n\
         Every kind with its default settings on the inputs of `train, small` in cpu-amd.md: 20 categorical fields of width 16, \
         16 tables of 1000 rows and 4 of 50, three scenarios, B = 4096, Adam. Both sides take turns, {} times; a ratio is that of the medians of all \
         steps (above 1: ours is faster), its spread the lowest and highest ratio of one turn. The peer is the PyTorch transcription \
         of the model that the fixtures are made by, in f32, with faster forms where it gathers weights row by row \
         ([models_torch.py](../../benches/peers/models_torch.py) names them); the fastest of eager and compiled, both as PyTorch comes (`stock`) \
         and with a C allocator that keeps its memory. Every mode was checked first to give our loss, our gradients \
         and, except STAR's, which are by running statistics, our logits. The share of the limit counts a step as three times \
         the products of a prediction.\n\n\
         | model | thousand multiply-adds per row | ours | best peer | ratio | spread | share of limit |\n|---|---|---|---|---|---|---|\n{rows}\n{}",
        circumstances(compared, run),
        count(&compared["alternations"]),
        modes(compared),
    )
}

fn circumstances(compared: &Value, run: &Value) -> String {
    let (machine, peer, peak) = (&compared["machine"], &compared["peer"], &compared["peak"]);
    let caches: Vec<&str> =
        machine["caches"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let threads = count(&compared["threads"]);
    let limits: Vec<String> = ["avx512", "avx2", "portable"]
        .iter()
        .filter(|isa| !peak[format!("{isa}_1")].is_null())
        .map(|isa| {
            let of = |n: usize| number(&peak[format!("{isa}_{n}")]);
            format!("{isa} {:.0} / {:.0} GFLOP/s", of(1), of(threads))
        })
        .collect();
    let rows = [
        (
            "machine",
            format!("{}, {} cores, {}", text(&machine["cpu"]), count(&machine["cores"]), caches.join(", ")),
        ),
        ("date, commit", format!("{}, {}", text(&run["date"]), text(&run["commit"]))),
        ("ours", format!("{}, {}, {threads} threads", text(&run["rustc"]), text(&compared["isa"]))),
        (
            "peer",
            format!(
                "PyTorch {} ({}), Python {}, {} threads",
                text(&peer["torch"]),
                text(&peer["capability"]),
                text(&peer["python"]),
                count(&peer["threads"])
            ),
        ),
        ("multiply-adds in registers, 1 / all threads", limits.join("; ")),
        (
            "copy, read + written, 1 / all threads",
            format!("{:.0} / {:.0} GB/s", number(&peak["copy_1"]), number(&peak[format!("copy_{threads}")])),
        ),
    ];
    let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("| | |\n|---|---|\n{rows}")
}

fn comparison(compared: &Value, picture: &str) -> String {
    let mut rows = String::new();
    for work in works(compared) {
        let stock = &work["stock"];
        let share = work["share"].as_f64().map_or("–".into(), |share| format!("{:.0} %", 100.0 * share));
        let stock =
            stock["ratio"].as_f64().map_or("–".into(), |r| format!("{r:.2} × ({})", text(&stock["name"])));
        let _ = writeln!(rows, "| {} | {} | {stock} | {share} |", title(work), against_best(work),);
    }
    format!(
        "## Comparison\n\n![Ratios]({picture})\n\nBoth sides take turns, {} times; a ratio is that of the medians of all calls (above 1: ours is faster), \
         its spread the lowest and highest ratio of one turn. The best peer is the fastest mode of PyTorch in two processes: as it comes \
         (`stock`), and with a C allocator that keeps its memory, without which a step can spend most of its time in page faults. Every mode \
         was checked first to give our logits, loss and gradients. The share of the limit is the work's arithmetic (two operations a \
         multiply-add) over the measured peak of as many threads. Training and predicting take random rows at B = 4096 unless a row count is \
         given; predicting includes checking and ordering the rows, training finds them planned, as the loader leaves them. Products \
         include packing the weights. Works in bf16 are ours with `train.precision = bf16` (logits within 4 % of f32, as the peer's logits and gradients) against the best of PyTorch's two ways: autocast, whose activations \
         are bf16, too, and `medium`, which rounds operands alone, as we do.\n\n\
         | work | ours | best peer | ratio | spread | to stock PyTorch | share of limit |\n|---|---|---|---|---|---|---|\n{rows}",
        count(&compared["alternations"]),
    )
}

/// Cells of a table: ours, the best peer, the ratio, its spread.
fn against_best(work: &Value) -> String {
    let best = &work["best"];
    format!(
        "{} | {} ({}) | **{:.2} ×** | {:.2}–{:.2}",
        rate(work, number(&work["ours"])),
        rate(work, number(&best["seconds"])),
        text(&best["name"]),
        number(&best["ratio"]),
        number(&best["low"]),
        number(&best["high"]),
    )
}

/// Medians of every contestant, fastest first.
fn modes(compared: &Value) -> String {
    let mut rows = String::new();
    for work in works(compared) {
        let sides = work["medians"].as_object().into_iter().flatten();
        let mut sides: Vec<(&str, f64)> = sides.map(|(name, v)| (name.as_str(), number(v))).collect();
        sides.sort_by(|a, b| a.1.total_cmp(&b.1));
        let sides: Vec<String> =
            sides.iter().map(|(name, seconds)| format!("{name}: {}", rate(work, *seconds))).collect();
        let _ = writeln!(rows, "| {} | {} |", title(work), sides.join("; "));
    }
    format!("## Every mode\n\nMedians, the fastest first.\n\n| work | sides |\n|---|---|\n{rows}")
}

fn batches(scaled: &Value) -> String {
    let mut rows = String::new();
    for point in scaled["batch"].as_array().into_iter().flatten() {
        let (seconds, row) = (number(&point["seconds"]), number(&point["ns_row"]));
        let _ = writeln!(
            rows,
            "| {} | {:.2} ms | {:.2} µs |",
            digits(count(&point["rows"])),
            1e3 * seconds,
            row / 1e3
        );
    }
    format!("## Training over batch sizes\n\n`large`, Adam.\n\n| rows | step | row |\n|---|---|---|\n{rows}")
}

fn tables(scaled: &Value) -> String {
    let points: Vec<&Value> = scaled["tables"].as_array().into_iter().flatten().collect();
    let of = |rule: &str| points.iter().copied().filter(|p| p["rule"] == rule).collect::<Vec<_>>();
    let (rowwise, adam) = (of("rowwise_adagrad"), of("adam"));
    let mut rows = String::new();
    for (r, a) in rowwise.iter().zip(&adam) {
        let row = |point: &Value| format!("{:.2} µs", number(&point["ns_row"]) / 1e3);
        let _ = writeln!(rows, "| {} | {} | {} |", digits(count(&r["embedding_rows"])), row(r), row(a));
    }
    format!(
        "## Training over embedding tables\n\nTime of a row at B = 4096; the rows are those of the 16 shared tables together.\n\n\
         | embedding rows | rowwise Adagrad | Adam |\n|---|---|---|\n{rows}"
    )
}

pub(crate) fn works(compared: &Value) -> impl Iterator<Item = &Value> {
    compared["works"].as_array().into_iter().flatten()
}

/// For example `forward, large, 64 rows`.
pub(crate) fn title(work: &Value) -> String {
    let name = text(&work["name"]);
    if let Some(name) = name.strip_suffix("/bf16") {
        return format!("{}, bf16", title(&serde_json::json!({"name": name})));
    }
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        ["gemm", threads, shape] => {
            format!("{shape}, {threads} thread{}", if threads == "1" { "" } else { "s" })
        }
        [kind, size, "1"] => format!("{kind}, {size}, 1 row"),
        [kind, size, rows] => format!("{kind}, {size}, {rows} rows"),
        _ => parts.join(", "),
    }
}

/// Seconds as the rate that suits the work.
fn rate(work: &Value, seconds: f64) -> String {
    match count(&work["rows"]) {
        0 => format!("{:.0} GFLOP/s", number(&work["flop"]) / seconds / 1e9),
        1 => format!("{:.1} µs", 1e6 * seconds),
        rows => format!("{:.1} k rows/s", rows as f64 / seconds / 1e3),
    }
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap_or(0) as usize
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("unknown").to_string()
}

/// Thousands apart.
fn digits(n: usize) -> String {
    let text = n.to_string();
    let groups: Vec<&str> =
        text.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
