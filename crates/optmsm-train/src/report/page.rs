//! The page: sections in order, one style, the numbers at the end.

use super::html::{escape, json};
use super::{RunReport, chart, inside, sections};
use crate::error::{Error, Result};

/// Nothing is fetched and nothing runs, whatever the page holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// One HTML file that shows the runs beside each other, the numbers as JSON in its last element.
///
/// # Errors
/// Without a run, or when the numbers cannot be written as JSON.
pub fn page(runs: &[RunReport]) -> Result<String> {
    if runs.is_empty() {
        return Err(Error::argument("report", "shows no run", "name at least one run folder"));
    }
    let numbers = json(&runs).map_err(|e| Error::bug("report", e))?;
    let title = match runs {
        [run] => format!("Run {}", run.run),
        runs => format!("{} runs", runs.len()),
    };
    let legend =
        |(i, r): (usize, &RunReport)| format!("<li>{}<bdi>{}</bdi></li>", chart::swatch(i), escape(&r.run));
    let legend: String = runs.iter().enumerate().map(legend).collect();
    let mut body = String::new();
    let scored = [
        (
            "Comparison",
            "Best parameters of each run, scored on the rows named beside it. Where all were scored on the same rows the best value is \
             bold, however little it differs: <code>optmsm compare</code> says whether a difference is more than luck.",
            sections::comparison(runs),
        ),
        (
            "Training",
            "What early stopping saw after each epoch; the large point is the epoch that it chose.",
            sections::training(runs),
        ),
        (
            "Calibration",
            "15 bins of equal weight (of equally many rows where each counts once) by rising prediction. On the dashed line predictions are right on average; \
             below it they are too high. In the grey band lie about 95 % of the bins of a model that is right: with few rows, chance \
             moves them far.",
            sections::calibration(runs),
        ),
        (
            "ROC",
            "The area under a curve is its AUC. The dashed line is a model that knows nothing. Rows of one class have no curve.",
            sections::roc(runs),
        ),
        (
            "Warnings about the model",
            "Parts that do nothing, and scenarios where a constant does as well, as the rows named above tell.",
            inside::findings(runs),
        ),
    ];
    let inside = [
        (
            "Vocabularies",
            "How much of each field's vocabulary occurs in the scored rows. Unknown values are those that training did not keep, \
             as a share of all values; missing are rows without a value.",
            inside::coverage(runs),
        ),
        ("Settings", "", inside::settings(runs)),
        ("Files", "As they are now, not as they were when the run was trained.", inside::files(runs)),
    ];
    scored.iter().for_each(|(heading, says, content)| body += &section(heading, says, content));
    for (heading, says, content) in inside::exhibits(runs) {
        body += &section(&escape(&heading), &escape(&says), &content);
    }
    inside.iter().for_each(|(heading, says, content)| body += &section(heading, says, content));
    let legend = format!("<ul class=\"legend\" aria-label=\"runs\">{legend}</ul>\n");
    Ok(document(&title, &legend, &body, &numbers))
}

/// A whole page: `legend` and `body` are HTML, `numbers` JSON that may stand inside a `script` element.
pub(super) fn document(title: &str, legend: &str, body: &str, numbers: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" \
         content=\"{POLICY}\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" \
         href=\"data:,\"><title>{title}</title>\n<style>\n{}</style></head>\n<body><h1><bdi>{title}</bdi></h1>{legend}<main>{body}</main>\n\
         <script type=\"application/json\" id=\"numbers\">{numbers}</script></body></html>\n",
        include_str!("style.css"),
        title = escape(title),
    )
}

/// A part of a page under a heading; all three are HTML.
pub(super) fn section(heading: &str, says: &str, content: &str) -> String {
    let says = if says.is_empty() { String::new() } else { format!("<p>{says}</p>") };
    format!("<section><h2>{heading}</h2>{says}{content}</section>\n")
}
