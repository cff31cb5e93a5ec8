//! How meetings are to be: over what, how far from each other, among whom, and what is kept of them.

use std::path::PathBuf;
use std::time::Duration;

use super::Error;
use crate::model::{Line, Preset};
use crate::scenario::{Driver, Interrupt};

/// How they are to meet.
#[derive(Debug, Clone)]
pub struct How {
    /// Whose routers: the model's or the kernel's. With a delay those of the kernel hang on the model's lines, because the
    /// kernel has none.
    pub driver: Driver,
    /// Which pairs, and in which order; who asks stands first. None: each of the plan's kinds with itself and all that follow.
    pub pairs: Option<Vec<[Preset; 2]>>,
    /// One way from a house to the server.
    pub delay: Duration,
    /// One way from house to house, if that is not twice as far; not farther than by the server.
    pub between: Option<Duration>,
    /// New flows a second of somebody else behind each house's routers.
    pub flows: u32,
    /// Pairs at a time.
    pub jobs: usize,
    /// Who is not done by then has failed.
    pub patience: Duration,
    /// How long programs are told to wait for a direct path where one is possible, and where none is.
    pub linger: [Duration; 2],
    /// Here what the programs said and wrote stays, a folder for each meeting.
    pub keep: Option<PathBuf>,
    /// There, too, what both hosts and the outer interfaces of their routers sent and received.
    pub pcap: bool,
    /// Somebody may want to stop before the end.
    pub interrupt: Interrupt,
}

/// What the script of ours waits if nobody says otherwise: an attempt takes at most sixteen seconds, and may miss.
pub const LINGER: Duration = Duration::from_secs(30);

impl Default for How {
    /// On the model's routers, without delay.
    fn default() -> Self {
        How {
            driver: Driver::Wire,
            pairs: None,
            delay: Duration::ZERO,
            between: None,
            flows: 0,
            jobs: 1,
            patience: 2 * LINGER,
            linger: [LINGER; 2],
            keep: None,
            pcap: false,
            interrupt: Interrupt::default(),
        }
    }
}

impl How {
    /// Are the lines the model's?
    pub(super) fn has_lines(&self) -> bool {
        self.driver == Driver::Wire || !self.delay.is_zero()
    }

    /// Are the routers the kernel's?
    pub(super) fn has_kernel_routers(&self) -> bool {
        self.driver == Driver::Netns
    }

    /// Who carries the packets.
    pub(super) fn carrier(&self) -> Driver {
        if self.has_lines() { Driver::Wire } else { self.driver }
    }

    /// The lines of each house and of the server: two houses are twice the first from each other.
    pub(super) fn lines(&self) -> Result<[Line; 2], Error> {
        let house = self.between.map_or(self.delay, |between| between / 2);
        let server = self.delay.checked_sub(house).ok_or(Error::TooFar)?;
        Ok([house, server].map(Line::delay))
    }

    /// In words, for a title.
    pub(super) fn in_words(&self) -> String {
        let mut words = format!("on the driver {}", self.driver);
        if self.has_lines() {
            let between = self.between.unwrap_or(2 * self.delay);
            words += &format!(
                ", {} ms one way to the server and {} ms between two houses",
                self.delay.as_millis(),
                between.as_millis()
            );
        }
        if self.flows > 0 {
            words += &format!(", {} other new flows a second on each NAT", self.flows);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn houses_may_be_nearer_to_each_other_than_by_the_server_and_not_farther() {
        let ms = Duration::from_millis;
        let how = |between| How { delay: ms(20), between, ..How::default() };
        let lines = |between| how(between).lines().map(|lines| lines.map(|line| line.delay));
        assert_eq!(lines(Some(ms(15))).unwrap(), [Duration::from_micros(7500), Duration::from_micros(12_500)]);
        assert_eq!(lines(None).unwrap(), [ms(20), ms(0)]);
        assert!(matches!(lines(Some(ms(41))), Err(Error::TooFar)));
        assert!(how(Some(ms(15))).in_words().ends_with("20 ms one way to the server and 15 ms between two houses"));
    }

    #[test]
    fn the_kernels_routers_hang_on_the_models_lines_as_soon_as_there_is_a_delay() {
        let how = |delay| How { driver: Driver::Netns, delay, ..How::default() };
        assert_eq!(how(Duration::ZERO).carrier(), Driver::Netns);
        let far = how(Duration::from_millis(1));
        assert!(far.carrier() == Driver::Wire && far.has_kernel_routers());
    }
}
