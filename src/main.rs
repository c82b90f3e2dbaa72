//! The `monet` command.
fn main() {}
