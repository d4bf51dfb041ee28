//! The verdict about one recipient: assess, look up an approval, decide.
//!
//! A recipient without evidence costs no I/O: the store is asked only about suspicious ones.

use jiff::Timestamp;

use super::Snapshot;
use crate::address::Host;
use crate::domain::Domain;
use crate::policy::{Action, Subject, Verdict};
use crate::score::{Assessment, Context, Finding};
use crate::service::quarantine::Quarantine;
use crate::session::Recipient;
use crate::store::StoreError;

impl Snapshot {
    /// Returns the worst assessment among all places the mail to `recipient` may go, or `None`
    /// when no reading gives evidence.
    ///
    /// Address literals and addresses without a domain resemble no domain; they pass.
    pub fn assess(&self, recipient: &Recipient, context: &Context) -> Option<Assessment> {
        let (_, assessment) = self.assess_worst(recipient, context)?;
        Some(assessment)
    }

    /// Returns the same with the place it is about.
    pub fn assess_worst<'r>(
        &self,
        recipient: &'r Recipient,
        context: &Context,
    ) -> Option<(&'r Host, Assessment)> {
        self.worst(recipient, |domain| self.scorer.assess(domain, context))
    }

    /// Returns the same with a context for each of these places.
    pub fn assess_each(
        &self,
        recipient: &Recipient,
        mut context: impl FnMut(&Domain) -> Context,
    ) -> Option<Assessment> {
        let (_, assessment) = self.worst(recipient, |domain| {
            self.scorer.assess(domain, &context(domain))
        })?;
        Some(assessment)
    }

    fn worst<'r>(
        &self,
        recipient: &'r Recipient,
        mut assess: impl FnMut(&Domain) -> Assessment,
    ) -> Option<(&'r Host, Assessment)> {
        (recipient.hosts())
            .filter_map(|host| match host {
                Host::Domain(domain) => Some((host, assess(domain))),
                Host::Invalid { received, error } => {
                    Some((host, self.scorer.assess_undecodable(received, error)))
                }
                Host::Literal(_) | Host::Missing => None,
            })
            .filter(|(_, assessment)| match assessment.finding {
                Finding::Trusted { .. } | Finding::Unrelated => false,
                Finding::Resembles { .. } | Finding::Undecodable { .. } => true,
            })
            // The first of equals: the ordinary reading explains best.
            .reduce(|worst, next| {
                if next.1.score > worst.1.score {
                    next
                } else {
                    worst
                }
            })
    }

    /// Returns what to do about `assessment`, asking `quarantine` for an approval only when
    /// the rules would do more than accept.
    ///
    /// # Errors
    /// When the approvals cannot be read.
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        assessment: &Assessment,
        quarantine: &Quarantine,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let verdict = self.policy.decide(subject, assessment, None, now);
        if verdict.intended == Action::Accept {
            return Ok(verdict);
        }
        let approval = quarantine.approval(subject.sender, subject.recipient, now)?;
        Ok(match approval {
            Some(approval) => {
                let name = approval.id.to_string();
                self.policy.decide(subject, assessment, Some(&name), now)
            }
            None => verdict,
        })
    }
}
