//! Which names the site could trust: proposed to the admin, never added.

use serde::Serialize;

use super::history::{EVERYBODY, History};
use super::{Batch, Doubtful, Learning, organisation, registrable, standing};
use crate::service::Snapshot;
use crate::store::{Day, Days, Standing, StoreError};
use crate::trusted::Preset;

/// A name that could be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// The registrable domain.
    pub name: String,
    /// What is known of mail with it.
    pub history: History,
    /// The shipped list that has it.
    pub preset: Option<&'static str>,
}

/// What an admin may put into the trusted list, and what only they can decide about.
#[derive(Debug, Default)]
pub struct Suggestions {
    /// Names that resemble nothing that is trusted, most mail first.
    pub names: Vec<Suggestion>,
    /// Names that resemble a trusted one, most mail first.
    pub doubtful: Vec<Doubtful>,
    /// Domains that mail went to and that are not proposed: too few days or people, no answer.
    pub too_little: usize,
}

impl Learning {
    /// Returns suggestions from what is stored. Only names that are kept in plain can be
    /// suggested.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn suggest(
        &self,
        snapshot: &Snapshot,
        limit: u32,
        today: Day,
    ) -> Result<Suggestions, StoreError> {
        let now = today.begin();
        let mut found = Suggestions {
            doubtful: self.doubtful(snapshot, limit, now)?,
            ..Suggestions::default()
        };
        for (name, history) in self.contacts(Standing::Other, u32::MAX, now)? {
            self.propose(&mut found, name, history);
        }
        found
            .names
            .truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// Returns suggestions from a batch that was not written, as [`super::LogLearner::into_batch`]
    /// returns it.
    pub fn suggest_from(
        &self,
        batch: &Batch,
        snapshot: &Snapshot,
        limit: u32,
        today: Day,
    ) -> Suggestions {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Suggestions::default();
        let mut contacts: Vec<(Standing, String, History)> = Vec::new();
        let mut places: foldhash::HashMap<String, usize> = foldhash::HashMap::default();
        let mut sides: Vec<(Days, Days, foldhash::HashSet<u32>, u64)> = Vec::new();
        let numbers: Vec<Option<usize>> = (batch.domains.iter())
            .map(|(domain, side)| {
                let parsed = organisation(domain, &snapshot.suffixes)?;
                let (kind, name) = standing(snapshot, &parsed);
                (side.is_recipient() && kind != Standing::Trusted).then(|| {
                    *places.entry(name.clone()).or_insert_with(|| {
                        contacts.push((kind, name, History::default()));
                        sides.push(Default::default());
                        contacts.len() - 1
                    })
                })
            })
            .collect();
        for (pair, tally) in &batch.pairs {
            let number = numbers.get(pair.domain() as usize).copied().flatten();
            if let Some((days, _, senders, mails)) = number.and_then(|number| sides.get_mut(number))
            {
                days.merge(&tally.days);
                senders.insert(pair.sender());
                *mails += tally.mails;
            }
        }
        for (domain, side) in (batch.domains.iter()).filter(|(_, side)| side.received.count() > 0) {
            let place = (organisation(domain, &snapshot.suffixes))
                .and_then(|parsed| places.get(registrable(&parsed)).copied());
            if let Some((sent, answers, _, _)) = place.and_then(|place| sides.get_mut(place))
                && let Some(first) = sent.first()
            {
                let answered = side.received.iter().filter(|day| *day > first);
                answered.for_each(|day| answers.add(day));
            }
        }
        let half_life = self.settings.half_life;
        for ((_, _, history), (days, answers, senders, mails)) in contacts.iter_mut().zip(&sides) {
            *history = History {
                mails: *mails,
                days: days.count(),
                worth: days.worth(today, half_life),
                senders: u32::try_from(senders.len())
                    .unwrap_or(u32::MAX)
                    .min(EVERYBODY),
                wrote_before: true,
                answers: answers.worth(today, half_life),
                first_on: days.first(),
                last_on: days.last(),
            };
        }
        contacts.sort_by(|(_, a, x), (_, b, y)| y.mails.cmp(&x.mails).then_with(|| a.cmp(b)));
        for (kind, name, history) in contacts {
            match (kind, organisation(&name, &snapshot.suffixes)) {
                (Standing::Doubtful, Some(domain)) => {
                    found
                        .doubtful
                        .extend(self.doubt(&snapshot.scorer, &domain, history));
                }
                _ => self.propose(&mut found, name, history),
            }
        }
        found.names.truncate(limit);
        found.doubtful.truncate(limit);
        found
    }

    fn propose(&self, found: &mut Suggestions, name: String, history: History) {
        // The name is printed to be pasted; one that only a broken program writes is not.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        if history.established(&self.settings).is_err() || !name.bytes().all(plain) {
            found.too_little += 1;
            return;
        }
        let preset = (Preset::ALL.into_iter())
            .find(|preset| preset.text().lines().any(|line| entry(line) == name))
            .map(Preset::name);
        found.names.push(Suggestion {
            name,
            history,
            preset,
        });
    }
}

/// Returns the entry of a line of a list.
fn entry(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}
