//! Every page, section, anchor and file that a page or a comment cites is there.
//!
//! Pages are Markdown; they cite by links, `[text](page.md#anchor)`. Pages and sources cite by `docs/page.md`,
//! `page.md#anchor` and `page.md §n`, where `§n` is the heading `n. Title`. A `§n` without a page means the page it
//! stands on, and in a source the last page that its comment names. Pages cite files of the repository as code,
//! `kernels/gate.cu`; a name in capitals stands for many.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders and files of the repository that are read.
const PLACES: [&str; 11] = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs",
    "crates",
    "kernels",
    "python",
    "tests",
    "benches",
    "xtask",
    "examples",
];
/// Extensions of sources that cite.
const SOURCES: [&str; 8] = ["rs", "cu", "cuh", "h", "cpp", "py", "sh", "toml"];
/// Cites on purpose what does not exist.
const THIS: &str = "xtask/tests/citations.rs";

#[test]
fn whatever_is_cited_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let house = House::read(root);
    assert!(house.pages.len() > 10 && house.sources.len() > 100, "the repository was not read");
    let wrong = house.wrong();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A page, with everything that it can be cited by.
#[derive(Default)]
struct Page {
    text: String,
    /// Anchors of its headings.
    anchors: BTreeSet<String>,
    /// Numbers of its headings, like `3` of `## 3. Title`.
    sections: BTreeSet<String>,
}

/// Everything that cites or is cited, by paths from the root, with `/`.
#[derive(Default)]
struct House {
    pages: BTreeMap<String, Page>,
    sources: BTreeMap<String, String>,
    /// Files and folders.
    paths: BTreeSet<String>,
}

impl House {
    fn read(root: &Path) -> Self {
        let mut house = Self::default();
        for place in PLACES {
            house.visit(&root.join(place), place);
        }
        house
    }

    fn visit(&mut self, path: &Path, name: &str) {
        self.paths.insert(name.to_owned());
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap().map(|e| e.unwrap()) {
                let file = entry.file_name().into_string().unwrap();
                let built = ["target", "__pycache__"].contains(&&*file) || file.starts_with('.');
                if !built {
                    self.visit(&entry.path(), &format!("{name}/{file}"));
                }
            }
            return;
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if extension == "md" {
            self.pages.insert(name.to_owned(), Page::new(fs::read_to_string(path).unwrap()));
        } else if SOURCES.contains(&extension) && name != THIS {
            self.sources.insert(name.to_owned(), fs::read_to_string(path).unwrap());
        }
    }

