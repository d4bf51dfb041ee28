//! What is done once an hour so that nothing grows for ever.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;

use super::{BATCH, Worker, later};
use crate::logging::event;
use crate::service::quarantine::QuarantineError;

/// How often.
const EVERY: Duration = Duration::from_secs(60 * 60);

impl Worker {
    /// Renews the key of the links when it is old, and forgets what was finished long ago;
    /// returns how many messages and
    /// approvals were forgotten.
    ///
    /// While there is more to forget the next tick goes on with it.
    pub(super) fn tidy(&self, now: Timestamp) -> Result<usize, QuarantineError> {
        let planned = self.next_tidying.load(Ordering::Relaxed);
        let next = later(now, EVERY).as_millisecond();
        // A time planned under a clock that was put back since is not waited for.
        if (now.as_millisecond()..=next).contains(&planned) && planned != now.as_millisecond() {
            return Ok(0);
        }
        self.next_tidying.store(next, Ordering::Relaxed);
        if let Err(error) = self.tokens.renew(now) {
            event::key_not_renewed(&self.log, &error);
        }
        let forgotten = self.quarantine.forget_finished(BATCH, now)?;
        if forgotten > 0 {
            event::forgotten(&self.log, forgotten);
            // There may be more: go on in the next tick.
            self.next_tidying.store(0, Ordering::Relaxed);
        }
        Ok(forgotten)
    }
}
