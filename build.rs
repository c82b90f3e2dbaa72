//! Where the program starts on 32-bit ARM: at the check of the CPU in `src/floor.rs`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("arm") {
        println!("cargo:rustc-link-arg-bin=monet=-Wl,--entry=monet_entry");
    }
}
