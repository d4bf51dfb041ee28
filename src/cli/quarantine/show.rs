//! `straymail quarantine show`: all that is known of one entry.

use std::io::{self, Read as _};

use serde::Serialize;

use crate::service::quarantine::EntryDetail;
use crate::spool::Held;
use crate::store::Entry;
use crate::untrusted::Untrusted;

use super::log::log_line;
use crate::cli::desk::{Desk, both_spellings, json, time};
use crate::cli::{explanation, filled};

/// Octets of the header block that `show` prints at most.
const HEADERS_SHOWN: u64 = 64 * 1024;

/// Explains one entry: why it is held, its headers, what happened to it
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The id, or at least four characters of its beginning
    #[arg(value_parser = filled)]
    id: String,
    /// Only the message, octet for octet
    #[arg(long, conflicts_with = "json")]
    message: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// An entry with what its message file adds.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    detail: &'a EntryDetail,
    /// What the spool file says; absent when it is gone.
    envelope: Option<&'a crate::spool::Envelope>,
}

impl Show {
    pub(super) fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
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
    explanation::write(assessment, out)
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
