//! A node's side of a connection, against front ends of every kind. The host is played here.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::{Semaphore, mpsc};

use super::*;

struct Node {
    asks: mpsc::Receiver<ToHost>,
    drains: mpsc::UnboundedReceiver<crate::online::FrontId>,
    alive: mpsc::Receiver<()>,
}

/// A connection that was let in, and the end that the front end has. `buffer`: what the system holds for it.
async fn connected(buffer: usize) -> (Node, Outbox, DuplexStream) {
    let (host, mut asks) = mpsc::channel(64);
    let (drained, drains) = mpsc::unbounded_channel();
    let (alive, ended) = mpsc::channel(1);
    let (ours, theirs) = duplex(buffer);
    let permit = std::sync::Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free");
    let wires = Wires { host, drained, alive };
    serve(ConnectionId(1), theirs, Greeting::new(true, false), wires, Some(permit)).await;
    let Some(ToHost::Connected(ConnectionId(1), outbox)) = asks.recv().await else { panic!("it is let in") };
    (Node { asks, drains, alive: ended }, outbox, ours)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("in time")
}

#[tokio::test]
async fn a_front_end_is_greeted_and_asks() {
    let (mut node, _outbox, mut front) = connected(4096).await;
    front.write_all(b"\n{\"id\":1,\"command\":\"watch\"}\n{\"re\":1,\"interrupt\":true}\n").await.expect("written");
    let ask = within(node.asks.recv()).await;
    assert!(matches!(ask, Some(ToHost::Asked(_, request)) if matches!(request.command, Command::Watch)));
    assert!(matches!(within(node.asks.recv()).await, Some(ToHost::Input(_, 1, Input::Interrupt))));
    let mut lines = BufReader::new(front).lines();
    let greeting = within(lines.next_line()).await.expect("read").expect("a line");
    let greeting: Greeting = serde_json::from_str(&greeting).expect("a greeting");
    assert_eq!((greeting.punchline, greeting.stays), (VERSION, true));
    drop(lines);
    assert!(matches!(within(node.asks.recv()).await, Some(ToHost::Gone(_))));
    assert_eq!(within(node.alive.recv()).await, None);
}

#[tokio::test]
async fn a_node_that_has_stopped_listening_has_the_last_word_all_the_same() {
    let (node, outbox, front) = connected(1 << 16).await;
    let (input, mut output) = tokio::io::split(front);
    drop(node.asks);
    // Somebody who is in the middle of saying things.
    for _ in 0..100 {
        output.write_all(b"{\"re\":1,\"line\":\"more\"}\n").await.expect("written");
        tokio::task::yield_now().await;
    }
    outbox.line("the disk is full".to_owned());
    drop(outbox);
    let mut lines = BufReader::new(input).lines();
    let mut heard = Vec::new();
    while let Ok(Some(line)) = within(lines.next_line()).await {
        heard.push(line);
    }
    assert_eq!(heard.last().map(String::as_str), Some("the disk is full"), "{heard:?}");
}

#[tokio::test]
async fn junk_is_told_of_and_does_no_harm() {
    let (mut node, _outbox, mut front) = connected(4096).await;
    front.write_all(b"what?\n\x00\x01{}\n{\"id\":1,\"command\":\"watch\"}\n").await.expect("written");
    for _ in 0..2 {
        let ask = within(node.asks.recv()).await;
        assert!(matches!(ask, Some(ToHost::Misspoken { request: None, over: false, .. })), "{ask:?}");
    }
    assert!(matches!(within(node.asks.recv()).await, Some(ToHost::Asked(..))));
    front.write_all(b"\xff\xfe\n").await.expect("written");
    let ask = within(node.asks.recv()).await;
    assert!(matches!(ask, Some(ToHost::Misspoken { over: true, .. })), "{ask:?}");
}

#[tokio::test]
async fn an_endless_line_ends_the_connection_with_a_word_about_it() {
    let (mut node, outbox, front) = connected(4096).await;
    let (mut input, mut output) = tokio::io::split(front);
    let writing = tokio::spawn(async move { while output.write_all(&[b'x'; 4096]).await.is_ok() {} });
    let Some(ToHost::Misspoken { over: true, failure, .. }) = within(node.asks.recv()).await else {
        panic!("it is told of")
    };
    assert!(failure.message.contains(&MAX_LINE.to_string()), "{failure}");
    assert!(outbox.line(answer(None, "{\"event\":\"error\"}")));
    drop(outbox);
    let mut said = String::new();
    within(input.read_to_string(&mut said)).await.expect("read");
    assert!(said.ends_with("{\"re\":null,\"event\":\"error\"}\n"), "{said}");
    drop(input);
    within(writing).await.expect("it ends");
    assert_eq!(within(node.alive.recv()).await, None);
}

#[tokio::test]
async fn a_front_end_that_does_not_read_is_dropped_before_it_costs_much() {
    let (mut node, outbox, front) = connected(4096).await;
    let line = "x".repeat(1000);
    let mut lines = 0;
    while outbox.line(line.clone()) {
        lines += 1;
        assert!(lines * line.len() <= MAX_QUEUED + 2 * 4096, "it is held without end");
    }
    assert!(lines * line.len() > MAX_QUEUED / 2, "a pause is no reason: {lines}");
    assert_eq!(within(node.alive.recv()).await, None, "the connection is gone");
    drop(front);
}

#[tokio::test]
async fn a_mark_is_reached_when_everything_before_it_was_read() {
    let (mut node, outbox, mut front) = connected(64).await;
    outbox.line("x".repeat(10_000));
    outbox.mark(crate::online::FrontId(7));
    tokio::task::yield_now().await;
    assert!(node.drains.try_recv().is_err());
    let mut read = vec![0; 10_000];
    within(front.read_exact(&mut read)).await.expect("read");
    let (marked, _) = tokio::join!(within(node.drains.recv()), async {
        let mut rest = vec![0; 500];
        let _ = front.read(&mut rest).await;
        let _ = tokio::time::timeout(Duration::from_millis(200), front.read(&mut rest)).await;
    });
    assert_eq!(marked, Some(crate::online::FrontId(7)));
}

#[tokio::test]
async fn a_command_is_answered_line_by_line_and_its_input_comes_through() {
    let (mut node, outbox, ours) = connected(4096).await;
    let mut front = within(Front::open(ours)).await.expect("greeted");
    front.input(3, &Input::Eof);
    assert!(matches!(within(node.asks.recv()).await, Some(ToHost::Input(_, 3, Input::Eof))));
    outbox.line(answer(Some(3), r#"{"v":1,"event":"lost","reason":"x"}"#));
    outbox.line(r#"{"re":3,"text":"in words"}"#.to_owned());
    outbox.line(more(3, 64));
    outbox.line(answer(Some(3), r#"{"v":1,"event":"error","code":3,"kind":"peer_offline","message":"away"}"#));
    outbox.line(done(3, 3));
    let mut said = Vec::new();
    for _ in 0..5 {
        said.push(within(front.next()).await.expect("answered"));
    }
    let failure = crate::exit::Failure::new(crate::exit::Exit::PeerOffline, "away");
    let lost = Said::Line(r#"{"v":1,"event":"lost","reason":"x"}"#.to_owned());
    let words = Said::Line("in words".to_owned());
    assert_eq!(said, [lost, words, Said::More(64), Said::Error(failure), Said::Done(3)]);
    drop(outbox);
    let gone = within(front.next()).await.expect_err("it has ended");
    assert!(gone.message.contains("has ended"), "{gone}");
}
