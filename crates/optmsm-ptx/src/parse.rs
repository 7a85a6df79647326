//! Reads what launchers must know from PTX text: the entries, their parameters and limits.

use crate::token::{Token, tokens};
use crate::{Error, Result};

/// A PTX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Argument of `.version`, like `8.0`.
    pub version: String,
    /// Argument of `.target`, like `sm_80`.
    pub target: String,
    /// All `.visible .entry`, in their order.
    pub entries: Vec<Entry>,
    /// Atomic instructions on floating-point numbers, each with its line. Their order, and so their sum, is not fixed.
    pub float_atomics: Vec<(usize, String)>,
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its parameters, in their order.
    pub params: Vec<Param>,
    /// Threads that a block may have, from `__launch_bounds__`.
    pub max_threads: Option<u32>,
    /// Shared memory that is part of the kernel, in bytes; dynamic shared memory comes on top.
    pub shared_bytes: usize,
}

/// A parameter of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Size in bytes.
    pub bytes: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// Kind of its value.
    pub kind: Kind,
}

/// Kind of a parameter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `.u64 .ptr`: a pointer.
    Pointer,
    /// 64 bits. nvcc 13.0 writes pointers so, too: a pointer argument fits [`Kind::Pointer`] and this.
    U64,
    /// 32 bits, signed or not.
    U32,
    /// `float`.
    F32,
    /// A struct passed by value.
    Bytes,
}

impl Module {
    /// Reads a PTX file.
    ///
    /// # Errors
    /// The line where the text is not PTX, or holds a parameter of a type that kernels here may not have.
    pub fn parse(text: &str) -> Result<Self> {
        let tokens = tokens(text)?;
        let mut reader = Reader { tokens: &tokens, at: 0 };
        let (mut version, mut target) = (None, None);
        let mut entries = Vec::new();
        // Shared variables outside of kernels, with their sizes.
        let mut shared: Vec<(&str, usize)> = Vec::new();
        // The words of each entry's body.
        let mut bodies = Vec::new();
        while let Some(token) = reader.next() {
            match token.text {
                ".version" => version = Some(reader.word("the ISA's version")?.text.to_owned()),
                ".target" => target = Some(reader.word("an architecture")?.text.to_owned()),
                ".visible" if reader.peek() == Some(".entry") => {
                    reader.next();
                    let (entry, body) = reader.entry()?;
                    entries.push(entry);
                    bodies.push(body);
                }
                // Dynamic shared memory.
                ".extern" => reader.skip_to(";")?,
                ".shared" => shared.extend(reader.variable()?),
                "{" => drop(reader.block()?),
                _ => {}
            }
        }
        for (entry, body) in entries.iter_mut().zip(bodies) {
            let used = shared.iter().filter(|(name, _)| body.iter().any(|t| t.text == *name));
            entry.shared_bytes += used.map(|(_, bytes)| bytes).sum::<usize>();
        }
        Ok(Self {
            version: version.ok_or_else(|| Error::syntax(1, "there is no .version"))?,
            target: target.ok_or_else(|| Error::syntax(1, "there is no .target"))?,
            entries,
            float_atomics: float_atomics(&tokens),
        })
    }
}

/// Atomics (`atom`, and `red` for those without a result) of a floating-point type.
fn float_atomics(tokens: &[Token]) -> Vec<(usize, String)> {
    let floats = ["f16", "f16x2", "bf16", "bf16x2", "f32", "f64"];
    let atomic = |text: &str| {
        let mut parts = text.split('.');
        matches!(parts.next(), Some("atom" | "red")) && parts.any(|part| floats.contains(&part))
    };
    tokens.iter().filter(|t| atomic(t.text)).map(|t| (t.line, t.text.to_owned())).collect()
}

