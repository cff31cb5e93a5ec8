//! How much anybody may ask for. Each number stands here with its reason; the handful that an operator may want to
//! change is [`Limits`], the `[limits]` table of the configuration file.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use common::introduction::MAX_CAPABILITIES;
use common::prekey::LONGEST_STORAGE;
use serde::Deserialize;

use crate::mailbox::quota::Usage;

/// Frames of one connection. After a restart of the server a client with 1,024 contacts asks for all of them, is asked
/// for by all of them, and trickles into each of these introductions: 3,072 frames at once are honest.
pub const FRAMES: Rate = Rate { burst: 4096, interval: Duration::from_millis(15) };
/// Introductions of one key: a request for every contact that a registration may hold, at once, and all of them again
/// after two minutes, which is more often than a moving train changes its network.
pub const INTRODUCTIONS: Rate = Rate { burst: MAX_CAPABILITIES as u32, interval: Duration::from_millis(125) };
/// Introductions under one capability of one key, that is to one contact, who consented and is here: each makes the
/// other side send up to 50 probes of 120 bytes (the budget of a plain attempt), so this is 3 kB/s at most in the long
/// run. Twenty at once are somebody who walks through a building from one access point to the next.
pub const INTRODUCTIONS_TO_ONE: Rate = Rate { burst: 20, interval: Duration::from_secs(2) };
/// How long an introduction can be trickled into: the longest attempt at punching takes 12 s, and port mapping
/// protocols answer within 10 s or never (RFC 6886, section 3.1, gives up after 64 s; nobody waits for that).
pub const INTRODUCTION_LIFETIME: Duration = Duration::from_secs(60);
/// Boxes of candidates that one side may send into one introduction: one with its host candidates, and one for each
/// port mapping protocol and each change of network after it.
pub const TRICKLES: u8 = 8;
/// Envelopes that one side may send into one introduction. What it says first rides with the introduction; the answer is
/// one of receipts, and until the relayed connection stands, two round trips later, there may be some more.
pub const LETTERS: u8 = 8;
/// Introductions of one key that are remembered for trickling: all that [`INTRODUCTIONS`] allows in their lifetime.
/// Beyond it the oldest are forgotten, and cost their parties the trickling, not the introduction.
pub const INTRODUCTIONS_OF_ONE_KEY: usize = 2048;
/// Introductions that are remembered at all, about 120 bytes each.
pub const INTRODUCTIONS_REMEMBERED: usize = 200_000;
/// Keys whose use of introductions is remembered after they have gone, until they would be allowed everything again.
pub const ABSENT_KEYS: usize = 50_000;
/// How long a new IP address must last until it is believed. Until a path is validated (RFC 9000, section 8.2), whoever
/// can send from a false source can show us a stranger's address. quinn gives up on a path after three probe timeouts,
/// 3 s on a new path, and returns to the old one. A new port on the old address is believed at once.
pub const NEW_ADDRESS_HOLDS: Duration = Duration::from_secs(4);

/// How long a party may be gone until its channels end: a client that changes its network is back within ten seconds
/// (`Client` in docs/decisions.md), and one that restarts within twenty.
pub const RELAY_ABSENCE: Duration = Duration::from_secs(30);
/// Channels of one key: one for every contact that a registration may hold.
pub const RELAY_CHANNELS_OF_ONE_KEY: usize = MAX_CAPABILITIES;
/// How much of its quota a key may use at once: QUIC starts a transfer with a burst, and half a second's worth outlives
/// the round trips of any path.
pub const RELAY_BURST: Duration = Duration::from_millis(500);

/// Relay frames that wait for one client while the network takes no more, and their bytes: a burst of QUIC's initial window,
/// twice. More would be delay without use: at 100 Mb/s this is 5 ms.
pub const RELAY_QUEUE_FRAMES: usize = 32;
/// See [`RELAY_QUEUE_FRAMES`].
pub const RELAY_QUEUE_BYTES: usize = 64 * 1024;
/// The same by sender: it may have filled the queues of two receivers.
pub const RELAY_SOURCE_FRAMES: usize = 64;
/// See [`RELAY_SOURCE_FRAMES`].
pub const RELAY_SOURCE_BYTES: usize = 128 * 1024;
/// All that waits at one socket: 34 ms of a gigabit.
pub const RELAY_QUEUED_BYTES: usize = 4 << 20;
/// Relay frames that are received, or taken from a queue, before others get their turn: half a millisecond if each is sent alone.
pub const RELAY_TURN: usize = 64;

