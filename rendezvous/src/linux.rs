//! Several sockets at one port, among which the kernel chooses by what a datagram is (SO_REUSEPORT with a program in
//! classic BPF): relay frames have sockets of their own, so that they cannot fill the receive buffer in which first packets
//! and requests wait.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use common::datagram::RELAY_FIRST_BYTE;
use libc::{
    BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MISC, BPF_MOD, BPF_MUL,
    BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X, SKF_NET_OFF, sock_filter, sock_fprog,
};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{AttachReusePortCbpf, ReusePort};

use crate::listen::bind;

/// 2^32 divided by the golden ratio: spreads what differs in the last bits only.
const GOLDEN: u32 = 0x9e37_79b1;

/// Opens `count` more sockets at the port of `first`, to which from then on the relay frames go that arrive there. The
/// frames of one sender all go to the same one.
///
/// `first` was bound without sharing its port, so nobody else had it; what is bound here is bound with it. Whoever comes
/// later without SO_REUSEPORT is refused, another rendezvous too; and whoever comes with it, as the same user, is given
/// nothing by the program.
pub(crate) fn share(first: &UdpSocket, count: u16) -> io::Result<Vec<UdpSocket>> {
    let address = first.local_addr()?;
    setsockopt(first, ReusePort, &true)?;
    let others = (0..count).map(|_| bind(address, |socket| Ok(setsockopt(socket, ReusePort, &true)?)));
    let steered = others.collect::<io::Result<Vec<_>>>().and_then(|others| {
        steer(first, address, count)?;
        Ok(others)
    });
    if steered.is_err() {
        // Alone again, as if nothing had been tried.
        setsockopt(first, ReusePort, &false)?;
    }
    steered
}

/// Sockets of a port are numbered as they came: the first is 0, and gets whatever is no relay frame, also an empty datagram,
/// because a program that looks beyond the end returns 0.
fn steer(first: &UdpSocket, address: SocketAddr, count: u16) -> io::Result<()> {
    // In the headers of IPv4 (without options, which nobody uses; with some, others than the port are looked at) and IPv6.
    let (source, port): (&[i32], i32) = if address.is_ipv4() { (&[12], 20) } else { (&[8, 12, 16, 20], 40) };
    let mut program = vec![
        step(BPF_LD | BPF_B | BPF_ABS, 0),
        sock_filter { jt: 1, ..step(BPF_JMP | BPF_JEQ | BPF_K, RELAY_FIRST_BYTE.into()) },
        step(BPF_RET | BPF_K, 0),
        step(BPF_LD | BPF_H | BPF_ABS, in_header(port)),
    ];
    for word in source {
        program.push(step(BPF_MISC | BPF_TAX, 0));
        program.push(step(BPF_LD | BPF_W | BPF_ABS, in_header(*word)));
        program.push(step(BPF_ALU | BPF_ADD | BPF_X, 0));
    }
    program.extend([
        step(BPF_ALU | BPF_MUL | BPF_K, GOLDEN),
        step(BPF_ALU | BPF_RSH | BPF_K, 16),
        step(BPF_ALU | BPF_MOD | BPF_K, count.into()),
        step(BPF_ALU | BPF_ADD | BPF_K, 1),
        step(BPF_RET | BPF_A, 0),
    ]);
    // The kernel copies it.
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    Ok(setsockopt(first, AttachReusePortCbpf, &program)?)
}

fn step(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// The place of a byte of the IP header: offsets count from the payload of UDP, and these are far below.
fn in_header(at: i32) -> u32 {
    (SKF_NET_OFF + at) as u32
}
