//! What the tunnel carries, and what one client who does not read it costs the others, over loopback:
//! `cargo bench -p rendezvous --bench tunnel` (about two minutes). docs/benchmarks.md keeps the results.
//!
//! The server is the real program in a process of its own, the tunnels are real TCP with TLS. The clients are threads of this
//! process.

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
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("reads /proc, so it needs Linux");
}
