//! Names each board's linker script, and the folder of files that the programs embed.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    for board in ["stm32h747", "stm32h7s", "alif-ensemble"] {
        println!("cargo::rustc-link-arg-bin={board}=-T{here}/{board}.ld");
        println!("cargo::rerun-if-changed={board}.ld");
    }
    println!("cargo::rerun-if-env-changed=BOARD_FILES");
    let files = std::env::var("BOARD_FILES").unwrap_or_else(|_| format!("{here}/../files"));
    println!("cargo::rustc-env=BOARD_FILES={files}");
}
