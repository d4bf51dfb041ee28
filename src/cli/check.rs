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
use crate::session::Recipient;
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
    /// Envelope sender, for rules that ask for it
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    sender: String,
    /// SASL login, for rules that ask for it
    #[arg(long, value_parser = filled)]
    login: Option<String>,
    /// Address of the SMTP client, for rules that ask for it
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Role of the listener
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
    assessment: &'a Assessment,
    verdict: &'a Verdict,
}

/// A configuration ready to judge: the same snapshot and functions the milter uses.
struct Judge<'a> {
    check: &'a Check,
    snapshot: Snapshot,
    learning: Option<Learning>,
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
        // A sender's history is asked where the milter would ask it.
        let asks = self.trusted.is_empty() && !self.sender.is_empty();
        let learning = (asks && config.quarantine.dir.join("learn.key").exists())
            .then(|| learned(&config, now))
            .flatten();
        let mut snapshot = config.into_rules();
        if let Some(learning) = &learning
            && let Some(scorer) = learning.inform(&snapshot.scorer, &snapshot.suffixes)
        {
            snapshot.scorer = scorer;
        }
        let judge = Judge {
            check: self,
            learning,
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
                let (snapshot, sender) = (&self.snapshot, &self.check.sender);
                let weighed =
                    learning.weigh(snapshot, recipient, sender, &[], evidence.clone(), self.now);
                Some(weighed.unwrap_or_else(|error| {
                    not_asked(&error);
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

    fn one(&self, given: &[u8], out: &mut impl Write) -> io::Result<bool> {
        let recipient = self.recipient(given);
        let assessment = self.assess(&recipient);
        let address = recipient.canonical();
        let subject = Subject {
            sender: &self.check.sender,
            login: self.check.login.as_deref(),
            client: self.check.client,
            role: match self.check.role {
                RoleName::Submission => Role::Submission,
                RoleName::Local => Role::Local,
                RoleName::Relay => Role::Relay,
            },
            recipient: &address,
        };
        let policy = &self.snapshot.policy;
        let mut verdict = policy.decide(&subject, &assessment, None, self.now);
        if !recipient.can_be_held(subject.role) {
            verdict = verdict.without_removal();
        }
        let domain = match recipient.address.host() {
            Host::Domain(domain) => Some(domain),
            _ => None,
        };
        match self.check.format {
            Format::Text => {
                text(out, given, domain, &assessment, &verdict)?;
                if [verdict.action, verdict.intended].contains(&Action::Reject) {
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
                    assessment: &assessment,
                    verdict: &verdict,
                };
                writeln!(out, "{}", json_line(&serde_json::to_string(&report)?))?;
            }
        }
        Ok(verdict.band >= Band::Suspect)
    }
}

/// Opens what was learned; says so and goes on without when that cannot be.
fn learned(config: &Config, now: jiff::Timestamp) -> Option<Learning> {
    let quarantine = match Quarantine::open(config.quarantine.clone(), now) {
        Ok(quarantine) => Arc::new(quarantine),
        Err(error) => {
            not_asked(&error);
            return None;
        }
    };
    let opened = Learning::open(quarantine, config.learning.clone())
        .map_err(|error| not_asked(&error))
        .ok()?;
    opened.refresh().map_err(|error| not_asked(&error)).ok()?;
    Some(opened)
}

fn not_asked(error: &dyn std::error::Error) {
    eprintln!(
        "straymail: what was learned is not asked: {}",
        event::chain(error)
    );
}

/// Prints the explanation a person reads.
fn text(
    out: &mut impl Write,
    recipient: &[u8],
    domain: Option<&Domain>,
    assessment: &Assessment,
    verdict: &Verdict,
) -> io::Result<()> {
    write!(out, "{}", Untrusted(recipient))?;
    if let Some(domain) = domain.filter(|d| d.unicode() != d.ascii()) {
        write!(out, "  ({})", domain.ascii())?;
    }
    writeln!(out)?;
    super::explanation::write(assessment, out)?;
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
    if verdict.is_stricter() {
        write!(
            out,
            ", because it is written in a way that an MTA may not remove"
        )?;
    }
    writeln!(out)
}
