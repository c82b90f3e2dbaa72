//! Associations over real sockets: both sides of the crate, scripted peers that break rules, DCMTK,
//! pynetdicom, Orthanc.

mod answers;
mod dcmtk;
mod deadlines;
mod division;
mod files;
mod loopback;
mod orthanc;
mod pynetdicom;
mod server;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_refusals;
mod violations;
mod wire;
