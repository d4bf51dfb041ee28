//! Dialog files: what a client says, what it must hear, and what must have become of the mail.
//!
//! An admin can read and write them; `tests/dialogs/README.md` explains every keyword. The same
//! files serve every MTA: a keyword with the MTA's name in brackets (`S[postfix]:`) counts for
//! that one only.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::PATIENCE;
use super::daemon::{Daemon, Library, Settings};
use super::mta::Mta;
use super::pattern::{fits, occurs};
use super::sink::Delivery;
use super::smtp_client::SmtpClient;

/// A parsed dialog file.
#[derive(Debug)]
pub(crate) struct Dialog {
    /// Configuration laid over the tests' own; an object, or null.
    config: Value,
    steps: Vec<Step>,
}

/// One line (or block) of a dialog, with its line number.
#[derive(Debug)]
struct Step {
    line: usize,
    keyword: String,
    argument: String,
    block: Vec<String>,
}

impl Dialog {
    /// Reads a dialog for an MTA and a milter library, the `names` that may stand in brackets.
    ///
    /// # Errors
    /// Names the line that is not understood.
    pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Dialog> {
        let mut steps: Vec<Step> = Vec::new();
        // A block belongs to its keyword, also when that is for another MTA.
        let mut skipping = false;
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if let Some(text) = line
                .strip_prefix("| ")
                .or(line.strip_prefix('|'))
                .or(line.strip_prefix("  "))
            {
                if !skipping {
                    let step = steps
                        .last_mut()
                        .with_context(|| format!("line {number}: nothing to continue"))?;
                    step.block.push(text.to_owned());
                }
                continue;
            }
            let (keyword, argument) = line
                .split_once(':')
                .with_context(|| format!("line {number}: no keyword: {line}"))?;
            let keyword = match keyword.split_once('[') {
                None => keyword,
                Some((keyword, name)) => {
                    let name = name.trim_end_matches(']');
                    ensure!(
                        NAMES.contains(&name),
                        "line {number}: unknown name {name:?}; known: {}",
                        NAMES.join(", ")
                    );
                    skipping = !names.contains(&name);
                    if skipping {
                        continue;
                    }
                    keyword
                }
            };
            skipping = false;
            ensure!(
                KEYWORDS.contains(&keyword),
                "line {number}: unknown keyword {keyword:?}; known: {}",
                KEYWORDS.join(", ")
            );
            steps.push(Step {
                line: number,
                keyword: keyword.to_owned(),
                argument: argument.strip_prefix(' ').unwrap_or(argument).to_owned(),
                block: Vec::new(),
            });
        }
        let mut config = Value::Null;
        if let Some(at) = steps.iter().position(|step| step.keyword == "config") {
            ensure!(at == 0, "line {}: config: comes first", steps[at].line);
            let step = steps.remove(at);
            config = serde_saphyr::from_str(&step.block.join("\n"))
                .map_err(|error| anyhow::anyhow!("line {}: {error}", step.line))?;
        }
        Ok(Dialog { config, steps })
    }

    /// Why this mail server does not play it.
    fn skipped(&self) -> Option<&str> {
        let step = self.steps.iter().find(|step| step.keyword == "skipped");
        step.map(|step| step.argument.as_str())
    }
}

/// What may stand in brackets: mail servers and milter libraries.
const NAMES: [&str; 4] = ["postfix", "sendmail", "indymilter", "libmilter"];

const KEYWORDS: [&str; 25] = [
    "config",
    "daemon",
    "port",
    "login",
    "client",
    "C",
    "S",
    "data",
    "sendmail",
    "delivered",
    "delivered sender",
    "delivered sender args",
    "delivered recipient args",
    "delivered text",
    "delivered without",
    "queue",
    "let out of hold",
    "hold queue says",
    "skipped",
    "quarantine",
    "straymail",
    "log",
    "no log",
    "maillog",
    "no maillog",
];

