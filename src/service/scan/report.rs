//! The finished report of a replay.

use serde::Serialize;

use crate::policy::{Action, Band, Mode};

use super::Scan;
use super::day::Day;
use super::leak::Leak;
use super::suspect::{Neighbour, Suspect};

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages of the site's senders.
    pub mails: u64,
    /// Messages of others, which the gate lets pass.
    pub inbound_mails: u64,
    /// Messages with the null sender.
    pub null_sender_mails: u64,
    /// Recipients judged.
    pub recipients: u64,
    /// Distinct recipient domains, with those that aliases and forwards led to.
    pub domains: u64,
    /// Recipients by band.
    pub note: u64,
    /// See `note`.
    pub suspect: u64,
    /// See `note`.
    pub certain: u64,
    /// Recipients from band `note` on, by what the rules would do.
    pub accepted: u64,
    /// See `accepted`.
    pub tagged: u64,
    /// See `accepted`; whole messages included.
    pub held: u64,
    /// See `accepted`.
    pub rejected: u64,
    /// Of `held` and `rejected`: by a rule that only observes, so that nothing is kept back.
    pub observed: u64,
    /// Of those from band `suspect` on: refused already when they were sent.
    pub refused: u64,
    /// Deliveries to doubtful domains that seem to be nobody's correspondents.
    pub leaks: u64,
    /// Of these, by an alias or list of the site, or by sending on mail from outside: no milter
    /// in front would have seen the address.
    pub leaks_unseen: u64,
    /// Deliveries to doubtful domains that seem to be real correspondents.
    pub to_neighbours: u64,
    /// Recipients at such domains that would have been held or rejected.
    pub neighbours_kept_back: u64,
    /// Leaks beyond the bound of the list.
    pub unlisted_leaks: u64,
    /// Doubtful domains beyond the bound.
    pub unlisted_domains: u64,
    /// Recipients whose domain is not counted as distinct, beyond the bound.
    pub uncounted_domains: u64,
    /// Inbound mails whose sender's domain is not counted, beyond the bound.
    pub uncounted_answers: u64,
}

/// What the rules would have done with the mail of a log.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How often what.
    pub counts: Counts,
    /// Whether the configuration enforces where no rule says otherwise; see [`Counts::observed`].
    pub mode: Mode,
    /// Expected holds and rejections a day: mean and most, over the days of the log.
    pub kept_back_per_day: Option<(f64, u64)>,
    /// Doubtful domains: those most mail would have been kept back from first, likely
    /// neighbours last.
    pub suspects: Vec<Suspect>,
    /// The newest deliveries to doubtful domains, oldest first; those to likely neighbours are
    /// left out.
    pub leaks: Vec<Leak>,
    /// Day by day.
    pub days: Vec<Day>,
}

impl Counts {
    pub(super) fn bands(&mut self, band: Band) {
        match band {
            Band::Clean => {}
            Band::Note => self.note += 1,
            Band::Suspect => self.suspect += 1,
            Band::Certain => self.certain += 1,
        }
    }

    pub(super) fn actions(&mut self, action: Action) {
        match action {
            Action::Accept | Action::Tempfail => self.accepted += 1,
            Action::Tag => self.tagged += 1,
            Action::Hold | Action::HoldMessage => self.held += 1,
            Action::Reject => self.rejected += 1,
        }
    }
}

impl Report {
    /// Returns the doubtful domains that seem to be real correspondents.
    pub fn neighbours(&self) -> impl Iterator<Item = &Suspect> {
        (self.suspects.iter()).filter(|suspect| suspect.neighbour != Neighbour::No)
    }

    /// Returns the suspect that a leak went to.
    pub fn suspect_of(&self, leak: &Leak) -> Option<&Suspect> {
        self.suspects.get(leak.suspect as usize)
    }
}

pub(super) fn build(scan: Scan) -> Report {
    let Scan {
        snapshot,
        mut counts,
        mut days,
        suspects,
        leaks,
        answers,
        message,
        distinct,
        ..
    } = scan;
    counts.domains = distinct.len() as u64;
    counts.unlisted_domains = suspects.beyond;
    let suspects = suspects.finish(|hash| {
        let domain = message.correspondent_of(hash);
        answers.get(domain).unwrap_or(0)
    });
    // What only looked doubtful before the rules spoke is left out; the others are put in order.
    let mut order: Vec<usize> = (0..suspects.len())
        .filter(|at| {
            suspects
                .get(*at)
                .is_some_and(|suspect| suspect.first.is_some())
        })
        .collect();
    order.sort_by_key(|at| {
        let suspect = suspects.get(*at);
        std::cmp::Reverse(suspect.map(|s| {
            // Those that seem real are told of elsewhere.
            let doubtful = s.neighbour != Neighbour::Likely;
            (
                doubtful,
                s.held + s.rejected,
                s.delivered,
                s.assessment.score,
            )
        }))
    });
    let mut places = vec![u32::MAX; suspects.len()];
    for (place, at) in (0u32..).zip(&order) {
        if let Some(entry) = places.get_mut(*at) {
            *entry = place;
        }
    }
    let mut suspects: Vec<Option<Suspect>> = suspects.into_iter().map(Some).collect();
    let suspects: Vec<Suspect> = (order.iter())
        .filter_map(|at| suspects.get_mut(*at)?.take())
        .collect();
    let mut listed = Vec::new();
    for mut leak in leaks.finish() {
        leak.suspect = places
            .get(leak.suspect as usize)
            .copied()
            .unwrap_or(u32::MAX);
        let real = (suspects.get(leak.suspect as usize))
            .is_some_and(|suspect| suspect.neighbour == Neighbour::Likely);
        if !real {
            listed.push(leak);
        }
    }
    for suspect in &suspects {
        match suspect.neighbour {
            Neighbour::Likely => {
                counts.to_neighbours += suspect.delivered;
                counts.neighbours_kept_back += suspect.held + suspect.rejected;
            }
            Neighbour::No | Neighbour::Disguised => {
                counts.leaks += suspect.delivered;
                counts.leaks_unseen += suspect.unseen;
                for (date, count) in suspect.delivered_on() {
                    days.leaked(date, count);
                }
            }
        }
    }
    counts.unlisted_leaks = counts.leaks.saturating_sub(listed.len() as u64);
    let days = days.all();
    let kept_back = |day: &Day| day.held + day.rejected;
    let kept_back_per_day = (days.iter().map(kept_back).max()).map(|most| {
        let sum: u64 = days.iter().map(kept_back).sum();
        // A count of recipients is far below 2^53.
        (sum as f64 / days.len() as f64, most)
    });
    Report {
        counts,
        mode: snapshot.policy.mode,
        kept_back_per_day,
        suspects,
        leaks: listed,
        days,
    }
}
