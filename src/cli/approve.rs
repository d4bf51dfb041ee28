//! `straymail approve`: let a sender write to an address although it looks wrong.

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use comfy_table::Cell;

use crate::policy::AddressPattern;
use crate::store::{Approval, NewApproval, Origin};
use crate::untrusted::Untrusted;

use super::desk::{Desk, address, at_desk, json, print, table, time};
use super::{Failure, filled, usage};

/// Lists, adds and removes approvals
#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Add(Add),
    Remove(Remove),
}

/// Lists approvals in force, newest first
#[derive(Debug, clap::Args)]
struct List {
    /// Expired ones too
    #[arg(long)]
    all: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Lets mail to RECIPIENT pass from now on
#[derive(Debug, clap::Args)]
struct Add {
    /// An address (carl@army.ml), a domain with those below it (army.ml), or an ending (.ml)
    #[arg(value_parser = pattern)]
    recipient: String,
    /// Only from this address, domain or ending
    #[arg(long, value_name = "SENDER", value_parser = pattern)]
    sender: Option<String>,
    /// For so long, such as 12h or 30d
    #[arg(long = "for", value_name = "TIME", default_value = "30d", value_parser = life)]
    life: Duration,
    /// Until it is removed
    #[arg(long, conflicts_with = "life")]
    forever: bool,
    /// Why, for the audit record and for those who find it in the list next year
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    reason: String,
    /// Who answers for it; you, if nobody is named
    #[arg(long, value_name = "NAME", value_parser = filled)]
    owner: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Removes approvals
#[derive(Debug, clap::Args)]
struct Remove {
    /// Ids, or at least four characters of their beginnings
    #[arg(required = true, value_name = "ID", value_parser = filled)]
    ids: Vec<String>,
    /// Why, for the audit record
    #[arg(long, value_name = "TEXT", value_parser = filled)]
    reason: Option<String>,
}

impl Approve {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        at_desk(config, |desk| match &self.action {
            Action::List(list) => list.run(desk),
            Action::Add(add) => add.run(desk),
            Action::Remove(remove) => remove.run(desk),
        })
    }
}

impl List {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let approvals = desk.quarantine.approvals(self.all, desk.now)?;
        if self.json {
            return approvals
                .iter()
                .try_for_each(|approval| json(approval, desk.out));
        }
        if approvals.is_empty() {
            writeln!(desk.out, "no approvals")?;
            return Ok(());
        }
        let mut table = table(&["ID", "FROM", "TO", "UNTIL", "OWNER", "ORIGIN", "REASON"]);
        for approval in &approvals {
            table.add_row([
                Cell::new(&approval.id),
                Cell::new(sender(approval)),
                Cell::new(address(&approval.recipient)),
                Cell::new(until(approval)),
                Cell::new(Untrusted::text(&approval.owner)),
                Cell::new(&approval.origin),
                Cell::new(Untrusted::text(&approval.reason)),
            ]);
        }
        print(&table, desk.out)?;
        Ok(())
    }
}

impl Add {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        let end = || {
            desk.now
                .checked_add(self.life)
                .map_err(|_| usage("--for reaches beyond the year 9999; use --forever"))
        };
        let new = NewApproval {
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            expires_at: if self.forever { None } else { Some(end()?) },
            owner: self.owner.clone().unwrap_or_else(|| desk.actor.clone()),
            reason: self.reason.clone(),
            origin: Origin::Admin,
        };
        let approval = desk.quarantine.approve(&new, &desk.actor, desk.now)?;
        if self.json {
            return json(&approval, desk.out);
        }
        let (id, from, to, until) = (
            &approval.id,
            sender(&approval),
            address(&approval.recipient),
            match approval.expires_at {
                Some(end) => time(end),
                None => "it is removed".to_owned(),
            },
        );
        writeln!(desk.out, "{id} approved: from {from} to {to} until {until}")?;
        Ok(())
    }
}

impl Remove {
    fn run(&self, desk: &mut Desk<'_>) -> anyhow::Result<()> {
        for text in &self.ids {
            match desk.quarantine.remove_approval(
                text,
                self.reason.as_deref(),
                &desk.actor,
                desk.now,
            ) {
                Ok(approval) => {
                    let (id, from, to) = (
                        &approval.id,
                        sender(&approval),
                        address(&approval.recipient),
                    );
                    writeln!(desk.out, "{id} removed: from {from} to {to}")?;
                }
                Err(error) => desk.complain(&error)?,
            }
        }
        Ok(())
    }
}

fn sender(approval: &Approval) -> String {
    approval
        .sender
        .as_deref()
        .map_or("anybody".to_owned(), address)
}

fn until(approval: &Approval) -> String {
    approval.expires_at.map_or("no end".to_owned(), time)
}

/// Reads for how long an approval counts: not for no time at all.
fn life(text: &str) -> Result<Duration, String> {
    match crate::config::duration(text)? {
        life if life.is_zero() => {
            Err("would approve nothing; write one like 12h or 30d".to_owned())
        }
        life => Ok(life),
    }
}

fn pattern(text: &str) -> Result<String, String> {
    Ok(match crate::config::address_pattern(text)? {
        AddressPattern::Address(text)
        | AddressPattern::Domain(text)
        | AddressPattern::Suffix(text) => text,
    })
}
