//! What a row of the audit record says about a recipient, for everybody who counts.
//!
//! Report and metrics count the same rows; both ask here what a row means, so that they cannot
//! come to different numbers.

use serde::Serialize;

use super::{AuditEvent, EventKind, Stored};

/// What is written behind the record of a hold when the client handed the message in again.
const AGAIN: &str = ", attempt ";

/// Kinds of rows that may tell of an end.
pub(super) const END_KINDS: [EventKind; 5] = [
    EventKind::Decided,
    EventKind::Released,
    EventKind::Corrected,
    EventKind::Dropped,
    EventKind::Expired,
];

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A verdict about one more recipient.
    Verdict,
    /// A held recipient ended.
    End(Ending),
    /// Nothing that is counted: a second row about what was counted, or not about a recipient.
    Nothing,
}

/// How one held recipient ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its sender said: send it.
    Confirmed,
    /// Its sender named the address that was meant.
    Corrected,
    /// Its sender said: do not send it.
    Cancelled,
    /// A reviewer let it go.
    Released,
    /// A reviewer sent it to the address that was meant.
    Redirected,
    /// A reviewer threw it away.
    Dropped,
    /// Nobody decided in time.
    Expired,
}

/// How held recipients ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endings {
    /// Its sender said: send it. A false alarm.
    pub confirmed: u64,
    /// Its sender named the address that was meant. A leak prevented.
    pub corrected: u64,
    /// Its sender said: do not send it. A leak prevented.
    pub cancelled: u64,
    /// A reviewer let it go.
    pub released: u64,
    /// A reviewer sent it to the address that was meant. A leak prevented.
    pub redirected: u64,
    /// A reviewer threw it away.
    pub dropped: u64,
    /// Nobody decided in time.
    pub expired: u64,
}

/// Who did what a row tells of.
enum Actor {
    Sender,
    Worker,
    Milter,
    Reviewer,
}

impl Actor {
    fn of(event: &AuditEvent) -> Actor {
        // `worker, nobody decided in time` and `milter, not in doubt` are those, too.
        match event.actor.split([' ', ',']).next() {
            Some("sender") => Actor::Sender,
            Some("worker") => Actor::Worker,
            Some("milter") => Actor::Milter,
            _ => Actor::Reviewer,
        }
    }
}

impl Meaning {
    /// Returns what `event` says.
    ///
    /// What a sender decides counts when they decide; that the worker then carries it out is a
    /// row that says nothing new. A client that tries again is still one recipient, but a
    /// message that is held again after its end is one more.
    pub fn of(event: &AuditEvent) -> Meaning {
        let detail = event.detail.as_deref().unwrap_or_default();
        // A copy that was never in doubt, of a message that was taken over.
        let in_doubt = event.score != Some(0);
        match (event.kind, Actor::of(event)) {
            (EventKind::Held, _) if event.score.unwrap_or(0) == 0 => Meaning::Nothing,
            (EventKind::Held, _) if detail.contains(AGAIN) => Meaning::Nothing,
            // Held mail on its way out, judged once more.
            (EventKind::Approved, _) if event.entry.is_some() => Meaning::Nothing,
            (
                EventKind::Rejected
                | EventKind::Held
                | EventKind::HeldMessage
                | EventKind::Tagged
                | EventKind::Noted
                | EventKind::Approved
                | EventKind::Tempfailed
                | EventKind::Observed,
                _,
            ) => Meaning::Verdict,
            (EventKind::Decided, Actor::Sender) if in_doubt => Meaning::End(match detail {
                detail if detail.starts_with("correct") => Ending::Corrected,
                detail if detail.starts_with("cancel") => Ending::Cancelled,
                _ => Ending::Confirmed,
            }),
            // The worker lets go what nobody decided on, where that is configured.
            (EventKind::Released, Actor::Worker) if in_doubt => Meaning::End(Ending::Expired),
            (EventKind::Released, Actor::Reviewer) if in_doubt => Meaning::End(Ending::Released),
            (EventKind::Corrected, Actor::Reviewer) if in_doubt => Meaning::End(Ending::Redirected),
            (EventKind::Dropped, _) if in_doubt => Meaning::End(Ending::Dropped),
            (EventKind::Expired, _) if in_doubt => Meaning::End(Ending::Expired),
            _ => Meaning::Nothing,
        }
    }
}

impl Stored {
    /// Returns what the record of a hold says about it, behind what else it says.
    pub fn in_words(self) -> String {
        match self {
            Stored::New => String::new(),
            Stored::Again { attempts } => format!("{AGAIN}{attempts}"),
            Stored::Reopened { was } => format!(", opened again, was {was}"),
        }
    }
}

impl Ending {
    /// Returns it in one word.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Confirmed => "confirmed",
            Ending::Corrected => "corrected",
            Ending::Cancelled => "cancelled",
            Ending::Released => "released",
            Ending::Redirected => "redirected",
            Ending::Dropped => "dropped",
            Ending::Expired => "expired",
        }
    }
}

