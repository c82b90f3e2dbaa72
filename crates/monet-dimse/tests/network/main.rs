//! Associations over real sockets: both sides of the crate, scripted peers that break rules, DCMTK,
//! pynetdicom.

mod answers;
mod dcmtk;
mod deadlines;
mod division;
mod loopback;
mod pynetdicom;
mod server;
mod violations;
mod wire;
