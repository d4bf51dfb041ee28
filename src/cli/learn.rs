//! `straymail learn`: learn from logs whom the site writes to, and see what was learned.

mod files;
mod shown;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::address::{Address, Host};
use crate::config::Config;
use crate::domain::Domain;
use crate::maillog::{MailLog, Tally};
use crate::service::Snapshot;
use crate::service::learning::{Counted, Known, Learning, LogLearner, New};
use crate::service::passage::{Origin, Roles};
use crate::store::{AuditEvent, Day, EventKind};
use crate::untrusted::Untrusted;

use super::desk::{Desk, at_desk_with, json};
use super::{Failure, Usage, filled, load_config, usage};
use files::FileError;

/// Rows a person is shown when no limit is given.
const DEFAULT_LIMIT: u32 = 50;

/// Learns from logs whom the site writes to; shows and erases what was learned
#[derive(Debug, clap::Args)]
#[command(
    subcommand_precedence_over_arg = true,
    after_help = "A log may be read again, also grown, rotated, packed or joined with others: what was counted counts \
                  once. It is known by what stands in it.\n\
                  History excuses a real neighbour of a trusted name, and never what looks the same or \
                  swaps a trusted ending (docs/learning.md).\n\n\
                  Exit status: 0 fine, 1 a file could not be read to its end or another failure, 64 \
                  wrong usage, 78 wrong configuration."
)]
pub(super) struct Learn {
    #[command(subcommand)]
    action: Option<Action>,
    /// Logs of Postfix or Sendmail, plain or packed; `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Propose entries for the trusted list instead, from these logs or, where names are plain,
    /// from what was learned; nothing is stored
    #[arg(long)]
    suggest: bool,
    /// With --suggest: at most so many
    #[arg(long, value_name = "N", requires = "suggest")]
    limit: Option<u32>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    Status(Status),
    List(List),
    Show(Show),
    Forget(Forget),
}

/// Shows how much was learned
#[derive(Debug, clap::Args)]
struct Status {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Lists the names written to that resemble a trusted one, and whether history excuses them
#[derive(Debug, clap::Args)]
struct List {
    /// At most so many, those with most mail
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT)]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Shows what is known of mail with a domain
#[derive(Debug, clap::Args)]
struct Show {
    /// The domain
    #[arg(value_parser = filled)]
    domain: String,
    /// As it counts for this sender
    #[arg(long, value_name = "ADDRESS", value_parser = filled)]
    sender: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Erases what was learned about a person or a recipient domain, for good
#[derive(Debug, clap::Args)]
#[command(
    after_help = "No log teaches it again of mail from before; later mail does. --everything forgets also \
                  who was forgotten and which logs were read, so that all of them count anew."
)]
struct Forget {
    /// An address erases the person, as sender and as recipient; a domain all mail to it
    #[arg(value_name = "ADDRESS|DOMAIN", required_unless_present = "everything", value_parser = filled)]
    whom: Vec<String>,
    /// Everything that was learned
    #[arg(long, conflicts_with = "whom")]
    everything: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What reading logs came to.
#[derive(Serialize)]
struct Outcome {
    counted: Counted,
    logs: Vec<LogOutcome>,
    read: Tally,
}

#[derive(Serialize)]
struct LogOutcome {
    name: String,
    counted: Counted,
    /// Whether the log was known.
    again: bool,
    error: Option<String>,
}

/// What a command needs beside the quarantine.
struct Site {
    snapshot: Snapshot,
    learning: Learning,
    roles: Roles,
}

impl Learn {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        match (&self.action, self.files.is_empty(), self.suggest) {
            (Some(_), false, _) | (Some(_), _, true) => {
                return Err(Failure::Other(usage(
                    "give logs or a command, not both; a log of that name is ./status",
                )));
            }
            (None, true, false) => {
                return Err(Failure::Other(usage(
                    "name the logs to read, or say status, list, show or forget",
                )));
            }
            _ => {}
        }
        let config = load_config(path)?;
        let quarantine = config.quarantine.clone();
        at_desk_with(quarantine, |desk| {
            let site = Site::open(config, desk)?;
            match &self.action {
                None if self.suggest => self.suggest(&site, desk),
                None => self.read(&site, desk),
                Some(Action::Status(status)) => shown::extent(&site.learning, status.json, desk),
                Some(Action::List(list)) => {
                    let found = site
                        .learning
                        .doubtful(&site.snapshot, list.limit, desk.now)?;
                    shown::doubtful(&found, list.json, desk.out)
                }
                Some(Action::Show(show)) => show.run(&site, desk),
                Some(Action::Forget(forget)) => forget.run(&site, desk),
            }
        })
    }