impl Endings {
    /// Counts one more.
    pub fn count(&mut self, ending: Ending) {
        *match ending {
            Ending::Confirmed => &mut self.confirmed,
            Ending::Corrected => &mut self.corrected,
            Ending::Cancelled => &mut self.cancelled,
            Ending::Released => &mut self.released,
            Ending::Redirected => &mut self.redirected,
            Ending::Dropped => &mut self.dropped,
            Ending::Expired => &mut self.expired,
        } += 1;
    }

    /// Returns how often each was counted.
    pub fn each(&self) -> [(Ending, u64); 7] {
        [
            (Ending::Confirmed, self.confirmed),
            (Ending::Corrected, self.corrected),
            (Ending::Cancelled, self.cancelled),
            (Ending::Released, self.released),
            (Ending::Redirected, self.redirected),
            (Ending::Dropped, self.dropped),
            (Ending::Expired, self.expired),
        ]
    }

    /// Returns how many leaks were prevented.
    pub fn prevented(&self) -> u64 {
        self.corrected + self.cancelled + self.redirected
    }

    /// Returns the share of the decisions of senders that confirmed, in hundredths.
    pub fn confirm_rate(&self) -> Option<u8> {
        let decided = self.confirmed + self.corrected + self.cancelled;
        let hundredths = (100 * self.confirmed + decided / 2).checked_div(decided)?;
        u8::try_from(hundredths).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{EntryId, EntryState};

    const SENDER: &str = "sender anna@example.org (login anna), by reply";
    const LEFT: &str = "worker, nobody decided in time";

    fn meaning(kind: EventKind, actor: &str, detail: &str) -> Meaning {
        Meaning::of(&AuditEvent {
            score: Some(70),
            detail: Some(detail.to_owned()),
            ..AuditEvent::new(kind, actor)
        })
    }

    #[test]
    fn an_end_counts_once_and_by_who_decided() {
        for (kind, actor, detail, ending) in [
            (EventKind::Decided, SENDER, "send", Some(Ending::Confirmed)),
            (EventKind::Released, SENDER, "MTA: 250", None),
            (
                EventKind::Decided,
                SENDER,
                "correct to a@b.example",
                Some(Ending::Corrected),
            ),
            (EventKind::Corrected, SENDER, "MTA: 250", None),
            (
                EventKind::Decided,
                SENDER,
                "cancel",
                Some(Ending::Cancelled),
            ),
            (EventKind::Decided, LEFT, "send", None),
            (EventKind::Released, LEFT, "MTA: 250", Some(Ending::Expired)),
            (EventKind::Expired, "worker", "", Some(Ending::Expired)),
            (EventKind::Decided, "milter, not in doubt", "send", None),
            (EventKind::Released, "milter, not in doubt", "", None),
            (
                EventKind::Released,
                "cli ed (uid 0)",
                "",
                Some(Ending::Released),
            ),
            (
                EventKind::Corrected,
                "web ed (::1)",
                "",
                Some(Ending::Redirected),
            ),
            (
                EventKind::Dropped,
                "web ed (::1)",
                "",
                Some(Ending::Dropped),
            ),
        ] {
            let expected = ending.map_or(Meaning::Nothing, Meaning::End);
            assert_eq!(
                meaning(kind, actor, detail),
                expected,
                "{kind} {actor} {detail}"
            );
        }
    }

    #[test]
    fn a_message_held_again_counts_after_its_end_only() {
        for (stored, expected) in [
            (Stored::New, Meaning::Verdict),
            (Stored::Again { attempts: 2 }, Meaning::Nothing),
            (
                Stored::Reopened {
                    was: EntryState::Dropped,
                },
                Meaning::Verdict,
            ),
        ] {
            let detail = format!("spool file ab sha256 cd{}", stored.in_words());
            assert_eq!(meaning(EventKind::Held, "milter", &detail), expected);
        }
    }

    #[test]
    fn what_is_released_is_no_new_mail() {
        let approved = AuditEvent {
            score: Some(70),
            ..AuditEvent::new(EventKind::Approved, "milter")
        };
        assert_eq!(Meaning::of(&approved), Meaning::Verdict);
        let released = AuditEvent {
            entry: Some(EntryId::derive(&[0; 32], b"<carl@army.ml>")),
            ..approved
        };
        assert_eq!(Meaning::of(&released), Meaning::Nothing);
    }

    #[test]
    fn copies_that_were_never_in_doubt_are_not_counted() {
        for kind in [EventKind::Held, EventKind::Dropped, EventKind::Expired] {
            let event = AuditEvent {
                score: Some(0),
                ..AuditEvent::new(kind, "worker")
            };
            assert_eq!(Meaning::of(&event), Meaning::Nothing, "{kind}");
        }
    }
}
