//! Why the quarantine did not do what was asked.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::spool::SpoolError;
use crate::store::{EntryId, EntryState, IdPrefix, IdPrefixError, PendingDecision, StoreError};

/// Why the quarantine did not do it.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The spool refused.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A restore was broken off.
    #[error("{} holds half of a backup: its restore was broken off; run `straymail restore --replace` with that backup again", dir.display())]
    HalfRestored {
        /// The state directory.
        dir: PathBuf,
    },
    /// What was typed is not an id.
    #[error(transparent)]
    Id(#[from] IdPrefixError),
    /// No entry has this id.
    #[error("no entry {0}")]
    NoEntry(IdPrefix),
    /// No approval has this id.
    #[error("no approval {0}")]
    NoApproval(IdPrefix),
    /// Several ids begin so.
    #[error("{prefix} is ambiguous: {}", ids.join(", "))]
    Ambiguous {
        /// What was typed.
        prefix: IdPrefix,
        /// Some of the ids that begin so.
        ids: Vec<String>,
    },
    /// The entry is finished.
    #[error("entry {id} was {state} at {at:.0}")]
    Finished {
        /// Which.
        id: EntryId,
        /// How it ended.
        state: EntryState,
        /// When.
        at: Timestamp,
    },
    /// It was decided before, and the worker has yet to carry it out.
    #[error("entry {entry} was decided already: {0}", entry = .0.entry)]
    Decided(Box<PendingDecision>),
    /// The decision that was to be carried out does not count any more.
    #[error("the decision about entry {0} was taken back")]
    TakenBack(EntryId),
    /// Somebody else is releasing the entry.
    #[error(
        "entry {id} is being released by another process; if that died, it can be taken again at {until:.0}"
    )]
    BeingReleased {
        /// Which.
        id: EntryId,
        /// End of the other's lease.
        until: Timestamp,
    },
    /// The entry could not be handed to the MTA; it is held as before.
    #[error("entry {id} not released, it is still held: {why}")]
    NotReleased {
        /// Which.
        id: EntryId,
        /// The reason with its causes.
        why: String,
        /// Whether to try it again.
        retry: Retry,
    },
    /// The MTA took the message, but that could not be written down.
    #[error(
        "entry {id} was delivered, but the quarantine could not be updated; do not release it again"
    )]
    NotMarked {
        /// Which.
        id: EntryId,
        /// What the database said.
        #[source]
        source: StoreError,
    },
}

impl QuarantineError {
    /// Returns whether the message of the entry is lost for good.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            QuarantineError::Spool(SpoolError::Vanished { .. } | SpoolError::Altered { .. })
        )
    }
}

/// Whether what failed may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may.
    Later,
    /// The MTA refused this message or this address for good.
    Never,
}

/// Why a message was not held. The client must be asked to try again: it was not taken.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Too little disk space; nothing was written.
    #[error("message not held")]
    LowSpace(#[source] SpoolError),
    /// A cap of the quarantine is reached; no file was made.
    #[error(
        "message not held: with its {size} octets {used} would become more than {cap} allows ({max}); release or drop some, or raise the cap"
    )]
    OverCap {
        /// Which cap.
        cap: Cap,
        /// Octets of this message.
        size: u64,
        /// Octets that count towards the cap already.
        used: u64,
        /// What the cap allows.
        max: u64,
    },
    /// The spool refused.
    #[error("message not held")]
    Spool(#[source] SpoolError),
    /// The database refused.
    #[error("message not held")]
    Store(#[from] StoreError),
    /// There is nobody to hold it for.
    #[error("message not held: no recipient was given")]
    NoRecipients,
}

/// What bounds the octets of held messages; the name is that of the key in milter.yaml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// All of them.
    Total,
    /// Those of one envelope sender.
    Sender,
}

impl std::fmt::Display for Cap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cap::Total => "quarantine.max_total",
            Cap::Sender => "quarantine.max_per_sender",
        })
    }
}

impl From<SpoolError> for HoldError {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::LowSpace { .. } => HoldError::LowSpace(error),
            _ => HoldError::Spool(error),
        }
    }
}
