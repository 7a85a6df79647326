//! Where the time of the training steps went, as a table.

use comfy_table::{CellAlignment, Table, presets};
use optmsm_core::profile::{Phase, Profile};

/// Share of a step below which operations are summed in one line.
const SMALL: f64 = 0.002;

/// One line per operation and shape, the dearest first. Times are of the step: what lanes ran on `threads` threads at
/// the same time is divided by their number. The last lines are what no operation accounts for.
pub fn table(profile: &Profile, threads: usize) -> String {
    let steps = profile.steps.max(1) as f64;
    let wall = profile.wall.as_secs_f64() / steps;
    let seconds = |p: &Phase| p.time.as_secs_f64() / steps / if p.in_lanes { threads as f64 } else { 1.0 };
    let (lanes, rest): (Vec<&Phase>, Vec<&Phase>) =
        profile.phases.iter().filter(|p| p.op != "for_lanes").partition(|p| p.in_lanes);
    let in_lanes: f64 = lanes.iter().map(|p| seconds(p)).sum();
    let around: f64 = profile.phases.iter().filter(|p| p.op == "for_lanes").map(seconds).sum();
    let outside: f64 = rest.iter().map(|p| seconds(p)).sum();

    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["operation", "columns", "calls", "µs", "share", "GFLOP/s", "GB/s"]);
    let mut line = |name: &str, columns: String, calls: String, time: f64, rates: [String; 2]| {
        let [flop, bytes] = rates;
        let share = format!("{:.1} %", 100.0 * time / wall);
        table.add_row([name.to_string(), columns, calls, format!("{:.0}", 1e6 * time), share, flop, bytes]);
    };
    let mut phases: Vec<&Phase> = lanes.into_iter().chain(rest).collect();
    phases.sort_by(|a, b| seconds(b).total_cmp(&seconds(a)));
    let mut small = 0.0;
    for phase in phases {
        let time = seconds(phase);
        if time < SMALL * wall {
            small += time;
            continue;
        }
        let columns = match phase.columns {
            [0, 0] => String::new(),
            [x, 0] => x.to_string(),
            [x, y] => format!("{x} → {y}"),
        };
        // A thread's own rate, whatever the others do.
        let rate = |work: u64| match work {
            0 => String::new(),
            work => format!("{:.1}", work as f64 / phase.time.as_secs_f64() / 1e9),
        };
        let calls = format!("{:.0}", phase.calls as f64 / steps);
        line(phase.op, columns, calls, time, [rate(phase.flop), rate(phase.bytes)]);
    }
    let mut sum = |name: &str, time: f64| {
        line(name, String::new(), String::new(), time.max(0.0), Default::default());
    };
    sum("smaller ones", small);
    sum("threads waiting for lanes", around - in_lanes);
    sum("between operations", wall - around - outside);
    sum("a step", wall);
    for column in 2..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{} training steps, {threads} threads; rates are of one thread\n{table}", profile.steps)
}
