//! Gives the linker each board's script, and names the folder of files that the programs embed.

use std::path::Path;

fn main() {
    let [here, out] =
        ["CARGO_MANIFEST_DIR", "OUT_DIR"].map(|name| std::env::var(name).unwrap_or_default());
    println!("cargo::rustc-link-search={out}");
    for board in ["stm32h747", "stm32h7s", "alif-ensemble"] {
        let script = format!("{board}.ld");
        // A copy, as another checkout that shares the build folder takes what was said here as it
        // is.
        if let Err(error) = std::fs::copy(&script, Path::new(&out).join(&script)) {
            println!("cargo::error={script} cannot be copied to {out}: {error}");
        }
        println!("cargo::rustc-link-arg-bin={board}=-T{script}");
        println!("cargo::rerun-if-changed={script}");
    }
    println!("cargo::rerun-if-env-changed=BOARD_FILES");
    let files = std::env::var("BOARD_FILES").unwrap_or_else(|_| format!("{here}/../files"));
    println!("cargo::rustc-env=BOARD_FILES={files}");
}
