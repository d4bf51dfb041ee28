//! What a configuration without mistakes comes to, where that is most likely not meant: nothing is
//! judged, nothing is stopped, or what is held is lost and nobody told.

use crate::milter::listener::ListenerSettings;
use crate::notice::NoticeSettings;
use crate::policy::{Mode, Policy, Role};
use crate::service::worker::{AtEnd, WorkerSettings};
use crate::session::Gate;

use super::reader::Reader;
use super::value::duration_text;
use super::yaml::Position;

/// The parts that decide about it.
pub(super) struct Outcome<'a> {
    pub(super) listeners: &'a [ListenerSettings],
    pub(super) gate: &'a Gate,
    pub(super) policy: &'a Policy,
    pub(super) worker: &'a WorkerSettings,
    pub(super) notice: &'a NoticeSettings,
}

impl Outcome<'_> {
    /// Warns of what an admin should know before mail depends on it.
    pub(super) fn look(&self, r: &mut Reader) {
        // With mistakes there are defaults in place of what was meant.
        if !r.problems.is_empty() {
            return;
        }
        let mut warn = |key, message: &str| {
            let nowhere = Position { line: 0, column: 0 };
            r.warning(nowhere, key, message);
        };
        if self.judges_nothing() {
            warn(
                "gate",
                "lets all mail pass unjudged: every listener has the role relay, no network is listed and authenticated is false; list the networks your senders are in",
            );
        }
        if self.policy.mode == Mode::Enforce && self.policy.deeds().next().is_none() {
            warn(
                "policy",
                "accepts every recipient, whatever its score: suspect and certain are accept, and no rule does anything else; to watch first, write mode: observe",
            );
        }
        let roles = self.listeners.iter().map(|listener| listener.role);
        if self.notice.from.is_none() && self.policy.may_hold(roles) {
            let end = match self.worker.at_end {
                AtEnd::Drop => "it is thrown away, and nobody hears of it",
                AtEnd::Release => "it is delivered to the doubtful address all the same",
                AtEnd::Bounce => "it is returned, and nobody hears of it before",
            };
            let message = format!(
                "is not set: no sender is told that mail is held, and {} later (worker.keep_for) {end}; write straymail@ one of your own domains",
                duration_text(self.worker.keep_for)
            );
            warn("notice.from", &message);
        }
    }

    fn judges_nothing(&self) -> bool {
        self.gate.networks.is_empty()
            && !self.gate.authenticated
            && self.listeners.iter().all(|l| l.role == Role::Relay)
    }
}
