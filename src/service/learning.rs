//! Whom the site writes to: counted from accepted mail and from logs, asked about doubtful names.
//!
//! Counting happens in memory and is written a moment later, off the way of the mail; a crash
//! loses only what was not yet written. Asking reads the store, and only about a recipient with
//! evidence. What history can and cannot excuse is decided in two places: here by days, people
//! and answers ([`history`]), and in the scorer by the kind of likeness. A look-alike of a
//! trusted name is never excused; it is listed for the admin (`straymail learn list`).

mod batch;
mod forget;
mod history;
mod key;
mod known;
mod lines;
mod log;
mod mailboxes;
mod settings;
mod suggest;
mod trail;

use std::cmp::Reverse;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustix::fs::FlockOperation;

use super::Snapshot;
use super::quarantine::Quarantine;
use crate::domain::Domain;
use crate::policy::Band;
use crate::public_suffix::PublicSuffixes;
use crate::score::{Assessment, Context, Finding, Scorer};
use crate::session::{Message, Passage, Recipient};
use crate::store::{
    Contact, Day, DayTotal, Days, Durability, Extent, Ledger, Pseudonym, Sent, Standing, StoreError,
};

pub use batch::Batch;
pub use forget::Forgotten;
pub use history::{EVERYBODY, History, NotYet};
pub use key::LearnKeyError;
pub use lines::read_lines;
pub use log::{Counted, Known, LogLearner, New, Section};
pub use settings::LearningSettings;
pub use suggest::{Suggestion, Suggestions};
pub use trail::Trail;

use batch::{Side, Tally};
use key::{Kind, LearnKey};
use mailboxes::is_role;

/// Entries written in one transaction, so that a hold never waits long for the lock.
const WRITTEN_AT_ONCE: usize = 2_000;

/// Most known names the scorer is given.
const MOST_KNOWN: u32 = 10_000;

/// A trusted name is frequent from this share of the site's mails on, in hundredths.
const FREQUENT_SHARE: u64 = 5;

/// Mails from which on shares mean something.
const FREQUENT_FROM: u64 = 100;

/// What the scorer is told of the site's habits, beside one recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Names in use, below suffixes that are trusted as a whole among others.
    pub known: Vec<String>,
    /// Trusted names to which a large share of the mail goes.
    pub frequent: Vec<String>,
}

/// What was learned, and what is being learned.
#[derive(Debug)]
pub struct Learning {
    quarantine: Arc<Quarantine>,
    settings: LearningSettings,
    key: LearnKey,
    batch: Mutex<Batch>,
    /// The totals that were written so far.
    written: Mutex<DayTotal>,
    habits: ArcSwap<Habits>,
}

/// How mail to a domain is counted.
struct Place {
    name: String,
    pseudonym: Pseudonym,
    standing: Standing,
}

/// A recipient domain that resembles a trusted one, and what is known of mail to it.
#[derive(Clone, Debug)]
pub struct Doubtful {
    /// The name.
    pub name: String,
    /// What it resembles today, without history.
    pub assessment: Assessment,
    /// The same with what was learned; equal when that does not count.
    pub weighed: Assessment,
    /// What is known, as of a sender who wrote there.
    pub history: History,
    /// Why history does not count, as far as it is for days and people.
    pub not_yet: Option<NotYet>,
}

impl Learning {
    /// Opens what was learned beside `quarantine`.
    ///
    /// # Errors
    /// The key cannot be read or made.
    pub fn open(
        quarantine: Arc<Quarantine>,
        settings: LearningSettings,
    ) -> Result<Learning, LearnKeyError> {
        let key = LearnKey::open(dir(&quarantine))?;
        Ok(Learning {
            quarantine,
            settings,
            key,
            batch: Mutex::default(),
            written: Mutex::default(),
            habits: ArcSwap::default(),
        })
    }

    /// Returns the settings it was opened with.
    pub fn settings(&self) -> &LearningSettings {
        &self.settings
    }

