//! Several sockets at one port, among which the kernel chooses by what a datagram is (SO_REUSEPORT with a program in
//! classic BPF): relay frames and the first packets of strangers have a socket of their own each, so that neither can fill the
//! receive buffer in which clients' requests and the rest of their handshakes wait.

use std::io;
use std::net::UdpSocket;

use common::datagram::RELAY_FIRST_BYTE;
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, sock_filter, sock_fprog};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{AttachReusePortCbpf, ReusePort};

use crate::connection_ids;
use crate::listen::{Shared, bind};

/// The form and the type of a long header (RFC 9000, section 17.2), and what they are in an Initial.
const LONG_HEADER_TYPE: u32 = 0xf0;
const INITIAL: u32 = 0xc0;
/// Where a long header has the length of the destination's connection id.
const ID_LENGTH: u32 = 5;

/// Opens more sockets at the port of `first`, which get strangers' first packets and relay frames from then on.
///
/// `first` was bound without sharing its port, so nobody else had it; what is bound here is bound with it. Whoever comes
/// later without SO_REUSEPORT is refused, another rendezvous too; and whoever comes with it, as the same user, is given
/// nothing by the program.
pub(crate) fn share(first: &UdpSocket) -> io::Result<Shared> {
    let address = first.local_addr()?;
    setsockopt(first, ReusePort, &true)?;
    let open = || bind(address, |socket| Ok(setsockopt(socket, ReusePort, &true)?));
    let steered = || {
        let (strangers, relay) = (Some(open()?), Some(open()?));
        // The kernel copies the program.
        let mut program = program();
        let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        setsockopt(first, AttachReusePortCbpf, &program)?;
        Ok(Shared { strangers, relay })
    };
    let steered = steered();
    if steered.is_err() {
        // Alone again, as if nothing had been tried.
        setsockopt(first, ReusePort, &false)?;
    }
    steered
}

/// Returns the number of a socket, in the order in which they were bound: 1 for strangers, 2 for relay frames. All else, also what is
/// too short for a question, because a program that looks beyond the end returns 0, goes to the first.
///
/// A stranger's first packet names an id that it drew itself, in no need to have the length of ours. After a Retry, or the
/// server's first answer, it names one of ours.
fn program() -> [sock_filter; 9] {
    const KNOWN: usize = 7;
    const RELAY: usize = 8;
    [
        step(BPF_LD | BPF_B | BPF_ABS, 0),
        branch(1, RELAY_FIRST_BYTE.into(), RELAY, 2),
        step(BPF_ALU | BPF_AND | BPF_K, LONG_HEADER_TYPE),
        branch(3, INITIAL, 4, KNOWN),
        step(BPF_LD | BPF_B | BPF_ABS, ID_LENGTH),
        branch(5, connection_ids::LENGTH as u32, KNOWN, 6),
        step(BPF_RET | BPF_K, 1),
        step(BPF_RET | BPF_K, 0),
        step(BPF_RET | BPF_K, 2),
    ]
}

/// The step at `here`: if the accumulator is `k` the program goes on at one place, else at another.
fn branch(here: usize, k: u32, equal: usize, other: usize) -> sock_filter {
    let offset = |to: usize| (to - here - 1) as u8;
    sock_filter { jt: offset(equal), jf: offset(other), ..step(BPF_JMP | BPF_JEQ | BPF_K, k) }
}

fn step(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}
