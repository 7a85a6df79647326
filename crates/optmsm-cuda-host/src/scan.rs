//! Finds the kernels in a .cu file.

/// A kernel's declaration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// As written: a name, or a macro's use such as `KERNEL(gemm_nt)`.
    pub(crate) name: String,
    /// The first argument of `__launch_bounds__`, as written; `0` without one.
    pub(crate) bound: String,
}

/// All `extern "C" __global__ void [__launch_bounds__(…)] NAME(` of `source`, in order.
///
/// # Errors
/// A `__global__` that is not of this form: the line and what was expected.
pub(crate) fn kernels(source: &str) -> Result<Vec<Declaration>, String> {
    let source = without_comments(source);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = source[at..].find("__global__") {
        let start = at + offset;
        let line = source[..start].matches('\n').count() + 1;
        let expected = |what: &str| {
            format!(
                "line {line}: a kernel is declared as extern \"C\" __global__ void NAME(…); expected {what}"
            )
        };
        if !source[..start].trim_end().ends_with("extern \"C\"") {
            return Err(expected("extern \"C\" before __global__"));
        }
        let mut rest = source[start + "__global__".len()..].trim_start();
        let mut bound = "0".to_string();
        let mut is_void = false;
        // `void` and the bounds come in either order.
        loop {
            if let Some(after) = rest.strip_prefix("void").filter(|r| !r.starts_with(is_word)) {
                is_void = true;
                rest = after.trim_start();
            } else if let Some(after) = rest.strip_prefix("__launch_bounds__") {
                let (inside, after) =
                    parenthesis(after.trim_start()).ok_or_else(|| expected("__launch_bounds__(…)"))?;
                bound = first_argument(inside).trim().to_string();
                rest = after.trim_start();
            } else {
                break;
            }
        }
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if !is_void || length == 0 {
            return Err(expected("void and a name"));
        }
        let (word, after) = rest.split_at(length);
        let (inside, beyond) =
            parenthesis(after.trim_start()).ok_or_else(|| expected("(…) after the name"))?;
        // A second parenthesis holds the parameters, so the first one belongs to a macro that makes the name.
        let is_macro = beyond.trim_start().starts_with('(');
        let name = if is_macro { format!("{word}({inside})") } else { word.to_string() };
        found.push(Declaration { name, bound });
        at = start + "__global__".len();
    }
    Ok(found)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The inside of the parenthesis that `text` begins with, and what follows it.
fn parenthesis(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('(') {
        return None;
    }
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[1..i], &text[i + 1..]));
        }
    }
    None
}

/// Up to the first comma outside parentheses.
fn first_argument(list: &str) -> &str {
    let mut depth = 0;
    for (i, c) in list.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => return &list[..i],
            _ => {}
        }
    }
    list
}

/// The source with its comments blanked, lines kept. (No kernel file has a string with `//` or `/*`.)
fn without_comments(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        out.push_str(&rest[..start]);
        let comment = &rest[start..];
        let end = match comment.starts_with("//") {
            true => comment.find('\n').unwrap_or(comment.len()),
            false => comment.find("*/").map_or(comment.len(), |e| e + 2),
        };
        out.extend(comment[..end].chars().filter(|&c| c == '\n'));
        out.push(' ');
        rest = &comment[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(String, String)> {
        kernels(source).unwrap().into_iter().map(|k| (k.name, k.bound)).collect()
    }

    #[test]
    fn all_spellings() {
        let source = "// extern \"C\" __global__ void no(float* x)\n/* __global__ */\nextern \"C\" __global__ void fill(float* x, unsigned n) {}\n\
            extern \"C\" __global__ void __launch_bounds__(MAX(64, 128), 2)\n    KERNEL(gemm_nt)(const float* a) {}\n\
            extern \"C\" __global__ __launch_bounds__(256) void scale(float*) {}";
        let expected = [("fill", "0"), ("KERNEL(gemm_nt)", "MAX(64, 128)"), ("scale", "256")];
        assert_eq!(found(source), expected.map(|(n, b)| (n.to_string(), b.to_string())));
    }

    #[test]
    fn what_is_no_kernel_is_an_error() {
        for (source, what) in [
            ("\n__global__ void f(float* x) {}", "line 2"),
            ("extern \"C\" __global__ int f(float* x) {}", "void"),
            ("extern \"C\" __global__ void f;", "(…)"),
            ("extern \"C\" __global__ void __launch_bounds__ f();", "__launch_bounds__(…)"),
        ] {
            let message = kernels(source).unwrap_err();
            assert!(message.contains(what), "{message}");
        }
    }
}
