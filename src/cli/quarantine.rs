//! `straymail quarantine`: see what is held, and decide.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::PossibleValue;
use clap::{Subcommand, ValueEnum};
use comfy_table::Cell;
use serde::Serialize;

use crate::domain::Domain;
use crate::public_suffix::PublicSuffixes;
use crate::service::decide::check_address;
use crate::service::quarantine::EntryDetail;
use crate::spool::Held;
use crate::store::{AuditFilter, AuditRecord, Entry, EntryFilter, EntryState, EventKind};
use crate::untrusted::Untrusted;

use super::desk::{
    Desk, Moment, address, at_desk, both_spellings, json, moment, number, print, table, time,
};
use super::{Failure, usage};

/// Entries and rows a person is shown when no limit is given.
const DEFAULT_LIMIT: u32 = 100;

/// Octets of the header block that `show` prints at most.
const HEADERS_SHOWN: u64 = 64 * 1024;

/// Shows what is held, and releases or drops it
#[derive(Debug, clap::Args)]
pub(super) struct Quarantine {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Release(Release),
    Drop(Drop),
    Correct(Correct),
    Export(Export),
    Log(Log),
}

/// Which entries; what is not given fits everything
#[derive(Debug, clap::Args)]
struct Filters {
    /// The sender contains this
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// The recipient contains this
    #[arg(long, value_name = "TEXT")]
    recipient: Option<String>,
    /// The recipient's domain is this one or below it, in either spelling
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    domain: Option<String>,
    /// Held since then: 2d, 2026-11-23, 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Held before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    before: Option<Moment>,
    /// At least this score
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_score: Option<u8>,
    /// At most this score
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u8).range(0..=100))]
    max_score: Option<u8>,
}

impl Filters {
    fn are_given(&self) -> bool {
        self.sender.is_some()
            || self.recipient.is_some()
            || self.domain.is_some()
            || self.since.is_some()
            || self.before.is_some()
            || self.min_score.is_some()
            || self.max_score.is_some()
    }

    fn select(
        &self,
        states: Vec<EntryState>,
        limit: Option<u32>,
        desk: &Desk<'_>,
    ) -> anyhow::Result<EntryFilter> {
        let since = self.since.map(|since| since.when(desk.now));
        let before = self.before.map(|before| before.when(desk.now));
        if since
            .zip(before)
            .is_some_and(|(since, before)| since >= before)
        {
            return Err(usage("--since is not before --before"));
        }
        if (self.min_score.zip(self.max_score)).is_some_and(|(min, max)| min > max) {
            return Err(usage("--min-score is above --max-score"));
        }
        Ok(EntryFilter {
            states,
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            domain: self.domain.clone(),
            since,
            before,
            min_score: self.min_score,
            max_score: self.max_score,
            offset: 0,
            limit,
        })
    }
}

