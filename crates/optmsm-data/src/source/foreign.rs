//! Files that are of another kind than their names say: told by their first bytes.

/// How a kind of file begins, what it is called, and how its rows can be read all the same.
const KINDS: [(&[u8], &str, &str); 21] = [
    (b"PAR1", "a Parquet file", "let its name end in .parquet, which says how it is read"),
    (b"PARE", "an encrypted Parquet file", "write it without encryption"),
    (b"ARROW1", "an Arrow file", "let its name end in .arrow, which says how it is read"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "let its name end in .arrow, which says how it is read"),
    (
        b"FEA1",
        "a Feather file of the first version",
        "write it as Feather of the second version or as Parquet",
    ),
    (b"\x1f\x8b", "packed with gzip", "let its name end in .csv.gz, which says how it is read"),
    (b"\x28\xb5\x2f\xfd", "packed with Zstandard", "let its name end in .csv.zst, which says how it is read"),
    (b"BZh", "packed with bzip2", "unpack it with bunzip2, or pack it with gzip or Zstandard"),
    (b"\xfd7zXZ\0", "packed with xz", "unpack it with unxz, or pack it with gzip or Zstandard"),
    (b"\x04\x22\x4d\x18", "packed with LZ4", "unpack it with unlz4, or pack it with gzip or Zstandard"),
    (b"\xff\x06\0\0sNaPpY", "packed with Snappy", "unpack it, or pack it with gzip or Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it with 7z"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"ORC", "an ORC file", PARQUET),
    (b"Obj\x01", "an Avro file", PARQUET),
    (b"\x89HDF", "an HDF5 file", PARQUET),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save its sheet as CSV (UTF-8)"),
    (b"\x93NUMPY", "a NumPy array", PARQUET),
    (b"\x80\x04\x95", "a Python pickle", PARQUET),
    (b"\x80\x05\x95", "a Python pickle", PARQUET),
];

const PARQUET: &str = "write its rows as CSV or Parquet";
const UTF8: &str = "save it as UTF-8, for example with iconv -t UTF-8";

/// Bytes that tell: of a packed archive's list of names, and enough of a text to see its lines.
pub(super) const HEAD: usize = 4096;

/// Says of the first bytes of a file that they are not those of a CSV: which kind of file it is, and what to do. None of what may be a CSV.
pub(super) fn foreign(head: &[u8]) -> Option<(String, &'static str)> {
    let head = &head[..head.len().min(HEAD)];
    let is = |(kind, fix): (&str, &'static str)| Some((format!("is {kind}"), fix));
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        let names = |name: &[u8]| head.windows(name.len()).any(|part| part == name);
        return match names(b"[Content_Types].xml") || names(b"xl/") {
            true => is(("an Excel workbook", "save its sheet as CSV (UTF-8)")),
            false => is(("a ZIP archive", "unpack it with unzip, or pack its file with gzip or Zstandard")),
        };
    }
    // A name of a column may begin with the same letters.
    let control = |b: &u8| b.is_ascii_control() && !b"\t\r\n".contains(b);
    let binary =
        head.iter().any(control) || std::str::from_utf8(head).is_err_and(|e| e.error_len().is_some());
    if let Some((_, kind, fix)) = KINDS.iter().find(|(start, ..)| binary && head.starts_with(start)) {
        return is((kind, fix));
    }
    if head.get(257..262) == Some(b"ustar") {
        return is(("a tar archive", "unpack it with tar -x"));
    }
    if hollow(head) {
        return is(("a file of zeros", "its content was lost: copy or write it again"));
    }
    is(wide(head).map(|kind| (kind, UTF8)).or_else(|| text(head))?)
}

/// Kind of a file whose name says that it is Parquet or Arrow, and what to do; none if it may be that.
pub(super) fn misnamed(head: &[u8], is_arrow: bool) -> Option<(String, &'static str)> {
    let starts: &[&[u8]] = if is_arrow { &[b"ARROW1", b"\xff\xff\xff\xff"] } else { &[b"PAR1"] };
    if starts.iter().any(|start| head.starts_with(start)) {
        return None;
    }
    let whole = head.len() < HEAD;
    let text = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(e) => !whole && e.error_len().is_none(), // a character is cut
    };
    let plain =
        text && head.contains(&b'\n') && !head.iter().any(|b| b.is_ascii_control() && !b"\t\r\n".contains(b));
    foreign(head)
        .or(plain.then(|| ("is a text".into(), "let its name end in .csv, which says how it is read")))
}

/// Whether a file is a hole, as disks and copies leave that fail.
fn hollow(head: &[u8]) -> bool {
    !head.is_empty() && head.iter().all(|&b| b == 0)
}

/// A text of more than one byte a character.
fn wide(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") {
        return Some("a text in UTF-32");
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Some("a text in UTF-16");
    }
    // Characters of most texts have zeros in the same of their bytes.
    let zeros = head.iter().filter(|&&b| b == 0).count();
    match (zeros, head.len()) {
        (0, _) | (_, 0..4) => None,
        (zeros, all) if zeros >= all * 5 / 8 => Some("a text in UTF-32"),
        (zeros, all) if zeros >= all / 4 => Some("a text in UTF-16"),
        _ => None,
    }
}

