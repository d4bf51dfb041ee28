//! Bringing index and spool to agree: the files are the truth.

use std::collections::HashMap;
use std::path::PathBuf;

use jiff::Timestamp;

use super::{Quarantine, QuarantineError, backup};
use crate::spool::{MessageKey, SpoolError};
use crate::store::{AuditEvent, Durability, EventKind, Ledger, Opened, StoreError};

/// Files taken up in one transaction: the write lock must not be held for longer than other
/// processes wait for it.
pub(in crate::service) const BATCH: usize = 200;

/// What opening the quarantine had to put right.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Temporary files of dead sessions removed.
    pub stale_removed: usize,
    /// Entries taken up from message files that the index did not know.
    pub entries_rebuilt: usize,
    /// Message files removed whose entries were all finished.
    pub finished_removed: usize,
    /// Message files that do not read, and why. They stay where they are.
    pub damaged: Vec<SpoolError>,
    /// Where the damaged index is now, if there was one.
    pub index_kept_as: Option<PathBuf>,
}

/// What becomes of a file that a dead `restore --missing` brought, when it has no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum WithoutRows {
    /// It goes: it died before them, the backup has both, and who still waits only they say.
    TakeBack,
    /// It is taken up as every file is: the index was lost, and with it perhaps its rows.
    TakeUp,
}

impl Quarantine {
    pub(super) fn recover(
        &self,
        opened: Opened,
        now: Timestamp,
    ) -> Result<Recovery, QuarantineError> {
        let mut recovery = Recovery {
            stale_removed: self.spool.remove_stale(now)?,
            ..Recovery::default()
        };
        let brought = match opened {
            Opened::Existing => WithoutRows::TakeBack,
            Opened::Created | Opened::Replaced { .. } => WithoutRows::TakeUp,
        };
        if let Opened::Replaced { kept_as, detail } = opened {
            let event = AuditEvent {
                detail: Some(format!("{detail}; kept as {}", kept_as.display())),
                ..AuditEvent::new(EventKind::IndexReplaced, "straymail")
            };
            self.store.write(Durability::Synced, |ledger| {
                ledger.append_audit(&event, now)
            })?;
            recovery.index_kept_as = Some(kept_as);
        }
        self.take_up_unknown(brought, &mut recovery, now)?;
        backup::remove_abandoned(&self.settings.dir, now);
        Ok(recovery)
    }

    /// Takes up every message file that the index does not know, and removes those it knows to
    /// be finished.
    pub(in crate::service) fn take_up_unknown(
        &self,
        brought: WithoutRows,
        recovery: &mut Recovery,
        now: Timestamp,
    ) -> Result<(), QuarantineError> {
        let files = self.spool.keys()?;
        let known = self.store.read(digests)?;
        let unclear = |known: &HashMap<String, (String, bool)>, key: &MessageKey| {
            !matches!(known.get(&key.to_string()), Some((_, true)))
        };
        let suspects: Vec<MessageKey> = files
            .into_iter()
            .filter(|key| unclear(&known, key))
            .collect();
        for batch in suspects.chunks(BATCH) {
            self.store.write(Durability::Synced, |ledger| {
                // Looked at again under the lock: a hold or release may have ended meanwhile.
                let known = digests(ledger)?;
                for key in batch.iter().filter(|key| unclear(&known, key)) {
                    let known = known.get(&key.to_string());
                    if known.is_none()
                        && brought == WithoutRows::TakeBack
                        && self.spool.take_back(key)?
                    {
                        continue;
                    }
                    self.take_up(ledger, key, known, recovery, now)?;
                }
                Ok::<_, QuarantineError>(())
            })?;
        }
        // A restore that died behind its rows.
        let known = self.store.read(digests)?;
        (self.spool).settle_brought(|key| known.contains_key(&key.to_string()))?;
        Ok(())
    }

    fn take_up(
        &self,
        ledger: &Ledger<'_>,
        key: &MessageKey,
        known: Option<&(String, bool)>,
        recovery: &mut Recovery,
        now: Timestamp,
    ) -> Result<(), QuarantineError> {
        let held = match self.spool.read(key) {
            Ok(held) => held,
            Err(SpoolError::Vanished { .. }) => return Ok(()),
            Err(error) => {
                recovery.damaged.push(error);
                return Ok(());
            }
        };
        // The file the finished entries came from: a crash between the mark and the removal.
        // Any other file is a later hold whose rows were not committed.
        if known.is_some_and(|(digest, _)| *digest == held.digest) {
            self.spool.remove(key)?;
            recovery.finished_removed += 1;
            return Ok(());
        }
        let ids = self.enter(ledger, &held, EventKind::Rebuilt, "straymail", now)?;
        recovery.entries_rebuilt += ids.len();
        Ok(())
    }
}

/// Returns digest and openness of every message, by key.
fn digests(ledger: &Ledger<'_>) -> Result<HashMap<String, (String, bool)>, StoreError> {
    let rows = ledger.message_digests()?;
    Ok(rows
        .into_iter()
        .map(|(key, digest, open)| (key, (digest, open)))
        .collect())
}
