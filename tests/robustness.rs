//! What went wrong in other milters (docs/robustness.md) and must not here, on the milter port
//! and without an MTA; in a build with the feature `libmilter` on both adapters.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::bench::{Bench, half_way};
use support::daemon::{Library, Settings, on_each};
use support::milter_client::{Frame, MilterClient};
use support::{PATIENCE, wait_for};

/// Numbers that look random and are the same in every run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length)
            .map(|_| u8::try_from(self.below(256)).unwrap_or(0))
            .collect()
    }
}

fn holding() -> Value {
    json!({"policy": {"suspect": "hold", "certain": "hold"}})
}

/// A message with these headers (name, NUL, value, NUL) to a good and a doubtful recipient.
fn held_with_headers(client: &mut MilterClient, headers: &[Vec<u8>]) -> Result<Vec<String>> {
    client.mail("alice@army.mil")?;
    client.rcpt("bob@navy.mil")?;
    client.rcpt("carl@army.ml")?;
    client.step(b'T', b"")?;
    for header in headers {
        client.step(b'L', header)?;
    }
    client.step(b'N', b"")?;
    client.step(b'B', b"one line\r\n")?;
    Ok(client.end()?.iter().map(Frame::text).collect())
}

fn field(name: &str, value: &str) -> Vec<u8> {
    format!("{name}\0 {value}\0").into_bytes()
}

/// Every held entry can be shown.
fn all_are_shown(bench: &Bench, count: usize) -> Result<()> {
    let held = bench.daemon.held()?;
    assert_eq!(held.len(), count);
    for entry in held {
        let shown = bench.daemon.command(&["quarantine", "show", &entry.id])?;
        ensure!(shown.code == 0, "{}", shown.text);
    }
    Ok(())
}

#[test]
fn t01_no_header_whatever_it_holds_stops_a_message_or_the_daemon() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(library, holding())?;
        let mut client = MilterClient::open(&bench.socket)?;
        client.connect_from("127.0.0.1", 40_000)?;
        let arc = [
            "i=1; mx.test; dkim=pass header.i=@x.test; spf=pass smtp.mailfrom=a@x.test",
            "i=; ; ;",
            "i=1; mx.test 1; dmarc=\"(((((\"; arc=none (as.0.x=y",
            ";;;;;;;;;;;;;;;;=====",
            "",
        ];
        let mut headers: Vec<Vec<u8>> = (arc.iter())
            .flat_map(|value| {
                let names = ["ARC-Authentication-Results", "ARC-Seal", "DKIM-Signature"];
                names.map(|name| field(name, value))
            })
            .collect();
        headers.push(b"Subject\0\0".to_vec());
        let end = held_with_headers(&mut client, &headers)?;
        assert_eq!(end, ["-<carl@army.ml>|", "c"]);
        let mut numbers = Numbers(1);
        const MESSAGES: usize = 20;
        for _ in 0..MESSAGES {
            let headers: Vec<Vec<u8>> = (0..50)
                .map(|_| {
                    let mut header = numbers.bytes(40);
                    header.retain(|byte| *byte != 0);
                    // No MTA sends a header without a name.
                    header.push(b'x');
                    header.push(0);
                    header.extend(numbers.bytes(400).iter().filter(|byte| **byte != 0));
                    header.push(0);
                    header
                })
                .collect();
            let end = held_with_headers(&mut client, &headers)?;
            assert_eq!(end, ["-<carl@army.ml>|", "c"]);
        }
        drop(client);
        all_are_shown(&bench, MESSAGES + 1)?;
        bench.daemon.stop()
    })
}

#[test]
fn t02_no_from_two_and_ten_thousand_are_all_one_message() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(library, holding())?;
        let mut client = MilterClient::open(&bench.socket)?;
        client.connect_from("127.0.0.1", 40_000)?;
        let counts = [0, 1, 2, 10_000];
        for count in counts {
            let mut headers = vec![field("Message-ID", &format!("<{count}@client.test>"))];
            for name in ["From", "To"] {
                headers
                    .extend((0..count).map(|n| field(name, &format!("<x{n}@y.test>, z@w.test"))));
            }
            let end = held_with_headers(&mut client, &headers)?;
            assert_eq!(end, ["-<carl@army.ml>|", "c"], "{count} From");
        }
        drop(client);
        all_are_shown(&bench, counts.len())?;
        bench.daemon.stop()
    })
}

