//! What a registered client costs the server in memory and a registration in processor time, over loopback, and whether
//! a Retry ever costs a client its handshake: `cargo bench -p rendezvous --bench registrations` (about five minutes).
//! docs/benchmarks.md keeps the results.
//!
//! The server is the real program in a process of its own, and only its memory and time are counted. The clients are
//! tasks of this one. They have loopback addresses of their own, because the server counts by address.

#[cfg(target_os = "linux")]
mod bare;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
#[path = "../relay/process.rs"]
mod process;
#[cfg(target_os = "linux")]
#[path = "../../tests/support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
fn main() {
    bare::serve_if_asked();
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("reads /proc and uses all of 127.0.0.0/8, so it needs Linux");
}
