//! Pictures as inline SVG, in colours that the page's style sets.

use std::fmt::Write;

use super::html::escape;

/// Colours and dashes that tell runs apart; `style.css` has as many.
pub(super) const COLOURS: usize = 8;
const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];

/// Size of a picture, and of the room around its axes.
const W: f64 = 320.0;
const H: f64 = 230.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 38.0;

/// One line of a picture.
pub(super) struct Series<'a> {
    /// Number of its run.
    pub(super) run: usize,
    /// Its run's name.
    pub(super) name: &'a str,
    /// In the order to connect them.
    pub(super) points: Vec<[f64; 2]>,
    /// Whether each point is marked, or the line only.
    pub(super) marks: bool,
    /// The point that stands out.
    pub(super) chosen: Option<usize>,
    /// Drawn thin, beside another line of its run.
    pub(super) faint: bool,
}

/// A picture of lines.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    /// Ends of the axes.
    pub(super) x: [f64; 2],
    pub(super) y: [f64; 2],
    /// Whether x are whole numbers.
    pub(super) whole_x: bool,
    /// A line from corner to corner.
    pub(super) diagonal: bool,
    /// Around it, a band: what chance allows the mean of this many labels.
    pub(super) chance: Option<f64>,
    pub(super) series: Vec<Series<'a>>,
}

/// Attributes of the line of a run.
fn stroke(run: usize) -> String {
    let dash = DASHES[(run + run / COLOURS) % DASHES.len()];
    format!("stroke=\"var(--run{})\" stroke-dasharray=\"{dash}\"", run % COLOURS)
}

/// A short piece of a run's line, for legends.
pub(super) fn swatch(run: usize) -> String {
    let line = format!("<line x1=\"1\" y1=\"6\" x2=\"31\" y2=\"6\" stroke-width=\"3\" {}/>", stroke(run));
    format!("<svg class=\"swatch\" width=\"32\" height=\"12\" aria-hidden=\"true\">{line}</svg>")
}

/// Round numbers inside `[low, high]`, about `count` of them, and their decimals.
pub(super) fn ticks([low, high]: [f64; 2], count: f64, whole: bool) -> (Vec<f64>, usize) {
    let raw = (high - low).max(1e-12) / count;
    let power = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw * 0.999).unwrap_or(raw);
    let step = if whole { step.max(1.0).round() } else { step };
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    ((first..=last).map(|i| i as f64 * step).collect(), decimals)
}

/// Ends of an axis with some air around all finite values.
pub(super) fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let ends = values.filter(|v| v.is_finite()).fold(None, |ends: Option<[f64; 2]>, v| {
        let [low, high] = ends.unwrap_or([v, v]);
        Some([low.min(v), high.max(v)])
    });
    let [low, high] = ends.unwrap_or([0.0, 1.0]);
    let air = if high > low { 0.06 * (high - low) } else { 0.05 * high.abs().max(0.1) };
    [low - air, high + air]
}

/// Outline of where 95 % of the means of `rows` labels lie whose probability is x.
fn band([low, high]: [f64; 2], rows: f64) -> Vec<[f64; 2]> {
    const STEPS: u32 = 40;
    let edge = |sign: f64| {
        move |i: u32| {
            let x = low + (high - low) * f64::from(i) / f64::from(STEPS);
            let deviation = (x.clamp(0.0, 1.0) * (1.0 - x.clamp(0.0, 1.0)) / rows.max(1.0)).sqrt();
            [x, x + sign * 1.96 * deviation]
        }
    };
    (0..=STEPS).map(edge(1.0)).chain((0..=STEPS).rev().map(edge(-1.0))).collect()
}

