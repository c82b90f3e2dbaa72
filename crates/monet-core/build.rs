//! Tells the crate whether it is built for a Cortex-M core that may have the kernels for these.
//!
//! The compiler has no stable name for that: `target_feature = "mclass"` is not one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(cortex_m)");
    let triple = std::env::var("TARGET").unwrap_or_default();
    let architecture = triple.split('-').next().unwrap_or_default();
    if matches!(architecture, "thumbv7em" | "thumbv8m.main" | "thumbv8.1m.main") {
        println!("cargo::rustc-cfg=cortex_m");
    }
}