#[test]
fn t03_frames_at_random_end_no_session_but_their_own() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        let mut neighbour = half_way(&bench.socket)?;
        let mut numbers = Numbers(2);
        for _ in 0..300 {
            let mut client = half_way(&bench.socket)?;
            for _ in 0..numbers.below(20) {
                let command = b"ABCDEHLMNORTUKQ\0?\xff"[numbers.below(18)];
                if client.send(command, &numbers.bytes(300)).is_err() {
                    break;
                }
            }
        }
        bench.serves()?;
        let frame = neighbour.rcpt("c@army.ml")?.context("no answer")?;
        ensure!(frame.command == b'y', "{}", frame.text());
        drop(neighbour);
        bench.daemon.stop()
    })
}

#[test]
fn t05_a_strangers_header_in_our_name_changes_nothing() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(library, holding())?;
        let mut client = MilterClient::open(&bench.socket)?;
        client.connect_from("127.0.0.1", 40_000)?;
        let headers: Vec<Vec<u8>> = [
            "X-Straymail",
            "X-Straymail-Release",
            "X-Straymail-Corrected",
        ]
        .iter()
        .flat_map(|name| {
            ["approved", "release carl@army.ml", "addressed to x"].map(|v| field(name, v))
        })
        .collect();
        let end = held_with_headers(&mut client, &headers)?;
        assert_eq!(end, ["-<carl@army.ml>|", "c"]);
        drop(client);
        bench.daemon.stop()
    })
}

#[test]
fn t06_no_shell_is_started_and_programs_only_by_an_admins_commands() {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            // Describes a command line, starts nothing.
            let code = code.replace("clap::Command::new(", "");
            if code.contains("Command::new(") {
                found.push(path.display().to_string());
            }
            for shell in ["\"sh\"", "\"/bin/sh\"", "\"bash\"", "popen"] {
                assert!(!code.contains(shell), "{}: {shell}", path.display());
            }
        }
    }
    // doctor asks the MTA, with a time limit.
    assert_eq!(found, ["src/cli/doctor/ask.rs"]);
}

#[test]
fn t07_long_arguments_long_headers_and_ten_thousand_recipients_are_served() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        for length in [990, 60_000, (1 << 20) - 100, 1 << 21] {
            let mut client = half_way(&bench.socket)?;
            let local = vec![b'a'; length];
            let argument = [b"<", &local[..], b"@army.ml>\0"].concat();
            match client.step(b'R', &argument) {
                Ok(Some(frame)) => ensure!(frame.command == b'y', "{length}: {}", frame.text()),
                Ok(None) => anyhow::bail!("no answer"),
                // Beyond what the library takes the session ends.
                Err(error) => ensure!(length >= 60_000, "{length}: {error:#}"),
            }
            bench.serves()?;
        }
        let mut client = half_way(&bench.socket)?;
        let long = [b"X\0".to_vec(), vec![b'a'; 100 << 10], vec![0]].concat();
        let _ = client.step(b'L', &long);
        bench.serves()?;
        drop(client);
        let mut client = half_way(&bench.socket)?;
        for number in 0..10_000 {
            let good = client
                .rcpt(&format!("r{number}@navy.mil"))?
                .context("no answer")?;
            ensure!(good.command == b'c', "{number}: {}", good.text());
        }
        let bad = client.rcpt("c@army.ml")?.context("no answer")?;
        ensure!(bad.command == b'y', "{}", bad.text());
        client.content()?;
        let end = client.end()?;
        ensure!(
            end.last().is_some_and(|last| last.command == b'c'),
            "{end:?}"
        );
        drop(client);
        bench.serves()?;
        bench.daemon.stop()
    })
}

