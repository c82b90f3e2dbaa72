//! What a build takes from outside `src`: the boards of `targets`, and on 32-bit ARM where the
//! program starts.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // At the check of the CPU in `src/floor.rs`.
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("arm") {
        println!("cargo:rustc-link-arg-bin=monet=-Wl,--entry=monet_entry");
    }
    boards();
}

/// Writes the names and texts of the profiles in `targets` as Rust, for `src/targets/mod.rs`: a
/// file there is all that a board takes.
fn boards() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo tells where the package is");
    let folder = Path::new(&root).join("targets");
    // New files in the folder count as a change of it.
    println!("cargo:rerun-if-changed={}", folder.display());
    let files = fs::read_dir(&folder).expect("the folder of the boards");
    let mut names: Vec<String> = files
        .filter_map(|file| file.expect("a file of that folder").file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
        // Costs of cores, no board.
        .filter(|name| name != "predictions")
        .collect();
    names.sort();
    let text = |name: &String| {
        let path = folder.join(name).with_extension("toml");
        println!("cargo:rerun-if-changed={}", path.display());
        format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string())
    };
    let texts: String = names.iter().map(text).collect();
    let out = env::var("OUT_DIR").expect("cargo tells where to write");
    fs::write(Path::new(&out).join("targets.rs"), format!("&[\n{texts}]\n"))
        .expect("the build's folder can be written");
}