    /// Citations of things that do not exist, as `file: citation, what is missing`.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, page) in &self.pages {
            let prose = without_code_blocks(&page.text);
            wrong.extend(links(&prose).filter_map(|link| self.link(name, link)));
            wrong.extend(code(&prose).filter_map(|path| self.path(name, path)));
            wrong.extend(paragraphs(&page.text).flat_map(|text| self.mentions(name, &text, Some(name))));
        }
        for (name, text) in &self.sources {
            wrong.extend(paragraphs(text).flat_map(|text| self.mentions(name, &text, None)));
        }
        wrong
    }

    /// A link of the page `from`.
    fn link(&self, from: &str, link: &str) -> Option<String> {
        if link.contains("://") {
            return None;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() { from.to_owned() } else { relative(from, path) };
        if !self.paths.contains(&target) {
            return Some(format!("{from}: ({link}), but there is no {target}"));
        }
        self.anchor(from, link, &target, anchor)
    }

    fn anchor(&self, from: &str, citation: &str, target: &str, anchor: &str) -> Option<String> {
        let there = anchor.is_empty() || self.pages.get(target).is_some_and(|p| p.anchors.contains(anchor));
        (!there).then(|| format!("{from}: ({citation}), but {target} has no heading of the anchor #{anchor}"))
    }

    /// A path that a page has as code.
    fn path(&self, from: &str, path: &str) -> Option<String> {
        let path = path.split('#').next().unwrap_or_default();
        let first = path.split('/').next().unwrap_or_default();
        let ours = path.contains('/') && PLACES.contains(&first);
        let many = path.contains(['*', '{', '…', '<'])
            || path.split(['/', '.', '-', '_']).any(|w| w.len() > 1 && w.chars().all(|c| c.is_uppercase()));
        let missing = ours && !many && !self.paths.contains(path.trim_end_matches('/'));
        missing.then(|| format!("{from}: `{path}` does not exist"))
    }

    /// Pages, anchors and sections that a paragraph of a file mentions; `page` is what a lone § belongs to.
    fn mentions(&self, from: &str, text: &str, page: Option<&str>) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut last: Option<String> = page.map(str::to_owned);
        let mut named = 0;
        for (at, token) in tokens(text) {
            if let Some(number) = section(token) {
                // On a page, only a § right behind a name belongs to that name.
                let near = text[named..at].trim_matches([' ', '`', ',', '–', '-', '(']).is_empty();
                let target = if near || page.is_none() { last.clone() } else { page.map(str::to_owned) };
                if near {
                    named = at + token.len();
                }
                match target {
                    None => {
                        wrong.push(format!("{from}: §{number} is of no page; name it, as in `model.md §3`"))
                    }
                    Some(target) if self.pages.get(&target).is_some_and(|p| p.sections.contains(number)) => {}
                    Some(target) => {
                        wrong.push(format!("{from}: §{number}, but {target} has no such section"))
                    }
                }
            } else if let Some((path, anchor)) = page_name(token) {
                let next = text[at + token.len()..].trim_start_matches(['`', ' ', '\u{a0}']);
                // A name without a folder is that of a page only where a section or an anchor follows.
                let cited = next.starts_with('§') || !anchor.is_empty();
                let lone = cited && !path.contains('/');
                let target = if lone { format!("docs/{path}") } else { path.to_owned() };
                let ours =
                    ["docs/", "examples/", "crates/", "kernels/"].iter().any(|f| target.starts_with(f));
                if ours && !self.pages.contains_key(&target) {
                    wrong.push(format!("{from}: {token}, but there is no {target}"));
                } else if ours {
                    wrong.extend(self.anchor(from, token, &target, anchor));
                    last = Some(target);
                    named = at + token.len();
                }
            }
        }
        wrong
    }
}

impl Page {
    fn new(text: String) -> Self {
        let mut page = Self::default();
        for line in without_code_blocks(&text).lines() {
            let title = line.trim_start_matches('#');
            let Some(title) = title.strip_prefix(' ').filter(|_| line.starts_with('#')) else { continue };
            let number = title.split(' ').next().unwrap_or_default().trim_end_matches('.');
            if number.starts_with(|c: char| c.is_ascii_digit()) {
                page.sections.insert(number.to_owned());
            }
            let slug = slug(title);
            let mut anchor = slug.clone();
            for copy in 1.. {
                if page.anchors.insert(anchor) {
                    break;
                }
                anchor = format!("{slug}-{copy}");
            }
        }
        page.text = text;
        page
    }
}

/// Anchor that hosts of Markdown give to a heading.
fn slug(title: &str) -> String {
    let mut text = String::new();
    // Of a link, the text counts.
    for piece in title.split("](") {
        let rest =
            if text.is_empty() { piece } else { piece.split_once(')').map_or(piece, |(_, rest)| rest) };
        text.push_str(rest);
    }
    let kept =
        text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.trim().replace(' ', "-")
}

/// The lines outside ``` blocks and indented blocks; the others are empty.
fn without_code_blocks(text: &str) -> String {
    let mut fenced = false;
    let keep = |line: &str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if fenced || fence || line.starts_with("    ") { "\n".to_owned() } else { format!("{line}\n") }
    };
    text.lines().map(keep).collect()
}

/// Targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// Texts between backquotes.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Lines that belong together: all up to an empty one, or one that is a comment where its neighbour is none.
fn paragraphs(text: &str) -> impl Iterator<Item = String> {
    let mut all = vec![String::new()];
    let mut comment = false;
    for line in text.lines() {
        let line = line.trim();
        let body = line.trim_start_matches(['/', '!', '#', '*']).trim();
        let now = line.starts_with("//") || line.starts_with('#');
        if body.is_empty() || now != comment {
            all.push(String::new());
        }
        comment = now;
        if let Some(text) = all.last_mut() {
            text.push_str(body);
            text.push(' ');
        }
    }
    all.into_iter()
}

