//! The router to which packets for the rest of the world go, over IPv4. Linux says it in a file; elsewhere the system's own
//! program is asked, because the system call takes code that Rust does not check.

use std::net::Ipv4Addr;

/// Where packets go first that go far. `None`: there is no such router, or it is not known.
#[cfg(target_os = "linux")]
pub(crate) async fn default_gateway() -> Option<Ipv4Addr> {
    // Of the process's own network namespace, at once: the kernel makes it up as it is read.
    from_proc(&std::fs::read_to_string("/proc/self/net/route").ok()?)
}

/// The same.
#[cfg(target_os = "windows")]
pub(crate) async fn default_gateway() -> Option<Ipv4Addr> {
    from_route_print(&said_by("route", &["print", "-4", "0.0.0.0"]).await?)
}

/// The same.
#[cfg(not(any(target_os = "linux", target_os = "windows")))]
pub(crate) async fn default_gateway() -> Option<Ipv4Addr> {
    from_netstat(&said_by("netstat", &["-rn", "-f", "inet"]).await?)
}

/// What a program says within two seconds.
#[cfg(not(target_os = "linux"))]
async fn said_by(program: &'static str, arguments: &'static [&'static str]) -> Option<String> {
    let run = tokio::task::spawn_blocking(move || std::process::Command::new(program).args(arguments).output());
    let output = tokio::time::timeout(std::time::Duration::from_secs(2), run).await.ok()?.ok()?;
    let output = output.inspect_err(|error| tracing::debug!(%error, program, "the gateway is not known")).ok()?;
    String::from_utf8(output.stdout).ok()
}

/// proc_pid_net(5), `route`: interface, destination, gateway, flags, references, uses, metric, mask and more, numbers in
/// hexadecimal, addresses as the machine has them in its memory.
#[cfg(any(test, target_os = "linux"))]
fn from_proc(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let metric: u32 = fields.get(6)?.parse().ok()?;
        let default = number(1) == Some(0) && number(7) == Some(0);
        default.then_some((metric, Ipv4Addr::from(number(2)?.to_ne_bytes())))
    });
    usable(routes)
}

/// `netstat -rn -f inet`: destination, gateway and more; the first default route is the one in use.
#[cfg(any(test, not(any(target_os = "linux", target_os = "windows"))))]
fn from_netstat(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let default = fields.next().is_some_and(|destination| destination == "default" || destination == "0.0.0.0");
        if default { Some((0, fields.next()?.parse().ok()?)) } else { None }
    });
    usable(routes)
}

/// `route print -4 0.0.0.0`: destination, mask, gateway, interface, metric. Its words are in the user's language, its rows are not.
#[cfg(any(test, target_os = "windows"))]
fn from_route_print(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, mask, gateway, _, metric] = fields.as_slice() else { return None };
        let default = *destination == "0.0.0.0" && *mask == "0.0.0.0";
        if default { Some((metric.parse().ok()?, gateway.parse().ok()?)) } else { None }
    });
    usable(routes)
}

/// The best of them that goes by a router; a route without one goes to a line at whose end somebody else is, such as a tunnel.
fn usable(routes: impl Iterator<Item = (u32, Ipv4Addr)>) -> Option<Ipv4Addr> {
    // The first of equals: `min_by_key` keeps it.
    let best = routes.min_by_key(|(metric, _)| *metric)?.1;
    (!best.is_unspecified() && !best.is_loopback() && !best.is_multicast() && !best.is_broadcast()).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(192, 168, 1, 1))
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn linux_names_the_router_of_the_best_default_route() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let lan = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let wifi = "wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n";
        let wire = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        let vpn = "tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n";
        assert_eq!(from_proc(&[head, lan, wifi, wire].concat()), router());
        assert_eq!(from_proc(&[head, lan].concat()), None, "no way out");
        assert_eq!(from_proc(&[head, wire, vpn].concat()), None, "everything goes through a tunnel");
        for junk in ["", "\n\n", "a b c d e f g h\nx 0 0", "Iface\neth0 00000000 zz 0 0 0 0 00000000"] {
            assert_eq!(from_proc(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn macos_names_the_router_of_its_first_default_route() {
        let table = "Routing tables\n\nInternet:\nDestination        Gateway            Flags               Netif Expire\n\
                     default            192.168.1.1        UGScg                 en0       \n\
                     default            link#20            UCSIg           bridge100      !\n\
                     127                127.0.0.1          UCS                   lo0       \n";
        assert_eq!(from_netstat(table), router());
        assert_eq!(from_netstat("default            link#20            UCSIg           utun3\n"), None);
        assert_eq!(from_netstat(""), None);
    }

    #[test]
    fn windows_names_the_router_of_the_cheapest_default_route_in_any_language() {
        let table = "IPv4-Routentabelle\r\n===\r\nAktive Routen:\r\n     Netzwerkziel    Netzwerkmaske          Gateway    Schnittstelle Metrik\r\n\
                     \x20         0.0.0.0          0.0.0.0      192.168.2.1     192.168.2.55     55\r\n\
                     \x20         0.0.0.0          0.0.0.0      192.168.1.1     192.168.1.20     25\r\n\
                     Ständige Routen:\r\n  Keine\r\n";
        assert_eq!(from_route_print(table), router());
        let bound = "          0.0.0.0          0.0.0.0   Auf Verbindung        10.8.0.2     25\r\n";
        assert_eq!(from_route_print(bound), None);
    }
}
