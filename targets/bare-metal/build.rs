//! For each emulated board: gives the linker its script, and names the folder of files that its
//! programs embed.

use std::path::Path;

fn main() {
    let [here, out] =
        ["CARGO_MANIFEST_DIR", "OUT_DIR"].map(|name| std::env::var(name).unwrap_or_default());
    // A copy, as another checkout that shares the build folder takes what was said here as it is.
    if let Err(error) = std::fs::copy("memory.ld", Path::new(&out).join("memory.ld")) {
        println!("cargo::error=memory.ld cannot be copied to {out}: {error}");
    }
    println!("cargo::rustc-link-search={out}");
    println!("cargo::rustc-link-arg=-Tmemory.ld");
    println!("cargo::rerun-if-changed=memory.ld");
    println!("cargo::rerun-if-env-changed=BOARD_FILES");
    let files = std::env::var("BOARD_FILES").unwrap_or_else(|_| format!("{here}/../files"));
    if !Path::new(&files).join("sample.bin").exists() {
        println!("cargo::error={files} has no sample.bin: run tools/firmware prepare");
    }
    println!("cargo::rustc-env=BOARD_FILES={files}");
}