/// Runs every `*.dialog` file of `directory` and reports all that fail, not only the first.
///
/// `DIALOG=name` runs the files whose name contains it.
pub(crate) fn run_all(directory: &Path, mta: &dyn Mta, library: Library) -> Result<()> {
    let only = std::env::var("DIALOG").unwrap_or_default();
    let mut files: Vec<_> = fs::read_dir(directory)
        .with_context(|| directory.display().to_string())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "dialog"));
    files.sort();
    ensure!(!files.is_empty(), "no dialogs in {}", directory.display());
    let mut failures = String::new();
    let (mut played, mut skipped) = (0, 0);
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        if !name.contains(&only) {
            continue;
        }
        let text = fs::read_to_string(file)?;
        let dialog = Dialog::parse(&text, &[mta.name(), library.name()]);
        let outcome = dialog.and_then(|dialog| match dialog.skipped() {
            Some(why) => Ok(Some(why.to_owned())),
            None => Run::play(&dialog, mta, library).map(|()| None),
        });
        played += 1;
        match outcome {
            Ok(None) => println!("ok      {name}"),
            Ok(Some(why)) => {
                println!("skipped {name}: {why}");
                played -= 1;
                skipped += 1;
            }
            Err(error) => {
                println!("FAILED  {name}");
                let _ = writeln!(failures, "\n=== {}\n{error:#}", file.display());
            }
        }
    }
    println!(
        "{played} dialogs from {} at {} on {}, {skipped} skipped",
        directory.display(),
        mta.name(),
        library.name()
    );
    ensure!(failures.is_empty(), "{failures}");
    Ok(())
}

/// A dialog being played.
struct Run<'a> {
    mta: &'a dyn Mta,
    daemon: Option<Daemon>,
    client: Option<SmtpClient>,
    port: u16,
    /// Bytes of `C:` lines not sent yet: consecutive ones go out together (pipelining).
    unsent: Vec<u8>,
    /// Everything said so far, for the report of a failure.
    transcript: String,
    /// Queue ids the client was told.
    queue_ids: Vec<String>,
    /// Deliveries already accounted for.
    seen: usize,
    /// What the last `delivered:` was about.
    last: Vec<Delivery>,
    /// Where this dialog's part of the maillog begins.
    log_start: usize,
}