#[test]
fn t09_mime_structure_decides_nothing() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(library, holding())?;
        let mut client = MilterClient::open(&bench.socket)?;
        client.connect_from("127.0.0.1", 40_000)?;
        let kinds = [
            "text/plain",
            "multipart/mixed; boundary=a; boundary=b",
            "multipart/mixed; boundary=\"a\r\n b\"",
            "multipart/mixed",
            "message/rfc822",
            "multipart/mixed; boundary*0=a; boundary*1=b",
        ];
        for (number, kind) in kinds.iter().enumerate() {
            let headers = [
                field("Message-ID", &format!("<{number}@client.test>")),
                field("Content-Type", kind),
                field("Content-Transfer-Encoding", "x-unknown"),
            ];
            let end = held_with_headers(&mut client, &headers)?;
            assert_eq!(end, ["-<carl@army.ml>|", "c"], "{kind}");
        }
        drop(client);
        all_are_shown(&bench, kinds.len())?;
        bench.daemon.stop()
    })
}

#[test]
fn t10_tcp_health_checks_do_not_harm() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let tcp = Bench::start(
            library,
            json!({
                "listeners": [{"socket": format!("inet:{free}"), "role": "submission"}],
            }),
        )?;
        let greetings: [&[u8]; 6] = [
            b"",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"OPTIONS sip:nm SIP/2.0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03AAAAAAAAAAAAAAAAAAAAAAAA",
            b"EHLO check\r\nQUIT\r\n",
            b"\0\0\0\rO",
        ];
        for round in 0..1000 {
            let greeting = greetings[round % greetings.len()];
            let mut probe = TcpStream::connect(free)?;
            // The daemon may hang up first.
            let _ = probe.write_all(greeting);
            if round % 3 == 0 {
                let _ = probe.shutdown(Shutdown::Both);
            }
            let mut probe = UnixStream::connect(&bench.socket)?;
            let _ = probe.write_all(greeting);
        }
        let mut client = MilterClient::open_tcp(free)?;
        client.connect_from("127.0.0.1", 40_000)?;
        let (_, end) = client.message("alice@army.mil", &["bob@navy.mil"])?;
        assert_eq!(end, ["c"]);
        drop(client);
        bench.serves()?;
        let lines = bench.daemon.log().lines().count() + tcp.daemon.log().lines().count();
        ensure!(lines < 100, "health checks made {lines} lines of log");
        bench.daemon.stop()?;
        tcp.daemon.stop()
    })
}

/// `STRAYMAIL_SESSIONS` says how many; 100,000 is what is promised.
#[test]
fn t12_as_many_descriptors_after_many_short_sessions_as_before() -> Result<()> {
    let sessions = std::env::var("STRAYMAIL_SESSIONS");
    let sessions: usize = sessions.map_or(Ok(2000), |text| text.parse())?;
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        let count = |bench: &Bench| bench.daemon.open_descriptors().map(|all| all.len());
        // What is opened once and kept is there after the first ones.
        for _ in 0..100 {
            bench.serves()?;
        }
        let (mut before, resident) = (usize::MAX, bench.daemon.resident_kib()?);
        wait_for("the first sessions to be closed", || {
            let now = count(&bench)?;
            let same = now == before;
            before = now;
            Ok(same.then_some(()))
        })?;
        for number in 0..sessions {
            match number % 4 {
                0 => drop(UnixStream::connect(&bench.socket)?),
                1 => drop(MilterClient::open(&bench.socket)?),
                2 => drop(half_way(&bench.socket)?),
                _ => drop(MilterClient::session(
                    &bench.socket,
                    "alice@army.mil",
                    &["bob@navy.mil"],
                )?),
            }
        }
        bench.serves()?;
        let mut after = 0;
        wait_for("the descriptors to be closed", || {
            after = count(&bench)?;
            Ok((after <= before).then_some(()))
        })
        .with_context(|| format!("{before} before, {after} after"))?;
        println!(
            "{library:?}: {sessions} sessions: {before} descriptors before, {after} after; {resident} KiB before, {} KiB after",
            bench.daemon.resident_kib()?
        );
        bench.daemon.stop()
    })
}

