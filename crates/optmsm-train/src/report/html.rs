//! Pieces of HTML. Whatever comes from a user goes through [`escape`], here and in `chart.rs`, and nowhere else.

use optmsm_data::{is_control, printable};

/// Text as HTML shows it, between tags and inside quoted attributes; parsers refuse or replace control characters.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
    }
    safe
}

/// JSON that may stand inside a `script` element.
pub(super) fn json(value: &impl serde::Serialize) -> serde_json::Result<String> {
    let mut safe = String::new();
    for c in serde_json::to_string(value)?.chars() {
        match c == '<' || is_control(c) {
            true => safe += &format!("\\u{:04x}", u32::from(c)),
            false => safe.push(c),
        }
    }
    Ok(safe)
}

/// A number, or a dash.
pub(super) fn number(v: Option<f64>, decimals: usize) -> String {
    v.map_or("–".into(), |v| format!("{v:.decimals$}"))
}

/// A share in per cent, or a dash.
pub(super) fn percent(v: Option<f64>) -> String {
    v.map_or("–".into(), |v| format!("{:.2} %", 100.0 * v))
}

/// 1234567 as 1 234 567, with thin spaces.
pub(super) fn count(v: u64) -> String {
    let digits = v.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| str::from_utf8(g).ok()).collect();
    groups.join("\u{202f}")
}

/// One cell of a table.
#[derive(Clone, Default)]
pub(super) struct Cell {
    text: String,
    class: &'static str,
    style: String,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// The best of its kind.
    pub(super) fn best(mut self, best: bool) -> Self {
        if best {
            self.class = "best";
        }
        self
    }

    /// Coloured by a value from 0 to 1.
    pub(super) fn heat(text: String, value: f64) -> Self {
        // Where the colour is stronger than the paper, letters have the paper's.
        let class = if value > 0.65 { "heat strong" } else { "heat" };
        Self { text, class, style: format!("--v:{:.3}", value.clamp(0.0, 1.0)) }
    }

    /// A bar of a share of the cell under its text.
    pub(super) fn bar(text: String, share: Option<f64>) -> Self {
        let style = format!("--v:{:.4}", share.unwrap_or(0.0).clamp(0.0, 1.0));
        Self { text, class: "bar", style }
    }

    /// A path, or another long text: cut where there is no room, and whole when pointed at.
    pub(super) fn path(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "path", style: String::new() }
    }

    /// Letters of a fixed width.
    pub(super) fn code(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "code", style: String::new() }
    }
}

/// A table whose first `left` columns are text and name their row; the others are numbers.
pub(super) fn table(caption: &str, head: &[String], rows: &[Vec<Cell>], left: usize) -> String {
    let mut html = format!("<div class=\"scroll\"><table><caption>{}</caption><thead><tr>", escape(caption));
    for (i, name) in head.iter().enumerate() {
        let class = if i < left { "" } else { " class=\"n\"" };
        html += &format!("<th scope=\"col\"{class}><bdi>{}</bdi></th>", escape(name));
    }
    html += "</tr></thead><tbody>";
    for row in rows {
        html += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            let (open, close) = if i == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            let class = format!("{}{}", if i < left { "" } else { "n " }, cell.class);
            let class = match class.trim() {
                "" => String::new(),
                class => format!(" class=\"{class}\""),
            };
            let style =
                if cell.style.is_empty() { String::new() } else { format!(" style=\"{}\"", cell.style) };
            // Cut where there is no room.
            let title = match cell.text.len() > 20 && (i == 0 || cell.class == "path") {
                true => format!(" title=\"{}\"", escape(&cell.text)),
                false => String::new(),
            };
            html += &format!("<{open}{class}{style}{title}><bdi>{}</bdi></{close}>", escape(&cell.text));
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>"
}

/// Content that is folded away.
pub(super) fn details(summary: &str, content: &str) -> String {
    format!("<details><summary>{}</summary>{content}</details>", escape(summary))
}

/// Titles of columns.
pub(super) fn head<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_text_cannot_leave_its_place() {
        let evil = "</bdi></table><script>alert(\"1\")</script> 'x' & y\0";
        let safe = "&lt;/bdi&gt;&lt;/table&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &#39;x&#39; &amp; y\\u{0}";
        assert_eq!(escape(evil), safe);
        assert_eq!(escape("Würfel 首页 🎲"), "Würfel 首页 🎲");
        let html = table(evil, &[evil.into()], &[vec![Cell::new(evil)]], 1);
        assert_eq!((html.matches(safe).count(), html.matches("<script").count()), (4, 0));
        let block = json(&["</script><!--", "\""]).unwrap();
        assert_eq!(block, "[\"\\u003c/script>\\u003c!--\",\"\\\"\"]");
        assert_eq!(serde_json::from_str::<Vec<String>>(&block).unwrap(), ["</script><!--", "\""]);
        let block = json(&["\u{202e}\u{9b}\n"]).unwrap();
        assert_eq!(block, "[\"\\u202e\\u009b\\n\"]");
        assert_eq!(serde_json::from_str::<Vec<String>>(&block).unwrap(), ["\u{202e}\u{9b}\n"]);
    }

    #[test]
    fn numbers_by_hand() {
        assert_eq!((number(Some(0.12345), 4), number(None, 4)), ("0.1235".into(), "–".into()));
        assert_eq!((percent(Some(0.5)), percent(None)), ("50.00 %".into(), "–".into()));
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
    }
}