impl<'a> Run<'a> {
    fn play(dialog: &Dialog, mta: &'a dyn Mta, library: Library) -> Result<()> {
        let settings = Settings::for_mta(mta)
            .with(dialog.config.clone())
            .on(library);
        let wants_daemon = !dialog
            .steps
            .iter()
            .any(|step| step.keyword == "daemon" && step.argument == "none");
        let daemon = if wants_daemon {
            Some(Daemon::start(&settings)?)
        } else {
            None
        };
        let mut run = Run {
            mta,
            daemon,
            client: None,
            port: mta.port("submission").context("no submission port")?,
            unsent: Vec::new(),
            transcript: String::new(),
            queue_ids: Vec::new(),
            seen: mta.sink().deliveries().len(),
            last: Vec::new(),
            log_start: mta.log().len(),
        };
        let mut outcome = Ok(());
        for step in &dialog.steps {
            outcome = run.step(step).with_context(|| {
                format!("line {}: {}: {}", step.line, step.keyword, step.argument)
            });
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_ok() {
            outcome = run.end();
        }
        let report = run.report();
        // The next dialog must not find what this one left.
        run.client = None;
        let stopped = run.daemon.take().map_or(Ok(()), Daemon::stop);
        mta.empty_queue()?;
        outcome.context(report)?;
        stopped
    }

    /// What must be true after every dialog.
    fn end(&mut self) -> Result<()> {
        self.flush()?;
        self.mta.settle(&self.queue_ids)?;
        let rest: Vec<_> = self.new_recipients();
        ensure!(
            rest.is_empty(),
            "delivered without the dialog saying so: {}",
            rest.join(", ")
        );
        Ok(())
    }

    fn new_recipients(&self) -> Vec<String> {
        let all = self.mta.sink().deliveries();
        let mut names: Vec<String> = all
            .get(self.seen..)
            .unwrap_or_default()
            .iter()
            .flat_map(|delivery| delivery.recipients.iter().map(|r| r.0.clone()))
            .collect();
        names.sort();
        names
    }

    fn report(&self) -> String {
        let log = self.mta.log();
        let maillog = log.get(self.log_start..).unwrap_or_default();
        format!(
            "--- conversation\n{}--- straymail\n{}--- maillog\n{maillog}--- failure",
            self.transcript,
            self.daemon.as_ref().map(Daemon::log).unwrap_or_default(),
        )
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        if step.keyword != "C" && step.keyword != "data" {
            self.flush()?;
        }
        let argument = step.argument.as_str();
        match step.keyword.as_str() {
            "daemon" => ensure!(argument == "none", "only daemon: none is known"),
            "port" => {
                self.client = None;
                let port = self.mta.port(argument);
                self.port = port.with_context(|| format!("unknown port {argument:?}"))?;
            }
            "login" => {
                let (login, address) = argument
                    .split_once(" from ")
                    .context("expected: login: NAME from ADDRESS")?;
                self.client = Some(self.mta.connect_as(self.port, address, Some(login))?);
            }
            "client" => self.client = Some(self.mta.connect_as(self.port, argument, None)?),
            "C" => {
                self.client()?;
                let _ = writeln!(self.transcript, "C: {argument}");
                self.unsent.extend(unescape(argument)?);
                self.unsent.extend(b"\r\n");
            }
            "data" => {
                self.client()?;
                let _ = writeln!(self.transcript, "C: ({} lines)", step.block.len());
                for line in &step.block {
                    self.unsent.extend(stuffed(&unescape(line)?));
                    self.unsent.extend(b"\r\n");
                }
                self.unsent.extend(b".\r\n");
            }
            "S" => {
                let reply = self.client()?.reply()?;
                self.queue_ids.extend(reply.queue_id().map(str::to_owned));
                let flat = reply.flat();
                let _ = writeln!(self.transcript, "S: {flat}");
                // A bare code stands for any text.
                let code_only = argument.len() == 3;
                ensure!(
                    fits(argument, &flat) || (code_only && reply.code.to_string() == argument),
                    "expected: {argument}\n     got: {flat}"
                );
                if reply.code == 221 {
                    self.client = None;
                }
            }
            "sendmail" => {
                let arguments: Vec<String> = argument.split(' ').map(str::to_owned).collect();
                let message = step.block.join("\n") + "\n";
                self.mta.sendmail(&arguments, message.as_bytes())?;
            }
            "let out of hold" => {
                self.mta.settle(&self.queue_ids)?;
                self.mta.let_out()?;
            }
            "hold queue says" => {
                self.mta.settle(&self.queue_ids)?;
                let listing = self.mta.held_listing()?;
                ensure!(
                    listing.lines().any(|line| occurs(argument, line)),
                    "no line with {argument:?} in:\n{listing}"
                );
            }
            keyword if keyword.starts_with("delivered") => {
                self.check_delivery(keyword, argument)?
            }
            "queue" => {
                self.mta.settle(&self.queue_ids)?;
                let mut found: Vec<String> = self
                    .mta
                    .queue()?
                    .into_iter()
                    .flat_map(|m| {
                        let queue = m.queue.clone();
                        m.recipients
                            .into_iter()
                            .map(move |r| format!("{queue} {r}"))
                    })
                    .collect();
                found.sort();
                same_list(argument, &found)?;
            }
            "quarantine" => {
                self.mta.settle(&self.queue_ids)?;
                let mut held: Vec<String> = self
                    .daemon()?
                    .held()?
                    .into_iter()
                    .map(|entry| entry.recipient)
                    .collect();
                held.sort();
                same_list(argument, &held)?;
            }
            "straymail" => {
                let mut argument = argument.to_owned();
                let entries = self.daemon()?.entries()?;
                if let [only] = entries.as_slice() {
                    argument = argument.replace("{id}", &only.id);
                }
                for entry in entries {
                    argument =
                        argument.replace(&format!("{{id of {}}}", entry.recipient), &entry.id);
                }
                let arguments: Vec<&str> = argument.split(' ').collect();
                let output = self.daemon()?.command(&arguments)?;
                let _ = writeln!(self.transcript, "$ straymail {argument}\n{}", output.text);
                let mut wanted = step.block.as_slice();
                let mut code = 0;
                if let Some(exit) = wanted.first().and_then(|l| l.strip_prefix("exit ")) {
                    code = exit.parse().context("exit CODE")?;
                    wanted = &wanted[1..];
                }
                ensure!(
                    output.code == code,
                    "expected exit code {code}, got {}:\n{}",
                    output.code,
                    output.text
                );
                for pattern in wanted {
                    ensure!(
                        output.text.lines().any(|line| occurs(pattern, line)),
                        "no line with {pattern:?} in:\n{}",
                        output.text
                    );
                }
            }
            "log" => {
                // What the daemon logs after its answer may come a moment later.
                let daemon = self.daemon()?;
                super::wait_for(&format!("a log line with {argument:?}"), || {
                    Ok(daemon
                        .log()
                        .lines()
                        .any(|l| occurs(argument, l))
                        .then_some(()))
                })?;
            }
            "no log" => {
                let log = self.daemon()?.log();
                let line = log.lines().find(|line| occurs(argument, line));
                ensure!(line.is_none(), "found: {}", line.unwrap_or_default());
            }
            "maillog" => {
                super::wait_for(&format!("a maillog line with {argument:?}"), || {
                    Ok(self
                        .maillog()
                        .lines()
                        .any(|l| occurs(argument, l))
                        .then_some(()))
                })?;
            }
            "no maillog" => {
                self.mta.settle(&self.queue_ids)?;
                let log = self.maillog();
                let line = log.lines().find(|line| occurs(argument, line));
                ensure!(line.is_none(), "found: {}", line.unwrap_or_default());
            }
            other => bail!("keyword {other:?} is not carried out"),
        }
        Ok(())
    }

    fn check_delivery(&mut self, keyword: &str, argument: &str) -> Result<()> {
        let argument = String::from_utf8(unescape(argument)?)?;
        let argument = argument.as_str();
        let texts = |f: fn(&Delivery) -> String| self.last.iter().map(f).collect::<Vec<_>>();
        let (found, wanted) = match keyword {
            "delivered" => {
                let wanted = list(argument);
                let waited = self.mta.sink().wait(self.seen, wanted.len(), PATIENCE);
                drop(waited);
                self.mta.settle(&self.queue_ids)?;
                let found = self.new_recipients();
                let all = self.mta.sink().wait(self.seen, 0, Duration::ZERO);
                self.seen += all.len();
                self.last = all;
                return same_list(argument, &found);
            }
            "delivered sender" => (texts(|d| d.sender.clone()), true),
            "delivered sender args" => (texts(|d| d.sender_args.clone()), true),
            "delivered recipient args" => (
                texts(|d| {
                    let args: Vec<_> = d.recipients.iter().map(|r| r.1.as_str()).collect();
                    args.join(" ")
                }),
                true,
            ),
            "delivered text" => (texts(Delivery::text), true),
            "delivered without" => (texts(Delivery::text), false),
            other => bail!("keyword {other:?} is not carried out"),
        };
        ensure!(!found.is_empty(), "nothing was delivered");
        for text in &found {
            let fits = text.lines().any(|line| fits(argument, line))
                || (text.is_empty() && argument.is_empty());
            ensure!(
                fits == wanted,
                "{} {argument:?} in:\n{text}",
                if wanted { "no line" } else { "a line" }
            );
        }
        Ok(())
    }

    fn maillog(&self) -> String {
        let log = self.mta.log();
        log.get(self.log_start..).unwrap_or_default().to_owned()
    }

    fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("daemon: none")
    }

