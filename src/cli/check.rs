//! `straymail check`: explains what would happen to a recipient, and why.

use std::io::{self, BufRead as _, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use serde::Serialize;

use crate::address::{Address, Host};
use crate::config::{Config, Trust};
use crate::domain::Domain;
use crate::logging::event;
use crate::policy::{Action, Band, Mode, Role, Subject, Verdict};
use crate::reply::Reply;
use crate::score::{Assessment, Context, Finding};
use crate::service::Snapshot;
use crate::service::learning::Learning;
use crate::service::quarantine::Quarantine;
use crate::session::{Client, Mail, Passage, Recipient, Session};
use crate::untrusted::{Untrusted, json_line};

use super::{EXIT_FINE, EXIT_FOUND, Failure, filled};

/// Explains what would happen to a recipient, and why
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 when every recipient is clean, 1 when one is suspicious (its score \
                  reaches hold_at), 64 wrong usage, 78 wrong configuration.\n\n\
                  tsv has one row a recipient: as given, score, best match or `-`."
)]
pub(super) struct Check {
    /// Addresses or domains; `-` reads them from standard input, one a line
    #[arg(required = true, value_name = "ADDRESS")]
    recipients: Vec<String>,
    /// Judge by this trusted list (repeatable) and the default policy, without a configuration
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    trusted: Vec<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Envelope sender, for rules and approvals that ask for it; <> is that of bounces
    #[arg(long, value_name = "ADDRESS", value_parser = filled)]
    sender: Option<String>,
    /// SASL login, for the gate and rules that ask for it
    #[arg(long, value_parser = filled)]
    login: Option<String>,
    /// Address of the SMTP client, for the gate and rules that ask for it
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Role of the listener; with relay, the gate looks at --client and --login when one is given
    #[arg(long, value_enum, default_value_t = RoleName::Submission)]
    role: RoleName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For a person
    Text,
    /// One object a line
    Json,
    /// One row a recipient
    Tsv,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    Submission,
    Local,
    Relay,
}

/// What is printed about one recipient.
#[derive(Serialize)]
struct Report<'a> {
    /// As given; the bytes that are not UTF-8 replaced.
    recipient: &'a str,
    /// A-labels; absent when the name is undecodable.
    domain: Option<&'a str>,
    /// What the gate says: `judged`, `inbound` or `null-sender`.
    passage: &'static str,
    /// Whether approvals could be looked up.
    approvals_asked: bool,
    assessment: &'a Assessment,
    /// Absent where the gate lets pass.
    verdict: Option<&'a Verdict>,
}

/// A configuration ready to judge: the same snapshot and functions the milter uses.
struct Judge<'a> {
    check: &'a Check,
    snapshot: Snapshot,
    /// What is held and approved; `None` when there is none, or it cannot be opened.
    quarantine: Option<Arc<Quarantine>>,
    learning: Option<Learning>,
    /// What the gate says of the sender.
    passage: Passage,
    /// The envelope sender in comparable form; empty when none was given.
    sender: String,
    now: jiff::Timestamp,
}

impl Check {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let config = if self.trusted.is_empty() {
            super::load_config(path)?
        } else {
            Config {
                trust: Trust::from_files(&self.trusted)?,
                ..Config::default()
            }
        };
        #[expect(clippy::disallowed_methods, reason = "a command may ask for the time")]
        let now = jiff::Timestamp::now();
        let quarantine = (self.trusted.is_empty())
            .then(|| opened(&config, now))
            .flatten();
        // A sender's history is asked where the milter would ask it.
        let learning = (quarantine.as_ref())
            .filter(|_| self.sender.is_some() && config.quarantine.dir.join("learn.key").exists())
            .and_then(|quarantine| learned(quarantine, &config));
        let mut snapshot = config.into_rules();
        if let Some(learning) = &learning
            && let Some(scorer) = learning.inform(&snapshot.scorer, &snapshot.suffixes)
        {
            snapshot.scorer = scorer;
        }
        let (passage, sender) = self.passage(&snapshot);
        let judge = Judge {
            check: self,
            quarantine,
            learning,
            passage,
            sender,
            snapshot,
            now,
        };
        match judge.all(BufWriter::new(io::stdout().lock())) {
            Ok(suspicious) => Ok(if suspicious { EXIT_FOUND } else { EXIT_FINE }),
            // The reader, such as head(1), has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(EXIT_FINE),
            Err(error) => Err(Failure::Other(error.into())),
        }
    }
}

