//! The ratios as bars on a logarithmic axis: right of 1 ours is faster, left of it the peer.

use std::path::Path;

use plotters::prelude::*;
use serde_json::Value;

use crate::bench::Result;
use crate::report::{number, title, works};

/// Pixels.
const WIDTH: u32 = 900;
const ROW: u32 = 26;
const MARGIN: u32 = 70;
/// Where the axis begins and ends.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 830.0;
/// Marks of the axis, those that matter most first; one too close to a drawn one is left out.
const TICKS: [f64; 15] = [1.0, 2.0, 0.5, 4.0, 8.0, 16.0, 1.5, 0.75, 3.0, 1.25, 6.0, 1.1, 0.9, 1.2, 0.8];

/// Draws the picture of a page of docs/benchmarks/.
pub(crate) fn ratios(path: &Path, compared: &Value) -> Result<()> {
    let works: Vec<&Value> = works(compared).filter(|w| w["best"]["ratio"].is_number()).collect();
    let height = MARGIN + ROW * works.len() as u32 + 50;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let ends = works.iter().flat_map(|w| [number(&w["best"]["low"]), number(&w["best"]["high"])]);
    let (low, high) = ends.fold((0.8f64, 1.25f64), |(l, h), r| (l.min(r), h.max(r)));
    let (low, high) = (low.log2() - 0.1, high.log2() + 0.1);
    let x = |ratio: f64| (LEFT + (RIGHT - LEFT) * (ratio.log2() - low) / (high - low)) as i32;

    let font = |size: u32| ("sans-serif", size).into_font().color(&BLACK);
    let caption = "How many times faster than the best PyTorch mode (bar: ratio of medians, line: spread over the turns)";
    area.draw(&Text::new(caption, (20, 20), font(19)))?;
    let bottom = (MARGIN + ROW * works.len() as u32) as i32;
    let mut placed: Vec<i32> = Vec::new();
    for ratio in TICKS.into_iter().filter(|r| (low..=high).contains(&r.log2())) {
        let at = x(ratio);
        if placed.iter().any(|other| (at - other).abs() < 45) {
            continue;
        }
        placed.push(at);
        let line = if ratio == 1.0 { BLACK.mix(0.9) } else { BLACK.mix(0.2) };
        area.draw(&PathElement::new(vec![(at, MARGIN as i32 - 8), (at, bottom)], line))?;
        area.draw(&Text::new(format!("{ratio} ×"), (at - 14, bottom + 8), font(15)))?;
    }
    for (i, work) in works.iter().enumerate() {
        let top = (MARGIN + ROW * i as u32) as i32;
        let best = &work["best"];
        let ratio = number(&best["ratio"]);
        let colour = match work["name"].as_str().and_then(|name| name.split('/').next()) {
            Some("train") => RGBColor(31, 119, 180),
            Some("forward") => RGBColor(44, 140, 80),
            _ => RGBColor(140, 110, 180),
        };
        let (from, to) = (x(ratio.min(1.0)), x(ratio.max(1.0)));
        area.draw(&Rectangle::new([(from, top + 3), (to, top + ROW as i32 - 5)], colour.mix(0.75).filled()))?;
        let middle = top + ROW as i32 / 2 - 1;
        let (low, high) = (x(number(&best["low"])), x(number(&best["high"])));
        area.draw(&PathElement::new(vec![(low, middle), (high, middle)], BLACK.mix(0.7).stroke_width(2)))?;
        area.draw(&Text::new(title(work), (20, top + 5), font(16)))?;
        area.draw(&Text::new(format!("{ratio:.2}"), (high.max(to) + 6, top + 5), font(16)))?;
    }
    area.present()?;
    Ok(())
}
