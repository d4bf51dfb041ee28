//! Sessions of a real Postfix, written down frame by frame, are answered the same by every adapter.
//!
//! `RECORD=1 cargo test --test replay` writes `tests/transcripts` anew from a private Postfix. A
//! file is named after what the policy does with a doubtful recipient. Of the negotiation only the
//! actions must be equal: how the libraries leave out steps they have no handler for is their own.

mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::bench::Bench;
use support::daemon::{Daemon, Settings, on_each};
use support::postfix::{Options, Postfix};
use support::recorder::{self, From, Recorder};
use support::smtp_client::SmtpClient;
use support::{PATIENCE, why_no_postfix};

const ACTIONS: [&str; 5] = ["accept", "hold", "hold-message", "reject", "tag"];

fn policy(action: &str) -> Value {
    json!({"policy": {"suspect": action, "certain": action}})
}

/// Plays some mail through Postfix with a recorder in between.
fn record(action: &str, file: &Path) -> Result<()> {
    let postfix = Postfix::start(&Options::default())?;
    let mut settings = Settings::for_postfix(&postfix).with(policy(action));
    let behind = postfix.directory().join("behind.sock");
    settings.config["listeners"][0]["socket"] = json!(format!("unix:{}", behind.display()));
    let daemon = Daemon::start(&settings)?;
    let recorder = Recorder::start(&postfix.milter_socket, &behind)?;
    let good_and_bad: &[&str] = &["bob@navy.mil", "carl@army.ml"];
    for (number, recipients) in [
        good_and_bad,
        &["carl@army.ml"],
        &["bob@navy.mil"],
        &[
            "@relay.test:carl@army.ml",
            "army.ml!dora",
            "EMIL@ARMY.ML.",
            "bob@navy.mil",
        ],
        &["dr.house@xn--hspital-9ig.org", "bob@navy.mil"],
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = SmtpClient::open(postfix.submission_port)?;
        // Two messages a connection; the second one is larger than a chunk of the protocol.
        for (part, lines) in [(1, 2), (2, 1500)] {
            let line = "a line of some length that fills the body of this message\n";
            let data = format!(
                "From: alice@army.mil\nMessage-ID: <{number}.{part}@client.test>\nSubject: a\n folded one\n\n{}",
                line.repeat(lines)
            );
            client.message("alice@army.mil", recipients, &data)?;
        }
    }
    postfix.settle(&[])?;
    daemon.stop()?;
    fs::write(file, recorder::to_text(&recorder.transcripts()))?;
    Ok(())
}

/// Says what the MTA said, and compares what the filter says with what it said then.
fn replay(socket: &Path, transcript: &recorder::Transcript) -> Result<usize> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for (at, (who, frame)) in transcript.iter().enumerate() {
        if *who == From::Mta {
            recorder::write(&mut stream, frame)?;
            continue;
        }
        let answer = recorder::read(&mut stream).with_context(|| format!("frame {at}"))?;
        let equal = match frame.first() {
            Some(b'O') => answer.get(5..9) == frame.get(5..9),
            _ => answer == *frame,
        };
        ensure!(
            equal,
            "frame {at}: {}, recorded: {}",
            answer.escape_ascii(),
            frame.escape_ascii()
        );
    }
    Ok(transcript.len())
}

#[test]
fn recorded_sessions_of_postfix_are_answered_alike_on_every_adapter() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    if std::env::var_os("RECORD").is_some() {
        if let Some(why) = why_no_postfix() {
            println!("skipped: {why}");
            return Ok(());
        }
        for action in ACTIONS {
            record(action, &folder.join(format!("{action}.txt")))?;
        }
    }
    on_each(|library| {
        let (mut frames, mut sessions) = (0, 0);
        for action in ACTIONS {
            let text = fs::read_to_string(folder.join(format!("{action}.txt")))?;
            let bench = Bench::start(library, policy(action))?;
            for (number, transcript) in recorder::from_text(&text)?.iter().enumerate() {
                frames += replay(&bench.socket, transcript)
                    .with_context(|| format!("{action}, session {number}"))?;
                sessions += 1;
            }
            bench.daemon.stop()?;
        }
        ensure!(sessions >= 5 * ACTIONS.len(), "{sessions} sessions");
        println!("{sessions} sessions of {frames} frames on {library:?}");
        Ok(())
    })
}

#[test]
fn what_was_written_down_is_read_as_it_was() {
    let frame = |body: &[u8]| (From::Mta, [b"B", body].concat());
    let line = b"a [long] \\ line\r\n".as_slice();
    let transcript = vec![
        frame(&[line.repeat(900), b"rest".to_vec()].concat()),
        frame(
            &[
                b"rest\r\n".to_vec(),
                line.repeat(7),
                b"\n\n\n\n\0\xff".to_vec(),
            ]
            .concat(),
        ),
        (From::Filter, b"c".to_vec()),
        frame(b""),
    ];
    let text = recorder::to_text(std::slice::from_ref(&transcript));
    assert_eq!(recorder::from_text(&text).unwrap(), [transcript]);
    assert!(text.len() < 200, "{text}");
}
