//! For each emulated board: names its linker script, and the folder of files that its programs
//! embed.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg=-T{here}/memory.ld");
    println!("cargo::rerun-if-changed=memory.ld");
    println!("cargo::rerun-if-env-changed=BOARD_FILES");
    let files = std::env::var("BOARD_FILES").unwrap_or_else(|_| format!("{here}/../files"));
    if !std::path::Path::new(&files).join("sample.bin").exists() {
        println!("cargo::error={files} has no sample.bin: run tools/firmware prepare");
    }
    println!("cargo::rustc-env=BOARD_FILES={files}");
}
