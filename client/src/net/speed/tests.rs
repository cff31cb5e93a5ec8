//! Two ends over loopback: one asks, the other is whatever the test makes of it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::identity::{Identity, PeerId};
use common::session::Route;
use common::speed::{MAX_EACH_WAY, NO_MORE, Refusal};
use common::tls::{Certificate, SERVER_NAME};
use quinn::{Connection, Endpoint, EndpointConfig, ReadError, TokioRuntime, VarInt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Desk, Run, serve};
use crate::net::transport;
use crate::node::{NodeEvent, SessionId, SpeedFailure, SpeedPhase, SpeedReport};

const RTT: Duration = Duration::from_millis(20);
/// A run of the shortest span, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

/// Alice's end and Bob's of one connection. The endpoints must stay.
struct Pair {
    alice: Connection,
    bob: Connection,
    _endpoints: [Endpoint; 2],
}

fn id(seed: u8) -> PeerId {
    Identity::from_seed(&[seed; 32]).peer_id()
}

async fn pair() -> Pair {
    let certificate = |seed| Certificate::new(&Identity::from_seed(&[seed; 32])).expect("a certificate");
    let (server, _) = transport::peer_server(&certificate(2), id(1), Route::Direct, RTT).expect("a configuration");
    let (client, _) = transport::peer_client(&certificate(1), id(2), Route::Direct, RTT).expect("a configuration");
    let endpoint = |server| {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime)).expect("an endpoint")
    };
    let (near, far) = (endpoint(None), endpoint(Some(server)));
    let dialled = near.connect_with(client, far.local_addr().expect("bound"), SERVER_NAME).expect("an attempt");
    let accepted = async { far.accept().await.expect("a connection").await };
    let (alice, bob) = tokio::join!(dialled, accepted);
    Pair { alice: alice.expect("a handshake"), bob: bob.expect("a handshake"), _endpoints: [near, far] }
}

/// What came of it, and whether the picture moved in all phases.
async fn measure(connection: &Connection, each_way: Duration, desk: Desk) -> (SpeedReport, Vec<SpeedPhase>) {
    let (events, mut told) = mpsc::channel(4096);
    let run = Run { peer: id(2), session: SessionId(7), connection: connection.clone(), each_way, desk, events };
    timeout(SOON, run.measure()).await.expect("an end");
    let mut phases = Vec::new();
    while let Some(NodeEvent::Speed { report, .. }) = told.recv().await {
        match report {
            SpeedReport::Progress { phase, .. } => phases.push(phase),
            end => {
                phases.dedup();
                return (end, phases);
            }
        }
    }
    panic!("no end was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_and_both_round_trips_are_measured_twice_over_one_connection() {
    let pair = pair().await;
    let desk = Desk::default();
    tokio::spawn(serve(pair.bob.clone(), id(1), Route::Direct, desk.clone()));
    for _ in 0..2 {
        let (report, phases) = measure(&pair.alice, SHORT, Desk::default()).await;
        let SpeedReport::Done { up_mbps, down_mbps, idle, loaded } = report else { panic!("{report:?}") };
        assert!(up_mbps > 0.1 && down_mbps > 0.1, "{report:?}");
        assert!(!idle.is_zero() && !loaded.is_zero(), "{report:?}");
        assert_eq!(phases, [SpeedPhase::Idle, SpeedPhase::Up, SpeedPhase::Down]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_know_these_frames_is_given_up() {
    let pair = pair().await;
    // As before there were such streams: one is accepted, for the session, and no other.
    let (report, _) = measure(&pair.alice, SHORT, Desk::default()).await;
    assert_eq!(report, SpeedReport::Failed(SpeedFailure::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_with_its_reason() {
    for (route, each_way, taken, why) in [
        (Route::Relayed, SHORT, 0, Refusal::Relayed),
        (Route::Direct, MAX_EACH_WAY + SHORT, 0, Refusal::Span),
        (Route::Direct, Duration::ZERO, 0, Refusal::Span),
        (Route::Direct, SHORT, 2, Refusal::Busy),
    ] {
        let pair = pair().await;
        let desk = Desk::default();
        let _places: Vec<_> = (0..taken).map(|other| desk.take(id(10 + other)).expect("a place")).collect();
        tokio::spawn(serve(pair.bob.clone(), id(1), route, desk.clone()));
        let (report, _) = measure(&pair.alice, each_way, Desk::default()).await;
        assert_eq!(report, SpeedReport::Failed(SpeedFailure::Refused(why)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_measuring_already_does_not_ask() {
    let pair = pair().await;
    let desk = Desk::default();
    let _place = desk.take(id(2));
    let (report, _) = measure(&pair.alice, SHORT, desk.clone()).await;
    assert_eq!(report, SpeedReport::Failed(SpeedFailure::Busy));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_connection_ends_the_run_on_both_sides() {
    let pair = pair().await;
    let desk = Desk::default();
    let serving = tokio::spawn(serve(pair.bob.clone(), id(1), Route::Direct, desk.clone()));
    let asked = pair.alice.clone();
    let run = tokio::spawn(async move { measure(&asked, MAX_EACH_WAY, Desk::default()).await });
    let taken = || desk.measures_with(id(1));
    wait_until(taken).await;
    pair.alice.close(VarInt::from_u32(0), b"");
    let (report, _) = run.await.expect("no panic");
    assert_eq!(report, SpeedReport::Failed(SpeedFailure::Ended));
    timeout(SOON, serving).await.expect("an end").expect("no panic");
    wait_until(|| !taken()).await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "it does not happen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_kind_and_one_that_says_nonsense_are_refused() {
    let pair = pair().await;
    tokio::spawn(serve(pair.bob.clone(), id(1), Route::Direct, Desk::default()));
    for bytes in [&[200u8][..], &[1, 2, 0, 1, 99], &[1, 77]] {
        let (mut send, mut receive) = pair.alice.open_bi().await.expect("a stream");
        send.write_all(bytes).await.expect("it is written");
        let answer = timeout(SOON, receive.read(&mut [0; 8])).await.expect("an answer");
        assert_eq!(answer, Err(ReadError::Reset(VarInt::from_u32(NO_MORE))), "{bytes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_run_nobody_may_send_bytes() {
    let pair = pair().await;
    tokio::spawn(serve(pair.bob.clone(), id(1), Route::Direct, Desk::default()));
    let opened = timeout(SHORT, pair.alice.open_uni()).await;
    assert!(opened.is_err(), "a stream was granted");
}
