//! Names the shared library `libmonet.so.N` for programs: N is the header's `MONET_ABI`.

fn main() {
    const HEADER: &str = "include/monet.h";
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={HEADER}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let header = std::fs::read_to_string(HEADER).expect("the header is beside the build script");
    let number = header.lines().find_map(|line| line.strip_prefix("#define MONET_ABI "));
    let number = number.expect("the header has a MONET_ABI");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmonet.so.{number}");
}
