//! Lets the binary find libtorch where it was linked from.

fn main() {
    // From torch-sys, which found it through LIBTORCH; without it the loader's own paths apply.
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
        // The CUDA helper libraries that a CPU libtorch cut from the wheel still names.
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}/../../nvidia/cu13/lib");
    }
}