impl Check {
    fn role(&self) -> Role {
        match self.role {
            RoleName::Submission => Role::Submission,
            RoleName::Local => Role::Local,
            RoleName::Relay => Role::Relay,
        }
    }

    /// Returns what the gate says, and the sender in comparable form. Of whom nothing is said, it is
    /// asked what would become of mail of one of ours.
    fn passage(&self, snapshot: &Snapshot) -> (Passage, String) {
        let unknown = self.client.is_none() && self.login.is_none();
        let role = match self.role() {
            Role::Relay if unknown => Role::Submission,
            role => role,
        };
        let mut session = Session::new(role);
        session.connect(Client {
            ip: self.client,
            // 0 would be mail of sendmail(1).
            port: 1,
            ..Client::default()
        });
        let mail = Mail {
            path: self.sender.as_deref().unwrap_or("postmaster").as_bytes(),
            login: self.login.as_deref().map(str::as_bytes),
            ..Mail::default()
        };
        let message = session.mail(mail, &snapshot.gate, &snapshot.suffixes);
        let sender = (self.sender.as_ref()).map(|_| message.sender.canonical());
        (message.passage, sender.unwrap_or_default())
    }
}

impl Judge<'_> {
    /// Prints every recipient and returns whether one is suspicious.
    fn all(&self, mut out: impl Write) -> io::Result<bool> {
        let mut suspicious = false;
        for recipient in &self.check.recipients {
            if recipient != "-" {
                suspicious |= self.one(recipient.as_bytes(), &mut out)?;
                continue;
            }
            let mut input = io::stdin().lock();
            let mut line = Vec::new();
            while input.read_until(b'\n', &mut line)? > 0 {
                let end = line.strip_suffix(b"\n").unwrap_or(&line);
                let end = end.strip_suffix(b"\r").unwrap_or(end);
                suspicious |= self.one(end, &mut out)?;
                line.clear();
            }
        }
        out.flush()?;
        Ok(suspicious)
    }

    /// Returns what the milter would make of `given`: an address, or a domain alone.
    fn recipient(&self, given: &[u8]) -> Recipient {
        let address = if given.contains(&b'@') {
            Address::parse(given, &self.snapshot.suffixes)
        } else {
            let address = [b"postmaster@", given].concat();
            Address::parse(&address, &self.snapshot.suffixes)
        };
        Recipient {
            args: Vec::new(),
            address,
            rewritten: None,
        }
    }

    fn assess(&self, recipient: &Recipient) -> Assessment {
        let nothing_known = Context::default();
        let evidence = self.snapshot.assess(recipient, &nothing_known);
        let evidence = match (&self.learning, evidence) {
            (Some(learning), Some(evidence)) => {
                let (snapshot, sender) = (&self.snapshot, &self.sender);
                let weighed =
                    learning.weigh(snapshot, recipient, sender, &[], evidence.clone(), self.now);
                Some(weighed.unwrap_or_else(|error| {
                    not_asked(WHAT_WAS_LEARNED, &error);
                    evidence
                }))
            }
            (_, evidence) => evidence,
        };
        // Without evidence the milter asks no further; here the reader wants to know why.
        evidence.unwrap_or_else(|| match recipient.address.host() {
            Host::Domain(domain) => self.snapshot.scorer.assess(domain, &nothing_known),
            _ => Assessment::unrelated(),
        })
    }

    /// Decides as the milter does, with the approvals where they can be asked.
    fn decide(&self, subject: &Subject<'_>, assessment: &Assessment) -> Verdict {
        let snapshot = &self.snapshot;
        let asked = (self.quarantine.as_ref())
            .map(|quarantine| snapshot.decide(subject, assessment, quarantine, self.now));
        match asked {
            Some(Ok(verdict)) => return verdict,
            Some(Err(error)) => not_asked("approvals are", &error),
            None => {}
        }
        (snapshot.policy).decide(subject, assessment, None, self.now)
    }

    fn one(&self, given: &[u8], out: &mut impl Write) -> io::Result<bool> {
        let recipient = self.recipient(given);
        let assessment = self.assess(&recipient);
        let address = recipient.canonical();
        let subject = Subject {
            sender: &self.sender,
            login: self.check.login.as_deref(),
            client: self.check.client,
            role: self.check.role(),
            recipient: &address,
        };
        let mut verdict = self.decide(&subject, &assessment);
        if !recipient.can_be_held(subject.role) {
            verdict = verdict.without_removal();
        }
        let domain = match recipient.address.host() {
            Host::Domain(domain) => Some(domain),
            _ => None,
        };
        let judged = self.passage == Passage::Judged;
        match self.check.format {
            Format::Text => {
                explained(out, given, domain, &assessment)?;
                match self.passage {
                    Passage::Judged => decided(out, &verdict)?,
                    Passage::Inbound => writeln!(
                        out,
                        "  passes unjudged: neither a login nor a client within gate.networks makes it mail of ours"
                    )?,
                    Passage::NullSender => {
                        writeln!(
                            out,
                            "  passes unjudged: <> is the sender of bounces and notices"
                        )?;
                    }
                }
                if judged && [verdict.action, verdict.intended].contains(&Action::Reject) {
                    let reply = Reply::rejected(&address, &assessment, &self.snapshot.help);
                    let Reply {
                        code,
                        enhanced,
                        text,
                    } = reply;
                    writeln!(out, "  the sender reads: {code} {enhanced} {text}")?;
                }
            }
            Format::Tsv => {
                out.write_all(given)?;
                let best = match &assessment.finding {
                    Finding::Trusted { entry } => entry.as_str(),
                    _ => assessment.best().map_or("-", |best| &best.trusted),
                };
                writeln!(out, "\t{}\t{best}", assessment.score)?;
            }
            Format::Json => {
                let report = Report {
                    recipient: &String::from_utf8_lossy(given),
                    domain: domain.map(Domain::ascii),
                    passage: match self.passage {
                        Passage::Judged => "judged",
                        Passage::Inbound => "inbound",
                        Passage::NullSender => "null-sender",
                    },
                    approvals_asked: self.quarantine.is_some(),
                    assessment: &assessment,
                    verdict: judged.then_some(&verdict),
                };
                writeln!(out, "{}", json_line(&serde_json::to_string(&report)?))?;
            }
        }
        Ok(judged && verdict.band >= Band::Suspect)
    }
}