/// `§…` and words that may name a page, with where they begin.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let part = |c: char| c.is_ascii_alphanumeric() || "./-_#".contains(c);
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let start = if c == '§' { c.len_utf8() } else { 0 };
        let rest = &text[at + start..];
        let length = start + rest.find(|c| !part(c)).unwrap_or(rest.len());
        if length > start {
            found.push((at, text[at..at + length].trim_end_matches(['.', '-'])));
        }
        at += length.max(c.len_utf8());
    }
    found
}

/// `3` of `§3`.
fn section(token: &str) -> Option<&str> {
    token.strip_prefix('§').filter(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}

/// `docs/page.md` and `anchor` of `docs/page.md#anchor`.
fn page_name(token: &str) -> Option<(&str, &str)> {
    let (path, anchor) = token.split_once('#').unwrap_or((token, ""));
    path.ends_with(".md").then_some((path, anchor))
}

/// `path` as it is meant on the page `from`, from the root.
fn relative(from: &str, path: &str) -> String {
    let mut full = PathBuf::from(from);
    full.pop();
    for component in Path::new(path.trim_end_matches('/')).components() {
        match component {
            Component::ParentDir => drop(full.pop()),
            Component::Normal(name) => full.push(name),
            _ => {}
        }
    }
    full.to_string_lossy().replace('\\', "/")
}

mod tests {
    use super::*;

    /// A house of one page, and of one more file.
    fn wrong(name: &str, text: &str) -> String {
        let mut house = House::default();
        let page = "# The model\n\n## 1. Fields & `tables`\n\n## 12. Ends\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n";
        house.pages.insert("docs/model.md".into(), Page::new(page.into()));
        house.paths.extend(["docs/model.md", "kernels/gate.cu", "README.md"].map(str::to_owned));
        if name.ends_with(".md") {
            house.pages.insert(name.into(), Page::new(text.into()));
            house.paths.insert(name.into());
        } else {
            house.sources.insert(name.into(), text.into());
        }
        house.wrong().join("\n")
    }

    #[test]
    fn good_citations_pass() {
        for (name, text) in [
            (
                "README.md",
                "[m](docs/model.md), [f](docs/model.md#1-fields--tables), [b](docs/model.md#twice-1), `kernels/gate.cu`",
            ),
            (
                "docs/other.md",
                "# 4. Own\n[m](model.md#twice), [up](../README.md), [own](#4-own), §4, model.md §12, `kernels/FAMILY.cu`",
            ),
            (
                "docs/other.md",
                "[away](https://a.b/c.md#d), `runs/x/other.md`, `kernels/*.cu`\n\n    [code](none.md)\n",
            ),
            (
                "a.rs",
                "//! Gate (model.md §1; docs/model.md#twice), see\n//! also §12.\nfn f() { g(\"x.md\") }",
            ),
            ("a.cu", "// Tables (model.md §1–§12)."),
        ] {
            assert_eq!(wrong(name, text), "", "{text}");
        }
    }

    #[test]
    fn bad_citations_are_named() {
        for (name, text, expected) in [
            ("README.md", "[x](docs/none.md)", "README.md: (docs/none.md), but there is no docs/none.md"),
            (
                "README.md",
                "[x](docs/model.md#no-heading)",
                "docs/model.md has no heading of the anchor #no-heading",
            ),
            ("README.md", "![x](docs/none.svg)", "there is no docs/none.svg"),
            ("docs/other.md", "[x](#nowhere)", "docs/other.md has no heading of the anchor #nowhere"),
            ("docs/other.md", "# 4. Own\nas in §1", "§1, but docs/other.md has no such section"),
            ("docs/other.md", "as model.md §2 has it", "§2, but docs/model.md has no such section"),
            ("docs/other.md", "in `kernels/none.cu`", "`kernels/none.cu` does not exist"),
            ("a.rs", "/// Loss (model.md §6).", "a.rs: §6, but docs/model.md has no such section"),
            ("a.rs", "// of model.md §1, and\n// then §13", "§13, but docs/model.md has no such section"),
            ("a.rs", "// model.md §1\nfn f() {}\n// §1", "§1 is of no page"),
            ("a.rs", "// none.md §1", "none.md, but there is no docs/none.md"),
            ("a.cu", "// docs/model.md#three", "docs/model.md has no heading of the anchor #three"),
            ("a.py", "# see docs/none.md.", "there is no docs/none.md"),
        ] {
            assert!(wrong(name, text).contains(expected), "{text}: {}", wrong(name, text));
        }
    }
}