struct Reader<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'t, 'a> Reader<'t, 'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).map(|t| t.text)
    }

    /// The next token, which `what` names.
    fn word(&mut self, what: &str) -> Result<Token<'a>> {
        let last = self.tokens.last().map_or(1, |t| t.line);
        self.next().ok_or_else(|| Error::syntax(last, format!("the text ends where {what} should be")))
    }

    fn expect(&mut self, text: &str) -> Result<()> {
        let token = self.word(&format!("'{text}'"))?;
        if token.text == text {
            return Ok(());
        }
        Err(Error::syntax(token.line, format!("'{}' where '{text}' should be", token.text)))
    }

    fn number(&mut self, what: &str) -> Result<usize> {
        let token = self.word(what)?;
        // Sizes are 32-bit in PTX, so that no sum of them overflows here.
        let number = token.text.parse::<u32>().ok().and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| Error::syntax(token.line, format!("'{}' where {what} should be", token.text)))
    }

    fn skip_to(&mut self, text: &str) -> Result<()> {
        while self.word(text)?.text != text {}
        Ok(())
    }

    /// The rest of a block in braces, after the first brace.
    fn block(&mut self) -> Result<&'t [Token<'a>]> {
        let (start, mut depth) = (self.at, 1);
        while depth > 0 {
            match self.word("'}'")?.text {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
        }
        Ok(&self.tokens[start..self.at - 1])
    }

    /// An entry after `.entry`, and its body.
    fn entry(&mut self) -> Result<(Entry, &'t [Token<'a>])> {
        let name = self.word("an entry's name")?.text;
        let mut entry =
            Entry { name: name.to_owned(), params: Vec::new(), max_threads: None, shared_bytes: 0 };
        if self.peek() == Some("(") {
            self.next();
            while self.peek() != Some(")") {
                entry.params.push(self.param(name)?);
                if self.peek() == Some(",") {
                    self.next();
                }
            }
            self.next();
        }
        loop {
            let token = self.word("'{'")?;
            match token.text {
                "{" => break,
                ".maxntid" => entry.max_threads = Some(self.threads(token.line)?),
                ";" => return Err(Error::syntax(token.line, format!("entry {name} has no body"))),
                _ => {}
            }
        }
        let body = self.block()?;
        let mut inside = Reader { tokens: body, at: 0 };
        while let Some(token) = inside.next() {
            if token.text == ".shared" {
                entry.shared_bytes += inside.variable()?.map_or(0, |(_, bytes)| bytes);
            }
        }
        Ok((entry, body))
    }

    /// The product of up to three dimensions.
    fn threads(&mut self, line: usize) -> Result<u32> {
        let mut threads = self.number("a number of threads")?;
        while self.peek() == Some(",") {
            self.next();
            threads = threads.saturating_mul(self.number("a number of threads")?);
        }
        u32::try_from(threads).map_err(|_| Error::syntax(line, "more threads than a block can have"))
    }

    /// `.param .u64 NAME`, `.param .u64 .ptr .global .align 4 NAME` or `.param .align 8 .b8 NAME[N]`.
    fn param(&mut self, entry: &str) -> Result<Param> {
        self.expect(".param")?;
        let (mut align, mut scalar, mut pointer) = (None, None, false);
        loop {
            let token = self.word("a parameter")?;
            match token.text {
                // After .ptr, it is the alignment of what the pointer points to.
                ".align" if pointer => drop(self.number("an alignment")?),
                ".align" => align = Some(self.number("an alignment")?),
                ".ptr" => pointer = true,
                ".const" | ".global" | ".local" | ".shared" if pointer => {}
                text if text.starts_with('.') => scalar = Some(token),
                _ => break,
            }
        }
        let line = self.tokens[self.at - 1].line;
        let scalar =
            scalar.ok_or_else(|| Error::syntax(line, format!("{entry}: a parameter has no type")))?;
        if self.peek() == Some("[") {
            self.next();
            let bytes = self.number("a size")?;
            self.expect("]")?;
            if scalar.text != ".b8" {
                return Err(Error::syntax(
                    line,
                    format!("{entry}: a parameter is an array of {}", scalar.text),
                ));
            }
            return Ok(Param { bytes, align: align.unwrap_or(1), kind: Kind::Bytes });
        }
        let (bytes, kind) = match scalar.text {
            ".u64" | ".b64" | ".s64" if pointer => (8, Kind::Pointer),
            ".u64" | ".b64" | ".s64" => (8, Kind::U64),
            ".u32" | ".b32" | ".s32" => (4, Kind::U32),
            ".f32" => (4, Kind::F32),
            other => {
                let what = format!("{entry}: kernels take no parameter of type {other}");
                return Err(Error::syntax(line, what));
            }
        };
        Ok(Param { bytes, align: align.unwrap_or(bytes), kind })
    }

    /// A variable after its state space, with its size in bytes: `.align 4 .b8 NAME[1024];` or `.u32 NAME;`.
    /// None for `.shared` in another role.
    fn variable(&mut self) -> Result<Option<(&'a str, usize)>> {
        let mut bytes = None;
        while let Some(text) = self.peek() {
            if text == ".align" {
                self.next();
                self.number("an alignment")?;
                continue;
            }
            if !text.starts_with('.') {
                break;
            }
            self.next();
            // The digits of a type's name are its bits.
            bytes = text
                .trim_start_matches(|c: char| !c.is_ascii_digit())
                .parse::<usize>()
                .ok()
                .map(|bits| bits / 8);
        }
        let Some(mut bytes) = bytes else { return Ok(None) };
        let name = self.word("a variable's name")?;
        while self.peek() == Some("[") {
            self.next();
            bytes = bytes.saturating_mul(self.number("a size")?);
            self.expect("]")?;
        }
        if bytes > u32::MAX as usize {
            return Err(Error::syntax(
                name.line,
                format!("{} is larger than shared memory can be", name.text),
            ));
        }
        Ok(Some((name.text, bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand, from the PTX ISA's description.
    const TEXT: &str = r#"
        // .version 1.0 in a comment
        .version 8.0
        .target sm_80
        .address_size 64
        /* .visible .entry none() {}
           two lines */
        .extern .shared .align 16 .b8 dynamic_shared[];
        .shared .align 4 .b8 between[12];
        .const .align 4 .b8 table[4] = {1, 2, 3, 4};
        .func (.param .b32 r) helper(.param .b32 x) { ret; }
        .visible .entry first(
            .param .u64 first_param_0,
            .param .u64 .ptr .global .align 4 first_param_1,
            .param .u32 first_param_2,
            .param .f32 first_param_3,
            .param .align 8 .b8 first_param_4[48]
        )
        .maxntid 128, 2, 1
        .minnctapersm 2
        {
            .reg .f32 %f<5>;
            .shared .align 4 .b8 tile[1024];
            .shared .u32 flag;
            { .shared .align 8 .f64 pair[2][3]; }
            .pragma "nounroll } \";
            mov.u32 %r3, between;
            st.shared.f32 [%r3], %f1;
            atom.global.add.u32 %r1, [%rd1], 1;
            @%p1 red.global.add.f32 [%rd1], %f1;
            redux.sync.add.s32 %r1, %r2, 0xffffffff;
            ret;
        }
        .visible .entry second() { ret; }
        .visible .entry third { ret; }
        .entry hidden(.param .u64 hidden_param_0) { ret; }
    "#;

    #[test]
    fn entries_are_read() {
        let module = Module::parse(TEXT).unwrap();
        assert_eq!((module.version.as_str(), module.target.as_str()), ("8.0", "sm_80"));
        let names: Vec<_> = module.entries.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["first", "second", "third"]);
        let first = &module.entries[0];
        let wide = |kind| Param { bytes: 8, align: 8, kind };
        let narrow = |kind| Param { bytes: 4, align: 4, kind };
        let bytes = Param { bytes: 48, align: 8, kind: Kind::Bytes };
        let params = [wide(Kind::U64), wide(Kind::Pointer), narrow(Kind::U32), narrow(Kind::F32), bytes];
        assert_eq!(first.params, params);
        assert_eq!(first.max_threads, Some(256));
        assert_eq!(first.shared_bytes, 1024 + 4 + 48 + 12);
        assert_eq!(
            module.entries[1],
            Entry { name: "second".into(), params: vec![], max_threads: None, shared_bytes: 0 }
        );
    }

    #[test]
    fn only_float_atomics_are_found() {
        let module = Module::parse(TEXT).unwrap();
        let line = 1 + TEXT.lines().position(|l| l.contains("red.global")).unwrap();
        assert_eq!(module.float_atomics, [(line, "red.global.add.f32".to_owned())]);
    }

    #[test]
    fn malformed_text_is_an_error() {
        let cases = [
            ("", "there is no .version"),
            (".version 8.0", "there is no .target"),
            (".version", "the text ends"),
            (".version 8.0 .target sm_80 /* …", "a comment has no end"),
            (".version 8.0 .target sm_80 .pragma \"…", "a string has no end"),
            (".visible .entry", "an entry's name"),
            (".visible .entry f(", "'.param' should be"),
            (".visible .entry f(.param", "a parameter"),
            (".visible .entry f(.param x", "has no type"),
            (".visible .entry f(.param .u16 x) {}", "no parameter of type .u16"),
            (".visible .entry f(.param .align x .b8 y[4]) {}", "an alignment"),
            (".visible .entry f(.param .align 8 .b8 x[4294967296]) {}", "a size"),
            (".visible .entry f(.param .align 8 .b8 x[4) {}", "']' should be"),
            (".visible .entry f(.param .align 8 .b32 x[4]) {}", "an array of .b32"),
            (".visible .entry f(.u64 x) {}", "'.param' should be"),
            (".visible .entry f() {", "'}'"),
            (".visible .entry f();", "has no body"),
            (".visible .entry f() .maxntid many {}", "a number of threads"),
            (".visible .entry f() .maxntid 65536, 65536, 65536 {}", "more threads"),
            (".visible .entry f() { .shared .b8 x[4294967295][8]; }", "larger than shared memory"),
            ("\n{", "line 2"),
        ];
        for (text, expected) in cases {
            let error = Module::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// Every beginning of a text, and every text with a character taken out, is read or refused.
    #[test]
    fn broken_text_does_not_panic() {
        for end in 0..TEXT.len() {
            let _ = Module::parse(&TEXT[..end]);
            let _ = Module::parse(&[&TEXT[..end], &TEXT[end + 1..]].concat());
        }
    }
}
