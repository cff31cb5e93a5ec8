//! How long kernel routers remember a session in which nothing moves.

use std::ops::ControlFlow;
use std::time::Duration;

use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::observed::{ObservedLifetimes, SeenRefresh};
use netsim::model::{Behaviour, Family};
use netsim::netns::{Network, Patient, Router, UdpTimeouts, in_namespaces, kernel_site, lifetimes};

#[test]
fn kernel_routers_forget_when_they_were_told_to_and_packets_both_ways_remind_them() {
    in_namespaces(|| {
        let seconds = |unreplied, stream| UdpTimeouts {
            unreplied: Duration::from_secs(unreplied),
            stream: Duration::from_secs(stream),
        };
        let cell = Router::cell(Mapping::AddressDependent, Filtering::EndpointIndependent);
        let series = [
            vec![Router { udp_timeouts: seconds(1, 3), ..Router::home() }],
            vec![Router { udp_timeouts: seconds(2, 2), ..cell }],
            // The carrier forgets first what is not answered, the home what is.
            vec![
                Router { udp_timeouts: seconds(3, 3), ..Router::home() },
                Router { udp_timeouts: seconds(2, 5), ..Router::carrier() },
            ],
        ];
        let net = Network::new()?;
        let server = net.public_host("server")?;
        let mut hosts = vec![];
        for routers in &series {
            let chain: Vec<Behaviour> = routers.iter().map(Router::behaviour).collect();
            let expected = ObservedLifetimes::of_chain(&chain.iter().collect::<Vec<_>>()).ok_or("routers forget")?;
            hosts.push((kernel_site(&net, routers)?("alice")?, expected));
        }
        let patients: Vec<Patient<'_, _>> = (3478..)
            .zip(&hosts)
            .map(|(port, (inside, expected))| Patient {
                inside,
                outside: (&server, port),
                family: Family::Ipv4,
                expected: *expected,
            })
            .collect();
        let seen = lifetimes(&patients, |_| ControlFlow::Continue(()))?.ok_or("nobody stopped it")?;
        for ((_, expected), seen) in hosts.iter().zip(seen) {
            assert_eq!(seen.refreshed_by, SeenRefresh { outbound: true, inbound: true });
            assert!(expected.agrees(&seen), "{expected:?}: {seen:?}");
        }
        Ok(())
    });
}