/// Lists entries, newest first
#[derive(Debug, clap::Args)]
struct List {
    /// In this state (repeatable); `open` is pending, held and releasing [default: open]
    #[arg(long, value_name = "STATE")]
    state: Vec<StateName>,
    #[command(flatten)]
    filters: Filters,
    /// At most so many; without it 100 in a table, all with --json
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Whom a command is about: ids, or all waiting entries that fit
#[derive(Debug, clap::Args)]
struct Which {
    /// Ids, or at least four characters of their beginnings
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    filters: Filters,
    /// With filters: do it; without, the entries are only listed and counted
    #[arg(long)]
    yes: bool,
}

impl Which {
    /// Returns what was asked for; `None` when it was only shown what would be done.
    fn ids(
        &self,
        what: &str,
        as_json: bool,
        desk: &mut Desk<'_>,
    ) -> anyhow::Result<Option<Vec<String>>> {
        match (self.ids.is_empty(), self.filters.are_given()) {
            (false, false) => return Ok(Some(self.ids.clone())),
            (true, true) => {}
            (false, true) => return Err(usage("give ids or filters, not both")),
            (true, false) => {
                return Err(usage(
                    "say which: ids, or filters such as --sender and --since; `straymail quarantine list` takes the same ones",
                ));
            }
        }
        let waiting = vec![EntryState::Pending, EntryState::Held];
        let filter = self.filters.select(waiting, None, desk)?;
        let entries = desk.quarantine.entries(&filter, desk.now)?;
        if self.yes {
            return Ok(Some(
                entries.iter().map(|entry| entry.id.to_string()).collect(),
            ));
        }
        if as_json {
            entries.iter().try_for_each(|entry| json(entry, desk.out))?;
        } else if !entries.is_empty() {
            rows(&entries, desk.out)?;
        }
        desk.out.flush()?;
        let count = entries.len();
        let noun = if count == 1 { "entry" } else { "entries" };
        // Not on standard output: with --json that is for objects.
        eprintln!(
            "straymail: {count} {noun} would be {what}, nothing was done; add --yes to do it"
        );
        Ok(None)
    }
}

/// Explains one entry: why it is held, its headers, what happened to it
#[derive(Debug, clap::Args)]
struct Show {
    /// The id, or at least four characters of its beginning
    id: String,
    /// Only the message, octet for octet
    #[arg(long, conflicts_with = "json")]
    message: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Hands entries to the MTA, as their senders sent them: by id, or all that fit the filters
#[derive(Debug, clap::Args)]
struct Release {
    #[command(flatten)]
    which: Which,
    /// One JSON object for each that was released
    #[arg(long)]
    json: bool,
}

/// Throws entries away, by id or all that fit the filters; nobody gets them
#[derive(Debug, clap::Args)]
struct Drop {
    #[command(flatten)]
    which: Which,
    /// Why, for the audit record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// One JSON object for each that was dropped
    #[arg(long)]
    json: bool,
}

/// Hands an entry to the MTA for the address its sender meant
#[derive(Debug, clap::Args)]
struct Correct {
    /// The id, or at least four characters of its beginning
    id: String,
    /// The right address; the milter judges it like any other
    address: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Writes a held message, octet for octet, or the audit record as lines of JSON
#[derive(Debug, clap::Args)]
struct Export {
    /// The id, or at least four characters of its beginning
    #[arg(required_unless_present = "log", conflicts_with = "log")]
    id: Option<String>,
    /// The audit record instead of a message
    #[arg(long)]
    log: bool,
    /// The record since then: 2d, 2026-11-23, 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "log")]
    since: Option<Moment>,
    /// Into this new file, readable by you alone, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Shows the audit record: verdicts other than a clean accept, and what was done about them
#[derive(Debug, clap::Args)]
struct Log {
    /// About this entry only
    #[arg(long, value_name = "ID")]
    entry: Option<String>,
    /// Of this kind only (repeatable)
    #[arg(long, value_name = "KIND")]
    kind: Vec<KindName>,
    /// Since then: 2d, 2026-11-23, 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// At most so many, the newest; without it 100 as text, all with --json
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateName {
    All,
    Open,
    One(EntryState),
}

impl ValueEnum for StateName {
    fn value_variants<'a>() -> &'a [Self] {
        const NAMES: [StateName; 8] = [
            StateName::Open,
            StateName::One(EntryState::Pending),
            StateName::One(EntryState::Held),
            StateName::One(EntryState::Releasing),
            StateName::One(EntryState::Released),
            StateName::One(EntryState::Dropped),
            StateName::One(EntryState::Expired),
            StateName::All,
        ];
        &NAMES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            StateName::All => "all",
            StateName::Open => "open",
            StateName::One(state) => state.name(),
        }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KindName(EventKind);

impl ValueEnum for KindName {
    fn value_variants<'a>() -> &'a [Self] {
        const NAMES: [KindName; EventKind::ALL.len()] = {
            let mut names = [KindName(EventKind::Held); EventKind::ALL.len()];
            let mut at = 0;
            while at < names.len() {
                names[at] = KindName(EventKind::ALL[at]);
                at += 1;
            }
            names
        };
        &NAMES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

/// An entry with what its message file adds.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    detail: &'a EntryDetail,
    /// What the spool file says; absent when it is gone.
    envelope: Option<&'a crate::spool::Envelope>,
}

impl Quarantine {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        at_desk(config, |desk| match &self.action {
            Action::List(list) => list.run(desk),
            Action::Show(show) => show.run(desk),
            Action::Release(release) => release.run(desk),
            Action::Drop(drop) => drop.run(desk),
            Action::Correct(correct) => correct.run(desk),
            Action::Export(export) => export.run(desk),
            Action::Log(log) => log.run(desk),
        })
    }
}

impl List {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let mut limit = self.limit;
        if limit.is_none() && !self.json {
            // One more than shown tells whether there are more.
            limit = Some(DEFAULT_LIMIT + 1);
        }
        let filter = self.filters.select(states(&self.state), limit, desk)?;
        let mut entries = desk.quarantine.entries(&filter, desk.now)?;
        if self.json {
            return entries.iter().try_for_each(|entry| json(entry, desk.out));
        }
        if entries.is_empty() {
            writeln!(desk.out, "no entries")?;
            return Ok(());
        }
        let shown = usize::try_from(DEFAULT_LIMIT)?;
        let more = self.limit.is_none() && entries.len() > shown;
        if more {
            entries.truncate(shown);
        }
        rows(&entries, desk.out)?;
        if more {
            writeln!(
                desk.out,
                "the newest {DEFAULT_LIMIT} are shown; there are more, see --limit and the filters"
            )?;
        }
        Ok(())
    }
}

/// Prints entries as a table.
fn rows(entries: &[Entry], out: &mut dyn io::Write) -> io::Result<()> {
    let mut table = table(&["ID", "STATE", "HELD", "SCORE", "FROM", "TO", "MEANT"]);
    for entry in entries {
        table.add_row([
            Cell::new(&entry.id),
            Cell::new(entry.state),
            Cell::new(time(entry.held_at)),
            number(entry.score),
            Cell::new(address(&entry.message.sender_address)),
            Cell::new(address(&entry.address)),
            Cell::new(
                entry
                    .suggestion
                    .as_deref()
                    .map_or("-".to_owned(), both_spellings),
            ),
        ]);
    }
    print(&table, out)
}

/// Returns the states asked for; empty means all.
fn states(names: &[StateName]) -> Vec<EntryState> {
    if names.contains(&StateName::All) {
        return Vec::new();
    }
    let mut states: Vec<EntryState> = Vec::new();
    for name in if names.is_empty() {
        &[StateName::Open]
    } else {
        names
    } {
        match name {
            StateName::One(state) => states.push(*state),
            StateName::Open | StateName::All => states.extend(EntryState::OPEN),
        }
    }
    states
}

/// Reads a domain in either spelling and returns its A-labels.
fn domain(text: &str) -> Result<String, String> {
    Domain::parse(text.as_bytes(), &PublicSuffixes::built_in())
        .map(|domain| domain.ascii().to_owned())
        .map_err(|error| error.to_string())
}

impl Show {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let id = desk.quarantine.find(&self.id)?;
        let detail = desk.quarantine.detail(&id, desk.now)?;
        let message = desk.quarantine.message(&detail.entry);
        if self.message {
            io::copy(&mut message?, desk.out)?;
            return Ok(());
        }
        let message = match message {
            Ok(message) => Some(message),
            Err(error) => {
                // A finished entry has no message any more, and nobody expects one.
                if detail.entry.state.is_open() {
                    desk.complain(&error)?;
                }
                None
            }
        };
        let held = message.as_ref().map(|message| message.held.clone());
        if self.json {
            let envelope = held.as_ref().map(|held| &held.record.envelope);
            return json(
                &Shown {
                    detail: &detail,
                    envelope,
                },
                desk.out,
            );
        }
        facts(&detail.entry, held.as_ref(), desk.out)?;
        explanation(&detail, desk.out)?;
        if let Some(message) = message {
            let mut head = Vec::new();
            message.take(HEADERS_SHOWN).read_to_end(&mut head)?;
            headers(&head, desk.out)?;
        }
        writeln!(desk.out, "\nhistory")?;
        for record in &detail.history {
            writeln!(desk.out, "  {}", log_line(record))?;
        }
        Ok(())
    }
}

fn facts(entry: &Entry, held: Option<&Held>, out: &mut dyn io::Write) -> io::Result<()> {
    let mut fact = |name: &str, value: String| writeln!(out, "{name:<9} {value}");
    fact("entry", entry.id.to_string())?;
    fact(
        "state",
        format!("{} since {}", entry.state, time(entry.changed_at)),
    )?;
    if let Some(until) = entry.lease_until {
        fact("lease", format!("until {}", time(until)))?;
    }
    if let Some(error) = &entry.last_error {
        fact("failed", Untrusted::text(error).to_string())?;
    }
    fact(
        "held",
        format!(
            "{}, handed in {}",
            time(entry.held_at),
            times(entry.attempts)
        ),
    )?;
    fact("from", entry.message.sender.to_string())?;
    fact("to", entry.path.to_string())?;
    fact("domain", both_spellings(&entry.domain))?;
    fact("rule", entry.rule.clone())?;
    if let Some(held) = held {
        let envelope = &held.record.envelope;
        if let Some(login) = &envelope.login {
            fact("login", login.to_string())?;
        }
        if let Some(client) = envelope.client_ip {
            fact("client", client.to_string())?;
        }
        let args = |args: &[crate::octets::Octets]| {
            args.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let recipient = envelope
            .recipients
            .iter()
            .find(|recipient| recipient.path == entry.path);
        let recipient_args = recipient
            .map(|recipient| args(&recipient.args))
            .unwrap_or_default();
        for (name, value) in [
            ("mail args", args(&envelope.sender_args)),
            ("rcpt args", recipient_args),
        ] {
            if !value.is_empty() {
                fact(name, value)?;
            }
        }
    }
    fact(
        "session",
        Untrusted::text(&entry.message.session).to_string(),
    )?;
    if let Some(queue_id) = &entry.message.queue_id {
        fact("queue id", Untrusted::text(queue_id).to_string())?;
    }
    fact("size", format!("{} octets", entry.message.size))
}

/// Returns `once`, `3 times`.
fn times(count: u32) -> String {
    if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    }
}

fn explanation(detail: &EntryDetail, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "\nwhy")?;
    let Some(assessment) = &detail.assessment else {
        return writeln!(
            out,
            "  score {} (the explanation does not read)",
            detail.entry.score
        );
    };
    super::explanation::write(assessment, out)
}

fn headers(head: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "\nheaders")?;
    for line in head.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        // In pieces: one long line must not hide what follows its first 256 octets.
        for piece in line.chunks(200) {
            writeln!(out, "  {}", Untrusted(piece))?;
        }
    }
    Ok(())
}

impl Release {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let Some(ids) = self.which.ids("released", self.json, desk)? else {
            return Ok(());
        };
        for text in &ids {
            let quarantine = desk.quarantine;
            match quarantine
                .find(text)
                .and_then(|id| quarantine.release(&id, &desk.actor, desk.now))
            {
                Ok(released) if self.json => json(&released.entry, desk.out)?,
                Ok(released) => {
                    let entry = &released.entry;
                    write!(
                        desk.out,
                        "{} released to {}: {}",
                        entry.id,
                        address(&entry.address),
                        released.reply
                    )?;
                    if !released.left_out.is_empty() {
                        let left_out: Vec<String> =
                            released.left_out.iter().map(ToString::to_string).collect();
                        write!(
                            desk.out,
                            " (without {}: not offered by the MTA)",
                            left_out.join(" ")
                        )?;
                    }
                    writeln!(desk.out)?;
                }
                Err(error) => desk.complain(&error)?,
            }
        }
        Ok(())
    }
}

