//! Data files under URLs. What needs no server is tested with `file://`, which is a store like the others.

mod common;

use common::*;
use optmsm_data::{Schema, Source};

fn error(url: &str) -> String {
    Schema::fit(&config(vec![categorical("city")]), url).unwrap_err().to_string()
}

#[cfg(not(feature = "object-store"))]
#[test]
fn a_program_without_stores_says_so() {
    for url in ["s3://bucket/part-*.parquet", "gs://b/a.csv", "az://c/x", "file:///tmp/a.csv"] {
        let wanted = "this program was built without support for URLs; build it with --features object-store, or copy the \
                      files to a disk";
        assert_eq!(error(url), format!("{url}: {wanted}"));
    }
    assert!(Source::from("s3://bucket/a.csv").files().is_err());
}

#[cfg(feature = "object-store")]
mod stores {
    use std::path::Path;

    use common::columnar::{assert_reads_like, fixture, write_large};
    use optmsm_core::batch::Batch;
    use optmsm_data::Prepared;
    use optmsm_data::{Cache, Dataset, Extra, Need, Paths, Result, RowReader};

    use super::*;

    fn url(path: &Path) -> String {
        format!("file://{}", path.display())
    }

    #[test]
    fn files_of_every_kind_read_like_the_csv() {
        let names =
            ["rows.csv", "codec-zstd.parquet", "encodings.parquet", "types.parquet", "page-v2.parquet"];
        let names = names.iter().chain(&["polars.parquet", "zstd.feather", "polars.arrow", "stream.arrow"]);
        for name in names {
            assert_reads_like(url(&fixture(name)), "rows.csv", name);
        }
        let text = std::fs::read(fixture("rows.csv")).unwrap();
        let files = Files::new();
        let zst = files.write("a.csv.zst", zstd::encode_all(&text[..], 3).unwrap());
        assert_reads_like(url(&zst), "rows.csv", "zst");
    }

    #[test]
    fn folders_and_globs_name_the_same_files_as_on_disk() {
        for kind in ["parquet", "csv"] {
            let folder = fixture(&format!("spark-{kind}"));
            for pattern in ["", "/scenario=*/part-*", "/scenario=*", "/**/part-*", "/scenario=[hs]*/*"] {
                let path = format!("{}{pattern}", folder.display());
                let on_disk = Source::from(&path).files().unwrap();
                let in_store = Source::from(format!("file://{path}")).files().unwrap();
                let in_store =
                    in_store.iter().map(|f| f.to_str().unwrap().trim_start_matches("file://").into());
                assert_eq!(in_store.collect::<Vec<std::path::PathBuf>>(), on_disk, "{pattern}");
                let bytes = |path: &str| Source::from(path).text_bytes().unwrap();
                assert_eq!(bytes(&format!("file://{path}")), bytes(&path));
            }
            assert_reads_like(url(&folder), "spark.csv", kind);
            assert_reads_like(url(&folder) + "/", "spark.csv", kind);
            assert_reads_like(url(&folder) + "/scenario=*/part-*", "spark.csv", kind);
        }
    }

    #[test]
    fn urls_do_not_start_from_a_folder() {
        let paths: Paths = url(&fixture("rows.csv")).into();
        assert_eq!(paths.source(Some(Path::new("/elsewhere"))).files().unwrap().len(), 1);
        let folder = url(fixture("rows.csv").parent().unwrap());
        let paths: Paths = "rows.csv".to_owned().into();
        assert_eq!(paths.source(Some(Path::new(&folder))).files().unwrap().len(), 1);
    }

    #[test]
    fn a_large_row_group_is_read_in_pieces() {
        let files = Files::new();
        let path = files.path("large.parquet");
        let config = write_large(&path);
        let schema = Schema::fit(&config, &path).unwrap();
        assert_eq!(Schema::fit(&config, url(&path)).unwrap(), schema);
        assert!(Dataset::load(url(&path), &schema).unwrap() == Dataset::load(&path, &schema).unwrap());
    }

    #[test]
    fn damage_is_named_as_on_disk() {
        let (files, fields) = (Files::new(), config(vec![categorical("city")]));
        let good = std::fs::read(fixture("good.parquet")).unwrap();
        let mut spoilt = good.clone();
        spoilt[4..200].fill(0xee);
        for (name, bytes) in
            [("cut.parquet", &good[..good.len() / 2]), ("a.parquet", &spoilt), ("b.arrow", &good)]
        {
            let path = files.write(name, bytes);
            let on_disk = Schema::fit(&fields, &path).unwrap_err().to_string();
            let in_store = Schema::fit(&fields, url(&path)).unwrap_err().to_string();
            assert_eq!(in_store.strip_prefix("file://"), Some(&on_disk[..]));
        }
        let path = files.write("cut.csv.zst", &zstd::encode_all(&[b'x'; 1000][..], 3).unwrap()[..9]);
        assert!(error(&url(&path)).contains("cannot be unpacked"));
    }

