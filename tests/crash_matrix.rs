//! kill -9 (or a hang) at every point of a held message's way, with a real Postfix
//! (`milter_default_action = tempfail`) and a real Sendmail (`F=T`): no copy may leak and none
//! may be lost.
//!
//! A leak is a copy delivered to the wrong domain. A loss is a recipient whose client was told
//! 250 and of whom no copy exists. The printed tables are those of docs/flow.md.

#![cfg(feature = "fault-injection")]

mod support;

use anyhow::{Context, Result, ensure};
use support::daemon::{self, Daemon, Library, Settings};
use support::milter_client::MilterClient;
use support::mta::Mta;
use support::postfix::{Options, Postfix};
use support::sendmail::Sendmail;
use support::smtp_client::{SmtpClient, Transaction};
use support::wait_for;

const GOOD: &str = "bob@navy.mil";
const BAD: &str = "carl@army.ml";

/// What happens to the daemon while it has the message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Nothing.
    Lives,
    /// It does not run at all.
    Absent,
    /// It kills itself at this crash point.
    Dies(&'static str),
    /// It stops answering at this crash point, and is killed later.
    Hangs(&'static str),
    /// It is killed as soon as the client has the final reply.
    KilledAfterReply,
}

const CELLS: [(&str, Fate); 17] = [
    ("no fault", Fate::Lives),
    ("not running", Fate::Absent),
    ("CONNECT", Fate::Dies("connect")),
    ("MAIL", Fate::Dies("mail")),
    ("RCPT", Fate::Dies("rcpt")),
    ("RCPT, hangs", Fate::Hangs("rcpt")),
    ("end of headers", Fate::Dies("eoh")),
    (
        "end of message, nothing stored",
        Fate::Dies("eom-before-store"),
    ),
    ("the same, hangs", Fate::Hangs("eom-before-store")),
    ("file synced, not renamed", Fate::Dies("hold.synced")),
    ("file renamed, no row", Fate::Dies("hold.renamed")),
    ("the same, hangs", Fate::Hangs("hold.renamed")),
    ("row written, before DELRCPT", Fate::Dies("eom-after-store")),
    ("the same, hangs", Fate::Hangs("eom-after-store")),
    (
        "after DELRCPT, before the reply",
        Fate::Dies("eom-after-delrcpt"),
    ),
    ("the same, hangs", Fate::Hangs("eom-after-delrcpt")),
    ("after the final reply", Fate::KilledAfterReply),
];

/// What there is after one step of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Copies delivered to the right recipient.
    good: usize,
    /// Copies delivered to the wrong one: leaks.
    bad: usize,
    /// Entries for the wrong one in the quarantine.
    held: usize,
}

struct Cell {
    name: &'static str,
    told: String,
    crashed: State,
    retried: bool,
    end: State,
    released: usize,
}

#[test]
fn no_crash_leaks_or_loses_a_recipient() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    // Short limits, so that a hang costs seconds.
    let options = Options {
        milter_timeout: 3,
        ..Options::default()
    };
    survive_all(&Postfix::start(&options)?)
}

#[test]
fn no_crash_leaks_or_loses_a_recipient_at_sendmail() -> Result<()> {
    if let Some(why) = support::sendmail::why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    let options = support::sendmail::Options {
        milter_timeout: 3,
        ..support::sendmail::Options::default()
    };
    survive_all(&Sendmail::start(&options)?)
}

fn survive_all(mta: &dyn Mta) -> Result<()> {
    let mut cells = Vec::new();
    for (number, (name, fate)) in CELLS.into_iter().enumerate() {
        cells.push(play(mta, number, name, fate).with_context(|| name.to_owned())?);
    }
    println!("\n{}:", mta.name());
    print_table(&cells);
    for cell in &cells {
        let State { good, bad, held } = cell.end;
        let name = cell.name;
        assert_eq!(bad, 0, "{name}: leaked to {BAD}");
        assert!(good >= 1, "{name}: {GOOD} lost");
        assert_eq!(held, 1, "{name}: {BAD} must be held exactly once");
        assert_eq!(cell.released, 1, "{name}: a held copy must be deliverable");
        // Only a client that was not told 250 may find its mail missing before it retries.
        if !cell.retried {
            assert_eq!(cell.crashed, cell.end, "{name}");
        }
        // One kill costs at most one duplicate, and here it costs none.
        assert_eq!(good, 1, "{name}: duplicates for {GOOD}");
    }
    Ok(())
}