/// What must happen to a doubtful recipient: at RCPT, and at the end of the message.
fn expected(
    role: &str,
    mode: &str,
    action: &str,
    others: bool,
) -> (&'static str, Vec<&'static str>) {
    match (mode, action) {
        ("observe", _) | (_, "accept") => ("c", vec!["c"]),
        (_, "tag") => ("c", vec!["hX-Straymail", "c"]),
        // Nobody can be refused there, so that it is held instead.
        (_, "reject") if role == "local" => expected(role, mode, "hold", others),
        // The MTA would not remove one of them, so that the message is taken over.
        (_, "hold") if role == "local" => ("c", vec!["d"]),
        (_, "hold") if others => ("c", vec!["-<carl@army.ml>", "c"]),
        (_, "hold") => ("c", vec!["d"]),
        (_, "hold-message") => ("c", vec!["q", "c"]),
        (_, "reject") if others => ("y550", vec!["c"]),
        (_, "reject") => ("y550", vec![]),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn t15_every_action_with_every_option_ends_as_intended() -> Result<()> {
    on_each(|library| {
        let mut cells = 0;
        for action in ["accept", "tag", "hold", "hold-message", "reject"] {
            for (mode, role) in [
                ("enforce", "submission"),
                ("enforce", "relay"),
                ("enforce", "local"),
                ("observe", "submission"),
            ] {
                for help in ["", "Call 555.", "250 ok {domain} <x@y.test> (5.7.1)."] {
                    let mut changes =
                        json!({"policy": {"mode": mode, "suspect": action, "certain": action}});
                    if !help.is_empty() {
                        changes["reply"] = json!({"help": help});
                    }
                    let bench = Bench::start_with(|settings| {
                        let mut settings = settings.on(library).with(changes);
                        settings.config["listeners"][0]["role"] = json!(role);
                        settings
                    })?;
                    for others in [true, false] {
                        let recipients: &[&str] = match others {
                            true => &["bob@navy.mil", "carl@army.ml"],
                            false => &["carl@army.ml"],
                        };
                        let cell = format!("{action} {mode} {role} {help:?} others: {others}");
                        let (rcpt, end) =
                            MilterClient::session(&bench.socket, "alice@army.mil", recipients)
                                .with_context(|| cell.clone())?;
                        let (at_rcpt, at_end) = expected(role, mode, action, others);
                        let answered = rcpt.last().is_some_and(|last| last.starts_with(at_rcpt));
                        ensure!(answered, "{cell}: {rcpt:?}");
                        let fits = end.len() == at_end.len()
                            && end
                                .iter()
                                .zip(&at_end)
                                .all(|(is, want)| is.starts_with(want));
                        ensure!(fits, "{cell}: {end:?}, not {at_end:?}");
                        cells += 1;
                    }
                    bench.daemon.stop()?;
                }
            }
        }
        println!("{cells} cells on {library:?}");
        Ok(())
    })
}

#[test]
fn t21_a_reload_names_every_section_that_it_cannot_put_into_force() -> Result<()> {
    let bench = Bench::start(Library::Indymilter, json!({}))?;
    let settings = bench.daemon.settings().clone();
    let changes = [
        (
            "listeners",
            json!({"listeners": [{"socket": "unix:/tmp/x.sock", "role": "relay"}]}),
        ),
        ("limits", json!({"limits": {"drain": "7s"}})),
        ("quarantine", json!({"quarantine": {"grace": "2m"}})),
        ("worker", json!({"worker": {"keep_for": "3d"}})),
        ("notice", json!({"notice": {"per_hour": 3}})),
        ("log", json!({"log": {"level": "debug"}})),
        ("", json!({"policy": {"reject_at": 95}})),
        ("", json!({"scoring": {"keyboard": "qwertz"}})),
        ("", json!({"gate": {"authenticated": false}})),
        ("", json!({"reply": {"help": "Call 555."}})),
        (
            "",
            json!({"trusted": {"domains": ["army.mil", "navy.mil", "new.mil"]}}),
        ),
        (
            "",
            json!({"trusted": {"own": ["site.example"], "domains": ["army.mil"]}}),
        ),
    ];
    let count = |word: &str| bench.daemon.log().matches(word).count();
    for (section, change) in changes {
        let (reloads, before) = (count("configuration reloaded"), bench.daemon.log().len());
        settings.clone().with(change.clone()).write()?;
        bench.daemon.signal(Signal::HUP)?;
        wait_for("the reload", || {
            Ok((count("configuration reloaded") > reloads).then_some(()))
        })
        .with_context(|| bench.daemon.log())?;
        let warning = format!("some changes need a restart sections={section}\n");
        if section.is_empty() {
            // It is in force: nothing is said about a restart.
            let said = bench.daemon.log().split_off(before);
            ensure!(!said.contains("need a restart"), "{change}: {said}");
        } else {
            wait_for(&warning, || {
                Ok(bench.daemon.log().contains(&warning).then_some(()))
            })
            .with_context(|| bench.daemon.log())?;
        }
    }
    bench.daemon.stop()
}

#[test]
fn t22_ready_is_told_by_the_process_that_was_started_once_sockets_answer() -> Result<()> {
    on_each(|library| {
        let directory = tempfile::tempdir()?;
        let settings = Settings::in_directory(directory.path()).on(library);
        settings.write()?;
        let told = directory.path().join("notify");
        let supervisor = UnixDatagram::bind(&told)?;
        supervisor.set_read_timeout(Some(PATIENCE))?;
        let mut command = Command::new(&settings.program);
        command
            .args(["milter", "--config"])
            .arg(settings.config_path())
            .env("NOTIFY_SOCKET", &told)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        if library == Library::Libmilter {
            command.args(["--library", "libmilter"]);
        }
        let mut child = command.spawn()?;
        let outcome = (|| -> Result<()> {
            let mut message = [0; 4096];
            let length = supervisor.recv(&mut message)?;
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            ensure!(message.contains("READY=1"), "{message}");
            // The process is the one that was started, and serves at this moment.
            ensure!(child.try_wait()?.is_none(), "it went into the background");
            MilterClient::open(&directory.path().join("milter.sock"))?;
            Ok(())
        })();
        let _ = child.kill();
        child.wait()?;
        outcome?;
        for unit in ["straymail.service", "straymail-worker.service"] {
            let text = fs::read_to_string(format!("systemd/{unit}"))?;
            ensure!(
                text.contains("\nType=notify") && !text.contains("PIDFile="),
                "{unit}"
            );
        }
        Ok(())
    })
}

/// Connections that say nothing, or stop in the middle of a frame, do not keep others out.
#[test]
fn t13_half_open_sessions_do_not_stop_service() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        let mut open = Vec::new();
        for number in 0..1000 {
            let mut stream = UnixStream::connect(&bench.socket)?;
            // Each of these keeps a thread of libmilter busy (docs/libmilter.md).
            if number % 2 == 0 && library == Library::Indymilter {
                stream.write_all(&[0, 0])?;
            }
            open.push(stream);
        }
        bench.serves()?;
        drop(open);
        bench.serves()?;
        bench.daemon.stop()
    })
}

/// The dialog of a client that does not read what it is told.
#[test]
fn a_client_that_never_reads_does_not_keep_others_waiting() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        let mut deaf = UnixStream::connect(&bench.socket)?;
        deaf.set_write_timeout(Some(Duration::from_millis(500)))?;
        let negotiation = [
            &[0, 0, 0, 13, b'O'][..],
            &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff],
        ]
        .concat();
        deaf.write_all(&negotiation)?;
        let rcpt = [&[0, 0, 0, 14, b'R'][..], b"<c@army.mil>\0"].concat();
        for _ in 0..50_000 {
            if deaf.write_all(&rcpt).is_err() {
                break;
            }
        }
        bench.serves()?;
        let mut some = [0; 17];
        deaf.read_exact(&mut some)?;
        drop(deaf);
        bench.daemon.stop()
    })
}
