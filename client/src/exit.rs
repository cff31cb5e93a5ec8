//! How the program ends: the one list of exit codes.

use common::identity::PeerId;

use crate::data::backup::BackupError;
use crate::data::{ContactError, DataError};
use crate::store::StoreError;

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something else failed.
    Other = 1,
    /// The command cannot be carried out as it was given.
    Usage = 2,
    /// The peer is offline, unknown to the rendezvous, or does not have us as a contact: it does not say which.
    PeerOffline = 3,
    /// No direct path was found.
    NoPath = 4,
    /// Somebody showed another key than the one expected.
    UntrustedKey = 5,
    /// It took too long.
    Timeout = 6,
}

impl Exit {
    /// All of them.
    pub const ALL: [Exit; 7] =
        [Exit::Done, Exit::Other, Exit::Usage, Exit::PeerOffline, Exit::NoPath, Exit::UntrustedKey, Exit::Timeout];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Out of the number.
    pub fn from_code(code: u8) -> Option<Exit> {
        Exit::ALL.into_iter().find(|exit| exit.code() == code)
    }

    /// The word for it in an `error` event.
    pub const fn kind(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Other => "other",
            Exit::Usage => "usage",
            Exit::PeerOffline => "peer_offline",
            Exit::NoPath => "no_path",
            Exit::UntrustedKey => "untrusted_key",
            Exit::Timeout => "timeout",
        }
    }

    /// The words for it in `--help`.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Other => "something else failed",
            Exit::Usage => "the command does not fit: wrong arguments, unknown contact, not joined yet",
            Exit::PeerOffline => "the contact is offline, or does not have you as a contact",
            Exit::NoPath => "no direct path was found",
            Exit::UntrustedKey => "somebody showed another key than the one expected",
            Exit::Timeout => "it took too long",
        }
    }
}

/// Why a command did not do what it was asked, in words that say what to do now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// For a person. May repeat text from outside.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code and these words.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: message.into() }
    }

    /// The command does not fit.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, message)
    }

    /// Something else.
    pub fn other(message: impl Into<String>) -> Self {
        Failure::new(Exit::Other, message)
    }

    /// `who` showed the key `seen` where `expected` was pinned.
    pub fn untrusted(who: &str, expected: PeerId, seen: PeerId) -> Self {
        let message = format!(
            "{who} showed a key that is not theirs.\n  expected {expected}\n  saw      {seen}\nNothing was sent to it. \
             If you did not expect a new key, somebody may stand in between; ask them for their link over another way."
        );
        Failure::new(Exit::UntrustedKey, message)
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Failure::other(error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::other(error.to_string())
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let exit = match error {
            BackupError::Exists(_)
            | BackupError::Empty(_)
            | BackupError::Passphrase(_)
            | BackupError::InTheWay { .. } => Exit::Usage,
            BackupError::Data(_) | BackupError::Io { .. } | BackupError::Unfit { .. } => Exit::Other,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<ContactError> for Failure {
    fn from(error: ContactError) -> Self {
        Failure::usage(error.to_string())
    }
}