impl Drop {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let Some(ids) = self.which.ids("dropped", self.json, desk)? else {
            return Ok(());
        };
        for text in &ids {
            let quarantine = desk.quarantine;
            let dropped = quarantine
                .find(text)
                .and_then(|id| quarantine.drop_entry(&id, &self.reason, &desk.actor, desk.now));
            match dropped {
                Ok(entry) if self.json => json(&entry, desk.out)?,
                Ok(entry) => writeln!(
                    desk.out,
                    "{} to {} dropped",
                    entry.id,
                    address(&entry.address)
                )?,
                Err(error) => desk.complain(&error)?,
            }
        }
        Ok(())
    }
}

impl Correct {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        check_address(&self.address)?;
        let id = desk.quarantine.find(&self.id)?;
        let sent = (desk.quarantine).correct(&id, &self.address, &desk.actor, desk.now)?;
        if self.json {
            return json(&sent.entry, desk.out);
        }
        let (was, is) = (address(&sent.entry.address), address(&self.address));
        writeln!(
            desk.out,
            "{id} sent to {is} instead of {was}: {}",
            sent.reply
        )?;
        Ok(())
    }
}

impl Export {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        // Everything that can fail comes before the file is made.
        let message = match &self.id {
            Some(text) => {
                let id = desk.quarantine.find(text)?;
                let entry = desk.quarantine.detail(&id, desk.now)?.entry;
                Some(desk.quarantine.message(&entry)?)
            }
            None => None,
        };
        let mut file;
        let out: &mut dyn io::Write = match &self.output {
            Some(path) => {
                let made = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path);
                file = made.with_context(|| format!("cannot make {}", path.display()))?;
                &mut file
            }
            None => desk.out,
        };
        match message {
            Some(mut message) => {
                io::copy(&mut message, out)?;
            }
            None => {
                let filter = AuditFilter {
                    since: self.since.map(|since| since.when(desk.now)),
                    ..AuditFilter::default()
                };
                for record in desk.quarantine.audit(&filter)? {
                    json(&record, out)?;
                }
            }
        }
        out.flush()?;
        Ok(())
    }
}

