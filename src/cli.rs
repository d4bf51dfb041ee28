//! The command line. Each command is a file below `cli/`; this one names them and ends them.

/// Says something on standard error. Where nobody can read it, the work goes on: `eprintln!` would panic.
macro_rules! say {
    ($($said:tt)*) => {{
        use std::io::Write as _;
        let _unread = writeln!(std::io::stderr(), $($said)*);
    }};
}

mod approve;
mod audit;
mod backup;
mod check;
mod check_config;
mod desk;
mod doctor;
mod explanation;
mod figures;
mod learn;
mod manual;
mod quarantine;
mod report;
mod reviewer;
mod run;
mod scan_addresses;
mod scan_log;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigErrors, DEFAULT_PATH};

/// Everything is fine, or nothing suspicious was found.
pub const EXIT_FINE: u8 = 0;
/// `check` found a suspicious name, `doctor` something to mend; any other command failed.
pub const EXIT_FOUND: u8 = 1;
/// The command line is wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// The configuration is wrong (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// Stops mail before it goes to the wrong domain.
#[derive(Debug, Parser)]
#[command(
    name = "straymail",
    version,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 fine, 1 suspicious or failed, 64 wrong usage, 78 wrong configuration."
)]
struct Cli {
    /// Configuration file [default: /etc/straymail/milter.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    CheckConfig(check_config::CheckConfig),
    ScanLog(scan_log::ScanLog),
    ScanAddresses(scan_addresses::ScanAddresses),
    Milter(run::Milter),
    Worker(run::Worker),
    Run(run::Run),
    Quarantine(quarantine::Quarantine),
    Approve(approve::Approve),
    Audit(audit::Audit),
    Status(status::Status),
    Learn(learn::Learn),
    Report(report::Report),
    Doctor(doctor::Doctor),
    Setup(doctor::Setup),
    Reviewer(reviewer::Reviewer),
    Backup(backup::Backup),
    Restore(backup::Restore),
    RotateKey(backup::RotateKey),
    Manual(manual::Manual),
    Completions(manual::Completions),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// The command line is wrong, as only its command can tell.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Returns the mistake of whoever wrote the command line.
fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

/// Reads a text that says something. An empty one is most likely a variable of a script that was
/// not set, and as a filter it would fit everything.
///
/// # Errors
/// Nothing but blanks.
fn filled(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty; write a value, or leave the option out".to_owned());
    }
    Ok(text.to_owned())
}

/// Runs the program and returns its exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` arrive here too; they are no mistakes.
            let wrong = error.use_stderr();
            let _ = error.print();
            return ExitCode::from(if wrong { EXIT_USAGE } else { EXIT_FINE });
        }
    };
    match run(&cli) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            say!("straymail: {}", chain(&failure));
            ExitCode::from(match failure {
                Failure::Config(_) => EXIT_CONFIG,
                Failure::Other(error) if error.is::<Usage>() => EXIT_USAGE,
                Failure::Other(_) => EXIT_FOUND,
            })
        }
    }
}

fn run(cli: &Cli) -> Result<u8, Failure> {
    let path = cli.config.as_deref();
    match &cli.command {
        Command::Check(command) => command.run(path),
        Command::CheckConfig(command) => command.run(path),
        Command::ScanLog(command) => command.run(path),
        Command::ScanAddresses(command) => command.run(path),
        Command::Milter(command) => command.run(path),
        Command::Worker(command) => command.run(path),
        Command::Run(command) => command.run(path),
        Command::Quarantine(command) => command.run(path),
        Command::Approve(command) => command.run(path),
        Command::Audit(command) => command.run(path),
        Command::Status(command) => command.run(path),
        Command::Learn(command) => command.run(path),
        Command::Report(command) => command.run(path),
        Command::Doctor(command) => command.run(path),
        Command::Setup(command) => command.run(path),
        Command::Reviewer(command) => command.run(path),
        Command::Backup(command) => command.run(path),
        Command::Restore(command) => command.run(path),
        Command::RotateKey(command) => command.run(path),
        Command::Manual(command) => command.run(),
        Command::Completions(command) => command.run(),
    }
}

/// Returns the message of an error and of what caused it.
fn chain(failure: &Failure) -> String {
    match failure {
        Failure::Other(error) => format!("{error:#}"),
        failure => failure.to_string(),
    }
}

/// Returns the configuration at `path`, or at the usual place.
fn load_config(path: Option<&Path>) -> Result<Config, ConfigErrors> {
    Config::load(path.unwrap_or(Path::new(DEFAULT_PATH)))
}