/// Mail from one sender that may wait for one recipient: what two people write to each other in a week of one's absence, and so
/// little that a contact who means ill is no burden to a whole server.
pub const MAIL_TO_ONE: Usage = Usage { mails: 512, bytes: 4 << 20 };
/// Mail from one sender that may wait for all its contacts: four of them may be away and written to without a pause, or a
/// thousand be told twice what is new.
pub const MAIL_OF_ONE: Usage = Usage { mails: 2048, bytes: 16 << 20 };
/// Which part of all that may wait can come from one address or home, under however many keys: sixteen of them must conspire
/// before anybody else is refused for want of room.
pub const MAIL_SHARE_OF_SOURCE: u64 = 16;
/// What a mail costs beside its bytes: its row, its places in two indexes, and the counters.
pub const MAIL_OVERHEAD: u64 = 256;
/// Deposits from one address or home: a thousand clients behind one carrier's NAT who write four envelopes each at once, and
/// three of them a minute from then on.
pub const DEPOSITS_OF_SOURCE: Rate = Rate { burst: 4096, interval: Duration::from_millis(20) };
/// How often what an account accepts is written down for those of one address or home: a thousand clients come back when the server does.
/// Who has to wait has mail and consent as they were.
pub const CONSENTS_OF_SOURCE: Rate = Rate { burst: 2048, interval: Duration::from_millis(50) };
/// Accounts from one address or home that are new: half of those clients when a server opens, and one more each minute. It takes
/// one source a month to use up what there is.
pub const ACCOUNTS_OF_SOURCE: Rate = Rate { burst: 512, interval: Duration::from_secs(60) };
/// One-time prekeys that one contact may take of another: one is enough for a round of mail, and a recipient who looks in once a
/// day gives 64 anew. Beyond it there is the signed prekey alone.
pub const ONE_TIMES_TO_ONE: Rate = Rate { burst: 8, interval: Duration::from_secs(30 * 60) };
/// Pairs whose use of one-time prekeys is remembered until they may have them all again, about 100 bytes each.
pub const ONE_TIMES_REMEMBERED: usize = 50_000;
/// Deposits of one connection that are not answered yet. One commit answers them all, so more would not be faster: the next one is
/// refused.
pub const MAILBOX_DEPOSITS_OF_ONE: u32 = 64;
/// Other requests of one connection to the mailbox that are not answered yet: prekeys for every contact that a registration may hold.
pub const MAILBOX_REQUESTS: u32 = MAX_CAPABILITIES as u32;
/// Commands that wait for the mailbox, and deposits among them: 18 MB of envelopes at most, and a second of a slow disk. Beyond it
/// deposits are refused, and who asks for something else is sent away for half a minute.
pub const MAILBOX_QUEUE: usize = 4096;
/// See [`MAILBOX_QUEUE`].
pub const MAILBOX_DEPOSITS: usize = 1024;
/// Commands that share one transaction, hence one sync of the disk: more would make the first of them wait.
pub const MAILBOX_GROUP: usize = 256;
/// Mail on its way to one client that it has not collected yet, and its bytes. It is read from the disk when there is room for it, so
/// this, and no more, is in memory for each client that does not read.
pub const MAIL_WINDOW: usize = 16;
/// See [`MAIL_WINDOW`].
pub const MAIL_WINDOW_BYTES: usize = 128 * 1024;
/// Mails whose time is over that are removed in one transaction, so that others do not wait for long.
pub const MAIL_SWEEP: u32 = 256;
/// After so many days of absence an account without mail is forgotten: three times the longest that mail is kept.
pub const ACCOUNT_DAYS: i64 = 90;

