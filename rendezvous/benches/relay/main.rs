//! What the relay costs and how it behaves beyond its limits, over loopback, beside coturn's:
//! `cargo bench -p rendezvous --bench relay` (with coturn installed; about four minutes). docs/benchmarks.md keeps the
//! results.
//!
//! The server is the real program in a process of its own; only its processor time is counted. The clients are threads
//! of this one. Every frame is a datagram of its own (no segmentation offload), which is the hard case.

#[cfg(target_os = "linux")]
mod clients;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod coturn;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
#[path = "../../tests/support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("reads /proc, so it needs Linux");
}
