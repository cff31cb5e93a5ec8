//! The side that is asked to measure: it does so without asking its user, within bounds.

use std::time::Duration;

use common::identity::PeerId;
use common::session::Route;
use common::speed::{BULK_STREAMS, MAX_EACH_WAY, MAX_RUN, NO_MORE, Refusal, RunNumber, SPEED, SpeedFrame};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::time::{interval, timeout};

use super::bulk::{Counting, Sending};
use super::desk::{Desk, Place};
use super::frames::{Broken, Frames};

/// The first frame is sent together with the stream.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// How often the asker hears what has arrived: its picture moves, and nothing that is measured is in the way.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// Serves the streams that a peer opens beside its session, until the connection ends.
pub(in crate::net) async fn serve(connection: Connection, peer: PeerId, route: Route, desk: Desk) {
    // QUIC bounds how many there are at a time.
    while let Ok((send, receive)) = connection.accept_bi().await {
        let (connection, desk) = (connection.clone(), desk.clone());
        tokio::spawn(async move {
            let Ok(Some(frames)) = timeout(FIRST_FRAME, kind(send, receive)).await else { return };
            answer(&connection, frames, peer, route, &desk).await;
        });
    }
}

/// Looks what kind of stream it is. One that we do not know is refused, so that a newer peer knows at once.
async fn kind(mut send: SendStream, mut receive: RecvStream) -> Option<Frames> {
    let mut kind = [0];
    receive.read_exact(&mut kind).await.ok()?;
    if kind == [SPEED] {
        return Some(Frames::new(send, receive));
    }
    let _ = send.reset(VarInt::from_u32(NO_MORE));
    let _ = receive.stop(VarInt::from_u32(NO_MORE));
    None
}

async fn answer(connection: &Connection, mut frames: Frames, peer: PeerId, route: Route, desk: &Desk) {
    let Ok(Ok(Some(SpeedFrame::Ask { run, each_way_ms }))) = timeout(FIRST_FRAME, frames.next()).await else {
        return frames.refuse();
    };
    let each_way = Duration::from_millis(each_way_ms.into());
    let place = match admit(route, each_way, peer, desk) {
        Ok(place) => place,
        Err(why) => {
            tracing::info!(peer = %peer.short(), ?why, "a measurement refused");
            let _ = frames.say(&SpeedFrame::Refuse(why)).await;
            return;
        }
    };
    tracing::info!(peer = %peer.short(), ?each_way, "a measurement begins");
    let credit = Credit::give(connection);
    let ended = timeout(MAX_RUN, follow(connection, &mut frames, run, each_way)).await;
    drop((place, credit));
    tracing::info!(peer = %peer.short(), ?ended, "a measurement ended");
    if !matches!(ended, Ok(Ok(()))) {
        frames.refuse();
    }
}

fn admit(route: Route, each_way: Duration, peer: PeerId, desk: &Desk) -> Result<Place, Refusal> {
    match route {
        Route::Relayed => Err(Refusal::Relayed),
        Route::Direct if each_way.is_zero() || each_way > MAX_EACH_WAY => Err(Refusal::Span),
        Route::Direct => desk.take(peer).ok_or(Refusal::Busy),
    }
}

/// Streams that the peer may send bytes on. Without a run there are none, so that nobody can make us hold what we do not read.
pub(super) struct Credit<'a>(&'a Connection);

impl<'a> Credit<'a> {
    pub(super) fn give(connection: &'a Connection) -> Self {
        connection.set_max_concurrent_uni_streams(BULK_STREAMS.into());
        Credit(connection)
    }
}

impl Drop for Credit<'_> {
    fn drop(&mut self) {
        self.0.set_max_concurrent_uni_streams(0u8.into());
    }
}

/// Does what the asker says, until it ends the stream.
async fn follow(
    connection: &Connection,
    frames: &mut Frames,
    run: RunNumber,
    each_way: Duration,
) -> Result<(), Broken> {
    frames.say(&SpeedFrame::Accept).await?;
    let mut counting: Option<Counting> = None;
    let mut sending: Option<Sending> = None;
    // Each way once.
    let (mut may_upload, mut may_download) = (true, true);
    let mut tick = interval(COUNT_EVERY);
    loop {
        tokio::select! {
            frame = frames.next() => match frame? {
                Some(SpeedFrame::Probe(number)) => frames.say(&SpeedFrame::Echo(number)).await?,
                Some(SpeedFrame::Upload) if std::mem::take(&mut may_upload) => {
                    counting = Some(Counting::start(connection, run));
                }
                Some(SpeedFrame::UploadEnds) => {
                    let arrived = counting.take().ok_or(Broken::Protocol)?.arrived();
                    frames.say(&SpeedFrame::Counted { arrived, last: true }).await?;
                }
                Some(SpeedFrame::Download) if counting.is_none() && std::mem::take(&mut may_download) => {
                    sending = Some(Sending::start(connection, run, each_way));
                }
                Some(_) => return Err(Broken::Protocol),
                None => return Ok(()),
            },
            () = all_sent(&mut sending) => {
                sending = None;
                frames.say(&SpeedFrame::DownloadEnds).await?;
            }
            _ = tick.tick(), if counting.is_some() => {
                let arrived = counting.as_ref().map(Counting::arrived).unwrap_or_default();
                frames.say(&SpeedFrame::Counted { arrived, last: false }).await?;
            }
        }
    }
}

async fn all_sent(sending: &mut Option<Sending>) {
    match sending {
        Some(sending) => sending.done().await,
        None => std::future::pending().await,
    }
}