/// The ways a release can die, and the most copies that may then be delivered: when the MTA has
/// taken the message and nobody could write that down, a second release sends it again.
const RELEASE_POINTS: [(&str, usize); 3] =
    [("smtp.ehlo", 1), ("smtp.sent", 2), ("smtp.accepted", 2)];

#[test]
fn no_crash_of_a_release_loses_the_message_and_one_costs_at_most_one_duplicate() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let postfix = Postfix::start(&Options::default())?;
    // The shortest lease: whoever died releasing blocks the next one no longer than that.
    let settings = Settings::for_postfix(&postfix).with(serde_json::json!({
        "policy": {"suspect": "hold", "certain": "hold"},
        "quarantine": {"lease": "10s"},
    }));
    let daemon = Daemon::start(&settings)?;
    let mut ids = Vec::new();
    for number in 0..RELEASE_POINTS.len() {
        let sent = send(&postfix, number)?;
        ensure!(sent.accepted(), "{}", sent.last());
        let mut held = daemon.held()?.into_iter().map(|entry| entry.id);
        ids.push(held.find(|id| !ids.contains(id)).context("not held")?);
    }
    // Only now: a release approves this sender and recipient for a while.
    for ((point, _), id) in RELEASE_POINTS.iter().zip(&ids) {
        let mut dying = settings.clone();
        dying.fault = Some((*point).to_owned());
        let output = daemon::command(&dying, &["quarantine", "release", id])?;
        ensure!(
            output.code == -1,
            "{point} was not reached: {}",
            output.text
        );
    }
    println!("\n| the release dies at | delivered in the end | at most |\n|---|---|---|");
    for (number, ((point, most), id)) in RELEASE_POINTS.iter().zip(&ids).enumerate() {
        wait_for("the lease of the dead release to end", || {
            let output = daemon.command(&["quarantine", "release", id])?;
            Ok((output.code == 0).then_some(()))
        })?;
        postfix.settle(&[])?;
        let subject = format!("Subject: cell {number}\n");
        let copies = (postfix.sink.deliveries().iter())
            .filter(|d| d.recipients.iter().any(|r| r.0 == BAD) && d.text().contains(&subject))
            .count();
        println!("| {point} | {copies} | {most} |");
        ensure!((1..=*most).contains(&copies), "{point}: {copies} copies");
    }
    daemon.stop()
}

/// A panic is a bug of ours: its session is deferred, the others and the daemon go on.
#[test]
fn a_panic_defers_its_own_session_and_no_other() -> Result<()> {
    let points = [("rcpt:panic", true), ("eom-before-store:panic", false)];
    let cells = (Library::ALL.iter()).flat_map(|library| points.map(|point| (*library, point)));
    for (library, (point, ends_at_rcpt)) in cells {
        let directory = tempfile::tempdir()?;
        let mut settings = Settings::in_directory(directory.path())
            .on(library)
            .with(serde_json::json!({"policy": {"suspect": "hold", "certain": "hold"}}));
        settings.fault = Some(point.to_owned());
        let daemon = Daemon::start(&settings)?;
        let socket = directory.path().join("milter.sock");
        let mut idle = MilterClient::open(&socket)?;
        for _ in 0..2 {
            let mut client = MilterClient::open(&socket)?;
            client.connect_from("127.0.0.1", 40_000)?;
            client.mail("alice@army.mil")?;
            let answer = client.rcpt(BAD)?.context("no answer")?;
            if ends_at_rcpt {
                ensure!(answer.command == b't', "{point}: {}", answer.text());
                let next = client.rcpt(GOOD)?.context("no answer")?;
                ensure!(next.command == b't', "{point}, next: {}", next.text());
                continue;
            }
            client.content()?;
            let frames = client.end()?;
            let last = frames.last().context("no answer")?;
            ensure!(last.command == b't', "{point}: {}", last.text());
        }
        idle.connect_from("127.0.0.1", 40_001)?;
        ensure!(
            idle.mail("alice@army.mil")?.is_some(),
            "another session hangs"
        );
        let log = daemon.log();
        ensure!(log.contains("internal error, session deferred"), "{log}");
        ensure!(
            !log.contains('\u{1b}'),
            "the panic's message is not escaped"
        );
        drop(idle);
        daemon.stop()?;
    }
    Ok(())
}