/// Frames waiting for a client that does not read. 256 introductions are twice what a client with 100 contacts gets when
/// the server comes back.
pub const OUTGOING_QUEUE: usize = 256;
/// Bytes of these frames: 256 introductions without words have at most 128 KiB, and with the same again thirty may bring
/// a page of text. Mail on its way comes on top, so that it closes nobody's connection.
pub const OUTGOING_BYTES: usize = 256 * 1024 + MAIL_WINDOW_BYTES;
/// From the first packet to the end of the handshake, and from there to the registration: ten round trips of a bad
/// satellite link.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a Retry is asked for after the last time that there was reason to. Clients whose packet waits in our socket for
/// as long as the kernel lets it repeat it after 0.3 and 0.9 s.
pub const RETRY_HOLDS: Duration = Duration::from_secs(2);
/// Handshakes under way at all. Beyond it new ones are dropped: clients repeat their first packet by themselves.
pub const HANDSHAKES: usize = 1000;
/// Connections beyond the registrations that there is room for: those that have not registered yet, or are to be told
/// that they are replaced or that the server is full.
pub const UNREGISTERED: usize = 1000;
/// Handshakes from one address or home: a thousand clients behind one carrier's NAT come back within ten seconds.
pub const HANDSHAKES_OF_SOURCE: Rate = Rate { burst: 512, interval: Duration::from_millis(20) };
/// STUN requests from one address or home: a discovery takes about ten, a client that predicts ports a few dozen.
pub const STUN_OF_SOURCE: Rate = Rate { burst: 128, interval: Duration::from_millis(30) };

/// What an operator may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    /// Registered clients. Each costs about 30 KiB: 20,000 fit into a VPS of one gigabyte.
    pub registrations: usize,
    /// Connections from one IPv4 address: a carrier's NAT puts some hundred subscribers behind one.
    pub connections_per_ipv4: usize,
    /// Connections from one IPv6 /56, which is one home or one office (RFC 6177).
    pub connections_per_ipv6_56: usize,
    /// Handshakes under way that are still answered without a Retry. A signature and a key agreement take about 0.3 ms, so
    /// 150 are done in 50 ms: more at once is a flood, or a restart, for which one more round trip is no loss. With 0
    /// everybody has to prove the address first.
    pub handshakes_before_retry: usize,
    /// Relay channels. Each costs about 400 bytes: twenty thousand clients who talk to ten others each have these.
    pub relay_channels: usize,
    /// Bytes of relay frames that one key may send in a second. 4 MiB are 33 Mb/s: a file goes, and a VPS with a
    /// gigabit carries thirty such senders.
    pub relay_bytes_per_second: NonZeroU32,
    /// Relay frames that one key may send in a second: at 4 MiB/s full datagrams are 3,000, and as many
    /// acknowledgements of what the other one sends.
    pub relay_packets_per_second: NonZeroU32,
    /// Bytes of mail that may wait, with what it costs to keep them: the disk of a small VPS has ten times as much.
    pub mailbox_bytes: u64,
    /// Keys for which mail is taken. Each costs 9 KiB of disk with a hundred contacts, and 24 at most.
    pub mailbox_accounts: usize,
    /// How long mail waits: a holiday.
    pub mailbox_days: Days,
}

/// 1 to 30: the recipient keeps the secrets of its prekeys for no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Days(u32);

/// How long mail may wait at most.
const MOST_DAYS: u32 = (LONGEST_STORAGE / (24 * 3600)) as u32;

impl Days {
    /// In seconds.
    pub fn seconds(self) -> u32 {
        self.0 * 24 * 3600
    }
}

impl TryFrom<u32> for Days {
    type Error = String;

    fn try_from(days: u32) -> Result<Self, String> {
        match days {
            1..=MOST_DAYS => Ok(Days(days)),
            _ => Err(format!("mail can be kept for 1 to {MOST_DAYS} days, not {days}")),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            registrations: 20_000,
            connections_per_ipv4: 1024,
            connections_per_ipv6_56: 256,
            handshakes_before_retry: 150,
            relay_channels: 100_000,
            relay_bytes_per_second: const { NonZeroU32::new(4 << 20).expect("not zero") },
            relay_packets_per_second: const { NonZeroU32::new(8000).expect("not zero") },
            mailbox_bytes: 1 << 30,
            mailbox_accounts: 50_000,
            mailbox_days: Days(14),
        }
    }
}