/// Opens the store, where there is one: looking makes none. Says so and goes on without when that
/// cannot be.
fn opened(config: &Config, now: jiff::Timestamp) -> Option<Arc<Quarantine>> {
    // A directory that is closed to us says nothing of what is in it.
    if let Ok(false) = config
        .quarantine
        .dir
        .join(crate::store::DATABASE)
        .try_exists()
    {
        return None;
    }
    Quarantine::open(config.quarantine.clone(), now)
        .map(Arc::new)
        .map_err(|error| not_asked("approvals and what was learned are", &error))
        .ok()
}

/// Opens what was learned; says so and goes on without when that cannot be.
fn learned(quarantine: &Arc<Quarantine>, config: &Config) -> Option<Learning> {
    let opened = Learning::open(Arc::clone(quarantine), config.learning.clone());
    let opened = (opened.map_err(|error| not_asked(WHAT_WAS_LEARNED, &error))).ok()?;
    let fresh = opened.refresh();
    (fresh.map_err(|error| not_asked(WHAT_WAS_LEARNED, &error))).ok()?;
    Some(opened)
}

const WHAT_WAS_LEARNED: &str = "what was learned is";

fn not_asked(what: &str, error: &dyn std::error::Error) {
    say!("straymail: {what} not asked: {}", event::chain(error));
}

/// Prints what a recipient looks like, for a person.
fn explained(
    out: &mut impl Write,
    recipient: &[u8],
    domain: Option<&Domain>,
    assessment: &Assessment,
) -> io::Result<()> {
    write!(out, "{}", Untrusted(recipient))?;
    if let Some(domain) = domain.filter(|d| d.unicode() != d.ascii()) {
        write!(out, "  ({})", domain.ascii())?;
    }
    writeln!(out)?;
    super::explanation::write(assessment, out)
}

/// Prints what would be done, for a person.
fn decided(out: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    let band = match verdict.band {
        Band::Clean => "clean",
        Band::Note => "worth a note",
        Band::Suspect => "suspect",
        Band::Certain => "certain",
    };
    write!(
        out,
        "  {band}, by rule {}: {}",
        verdict.rule, verdict.action
    )?;
    if verdict.mode == Mode::Observe && verdict.action != verdict.intended {
        write!(out, " (observing only; would {})", verdict.intended)?;
    }
    if let Some(approval) = &verdict.approval {
        write!(out, ", because of the approval {approval}")?;
    }
    if verdict.is_stricter() {
        write!(
            out,
            ", because it is written in a way that an MTA may not remove"
        )?;
    }
    writeln!(out)
}