fn play(mta: &dyn Mta, number: usize, name: &'static str, fate: Fate) -> Result<Cell> {
    let mut settings = Settings::for_mta(mta)
        .with(serde_json::json!({"policy": {"suspect": "hold", "certain": "hold"}}));
    let seen = mta.sink().deliveries().len();
    let state = |queue_ids: &[String], settings: &Settings| -> Result<State> {
        mta.settle(queue_ids)?;
        let mut state = State::default();
        for delivery in mta.sink().deliveries().get(seen..).unwrap_or_default() {
            for (recipient, _) in &delivery.recipients {
                match recipient.as_str() {
                    GOOD => state.good += 1,
                    _ => state.bad += 1,
                }
            }
        }
        state.held = (daemon::entries(settings)?.iter())
            .filter(|entry| entry.recipient == BAD && entry.waits())
            .count();
        Ok(state)
    };

    // 1. The message meets the fault.
    settings.fault = match fate {
        Fate::Dies(point) => Some(point.to_owned()),
        Fate::Hangs(point) => Some(format!("{point}:hang")),
        Fate::Lives | Fate::Absent | Fate::KilledAfterReply => None,
    };
    settings.write()?;
    let running = match fate {
        Fate::Absent => None,
        _ => Some(Daemon::start(&settings)?),
    };
    let first = send(mta, number)?;
    if let Some(mut daemon) = running {
        match fate {
            Fate::Dies(point) => {
                let status = daemon.wait()?;
                ensure!(!status.success(), "{point} was not reached: {status}");
            }
            Fate::Hangs(point) => {
                ensure!(
                    !first.accepted() && daemon.is_running(),
                    "no hang at {point}"
                );
            }
            Fate::KilledAfterReply => ensure!(first.accepted(), "{}", first.last()),
            Fate::Lives | Fate::Absent => daemon.stop()?,
        }
        // Whatever still runs is dropped here, which is a kill -9.
    }
    settings.fault = None;

    // 2. A new daemon; the file of a crashed one is found again. A client that was not told 250
    // sends once more.
    let daemon = Daemon::start(&settings)?;
    let mut queue_ids = queue_id(&first);
    let crashed = state(&queue_ids, &settings)?;
    let retried = !first.accepted();
    if retried {
        let second = send(mta, number)?;
        ensure!(second.accepted(), "the retry failed: {}", second.last());
        queue_ids.extend(queue_id(&second));
    }
    let end = state(&queue_ids, &settings)?;

    // 3. What is held can be delivered.
    for entry in daemon.held()? {
        let output = daemon.command(&["quarantine", "release", &entry.id])?;
        ensure!(output.code == 0, "release: {}", output.text);
    }
    let delivered = || {
        let all = mta.sink().deliveries();
        let new = all.get(seen..).unwrap_or_default();
        new.iter()
            .flat_map(|d| &d.recipients)
            .filter(|r| r.0 == BAD)
            .count()
    };
    wait_for("the released copy", || Ok((delivered() > 0).then_some(())))?;
    mta.settle(&[])?;
    let released = delivered();
    daemon.stop()?;
    Ok(Cell {
        name,
        told: first.last(),
        crashed,
        retried,
        end,
        released,
    })
}

fn send(mta: &dyn Mta, number: usize) -> Result<Transaction> {
    let data = format!(
        "From: alice@army.mil\nSubject: cell {number}\nMessage-ID: <cell{number}@client.test>\n\ntext\n"
    );
    let mut client = SmtpClient::open(mta.port("submission").context("no port")?)?;
    client.message("alice@army.mil", &[GOOD, BAD], &data)
}

fn queue_id(transaction: &Transaction) -> Vec<String> {
    let id = transaction.end.as_ref().and_then(|end| end.queue_id());
    id.map(str::to_owned).into_iter().collect()
}

fn print_table(cells: &[Cell]) {
    println!(
        "\n| straymail dies at | client is told | delivered | leaked | held | after its retry: delivered | leaked | held |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for cell in cells {
        let told: String = cell.told.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let State { good, bad, held } = cell.crashed;
        let end = &cell.end;
        let after = if cell.retried {
            format!("{} | {} | {}", end.good, end.bad, end.held)
        } else {
            "no retry needed | |".to_owned()
        };
        println!(
            "| {} | {told} | {good} | {bad} | {held} | {after} |",
            cell.name
        );
    }
    let leaks: usize = cells.iter().map(|cell| cell.end.bad).sum();
    let losses = (cells.iter())
        .filter(|cell| cell.end.good == 0 || cell.end.held == 0)
        .count();
    println!("\n{} cells: {leaks} leaks, {losses} losses", cells.len());
}