impl Plot<'_> {
    /// The picture with its title.
    pub(super) fn draw(&self) -> String {
        let scale =
            |v: f64, [low, high]: [f64; 2], from: f64, to: f64| from + (v - low) / (high - low) * (to - from);
        let px = |v: f64| scale(v, self.x, LEFT, W - RIGHT);
        let py = |v: f64| scale(v, self.y, H - BOTTOM, TOP);
        let title = escape(self.title);
        let label = format!("{title}: {} over {}", escape(self.y_label), escape(self.x_label));
        let mut svg = format!(
            "<figure><figcaption><bdi>{title}</bdi></figcaption><svg viewBox=\"0 0 {W} {H}\" role=\"img\" aria-label=\"{label}\">"
        );
        let (xs, decimals) = ticks(self.x, 6.0, self.whole_x);
        for v in xs {
            let x = px(v);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{v:.decimals$}</text>",
                H - BOTTOM,
                H - BOTTOM + 14.0
            );
        }
        let (ys, decimals) = ticks(self.y, 5.0, false);
        for v in ys {
            let y = py(v);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{v:.decimals$}</text>",
                W - RIGHT,
                LEFT - 5.0,
                y + 3.5
            );
        }
        let (middle, centre) = ((LEFT + W - RIGHT) / 2.0, (TOP + H - BOTTOM) / 2.0);
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text class=\"label\" \
             transform=\"translate(11 {centre:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            H - 6.0,
            escape(self.x_label),
            escape(self.y_label)
        );
        if let Some(rows) = self.chance {
            let place = |[x, y]: [f64; 2]| format!("{:.1},{:.1}", px(x), py(y.clamp(self.y[0], self.y[1])));
            let points: Vec<String> = band(self.x, rows).into_iter().map(place).collect();
            let _ = write!(svg, "<polygon class=\"band\" points=\"{}\"/>", points.join(" "));
        }
        if self.diagonal {
            let ends = [self.x[0].max(self.y[0]), self.x[1].min(self.y[1])];
            let [x1, x2] = ends.map(px);
            let [y1, y2] = ends.map(py);
            let _ = write!(
                svg,
                "<line class=\"ideal\" x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\"/>"
            );
        }
        for s in &self.series {
            self.line(&mut svg, s, px, py);
        }
        svg + "</svg></figure>"
    }

    fn line(&self, svg: &mut String, s: &Series, px: impl Fn(f64) -> f64, py: impl Fn(f64) -> f64) {
        let places: Vec<String> =
            s.points.iter().map(|p| format!("{:.1},{:.1}", px(p[0]), py(p[1]))).collect();
        let class = if s.faint { "line faint" } else { "line" };
        let _ =
            write!(svg, "<polyline class=\"{class}\" {} points=\"{}\"/>", stroke(s.run), places.join(" "));
        let points = s.points.iter().enumerate();
        for (i, p) in points.filter(|(i, _)| s.marks || s.chosen == Some(*i)) {
            let (radius, chosen) = if s.chosen == Some(i) { (4.5, ", best") } else { (2.2, "") };
            let _ = write!(
                svg,
                "<circle fill=\"var(--run{})\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}: {} {:.4}, {} {:.4}{chosen}</title></circle>",
                s.run % COLOURS,
                px(p[0]),
                py(p[1]),
                escape(s.name),
                escape(self.x_label),
                p[0],
                escape(self.y_label),
                p[1]
            );
        }
    }
}

/// Horizontal bars from 0: one group per name, with one bar per run.
pub(super) fn bars(title: &str, names: &[&str], runs: &[Vec<Option<f64>>]) -> String {
    let [bar, gap, name_width, value_width] = [9.0, 8.0, 108.0, 44.0];
    let group = runs.len() as f64 * bar + gap;
    let height = names.len() as f64 * group + gap;
    let largest = runs.iter().flatten().flatten().fold(0.0_f64, |a, &b| a.max(b)).max(1e-12);
    let safe = escape(title);
    let mut svg = format!(
        "<figure><figcaption>{safe}</figcaption><svg viewBox=\"0 0 {W} {height:.1}\" role=\"img\" aria-label=\"{safe}\">"
    );
    for (i, name) in names.iter().enumerate() {
        let top = gap + i as f64 * group;
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}<title>{}</title></text>",
            name_width - 6.0,
            top + (group - gap) / 2.0 + 3.5,
            escape(&shorten(name, 17)),
            escape(name)
        );
        for (run, values) in runs.iter().enumerate() {
            let Some(v) = values.get(i).copied().flatten() else { continue };
            let (y, width) = (top + run as f64 * bar, v / largest * (W - name_width - value_width));
            let _ = write!(
                svg,
                "<rect fill=\"var(--run{})\" x=\"{name_width}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/><text class=\"value\" \
                 x=\"{:.1}\" y=\"{:.1}\">{v:.3}</text>",
                run % COLOURS,
                bar - 1.5,
                name_width + width + 4.0,
                y + bar - 2.0
            );
        }
    }
    svg + "</svg></figure>"
}

