//! Tells the crate which kernels for Cortex-M the cores may have that it is built for.
//!
//! The compiler has no stable name for that: `target_feature = "mclass"` is not one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(cortex_m, cortex_m_vectors)");
    let triple = std::env::var("TARGET").unwrap_or_default();
    let architecture = triple.split('-').next().unwrap_or_default();
    let vectors = architecture == "thumbv8m.main";
    if vectors || architecture == "thumbv7em" {
        println!("cargo::rustc-cfg=cortex_m");
    }
    if vectors {
        println!("cargo::rustc-cfg=cortex_m_vectors");
    }
}
