//! `gpu.md` from what `run.sh` leaves in a folder:
//!
//! - `steps.tsv`: a line a step, name, exit code (124: out of time, `skipped`) and seconds, separated by tabs;
//! - `NAME.log`: the output of each step;
//! - `machine.txt`: what the machine is;
//! - `results.jsonl`: the lines of `gpu measure`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Result;

/// The report. Whatever is missing is said.
///
/// # Errors
/// When there is no `steps.tsv`: `run.sh` did not run there.
pub fn markdown(folder: &Path) -> Result<String> {
    let path = folder.join("steps.tsv");
    let steps =
        fs::read_to_string(&path).map_err(|e| format!("{}: {e}; run run.sh first", path.display()))?;
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let lines: Vec<Value> =
        read("results.jsonl").lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let mut out = String::from(
        "# CUDA: ours and PyTorch\n\nWritten by `run.sh` of `cargo xtask gpu-bundle`, which measures; not by hand.\n\n",
    );
    let machine = read("machine.txt");
    let _ = writeln!(
        out,
        "```text\n{}\n```\n",
        if machine.is_empty() { "unknown machine" } else { machine.trim() }
    );
    for line in lines.iter().filter(|l| l["kind"] == "device") {
        let _ = writeln!(out, "Ours: {}.", text(&line["name"]));
    }
    for line in lines.iter().filter(|l| l["kind"] == "peer") {
        let info = &line["info"];
        let _ = writeln!(
            out,
            "Peer: PyTorch {}, CUDA {}, {}.",
            text(&info["torch"]),
            text(&info["cuda"]),
            text(&info["device"])
        );
    }
    checks(&mut out, folder, &steps);
    let of = |kind: &str| lines.iter().filter(|l| l["kind"] == kind).collect::<Vec<_>>();
    let ceilings: BTreeMap<String, f64> =
        of("ceiling").iter().map(|l| (text(&l["name"]), number(&l["rate"]))).collect();
    if lines.is_empty() {
        out.push_str("\nNothing was measured.\n");
        return Ok(out);
    }
    limits(&mut out, &ceilings);
    training(&mut out, &of("train"));
    forward(&mut out, &of("forward"));
    products(&mut out, &of("product"), &ceilings);
    operations(&mut out, &of("op"), &ceilings);
    agreement(&mut out, &of("check"));
    failures(&mut out, &of("failed"));
    Ok(out)
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or("unknown").to_string()
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or(f64::NAN)
}

fn head(out: &mut String, title: &str, note: &str, columns: &[&str]) {
    let rule = vec!["---"; columns.len()].join("|");
    let _ = writeln!(out, "\n## {title}\n\n{note}\n\n| {} |\n|{rule}|", columns.join(" | "));
}