    /// Counts an accepted message in memory. Costs no I/O.
    pub fn note(&self, message: &Message, snapshot: &Snapshot, now: Timestamp) {
        if !self.settings.from_mail {
            return;
        }
        let day = Day::of(now);
        let sender = message.sender.canonical();
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        match message.passage {
            Passage::NullSender => {}
            Passage::Inbound => {
                if let Some((_, domain)) = sender.rsplit_once('@') {
                    batch.received(domain, day);
                }
            }
            Passage::Judged => {
                for recipient in message.accepted() {
                    if let Some((local, domain)) = recipient.rsplit_once('@') {
                        batch.sent(&sender, local, domain, day, true, || {
                            Domain::parse(domain.as_bytes(), &snapshot.suffixes)
                                .is_ok_and(|domain| is_trusted(snapshot, &domain))
                        });
                    }
                }
            }
        }
    }

    /// Writes what was counted since the last call. `total` is what passed since the start.
    ///
    /// # Errors
    /// The store cannot be written; what was not written is kept for the next call, as far as
    /// it fits.
    pub fn flush(
        &self,
        snapshot: &Snapshot,
        total: &DayTotal,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let today = Day::of(now);
        let mut batch = {
            let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *batch)
        };
        if let Err(error) = self.write(&mut batch, snapshot) {
            let mut newer = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            newer.merge(batch);
            return Err(error);
        }
        let mut before = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let new = total.since(&before);
        if new != DayTotal::default() {
            (self.quarantine.store).write(Durability::Written, |ledger| {
                ledger.add_day_total(today, &new)
            })?;
            *before = *total;
        }
        Ok(())
    }

    /// Writes a batch and leaves it empty.
    ///
    /// What is written at once is bounded, whatever the batch holds, and goes by the order of the
    /// tables: a batch of a large log touches every page once and not once for each mail.
    ///
    /// # Errors
    /// The store cannot be written; what was not written stays in the batch.
    pub fn write(&self, batch: &mut Batch, snapshot: &Snapshot) -> Result<(), StoreError> {
        let places: Vec<Option<Place>> = (batch.domains.iter())
            .map(|(domain, side)| self.place(domain, side, snapshot))
            .collect();
        let place = |domain: u32| places.get(domain as usize).and_then(Option::as_ref);
        let senders: Vec<Pseudonym> = (batch.senders.iter())
            .map(|sender| self.key.pseudonym(Kind::Person, sender))
            .collect();
        let sender = |number: u32| senders.get(number as usize).copied();
        batch.add_up();
        // Backwards, because what is written is cut off at the end.
        let mut pairs = std::mem::take(&mut batch.pairs);
        pairs.sort_by_cached_key(|(pair, _)| {
            let domain = place(pair.domain()).map(|place| place.pseudonym);
            Reverse((domain, sender(pair.sender())))
        });
        let written = in_pieces(&mut pairs, |pairs| {
            self.quarantine.store.write(Durability::Written, |ledger| {
                let mut total = None::<(&Place, Tally)>;
                for (pair, tally) in pairs.iter().rev() {
                    let (Some(place), Some(sender)) = (place(pair.domain()), sender(pair.sender()))
                    else {
                        continue;
                    };
                    ledger.add_sender(&place.pseudonym, &sender, &tally.days, tally.mails)?;
                    match &mut total {
                        Some((same, total)) if same.pseudonym == place.pseudonym => {
                            total.add(tally);
                        }
                        _ => {
                            if let Some((place, total)) = total.replace((place, *tally)) {
                                self.write_contact(ledger, place, &total)?;
                            }
                        }
                    }
                }
                match total {
                    Some((place, total)) => self.write_contact(ledger, place, &total),
                    None => Ok(()),
                }
            })
        });
        // What could not be written goes back in the order of a batch.
        pairs.sort_unstable_by_key(|(pair, _)| *pair);
        batch.pairs = pairs;
        written?;
        let mut mailboxes: Vec<(Pseudonym, Pseudonym, Day)> = (batch.mailboxes.iter())
            .filter_map(|mailbox| {
                let place = place(mailbox.domain)?;
                let address = self.mailbox(mailbox.local, &place.name);
                Some((address, place.pseudonym, mailbox.last_on))
            })
            .collect();
        mailboxes.sort_unstable();
        // Written twice, they say the same: all are kept until none is missing.
        for mailboxes in mailboxes.chunks(WRITTEN_AT_ONCE) {
            self.quarantine.store.write(Durability::Written, |ledger| {
                (mailboxes.iter()).try_for_each(|(address, domain, last_on)| {
                    ledger.add_mailbox(address, domain, *last_on)
                })
            })?;
        }
        // After the mail that they may answer.
        let answers: Vec<(Pseudonym, Days)> = (places.iter().zip(batch.domains.values()))
            .filter(|(_, side)| side.received.count() > 0)
            .filter_map(|(place, side)| Some((place.as_ref()?.pseudonym, side.received)))
            .collect();
        for answers in answers.chunks(WRITTEN_AT_ONCE) {
            self.quarantine.store.write(Durability::Written, |ledger| {
                for (domain, days) in answers {
                    ledger.add_answers(domain, days)?;
                }
                Ok::<_, StoreError>(())
            })?;
        }
        batch.empty();
        Ok(())
    }

    fn write_contact(
        &self,
        ledger: &Ledger<'_>,
        place: &Place,
        total: &Tally,
    ) -> Result<(), StoreError> {
        let keep = self.settings.plain_names || place.standing != Standing::Other;
        ledger.add_sent(&Sent {
            domain: place.pseudonym,
            name: keep.then_some(&*place.name),
            standing: place.standing,
            days: &total.days,
            mails: total.mails,
        })
    }

    /// Returns how mail with `domain` is counted; `None` where there is no organisation behind it.
    fn place(&self, domain: &str, side: &Side, snapshot: &Snapshot) -> Option<Place> {
        let parsed = organisation(domain, &snapshot.suffixes)?;
        // Strangers who only wrote to us are many, and nothing is kept of them: not judged.
        let (standing, name) = match side.is_recipient() {
            true => standing(snapshot, &parsed),
            false => (Standing::Other, counted_as(snapshot, &parsed).to_owned()),
        };
        Some(Place {
            pseudonym: self.domain(&name),
            standing,
            name,
        })
    }

    fn domain(&self, name: &str) -> Pseudonym {
        self.key.pseudonym(Kind::Domain, name)
    }

    /// Waits until no other process learns from logs, having called `waits` if there is one, and
    /// returns what keeps others waiting as long as it lives: two that read the same log at once would both count it.
    ///
    /// # Errors
    /// The file system refused.
    pub fn alone(&self, waits: impl FnOnce()) -> std::io::Result<File> {
        let key = File::open(dir(&self.quarantine).join("learn.key"))?;
        if rustix::fs::flock(&key, FlockOperation::NonBlockingLockExclusive).is_err() {
            waits();
            rustix::fs::flock(&key, FlockOperation::LockExclusive)?;
        }
        Ok(key)
    }

    fn mailbox(&self, local: &str, name: &str) -> Pseudonym {
        self.key.pseudonym(Kind::Person, &format!("{local}@{name}"))
    }

    /// Returns what is known of mail to `domain`, as it counts for `sender`; `None` when nothing
    /// is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn history(
        &self,
        snapshot: &Snapshot,
        sender: &str,
        domain: &Domain,
        now: Timestamp,
    ) -> Result<Option<History>, StoreError> {
        let pseudonym = self.domain(counted_as(snapshot, domain));
        let sender = self.key.pseudonym(Kind::Person, sender);
        self.quarantine.store.read(|ledger| {
            let Some(contact) = ledger.contact(&pseudonym)? else {
                return Ok(None);
            };
            let who = ledger.correspondents(&pseudonym, &sender, EVERYBODY)?;
            let today = Day::of(now);
            Ok(Some(History::of(&contact, who, today, &self.settings)))
        })
    }

    /// Returns `assessment` of `recipient` with what was learned taken into account. Reads the
    /// store when the rules would do anything about the recipient, and only then.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn weigh(
        &self,
        snapshot: &Snapshot,
        recipient: &Recipient,
        sender: &str,
        companions: &[Domain],
        assessment: Assessment,
        now: Timestamp,
    ) -> Result<Assessment, StoreError> {
        let Finding::Resembles { candidates } = &assessment.finding else {
            return Ok(assessment);
        };
        let meant: Vec<&str> = candidates.iter().map(|c| c.trusted.as_str()).collect();
        let address = recipient.canonical();
        let local = address.rsplit_once('@').map_or("", |(local, _)| local);
        let local_part_at = self.knows_at(local, &meant)?;
        let frequent = self.habits.load().frequent.clone();
        let mut failure = None;
        let weighed = snapshot.assess_each(recipient, |domain| {
            let (mails_before, answers_before) = match self.history(snapshot, sender, domain, now) {
                Ok(history) => history.map_or((0, 0), |history| history.counts(&self.settings)),
                Err(error) => {
                    failure = Some(error);
                    (0, 0)
                }
            };
            Context {
                mails_before,
                answers_before,
                companions: companions.to_vec(),
                local_part_at: local_part_at.clone(),
                frequent: frequent.clone(),
            }
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(weighed.unwrap_or_else(Assessment::unrelated)),
        }
    }

    /// Returns those of `names` at which mail to this local part went before.
    fn knows_at(&self, local: &str, names: &[&str]) -> Result<Vec<String>, StoreError> {
        if local.is_empty() || is_role(local) {
            return Ok(Vec::new());
        }
        self.quarantine.store.read(|ledger| {
            let mut known = Vec::new();
            for name in names.iter().filter(|name| name.contains('.')) {
                if ledger.knows_mailbox(&self.mailbox(local, name))? {
                    known.push((*name).to_owned());
                }
            }
            Ok(known)
        })
    }

    /// Reads the site's habits anew; [`super::Service::inform`] tells the scorer.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let (trusted, all) = self.quarantine.store.read(|ledger| {
            let trusted = ledger.contacts(Standing::Trusted, MOST_KNOWN)?;
            Ok::<_, StoreError>((trusted, ledger.learned()?.mails))
        })?;
        let enough = usize::try_from(self.settings.days).unwrap_or(usize::MAX);
        let names = |fits: &dyn Fn(&Contact) -> bool| {
            let mut names: Vec<String> = (trusted.iter())
                .filter(|contact| fits(contact))
                .filter_map(|contact| contact.name.clone())
                .collect();
            names.sort();
            names
        };
        let habits = Habits {
            known: names(&|contact| contact.days.count() >= enough),
            frequent: names(&|contact| {
                all >= FREQUENT_FROM
                    && contact.mails.saturating_mul(100) / all.max(1) >= FREQUENT_SHARE
            }),
        };
        self.habits.store(Arc::new(habits));
        Ok(())
    }

    /// Returns the habits that were read last.
    pub fn habits(&self) -> Arc<Habits> {
        self.habits.load_full()
    }

    /// Gives `scorer` the known names that were read last; `None` when it has them all.
    pub fn inform(&self, scorer: &Scorer, suffixes: &PublicSuffixes) -> Option<Scorer> {
        let habits = self.habits.load();
        let known =
            (habits.known.iter()).filter_map(|name| Domain::parse(name.as_bytes(), suffixes).ok());
        scorer.with_known(known)
    }

    /// Erases what was not seen for [`LearningSettings::keep_for`].
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn prune(&self, now: Timestamp) -> Result<(), StoreError> {
        let days = self.settings.keep_for.as_secs() / 86_400;
        let oldest = Day::of(now).before(u16::try_from(days).unwrap_or(u16::MAX));
        // Bounded, should somebody write old days faster than they are erased.
        for _ in 0..1000 {
            let more = (self.quarantine.store)
                .write(Durability::Written, |ledger| ledger.prune_contacts(oldest))?;
            if !more {
                break;
            }
        }
        (self.quarantine.store).write(Durability::Written, |ledger| ledger.prune_forgotten(oldest))
    }

    /// Returns how much is remembered.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn extent(&self) -> Result<Extent, StoreError> {
        self.quarantine.store.read(|ledger| ledger.learned())
    }

    /// Returns the contacts of this standing whose names are kept, most mail first, each with
    /// what is known of it, as of a sender who wrote there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn contacts(
        &self,
        standing: Standing,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(String, History)>, StoreError> {
        let nobody = Pseudonym([0; 16]);
        self.quarantine.store.read(|ledger| {
            let mut found = Vec::new();
            for contact in ledger.contacts(standing, limit)? {
                let mut who = ledger.correspondents(&contact.domain, &nobody, EVERYBODY)?;
                who.among_them = true;
                let history = History::of(&contact, who, Day::of(now), &self.settings);
                found.extend(contact.name.map(|name| (name, history)));
            }
            Ok(found)
        })
    }

    /// Returns the names written to that resemble a trusted one today, most mail first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn doubtful(
        &self,
        snapshot: &Snapshot,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Doubtful>, StoreError> {
        let mut found = Vec::new();
        for (name, history) in self.contacts(Standing::Doubtful, limit, now)? {
            let Ok(domain) = Domain::parse(name.as_bytes(), &snapshot.suffixes) else {
                continue;
            };
            found.extend(self.doubt(&snapshot.scorer, &domain, history));
        }
        Ok(found)
    }

    /// Returns what there is to say of a name with this history; `None` when it resembles
    /// nothing that is trusted.
    pub fn doubt(&self, scorer: &Scorer, domain: &Domain, history: History) -> Option<Doubtful> {
        let assessment = scorer.assess(domain, &Context::default());
        if !matches!(assessment.finding, Finding::Resembles { .. }) {
            return None;
        }
        let (mails_before, answers_before) = history.counts(&self.settings);
        let context = Context {
            mails_before,
            answers_before,
            ..Context::default()
        };
        Some(Doubtful {
            name: registrable(domain).to_owned(),
            weighed: scorer.assess(domain, &context),
            assessment,
            not_yet: history.established(&self.settings).err(),
            history,
        })
    }
}