impl Log {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let entry = self
            .entry
            .as_deref()
            .map(|text| desk.quarantine.find(text))
            .transpose()?;
        let filter = AuditFilter {
            kinds: self.kind.iter().map(|kind| kind.0).collect(),
            entry,
            since: self.since.map(|since| since.when(desk.now)),
            before: None,
            limit: self.limit.or((!self.json).then_some(DEFAULT_LIMIT)),
        };
        for record in desk.quarantine.audit(&filter)? {
            if self.json {
                json(&record, desk.out)?;
            } else {
                writeln!(desk.out, "{}", log_line(&record))?;
            }
        }
        Ok(())
    }
}

/// Returns one row of the audit record as one line.
fn log_line(record: &AuditRecord) -> String {
    let event = &record.event;
    let mut line = format!("{} {}", time(record.at), event.kind);
    let mut add = |text: String| {
        line.push(' ');
        line.push_str(&text);
    };
    if let Some(entry) = &event.entry {
        add(Untrusted::text(entry.as_str()).to_string());
    }
    if let Some(recipient) = &event.recipient {
        let sender = event
            .sender
            .as_ref()
            .map_or("*".to_owned(), ToString::to_string);
        add(format!("{sender} -> {recipient}"));
    }
    if let Some(score) = event.score {
        add(format!("score={score}"));
    }
    if let Some(suggestion) = &event.suggestion {
        add(format!("meant={}", Untrusted::text(suggestion)));
    }
    add(format!("by {}", Untrusted::text(&event.actor)));
    if let Some(detail) = &event.detail {
        add(format!("({})", Untrusted::text(detail)));
    }
    line
}
