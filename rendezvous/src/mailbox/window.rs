//! What is on its way to one client and not collected yet: so much and no more, so that one who does not read costs little.

use common::introduction::{Mail, MailId};

use crate::limits::{MAIL_WINDOW, MAIL_WINDOW_BYTES};

/// The window of one connection. An empty one holds no memory.
#[derive(Debug, Default)]
pub struct Window {
    /// Numbers and lengths.
    on_their_way: Vec<(MailId, usize)>,
    bytes: usize,
    last: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Everything that waits has been sent.
    #[default]
    Dry,
    /// Something may wait.
    News,
    /// Mail is being read from the disk.
    Reading,
    /// The same, and something may have come since.
    ReadingAndNews,
    /// More waits than there was room for.
    Waiting,
}

/// So much is to be read from the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Behind this mail.
    pub after: MailId,
    /// So many.
    pub mails: usize,
    /// Of so many bytes.
    pub bytes: usize,
}

impl Window {
    /// Something may wait.
    pub fn news(&mut self) {
        self.state = match self.state {
            State::Dry | State::News => State::News,
            State::Reading | State::ReadingAndNews => State::ReadingAndNews,
            State::Waiting => State::Waiting,
        };
    }

    /// What to read now, if anything is to be read and there is room for it. [`Window::read`] must follow.
    pub fn open(&mut self) -> Option<Room> {
        let room = Room {
            after: MailId(self.last),
            mails: MAIL_WINDOW.saturating_sub(self.on_their_way.len()),
            bytes: MAIL_WINDOW_BYTES.saturating_sub(self.bytes),
        };
        let opens = self.state == State::News && room.mails > 0 && room.bytes > 0;
        opens.then(|| self.state = State::Reading).map(|()| room)
    }

    /// These were read, and are sent. `all`: nothing waited behind them.
    pub fn read(&mut self, mails: &[Mail], all: bool) {
        for mail in mails {
            self.last = mail.id.0;
            self.bytes += mail.envelope.len();
            self.on_their_way.push((mail.id, mail.envelope.len()));
        }
        self.state = match self.state {
            _ if !all => State::Waiting,
            State::ReadingAndNews => State::News,
            _ => State::Dry,
        };
    }

    /// It could not be read: again when there is time.
    pub fn postpone(&mut self) {
        self.state = State::News;
    }

    /// Is there something to read that nobody reads?
    pub fn is_postponed(&self) -> bool {
        self.state == State::News
    }

    /// These have arrived.
    pub fn collected(&mut self, mails: &[MailId]) {
        let mut bytes = 0;
        self.on_their_way.retain(|(id, length)| {
            let arrived = mails.contains(id);
            bytes += if arrived { *length } else { 0 };
            !arrived
        });
        self.bytes -= bytes;
        if self.state == State::Waiting {
            self.state = State::News;
        }
        if self.on_their_way.is_empty() {
            self.on_their_way = Vec::new();
        }
    }

    /// How many are on their way, and how long they are.
    pub fn on_their_way(&self) -> (usize, usize) {
        (self.on_their_way.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use common::identity::PeerId;
    use proptest::prelude::*;

    use super::*;
    use crate::people::key;

    fn mail(id: u64, length: usize, sender: PeerId) -> Mail {
        Mail { id: MailId(id), sender, envelope: vec![0; length] }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Deposit(usize),
        Collect(Vec<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (200usize..17_500).prop_map(Step::Deposit),
            1 => proptest::collection::vec(0u64..60, 0..64).prop_map(Step::Collect),
        ]
    }

    proptest! {
        /// Whatever is deposited and whatever the recipient says that it has: no more than the window is on its way, each mail is
        /// sent once and in order, and who collects what came gets everything.
        #[test]
        fn a_window_is_never_passed_and_nothing_is_left_behind(steps in proptest::collection::vec(step(), 1..120)) {
            let sender = key(1);
            let (mut window, mut disk, mut sent) = (Window::default(), Vec::new(), Vec::new());
            let deliver = |window: &mut Window, disk: &[Mail], sent: &mut Vec<u64>| {
                while let Some(room) = window.open() {
                    assert_eq!(window.open(), None, "one reading at a time");
                    let behind = disk.iter().filter(|mail| mail.id > room.after);
                    let mut left = room.bytes;
                    let fit: Vec<_> = behind.clone().take(room.mails).take_while(|mail| {
                        let fits = mail.envelope.len() <= left;
                        left = left.saturating_sub(mail.envelope.len());
                        fits
                    }).cloned().collect();
                    window.read(&fit, fit.len() == behind.count());
                    sent.extend(fit.iter().map(|mail| mail.id.0));
                    let (mails, bytes) = window.on_their_way();
                    assert!(mails <= MAIL_WINDOW && bytes <= MAIL_WINDOW_BYTES);
                }
            };
            for step in steps {
                match step {
                    Step::Deposit(length) => {
                        disk.push(mail(disk.len() as u64 + 1, length, sender));
                        window.news();
                    }
                    Step::Collect(ids) => window.collected(&ids.into_iter().map(MailId).collect::<Vec<_>>()),
                }
                deliver(&mut window, &disk, &mut sent);
            }
            while window.on_their_way().0 > 0 {
                window.collected(&sent.iter().copied().map(MailId).collect::<Vec<_>>());
                deliver(&mut window, &disk, &mut sent);
            }
            prop_assert_eq!(sent, disk.iter().map(|mail| mail.id.0).collect::<Vec<_>>());
            prop_assert_eq!(window.on_their_way.capacity(), 0);
        }
    }
}