/// So many at once, and one more after each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// One more after this.
    pub interval: Duration,
}

/// What is left of a [`Rate`]: the generic cell rate algorithm (ITU-T I.371), a token bucket in one instant, the one at
/// which the bucket will be full again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one, if there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.interval;
        let allowed = full_at <= now + rate.interval * rate.burst;
        if allowed {
            self.full_at = Some(full_at);
        }
        allowed
    }

    /// Is it as good as a new one?
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

/// Whom a limit counts as one: an IPv4 address, or the /56 that an IPv6 home gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A single address.
    V4([u8; 4]),
    /// The first 56 bits.
    V6([u8; 7]),
}

impl Source {
    /// The source that this address belongs to.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Source::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, ..] = ip.octets();
                Source::V6([a, b, c, d, e, f, g])
            }
        }
    }

    /// The finaliser of SplitMix64, twice with the key in between: whoever does not know the key cannot aim.
    pub(crate) fn hash(self, key: u64) -> u64 {
        let bytes = match self {
            Source::V4([a, b, c, d]) => [4, a, b, c, d, 0, 0, 0],
            Source::V6([a, b, c, d, e, f, g]) => [6, a, b, c, d, e, f, g],
        };
        mix(mix(u64::from_le_bytes(bytes) ^ key).wrapping_add(key))
    }

    /// How many connections it may have.
    pub fn connections(&self, limits: &Limits) -> usize {
        match self {
            Source::V4(_) => limits.connections_per_ipv4,
            Source::V6(_) => limits.connections_per_ipv6_56,
        }
    }
}

/// Buckets for all the sources of the Internet in a constant amount of memory: a source has the bucket that a keyed hash
/// gives it. A flood with false sources empties buckets that honest ones share; it cannot make the table grow.
#[derive(Debug)]
pub struct SourceBuckets {
    rate: Rate,
    key: u64,
    buckets: Vec<Bucket>,
}

/// 8,192 buckets, 128 KiB.
const BUCKETS: usize = 8192;

impl SourceBuckets {
    /// A full table; `key` makes it unpredictable who shares a bucket with whom.
    pub fn new(rate: Rate, key: u64) -> Self {
        SourceBuckets { rate, key, buckets: vec![Bucket::default(); BUCKETS] }
    }

    /// Takes one for this source, if there is one.
    pub fn take(&mut self, source: Source, now: Instant) -> bool {
        let slot = self.slot(source);
        self.buckets[slot].take(self.rate, now)
    }

    fn slot(&self, source: Source) -> usize {
        (source.hash(self.key) % BUCKETS as u64) as usize
    }
}

/// Nobody who does not know a key can tell what comes of it and a number.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, interval: Duration::from_secs(1) };

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_an_interval() {
        let mut now = Instant::now();
        let mut bucket = Bucket::default();
        assert_eq!([(); 5].map(|()| bucket.take(RATE, now)), [true, true, true, false, false]);
        now += Duration::from_millis(999);
        assert!(!bucket.take(RATE, now));
        now += Duration::from_millis(1);
        assert!(bucket.take(RATE, now));
        assert!(!bucket.take(RATE, now));
        now += Duration::from_secs(3);
        assert!(bucket.is_full(now));
        assert_eq!([(); 4].map(|()| bucket.take(RATE, now)), [true, true, true, false]);
    }

    #[test]
    fn a_home_counts_as_one_source_and_a_mapped_address_as_what_it_is() {
        let of = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:0:1200::1"), of("2001:db8:0:12ff:ffff::9"));
        assert_ne!(of("2001:db8:0:1200::1"), of("2001:db8:0:1300::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn a_flood_of_false_sources_meets_a_table_of_constant_size() {
        let now = Instant::now();
        let mut table = SourceBuckets::new(RATE, 42);
        let passed = (0..200_000u32).filter(|n| table.take(Source::V4(n.to_be_bytes()), now)).count();
        assert!(passed <= BUCKETS * 3, "{passed} passed");
        assert_eq!(table.buckets.len(), BUCKETS);
    }
}
