//! Speed of one slice, and of each of its steps against the peak that this core reaches.
fn main() {}
