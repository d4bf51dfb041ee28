//! `straymail reviewer`: who may use the review page.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::builder::PossibleValue;
use clap::{Subcommand, ValueEnum};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde::Serialize;

use crate::service::account::{Account, AccountRole, Accounts, LONGEST_PASSWORD};

use super::desk::{json, print, printing, quarantine_settings, table};
use super::{EXIT_FINE, Failure, filled};

/// Lists, adds and removes the accounts of the review page
#[derive(Debug, clap::Args)]
pub(super) struct Reviewer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Add(Add),
    Remove(Remove),
    Password(Password),
}

/// Lists the accounts
#[derive(Debug, clap::Args)]
struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Adds an account; its password is asked for, or read from standard input
#[derive(Debug, clap::Args)]
struct Add {
    /// a-z, 0-9, . _ - and @
    #[arg(value_parser = filled)]
    name: String,
    /// What it may do; each role includes those before it
    #[arg(long)]
    role: AccountRole,
    /// No password: only a reverse proxy can vouch for this account (review.user_header)
    #[arg(long)]
    no_password: bool,
}

/// Removes an account; its sessions end at once
#[derive(Debug, clap::Args)]
struct Remove {
    #[arg(value_parser = filled)]
    name: String,
}

/// Changes a password, asked for or read from standard input; the account's sessions end at once
#[derive(Debug, clap::Args)]
struct Password {
    #[arg(value_parser = filled)]
    name: String,
}

impl ValueEnum for AccountRole {
    fn value_variants<'a>() -> &'a [Self] {
        &AccountRole::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            AccountRole::Viewer => "sees everything but the messages themselves",
            AccountRole::Reviewer => "releases, drops and downloads messages",
            AccountRole::Admin => "adds and removes approvals",
        }))
    }
}

/// An account as JSON shows it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    role: AccountRole,
    password: bool,
}

impl Reviewer {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        let accounts = Accounts::new(&quarantine_settings(config)?.dir);
        printing(|out| self.act(&accounts, out))?;
        Ok(EXIT_FINE)
    }

    fn act(&self, accounts: &Accounts, out: &mut dyn Write) -> anyhow::Result<()> {
        match &self.action {
            Action::List(list) => list.run(&accounts.list()?, out),
            Action::Add(add) => {
                let password = match add.no_password {
                    true => None,
                    false => Some(password()?),
                };
                let account = accounts.add(&add.name, add.role, password.as_deref())?;
                writeln!(out, "{} added as {}", account.name, account.role)?;
                Ok(())
            }
            Action::Remove(remove) => {
                accounts.remove(&remove.name)?;
                writeln!(out, "{} removed", remove.name)?;
                Ok(())
            }
            Action::Password(change) => {
                accounts.set_password(&change.name, &password()?)?;
                writeln!(out, "password of {} changed", change.name)?;
                Ok(())
            }
        }
    }
}

impl List {
    fn run(&self, accounts: &[Account], out: &mut dyn Write) -> anyhow::Result<()> {
        if self.json {
            return accounts.iter().try_for_each(|account| {
                let shown = Shown {
                    name: &account.name,
                    role: account.role,
                    password: account.has_password(),
                };
                json(&shown, out)
            });
        }
        if accounts.is_empty() {
            writeln!(
                out,
                "no accounts; add one with: straymail reviewer add NAME --role admin"
            )?;
            return Ok(());
        }
        let mut table = table(&["NAME", "ROLE", "PASSWORD"]);
        for account in accounts {
            let password = if account.has_password() {
                "yes"
            } else {
                "no, proxy only"
            };
            table.add_row([&account.name, account.role.name(), password]);
        }
        print(&table, out)?;
        Ok(())
    }
}

/// Asks for a password without showing it; reads one line when nobody is at the terminal.
fn password() -> anyhow::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(&stdin);
    }
    let shown = tcgetattr(&stdin).context("cannot ask for a password")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).context("cannot ask for a password")?;
    let ask = |prompt: &str| {
        eprint!("{prompt}: ");
        line(&stdin)
    };
    let asked = ask("New password").and_then(|first| Ok((first, ask("Once more")?)));
    tcsetattr(&stdin, OptionalActions::Flush, &shown).context("cannot show the input again")?;
    let (first, second) = asked?;
    if first != second {
        bail!("the two passwords differ; nothing was changed");
    }
    Ok(first)
}

fn line(stdin: &io::Stdin) -> anyhow::Result<String> {
    let mut line = String::new();
    let limit = u64::try_from(LONGEST_PASSWORD)? + 2;
    io::Read::take(stdin.lock(), limit).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