/// Hands the entries to `write`, from the end on and a bounded number at once, and takes away what
/// was written.
fn in_pieces<T>(
    entries: &mut Vec<T>,
    mut write: impl FnMut(&[T]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while !entries.is_empty() {
        let begin = entries.len().saturating_sub(WRITTEN_AT_ONCE);
        write(entries.get(begin..).unwrap_or_default())?;
        entries.truncate(begin);
    }
    Ok(())
}

fn dir(quarantine: &Quarantine) -> &Path {
    &quarantine.settings().dir
}

fn is_trusted(snapshot: &Snapshot, domain: &Domain) -> bool {
    domain.registrable().is_some() && snapshot.scorer.is_trusted(domain)
}

/// Returns the domain, when it is one with a name below its public suffix.
fn organisation(domain: &str, suffixes: &PublicSuffixes) -> Option<Domain> {
    let domain = Domain::parse(domain.as_bytes(), suffixes).ok()?;
    domain.registrable().is_some().then_some(domain)
}

/// Returns the name mail is counted by: hosts of one organisation say no more than its name.
fn registrable(domain: &Domain) -> &str {
    domain.registrable().unwrap_or(domain.ascii())
}

/// Returns the name that mail with a domain is counted by: the trusted one that covers it, else
/// that of its organisation.
fn counted_as<'n>(snapshot: &'n Snapshot, domain: &'n Domain) -> &'n str {
    (snapshot.scorer.trusted_name(domain)).unwrap_or_else(|| registrable(domain))
}

/// Returns what a name is to the trusted list, and the name it is counted by.
fn standing(snapshot: &Snapshot, domain: &Domain) -> (Standing, String) {
    if let Some(name) = snapshot.scorer.trusted_name(domain) {
        return (Standing::Trusted, name.to_owned());
    }
    let name = registrable(domain).to_owned();
    let assessment = snapshot.scorer.assess(domain, &Context::default());
    match snapshot.policy.thresholds.band(assessment.score) {
        Band::Clean => (Standing::Other, name),
        Band::Note | Band::Suspect | Band::Certain => (Standing::Doubtful, name),
    }
}