fn row(out: &mut String, cells: &[String]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// How a step ended, and the lines of its output that say so.
fn checks(out: &mut String, folder: &Path, steps: &str) {
    head(
        out,
        "Tests and sanitizers",
        "Each step of `run.sh`, in order.",
        &["step", "result", "seconds", "said"],
    );
    for line in steps.lines() {
        let mut cells = line.split('\t');
        let [name, code, seconds] = [(); 3].map(|()| cells.next().unwrap_or("?"));
        let log = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
        let result = match code {
            "0" => "passed".to_string(),
            "skipped" => "**skipped**".to_string(),
            "124" => "**out of time**".to_string(),
            _ => format!("**failed** ({code})"),
        };
        row(out, &[name.into(), result, seconds.into(), said(&log, code == "0").replace('|', "\\|")]);
    }
}

/// The lines of a log that sum it up; when it failed, its first error or its last line.
fn said(log: &str, passed: bool) -> String {
    let marks = ["test result:", "ERROR SUMMARY:", "RACECHECK SUMMARY:", "steps, loss"];
    let sums: Vec<&str> =
        log.lines().filter(|l| marks.iter().any(|m| l.contains(m))).map(str::trim).collect();
    if passed || !sums.is_empty() {
        return sums.join("; ");
    }
    let error = log.lines().find(|l| l.contains("error") || l.contains("panicked"));
    error.or_else(|| log.lines().last()).unwrap_or("nothing").trim().to_string()
}

fn limits(out: &mut String, ceilings: &BTreeMap<String, f64>) {
    let note = "The copy is our own, of 1 GB to another place; the products are `torch.mm` of 8192³, what cuBLAS reaches here.";
    head(out, "What the device does at most", note, &["", "rate"]);
    for (name, rate) in ceilings {
        let unit = if name.ends_with("opy") {
            format!("{:.0} GB/s, read and written", rate / 1e9)
        } else {
            format!("{:.1} TFLOP/s", rate / 1e12)
        };
        row(out, &[name.clone(), unit]);
    }
}

/// Names and seconds.
type Times = Vec<(String, f64)>;

/// Both sides of a work: ours first, then each of PyTorch's, the fastest first, with what they take over ours in `tf32`.
fn sides(line: &Value) -> (f64, Times, Times) {
    let all = line["sides"].as_object().into_iter().flatten().map(|(name, v)| (name.clone(), number(v)));
    let (ours, mut theirs): (Vec<_>, Vec<_>) = all.partition(|(name, _)| name.starts_with("ours"));
    theirs.sort_by(|a, b| a.1.total_cmp(&b.1));
    let default = ours.iter().find(|(name, _)| name == "ours, tf32").map_or(f64::NAN, |s| s.1);
    (default, ours, theirs)
}

fn compared(out: &mut String, lines: &[&Value], show: impl Fn(f64, f64) -> String) {
    for line in lines {
        let (default, ours, theirs) = sides(line);
        let rows = number(&line["rows"]);
        for (i, (name, seconds)) in ours.iter().chain(&theirs).enumerate() {
            let ratio = match (i >= ours.len(), i == ours.len()) {
                (true, true) => format!("**{:.2} ×** (best)", seconds / default),
                (true, false) => format!("{:.2} ×", seconds / default),
                _ => "–".into(),
            };
            row(out, &[text(&line["name"]), name.clone(), show(rows, *seconds), ratio]);
        }
    }
}

fn training(out: &mut String, lines: &[&Value]) {
    let note = "Rows a second of whole steps (Adam); batches come from the host's memory on both sides. Ours finds them planned, as a loader leaves \
                them, but for \"planned in turn\", where one thread plans each before its step. The ratio is a mode's time over ours in tf32: above 1, ours is faster.";
    head(out, "Training", note, &["work", "side", "rows/s", "over ours"]);
    compared(out, lines, |rows, s| format!("{:.2} M ({:.3} ms a step)", rows / s / 1e6, s * 1e3));
}

fn forward(out: &mut String, lines: &[&Value]) {
    let note = "From a batch in the host's memory to probabilities there: checking, ordering, upload and download included.";
    head(out, "Prediction", note, &["work", "side", "latency", "over ours"]);
    compared(out, lines, |_, s| format!("{:.1} µs", s * 1e6));
}

/// The longest that a call must take, and what that is for.
fn floor(line: &Value, copy: f64, arithmetic: f64) -> (f64, &'static str) {
    let (bytes, flop) = (number(&line["bytes"]) / copy, number(&line["flop"]) / arithmetic);
    // A comparison with NaN is false: without a rate for arithmetic, bytes alone are the floor.
    if flop > bytes { (flop, "FLOP") } else { (bytes, "bytes") }
}

fn percent(share: f64) -> String {
    if share.is_nan() { "–".into() } else { format!("{:.0} %", 100.0 * share) }
}

fn products(out: &mut String, lines: &[&Value], ceilings: &BTreeMap<String, f64>) {
    let note = "`torch.mm` (for the experts `torch.bmm`, for scenarios one `torch.mm` each) at the same shapes. The share of cuBLAS is its time over ours; the floor \
                is the larger of bytes over the copy's rate and FLOP over cuBLAS's rate at 8192³.";
    head(
        out,
        "Products",
        note,
        &["product", "rows", "precision", "ours", "TFLOP/s", "cuBLAS", "share of cuBLAS", "share of floor"],
    );
    let copy = ceilings.get("copy").copied().unwrap_or(f64::NAN);
    for line in lines {
        let (seconds, precision) = (number(&line["seconds"]), text(&line["precision"]));
        let peak = ceilings.get(&format!("cuBLAS {precision}")).copied().unwrap_or(f64::NAN);
        let (floor, bound) = floor(line, copy, peak);
        let peer = number(&line["peer"]);
        let theirs = if peer.is_nan() { "–".into() } else { format!("{:.1} µs", peer * 1e6) };
        row(
            out,
            &[
                text(&line["name"]),
                line["rows"].to_string(),
                precision,
                format!("{:.1} µs", seconds * 1e6),
                format!("{:.1}", number(&line["flop"]) / seconds / 1e12),
                theirs,
                percent(peer / seconds),
                format!("{} ({bound})", percent(floor / seconds)),
            ],
        );
    }
}

fn operations(out: &mut String, lines: &[&Value], ceilings: &BTreeMap<String, f64>) {
    let note = "A call among many in one submission, one after the other, on buffers that no cache holds together (weights, their state and tables are what \
                the cache holds of them, so they can be above 100 %). The share of the floor is bytes over the copy's rate, over the time.";
    head(out, "Operations", note, &["operation", "rows", "time", "GB/s", "share of floor"]);
    let copy = ceilings.get("copy").copied().unwrap_or(f64::NAN);
    for line in lines {
        let (seconds, bytes) = (number(&line["seconds"]), number(&line["bytes"]));
        row(
            out,
            &[
                text(&line["name"]),
                line["rows"].to_string(),
                format!("{:.1} µs", seconds * 1e6),
                format!("{:.0}", bytes / seconds / 1e9),
                percent(bytes / copy / seconds),
            ],
        );
    }
}

fn agreement(out: &mut String, lines: &[&Value]) {
    let note = "Logits (and the loss) of every mode against ours in the same precision, over the largest. A mode that differs is not timed.";
    head(out, "The same results", note, &["work", "mode", "precision", "largest difference", "allowed", ""]);
    for line in lines {
        let same = if line["same"] == true { "same" } else { "**differs**" };
        let [off, allowed] = ["off", "allowed"].map(|key| format!("{:.1e}", number(&line[key])));
        row(
            out,
            &[text(&line["work"]), text(&line["mode"]), text(&line["precision"]), off, allowed, same.into()],
        );
    }
}

fn failures(out: &mut String, lines: &[&Value]) {
    if !lines.is_empty() {
        head(out, "Not measured", "", &["what", "why"]);
    }
    for line in lines {
        row(out, &[text(&line["part"]), text(&line["why"]).replace(['|', '\n'], " ")]);
    }
}
