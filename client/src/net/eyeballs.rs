//! A host with several addresses, of which some may lead nowhere: Happy Eyeballs (RFC 8305). All are tried, a quarter of a second after
//! each other or as soon as the one before has failed, the versions of IP in turn; the first that answers is taken.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

/// From one address to the next: a broken version of IP costs no more than this (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one host that are tried.
const ADDRESSES: usize = 4;

/// In the order in which they are tried: the system's (RFC 6724), with the versions of IP in turn (RFC 8305, section 4).
pub(super) fn order(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<SocketAddr> = addresses.collect();
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of = |ipv6: bool| addresses.iter().copied().filter(move |address| address.is_ipv6() == ipv6);
    let (mut first, mut other) = (of(first_is_ipv6), of(!first_is_ipv6));
    let mut ordered = Vec::new();
    while ordered.len() < ADDRESSES {
        let before = ordered.len();
        ordered.extend(first.next());
        ordered.extend(other.next());
        if ordered.len() == before {
            break;
        }
    }
    ordered.truncate(ADDRESSES);
    ordered
}

/// The first success; the others are dropped. If there is none, all failures, in their order.
pub(super) async fn race<T, E, F: Future<Output = Result<T, E>>>(
    addresses: Vec<SocketAddr>,
    dial: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<E>> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    attempts.extend(waiting.next().map(&dial));
    let mut failures = Vec::new();
    loop {
        tokio::select! {
            ended = attempts.next() => match ended {
                Some(Ok(success)) => return Ok(success),
                Some(Err(failure)) => {
                    failures.push(failure);
                    attempts.extend(waiting.next().map(&dial));
                }
                None => return Err(failures),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => attempts.extend(waiting.next().map(&dial)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn the_versions_of_ip_are_tried_in_turn_and_four_addresses_at_most() {
        let given = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "192.0.2.1:1", "192.0.2.2:1"]);
        let wanted = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1"]);
        assert_eq!(order(given.into_iter()), wanted);
        let given = addresses(&["192.0.2.1:1", "192.0.2.2:1"]);
        assert_eq!(order(given.clone().into_iter()), given);
        assert_eq!(order(std::iter::empty()), []);
    }

    /// What an address does.
    #[derive(Clone, Copy)]
    enum Does {
        Answer,
        Refuse,
        Nothing,
    }

    async fn raced(does: &[Does]) -> Result<u16, Vec<u16>> {
        let addresses = (0..does.len()).map(|n| SocketAddr::from(([192, 0, 2, 1], n as u16))).collect();
        let dial = |address: SocketAddr| async move {
            match does[usize::from(address.port())] {
                Does::Answer => Ok(address.port()),
                Does::Refuse => Err(address.port()),
                Does::Nothing => pending().await,
            }
        };
        race(addresses, dial).await
    }

    #[tokio::test]
    async fn who_answers_is_taken_and_a_silent_address_costs_a_quarter_of_a_second() {
        use Does::{Answer, Nothing, Refuse};
        assert_eq!(raced(&[Answer, Answer]).await, Ok(0), "the order is the system's");
        let began = Instant::now();
        assert_eq!(raced(&[Refuse, Refuse, Answer]).await, Ok(2));
        assert_eq!(raced(&[Refuse, Refuse]).await, Err(vec![0, 1]));
        assert_eq!(raced(&[]).await, Err(vec![]));
        assert!(began.elapsed() < STAGGER, "who refuses is not waited for");
        let began = Instant::now();
        assert_eq!(raced(&[Nothing, Nothing, Refuse, Answer]).await, Ok(3));
        assert!(began.elapsed() >= STAGGER * 2, "everybody has a head start");
    }
}