/// A value with its interval, as [`dots`] draws it.
pub(super) struct Dot<'a> {
    pub(super) name: &'a str,
    pub(super) value: f64,
    pub(super) interval: Option<[f64; 2]>,
    /// Drawn in the colour of the first run rather than in a soft one.
    pub(super) strong: bool,
}

/// A dot for each name on one axis, with a bar from end to end of its interval.
pub(super) fn dots(title: &str, dots: &[Dot]) -> String {
    let [line, name_width] = [14.0, 108.0];
    let bottom = TOP + dots.len() as f64 * line;
    let ends = range(dots.iter().flat_map(|d| d.interval.unwrap_or([d.value; 2])));
    let px = |v: f64| name_width + (v - ends[0]) / (ends[1] - ends[0]) * (W - RIGHT - name_width);
    let safe = escape(title);
    let mut svg = format!(
        "<figure><figcaption><bdi>{safe}</bdi></figcaption><svg viewBox=\"0 0 {W} {:.1}\" role=\"img\" aria-label=\"{safe}\">",
        bottom + 20.0
    );
    let (xs, decimals) = ticks(ends, 4.0, false);
    for v in xs {
        let x = px(v);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{v:.decimals$}</text>",
            bottom + 13.0
        );
    }
    for (i, dot) in dots.iter().enumerate() {
        let (y, colour) = (TOP + (i as f64 + 0.5) * line, if dot.strong { "run0" } else { "run7" });
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}<title>{}</title></text>",
            name_width - 6.0,
            y + 3.5,
            escape(&shorten(dot.name, 17)),
            escape(dot.name)
        );
        let mut says = format!("{}: {:.4}", escape(dot.name), dot.value);
        if let Some([low, high]) = dot.interval {
            says += &format!(", 95 % {low:.4} to {high:.4}");
            let _ = write!(
                svg,
                "<line stroke=\"var(--{colour})\" stroke-width=\"2\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                px(low),
                px(high)
            );
        }
        let _ = write!(
            svg,
            "<circle fill=\"var(--{colour})\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{says}</title></circle>",
            px(dot.value)
        );
    }
    svg + "</svg></figure>"
}