    /// Reads all rows by a reader that was opened before `change`.
    fn read_after(path: &Path, schema: &Schema, first: usize, change: impl FnOnce()) -> Result<usize> {
        let mut reader = RowReader::open(url(path), schema, Need::Labelled)?;
        let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
        let mut rows = if first > 0 { reader.read(&mut batch, &mut extra, first)? } else { 0 };
        change();
        loop {
            match reader.read(&mut batch, &mut extra, 1000)? {
                0 => return Ok(rows),
                n => rows += n,
            }
        }
    }

    /// Rows of a file of 24 MB.
    const MANY: usize = 2_000_000;

    #[test]
    fn a_file_that_changes_while_it_is_read_is_an_error() {
        let files = Files::new();
        let rows =
            |city: &str, n: usize| format!("label,scenario,city\n{}", format!("1,home,{city}\n").repeat(n));
        let path = files.write("a.csv", rows("Rome", MANY)); // not read at once: two threads hold 16 MB of rows, a request 4 MB
        let schema = Schema::fit(&config(vec![categorical("city")]), &path).unwrap();
        assert_eq!(read_after(&path, &schema, 1, || {}).unwrap(), MANY);
        let wanted = format!(
            "{}: the object was changed while it was read; start again, and write new objects",
            url(&path)
        );
        for (city, n) in [("Bern", MANY), ("Rome", 10), ("Rome", MANY + MANY / 2)] {
            files.write("a.csv", rows("Rome", MANY));
            let change = || assert!(files.write("a.csv", rows(city, n)).exists());
            let error = read_after(&path, &schema, 1, change).unwrap_err().to_string();
            assert!(error.starts_with(&wanted), "{error}");
        }
        let path = files.path("a.parquet");
        std::fs::copy(fixture("good.parquet"), &path).unwrap();
        let change = || assert!(std::fs::copy(fixture("codec-none.parquet"), &path).is_ok());
        let error = read_after(&path, &schema, 0, change).unwrap_err().to_string();
        assert!(error.contains("a.parquet: the object was changed while it was read"), "{error}");
        let gone =
            read_after(&path, &schema, 0, || std::fs::remove_file(&path).unwrap()).unwrap_err().to_string();
        assert!(gone.contains("a.parquet: there is no such object"), "{gone}");
    }

    #[test]
    fn caches_belong_to_a_state_of_the_object() {
        let files = Files::new();
        let path = files.write("a.csv", "label,scenario,city\n1,home,Rome\n0,home,Bern\n");
        let schema = Schema::fit(&config(vec![categorical("city")]), url(&path)).unwrap();
        let (source, folder) = (Source::from(url(&path)), files.path("caches"));
        let prepare = || Cache::prepare(&source, &schema, None, &folder, |_| {}).unwrap();
        let (first, prepared) = prepare();
        assert_eq!((first.rows(), prepared), (2, Prepared::Made));
        assert!(first.path().file_name().unwrap().to_str().unwrap().starts_with("a-"));
        let (again, prepared) = prepare();
        assert_eq!((again.path(), prepared), (first.path(), Prepared::Found));
        files.write("a.csv", "label,scenario,city\n1,home,Rome\n0,home,Rome\n1,home,Rome\n");
        let (other, prepared) = prepare();
        assert_eq!((other.rows(), prepared), (3, Prepared::Made));
        assert_ne!(other.path(), first.path());
    }

    #[test]
    fn urls_that_name_nothing() {
        let files = Files::new();
        let there = url(&files.path(""));
        let key = "check the key; it is taken as it is, without %20 and the like";
        let cases = [
            ("s3://", "names no bucket; write s3://bucket/key".into()),
            (
                "s3://my bucket/a.csv",
                "no bucket can be named \"my bucket\"; write its letters, digits".into(),
            ),
            ("s3:///a.csv", "names no bucket; write s3://bucket/key".into()),
            (
                "ftp://host/a.csv",
                "a URL that begins with ftp:// cannot be read; use s3://, gs://, az://, file:// or a path"
                    .into(),
            ),
            ("file://host/a.csv", "names the machine 'host'; write file:/// and the whole path".into()),
            (&format!("{there}none.csv"), format!("no such object in file://, and no folder; {key}")),
            (&format!("{there}no/such/"), "the folder holds no file of data; put .csv, ".into()),
            (&format!("{there}none-*.csv"), "no object matches; check the pattern and the bucket".into()),
            (&format!("{there}a/../b.csv"), "cannot be a key: ".into()),
        ];
        for (url, wanted) in cases {
            let error = error(url);
            let url = url.trim_end_matches("/such/").to_owned();
            assert!(error.starts_with(&url) && error.contains(&wanted), "{error}");
        }
        files.write("notes.md", "");
        let error = error(&there);
        assert!(error.contains("notes.md: is not a kind of data file; take it out of the folder"), "{error}");
    }
}
