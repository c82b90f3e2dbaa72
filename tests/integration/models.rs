//! Models on the box: `monet model` with packages and signatures as their makers send them.
//!
//! The folder `models` has small plans, each signed by Debian's minisign, and the keys, which are
//! for these tests alone. `make_the_packages` makes all of it anew.

mod appliance;
mod interrupted;
mod made;
mod refused;
mod switched;