/// Cuts a name to the room of at most `most` letters. Wide letters, as of Chinese, take the room of two.
fn shorten(name: &str, most: usize) -> String {
    let wide = |c: char| if c >= '\u{1100}' { 2 } else { 1 };
    if name.chars().map(wide).sum::<usize>() <= most {
        return name.into();
    }
    let mut room = most - 1;
    let fits = |c: &char| {
        let taken = wide(*c);
        let fits = room >= taken;
        room = room.saturating_sub(taken);
        fits
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_axis() {
        assert_eq!(ticks([0.0, 1.0], 5.0, false), (vec![0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0], 1));
        assert_eq!(ticks([0.93, 12.4], 6.0, true), ((1..=6).map(|i| 2.0 * f64::from(i)).collect(), 0));
        assert_eq!(ticks([1.0, 3.0], 6.0, true), (vec![1.0, 2.0, 3.0], 0));
        let (found, decimals) = ticks([0.6512, 0.6534], 5.0, false);
        assert_eq!((found.len(), decimals, found[0] >= 0.6512), (4, 4, true));
        for [low, high] in [[-1e9, 1e9], [1e-9, 2e-9], [5.0, 5.0], [0.0, 0.0]] {
            assert!(ticks([low, high], 5.0, false).0.len() < 12, "{low} {high}");
        }
    }

    #[test]
    fn dots_and_their_intervals_lie_where_the_axis_says() {
        let dot = |name, value, interval, strong| Dot { name, value, interval, strong };
        let drawn = dots("a & b", &[dot("<m>", 1.0, Some([0.0, 2.0]), true), dot("n", 2.0, None, false)]);
        // The axis has 6 % of air at each end: 0 … 2 is −0.12 … 2.12, over 200 units from 108 on.
        let px = |v: f64| format!("{:.1}", 108.0 + (v + 0.12) / 2.24 * 200.0);
        assert!(drawn.contains(&format!("x1=\"{}\" x2=\"{}\" y1=\"17.0\"", px(0.0), px(2.0))), "{drawn}");
        assert!(drawn.contains(&format!("cx=\"{}\" cy=\"17.0\"", px(1.0))), "{drawn}");
        assert!(drawn.contains(&format!("cx=\"{}\" cy=\"31.0\"", px(2.0))), "{drawn}");
        assert!(drawn.contains("<title>&lt;m&gt;: 1.0000, 95 % 0.0000 to 2.0000</title>"), "{drawn}");
        // One bar, and two dots.
        assert_eq!((drawn.matches("stroke-width=\"2\"").count(), drawn.matches("<circle").count()), (1, 2));
    }

    #[test]
    fn points_lie_where_the_axes_say() {
        let series = Series {
            run: 9,
            name: "<r>",
            points: vec![[0.0, 0.0], [1.0, 2.0]],
            marks: true,
            chosen: Some(1),
            faint: false,
        };
        let plot = Plot {
            title: "a & b",
            x_label: "x",
            y_label: "y",
            x: [0.0, 1.0],
            y: [0.0, 2.0],
            whole_x: false,
            diagonal: true,
            chance: None,
            series: vec![series],
        };
        let svg = plot.draw();
        let [left, right, top, bottom] = [LEFT, W - RIGHT, TOP, H - BOTTOM];
        assert!(svg.contains(&format!("points=\"{left:.1},{bottom:.1} {right:.1},{top:.1}\"")), "{svg}");
        // From (0, 0) to (1, 1), which is half way up.
        let half = (top + bottom) / 2.0;
        assert!(
            svg.contains(&format!("x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{bottom:.1}\" y2=\"{half:.1}\"")),
            "{svg}"
        );
        assert!(svg.contains("var(--run1)") && svg.contains("&lt;r&gt;: x 1.0000, y 2.0000, best"), "{svg}");
        assert!(svg.contains("a &amp; b") && !svg.contains("<r>"));
    }

    #[test]
    fn chance_leaves_few_rows_more_room() {
        let outline = band([0.0, 1.0], 100.0);
        // √(0.5 · 0.5 / 100) = 0.05, and nothing at the ends.
        assert_eq!(
            (outline.len(), outline[0], outline[40], outline[81]),
            (82, [0.0, 0.0], [1.0, 1.0], [0.0, 0.0])
        );
        for (at, sign) in [(20, 1.0), (61, -1.0)] {
            assert_eq!(outline[at][0], 0.5);
            assert!((outline[at][1] - 0.5 - sign * 0.098).abs() < 1e-12);
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let svg = bars(
            "t",
            &["one", "a name that is far too long"],
            &[vec![Some(2.0), Some(1.0)], vec![None, Some(0.0)]],
        );
        let width = W - 108.0 - 44.0;
        for w in [width, width / 2.0, 0.0] {
            assert!(svg.contains(&format!("width=\"{w:.1}\"")), "{svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains(">a name that is f…<title>a name that is far too long</title>"), "{svg}");
        assert_eq!((shorten("首页首页", 7), shorten("首页首页", 8)), ("首页首…".into(), "首页首页".into()));
        assert_eq!(
            (range([1.0, f64::NAN, 2.0].into_iter()), range([].into_iter())),
            ([0.94, 2.06], [-0.06, 1.06])
        );
    }
}