    /// Reads the logs and stores what they teach.
    fn read(&self, site: &Site, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let _alone = (site.learning)
            .alone(|| say!("straymail: waits for another `straymail learn` to end"))
            .context("cannot lock learn.key")?;
        let passed_since = site.learning.counts_mail_since()?;
        let mut learner = LogLearner::new(&site.snapshot).without(site.learning.forgotten()?);
        let mut outcome = Outcome {
            counted: Counted::default(),
            logs: Vec::new(),
            read: Tally::default(),
        };
        let mut log = MailLog::new(TimeZone::system(), desk.now);
        let mut origin = Origin::default();
        let mut failed = None;
        for file in files::look(&self.files, desk)? {
            let known = file.known(&site.learning)?;
            learner.begin(New {
                after: known.until,
                before: passed_since,
            });
            let (mark, done) = file.read(&mut log, &known, |delivery, section| {
                origin.look(delivery, &site.snapshot, &site.roles);
                learner.delivery(delivery, &origin, section);
                if failed.is_none() {
                    failed = learner.write(&site.learning, false).err();
                }
            });
            let counted = learner.end();
            learner.write(&site.learning, true)?;
            if let Some(mark) = mark.filter(|_| counted.mails > 0)
                // Else some may not have fitted meanwhile: it must not be known as read.
                && failed.is_none()
            {
                (site.learning).log_was_read(&known, &mark, counted.new_mails(), desk.now)?;
            }
            outcome.add(&file.name(), counted, known.is_any(), done.as_ref().err());
            if let Err(error) = done {
                desk.complain(&FileError {
                    name: file.name(),
                    error,
                })?;
            }
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        outcome.read = log.tally();
        let event = AuditEvent {
            detail: Some(format!(
                "{} mails of {} logs, {} of them counted before",
                outcome.counted.mails,
                outcome.logs.len(),
                outcome.counted.before
            )),
            ..AuditEvent::new(EventKind::Learned, desk.actor.clone())
        };
        desk.quarantine.record(&event, desk.now)?;
        if self.json {
            return json(&outcome, desk.out);
        }
        outcome.print(desk.out)?;
        shown::extent(&site.learning, false, desk)?;
        let doubtful = site
            .learning
            .doubtful(&site.snapshot, DEFAULT_LIMIT, desk.now)?;
        if !doubtful.is_empty() {
            writeln!(desk.out)?;
            shown::doubtful(&doubtful, false, desk.out)?;
        }
        Ok(())
    }

    /// Proposes trusted entries.
    fn suggest(&self, site: &Site, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let today = Day::of(desk.now);
        if self.files.is_empty() {
            if !site.learning.settings().plain_names {
                anyhow::bail!(
                    "names are stored as hashes (learning.names); give the logs to propose from, as in `straymail learn --suggest /var/log/mail.log*`"
                );
            }
            let found = site.learning.suggest(
                &site.snapshot,
                self.limit.unwrap_or(DEFAULT_LIMIT),
                today,
            )?;
            return shown::suggestions(&found, self.json, desk.out);
        }
        let mut learner = LogLearner::new(&site.snapshot);
        let mut log = MailLog::new(TimeZone::system(), desk.now);
        let mut origin = Origin::default();
        for file in files::look(&self.files, desk)? {
            let (_, done) = file.read(&mut log, &Known::default(), |delivery, section| {
                origin.look(delivery, &site.snapshot, &site.roles);
                learner.delivery(delivery, &origin, section);
            });
            if let Err(error) = done {
                let name = file.name();
                desk.complain(&FileError { name, error })?;
            }
        }
        let batch = learner.into_batch();
        if batch.left_out() > 0 {
            say!(
                "straymail: {} mails did not fit into memory and are not among these; give fewer logs",
                batch.left_out()
            );
        }
        let found = (site.learning).suggest_from(
            &batch,
            &site.snapshot,
            self.limit.unwrap_or(DEFAULT_LIMIT),
            today,
        );
        shown::suggestions(&found, self.json, desk.out)
    }
}

impl Site {
    fn open(config: Config, desk: &Desk<'_>) -> anyhow::Result<Site> {
        let roles = Roles::of(config.listeners.iter().map(|listener| listener.role));
        let learning = Learning::open(Arc::clone(desk.quarantine), config.learning.clone())
            .context("cannot open what was learned")?;
        Ok(Site {
            snapshot: config.into_rules(),
            learning,
            roles,
        })
    }
}

impl Show {
    fn run(&self, site: &Site, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let domain = domain(&self.domain, &site.snapshot)?;
        let found = (site.learning).history(
            &site.snapshot,
            self.sender.as_deref().unwrap_or_default(),
            &domain,
            desk.now,
        )?;
        let history = found.unwrap_or_default();
        if self.json {
            return json(&history, desk.out);
        }
        if history.first_on.is_none() {
            writeln!(
                desk.out,
                "nothing is known of mail to {}",
                Untrusted::text(domain.ascii())
            )?;
            return Ok(());
        }
        let settings = site.learning.settings();
        let (mails, answers) = history.counts(settings);
        let counts = match history.established(settings) {
            Err(why) => format!("counts for nothing: {}", why.words()),
            Ok(()) => format!("the scorer is told of {mails} mails and {answers} answers"),
        };
        let standing = match site
            .learning
            .doubt(&site.snapshot.scorer, &domain, history.clone())
        {
            Some(doubtful) => format!(
                "{counts}; score {}, with history {}",
                doubtful.assessment.score, doubtful.weighed.score
            ),
            None if site.snapshot.scorer.is_trusted(&domain) => "an entry trusts it".to_owned(),
            None => format!("{counts}; it resembles nothing that is trusted"),
        };
        let name = domain.registrable().unwrap_or(domain.ascii());
        shown::history(name, &history, &standing, desk.out)?;
        Ok(())
    }
}

impl Forget {
    fn run(&self, site: &Site, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        // Either all is erased or, of a mistyped command, nothing.
        let whom = (self.whom.iter())
            .map(|whom| named(whom, &site.snapshot))
            .collect::<Result<Vec<_>, _>>()?;
        let mut erased = Vec::new();
        if self.everything {
            let all = site.learning.forget_everything(&desk.actor, desk.now)?;
            erased.push(("everything", all));
        }
        for whom in &whom {
            let done = (site.learning).forget(whom, &site.snapshot, &desk.actor, desk.now)?;
            erased.push((whom, done));
        }
        for (whom, erased) in erased {
            if self.json {
                json(&erased, desk.out)?;
                continue;
            }
            writeln!(
                desk.out,
                "{}: {} domains, {} pairs of sender and domain, {} addresses erased",
                Untrusted::text(whom),
                erased.domains,
                erased.pairs,
                erased.mailboxes
            )?;
        }
        Ok(())
    }
}

/// Returns the domain of this name.
///
/// # Errors
/// It is none: whoever wrote it has mistyped.
fn domain(name: &str, snapshot: &Snapshot) -> anyhow::Result<Domain> {
    Domain::parse(name.as_bytes(), &snapshot.suffixes)
        .with_context(|| Usage(format!("{name:?} is not a domain name")))
}

/// Returns the address or domain `whom`, in comparable form.
///
/// # Errors
/// It is none that could have been learned: whoever wrote it has mistyped.
fn named(whom: &str, snapshot: &Snapshot) -> anyhow::Result<String> {
    let whom = whom.trim();
    if !whom.contains('@') {
        let domain = domain(whom, snapshot)?;
        let name = domain.registrable().map(|_| domain.ascii().to_owned());
        return name.with_context(|| Usage(format!("{whom:?} is the name of no organisation")));
    }
    let none = || Usage(format!("{whom:?} is not an address"));
    let address = Address::parse(whom.as_bytes(), &snapshot.suffixes);
    if let Host::Invalid { error, .. } = address.host() {
        return Err(anyhow::Error::from(error.clone()).context(none()));
    }
    let canonical = address.canonical();
    let is_one = address.hosts().count() == 1
        && !canonical.starts_with('@')
        && !whom.contains(char::is_whitespace);
    is_one.then_some(canonical).with_context(none)
}

impl Outcome {
    fn add(&mut self, name: &str, counted: Counted, again: bool, error: Option<&io::Error>) {
        self.counted.mails += counted.mails;
        self.counted.before += counted.before;
        self.counted.forgotten += counted.forgotten;
        self.counted.answers += counted.answers;
        self.counted.left_out += counted.left_out;
        self.logs.push(LogOutcome {
            name: name.to_owned(),
            counted,
            again,
            error: error.map(ToString::to_string),
        });
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for log in &self.logs {
            let counted = &log.counted;
            let of_them = |count: u64, what: &str| match count {
                0 => String::new(),
                count => format!(", {count} of them {what}"),
            };
            let before = of_them(counted.before, "counted before");
            let forgotten = of_them(counted.forgotten, "forgotten since");
            writeln!(
                out,
                "{}: {} mails to other domains{before}{forgotten}; {} from outside",
                log.name, counted.mails, counted.answers
            )?;
        }
        let read = &self.read;
        let unusable = read.unreadable_lines + read.truncated_lines + read.overlong_lines;
        let later = match read.later_lines {
            0 => String::new(),
            later => format!(", {later} dated in the future"),
        };
        writeln!(
            out,
            "{} lines, {unusable} of them unusable{later}, {} of other programs; {} deliveries, {} without their sender",
            read.lines, read.other_lines, read.deliveries, read.without_sender
        )
    }
}
