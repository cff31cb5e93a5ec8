//! What waiting mail costs the server in memory, how many deposits it takes in a second, and how long mail takes to whoever comes, over
//! loopback: `cargo bench -p rendezvous --bench mailbox` (three minutes). docs/benchmarks.md keeps the results.
//!
//! The server is the real program in a process of its own, and only its memory is counted. The mail of the first measurement is put into
//! its file by the code that puts it there in the server.

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