    /// The open connection; a new one if there is none.
    fn client(&mut self) -> Result<&mut SmtpClient> {
        if self.client.is_none() {
            self.client = Some(SmtpClient::open(self.port)?);
        }
        self.client.as_mut().context("no connection")
    }

    fn flush(&mut self) -> Result<()> {
        if !self.unsent.is_empty() {
            let bytes = std::mem::take(&mut self.unsent);
            self.client()?.send(&bytes)?;
        }
        Ok(())
    }
}

/// `a, b` as a sorted list; `nobody` and `empty` are the empty list.
fn list(text: &str) -> Vec<String> {
    if matches!(text, "nobody" | "empty") {
        return Vec::new();
    }
    let mut list: Vec<String> = text.split(", ").map(str::to_owned).collect();
    list.sort();
    list
}

fn same_list(expected: &str, found: &[String]) -> Result<()> {
    let expected = list(expected);
    if expected == found {
        return Ok(());
    }
    let mut difference = String::new();
    for name in found.iter().filter(|name| !expected.contains(name)) {
        let _ = writeln!(difference, "  + {name}");
    }
    for name in expected.iter().filter(|name| !found.contains(name)) {
        let _ = writeln!(difference, "  - {name}");
    }
    bail!(
        "expected {}: {}\n     got {}: {}\n{difference}",
        expected.len(),
        expected.join(", "),
        found.len(),
        found.join(", ")
    )
}

fn stuffed(line: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(line.len() + 1);
    if line.first() == Some(&b'.') {
        stuffed.push(b'.');
    }
    stuffed.extend_from_slice(line);
    stuffed
}

/// Replaces `\xNN` by the byte it names; everything else stays.
fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let (digits, after) = after
            .split_at_checked(2)
            .context("\\xNN needs two digits")?;
        bytes.push(u8::from_str_radix(digits, 16).with_context(|| format!("\\x{digits}"))?);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}