/// A text that is no table.
fn text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii_end();
    let lower = head[..head.len().min(16)].to_ascii_lowercase();
    if lower.starts_with(b"<!doctype") || lower.starts_with(b"<html") {
        return Some((
            "a page of HTML",
            "download the data itself: a server may have sent an error or a login page",
        ));
    }
    for (start, kind, fix) in [
        (&b"%PDF-"[..], "a PDF document", "export its table as CSV"),
        (b"<?xml", "an XML document", PARQUET),
        (b"version https://git-lfs", "a pointer of Git LFS, without the data", "fetch it with git lfs pull"),
    ] {
        if head.starts_with(start) {
            return Some((kind, fix));
        }
    }
    let behind = |open: &[u8]| head.strip_prefix(open).map(<[u8]>::trim_ascii_start);
    let object = |text: &[u8]| text.starts_with(b"\"") && text.contains(&b':') || text.starts_with(b"}");
    if behind(b"{").is_some_and(object) {
        return Some((
            "JSON",
            "write its rows as CSV or Parquet, for example with pandas.read_json(…, lines=True)",
        ));
    }
    if behind(b"[").is_some_and(|text| text.starts_with(b"{") || text.starts_with(b"[")) {
        return Some(("JSON", PARQUET));
    }
    let mut words = line.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let number = |word: &[u8]| std::str::from_utf8(word).is_ok_and(|word| word.parse::<f64>().is_ok());
    if words.next().is_some_and(number) {
        let mut pairs = words.take_while(|word| !word.starts_with(b"#")).peekable();
        let pair = |word: &[u8]| word.contains(&b':') && word.split(|&b| b == b':').skip(1).all(number);
        let vowpal = pairs.peek().is_some_and(|word| word.starts_with(b"|"));
        if vowpal || pairs.peek().is_some() && pairs.all(pair) {
            let kind = if vowpal { "Vowpal Wabbit's format" } else { "the format of libsvm" };
            return Some((kind, "write one column for each feature, or the indices as one list column"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(head: &[u8]) -> Option<String> {
        foreign(head).map(|(kind, _)| kind)
    }

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        let utf16: Vec<u8> = "label,scenario\n1,web\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf32: Vec<u8> = "label,ü\n".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        for (head, wanted) in [
            (&b"PAR1\x15\x04"[..], "is a Parquet file"),
            (b"ARROW1\0\0", "is an Arrow file"),
            (b"\x1f\x8b\x08", "is packed with gzip"),
            (b"BZh91AY&SY\0", "is packed with bzip2"),
            (b"PK\x03\x04\x14\0data.csv", "is a ZIP archive"),
            (b"PK\x03\x04\x14\0[Content_Types].xml", "is an Excel workbook"),
            (b"ORC\x08\x03", "is an ORC file"),
            (b"Obj\x01\x04", "is an Avro file"),
            (b"\xff\xfel\0", "is a text in UTF-16"),
            (&utf16, "is a text in UTF-16"),
            (&utf32, "is a text in UTF-32"),
            (&[0; 64], "is a file of zeros"),
            (b"{\"label\": 1, \"x\": 2}\n{\"label\": 0, \"x\": 3}\n", "is JSON"),
            (b"\xef\xbb\xbf\n[\n  {\"label\": 1}]", "is JSON"),
            (b"[[1, 2], [3, 4]]", "is JSON"),
            (b"1 3:1 7:0.5\n0 1:1\n", "is the format of libsvm"),
            (b"-1 qid:3 1:0.5 # note\n", "is the format of libsvm"),
            (b"+1\t1:0.5:2\n", "is the format of libsvm"),
            (b"1 |user u7 |item i3\n", "is Vowpal Wabbit's format"),
            (b"<!DOCTYPE html><html>", "is a page of HTML"),
        ] {
            assert_eq!(kind(head).as_deref(), Some(wanted), "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn names_of_columnar_files_may_be_wrong() {
        let kind = |head: &[u8], is_arrow| misnamed(head, is_arrow).map(|(kind, _)| kind);
        assert_eq!(kind("label,città\n1,x\n".as_bytes(), false).as_deref(), Some("is a text"));
        assert_eq!(kind(b"ARROW1\0\0", false).as_deref(), Some("is an Arrow file"));
        assert_eq!(kind(b"PAR1\x15", true).as_deref(), Some("is a Parquet file"));
        assert_eq!(kind(b"\x1f\x8b\x08", false).as_deref(), Some("is packed with gzip"));
        for (head, is_arrow) in
            [(&b"PAR1"[..], false), (b"ARROW1", true), (b"\xff\xff\xff\xff", true), (b"", true)]
        {
            assert_eq!(kind(head, is_arrow), None);
        }
        assert_eq!(kind(b"\x07\x13\n\xfe", false), None);
    }

    #[test]
    fn what_may_be_a_csv_is_none_of_them() {
        for head in [
            &b""[..],
            b"\n",
            b"label,scenario\n1,web\n",
            b"\xef\xbb\xbfid;click\n",
            b"[id],[click]\n1,0\n",
            b"{id},{click}\n",
            b"1,2,3\n",
            b"0\t\t1\t68fd1e64\n",
            b"time 12:30,x\n",
            b"BZ,h\n",
            b"ORC,label\n",
            b"PAR1,label\n",
            b"ARROW1\n",
            b"Obj,label\n",
            b"PK,label\n",
            b"12:30,1\n",
            b"1\n0\n",
            "größe,клик\n".as_bytes(),
            b"a b:1\n",
            b"1 2 3\n",
        ] {
            assert_eq!(kind(head), None, "{:?}", String::from_utf8_lossy(head));
        }
    }
}
