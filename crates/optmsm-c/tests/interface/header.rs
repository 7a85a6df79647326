//! The header is what the crate exports.

use std::path::Path;

#[test]
fn the_header_is_that_of_the_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let made = cbindgen::Builder::new().with_crate(folder).with_config(config).generate().unwrap();
    let mut text = Vec::new();
    made.write(&mut text);
    let (text, path) = (String::from_utf8(text).unwrap(), folder.join("include/optmsm.h"));
    if std::env::var_os("OPTMSM_HEADER").is_some_and(|what| what == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "include/optmsm.h is of other sources; OPTMSM_HEADER=write makes it anew:\n{text}");
}
