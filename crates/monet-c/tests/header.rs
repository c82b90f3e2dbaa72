//! `include/monet.h` is what cbindgen makes of the crate. `MONET_BLESS=1 cargo test -p monet-c`
//! writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_what_cbindgen_makes_of_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let modules = ["status", "net", "model", "session", "volume"];
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = modules.iter().fold(builder, |builder, name| {
        builder.with_src(root.join("src").join(name).with_extension("rs"))
    });
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = for_c(&String::from_utf8(made).unwrap());
    let path = root.join("include/monet.h");
    if std::env::var_os("MONET_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept == made, "include/monet.h differs: MONET_BLESS=1 cargo test -p monet-c");
}

/// With a heading for people who write C in place of Rust's `# Safety`.
fn for_c(text: &str) -> String {
    text.replace("// # Safety\n", "// The caller's part:\n")
}
