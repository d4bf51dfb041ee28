//! The milter port under hostile, broken and unusual clients, without an MTA.
//!
//! Whatever a connection does, the daemon stays alive, sessions beside it are undisturbed, and
//! no descriptor is left behind. In a build with the feature `libmilter`, on both adapters.

mod support;

use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit};
use serde_json::json;
use support::bench::{Bench, half_way};
use support::daemon::{Daemon, Library, on_each};
use support::milter_client::{ACTIONS, Frame, MilterClient, STEPS};
use support::wait_for;

#[test]
fn every_negotiation_of_postfix_and_sendmail_versions_is_served() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        // Version, actions, steps: Sendmail 8.13 and older speak 2, without SKIP, NR or leading
        // space; Postfix 2.6 and later speak 6; in between anything may be missing.
        for (version, actions, steps) in [
            (6, ACTIONS, STEPS),
            (6, ACTIONS, 0x7f),
            (6, ACTIONS, STEPS & !0x400),
            (6, ACTIONS, STEPS & !0xff080),
            (6, ACTIONS, STEPS & !0x10_0000),
            (6, 0x3f, STEPS),
            (4, 0x3f, 0x3ff),
            (3, 0x3f, 0xff),
            (2, 0x3f, 0x7f),
            (2, 0x1f, 0x3f),
        ] {
            let mut client = MilterClient::connect(&bench.socket)?;
            let answer = client.negotiate(version, actions, steps).with_context(|| {
                format!(
                    "offered {version} {actions:x} {steps:x}\n{}",
                    bench.daemon.log()
                )
            })?;
            ensure!(answer.version <= version, "{answer:?} for {version}");
            client.connect_from("127.0.0.1", 40_000)?;
            client.helo()?;
            let (rcpt, end) = client.message("alice@army.mil", &["bob@navy.mil", "c@army.ml"])?;
            ensure!(
                rcpt[0] == "c" && rcpt[1].starts_with("y550 5.7.1 "),
                "{rcpt:?}"
            );
            ensure!(end == ["c"], "{end:?}");
        }
        bench.serves()?;
        bench.daemon.stop()
    })
}

#[test]
fn an_mta_that_offers_no_delrcpt_gets_no_held_message_wrong() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(
            library,
            json!({"policy": {"suspect": "hold", "certain": "hold"}}),
        )?;
        let mut client = MilterClient::connect(&bench.socket)?;
        client.negotiate(6, ACTIONS & !0x8, STEPS)?;
        client.connect_from("127.0.0.1", 40_000)?;
        let (rcpt, end) = client.message("alice@army.mil", &["bob@navy.mil", "c@army.ml"])?;
        // It cannot be held out of the message, so it must not be delivered either.
        let refused = |text: &str| text.starts_with('y') || text.starts_with('t');
        ensure!(
            refused(&rcpt[1]) || end.last().is_some_and(|last| refused(last)),
            "{rcpt:?} {end:?}"
        );
        drop(client);
        bench.daemon.stop()
    })
}

#[test]
fn held_recipient_is_deleted_in_both_spellings_before_the_answer() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(
            library,
            json!({"policy": {"suspect": "hold", "certain": "hold"}}),
        )?;
        let mut client = MilterClient::open(&bench.socket)?;
        client.connect_from("127.0.0.1", 40_000)?;
        client.mail("alice@army.mil")?;
        client.rcpt("bob@navy.mil")?;
        client.macros(b'R', &[("{rcpt_addr}", "carl@army.ml")])?;
        client.rcpt("Carl@ARMY.ML.")?;
        client.content()?;
        let end: Vec<String> = client.end()?.iter().map(Frame::text).collect();
        assert_eq!(end, ["-<Carl@ARMY.ML.>|", "-carl@army.ml|", "c"]);
        assert_eq!(bench.daemon.held()?.len(), 1);
        drop(client);
        bench.daemon.stop()
    })
}

#[test]
fn recipient_without_a_message_is_not_taken() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(
            library,
            json!({"policy": {"suspect": "hold", "certain": "hold"}}),
        )?;
        let mut client = MilterClient::connect(&bench.socket)?;
        // An MTA that cannot leave out unknown commands; one of them lets RCPT come without MAIL.
        client.negotiate(6, ACTIONS, STEPS & !0x100)?;
        client.connect_from("127.0.0.1", 40_000)?;
        client.helo()?;
        client.step(b'U', b"XFOO\0")?;
        let answer = client.rcpt("carl@army.ml")?.context("no answer")?;
        ensure!(answer.text().starts_with("y451 "), "{}", answer.text());
        drop(client);
        bench.daemon.stop()
    })
}

#[test]
fn body_in_the_frame_that_ends_it_is_answered_once_and_kept() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(
            library,
            json!({"policy": {"suspect": "hold", "certain": "hold"}}),
        )?;
        let mut client = MilterClient::open(&bench.socket)?;
        client.connect_from("127.0.0.1", 40_000)?;
        for (recipients, expected) in [
            (&["bob@navy.mil"][..], &["c"][..]),
            (
                &["bob@navy.mil", "carl@army.ml"],
                &["-<carl@army.ml>|", "c"],
            ),
        ] {
            client.mail("alice@army.mil")?;
            for recipient in recipients {
                client.rcpt(recipient)?;
            }
            client.step(b'L', b"Message-ID\0 <1@client.test>\0")?;
            client.step(b'N', b"")?;
            client.send(b'E', b"all of the body\r\n")?;
            for frame in expected {
                assert_eq!(client.read()?.text(), *frame, "{recipients:?}");
            }
        }
        assert_eq!(bench.daemon.held()?.len(), 1);
        drop(client);
        bench.daemon.stop()
    })
}

/// rspamd issue 6088: a quarantine verdict silently became an accept.
#[test]
fn hold_message_always_sends_the_quarantine_frame() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(
            library,
            json!({
                "policy": {"suspect": "hold-message", "certain": "hold-message"},
                "reply": {"help": "Call 555."},
            }),
        )?;
        let (_, end) = MilterClient::session(
            &bench.socket,
            "alice@army.mil",
            &["bob@navy.mil", "c@army.ml"],
        )?;
        ensure!(end.iter().any(|frame| frame.starts_with('q')), "{end:?}");
        bench.daemon.stop()
    })
}

/// Sendmail puts `IPv6:` before the address, Postfix nothing.
#[test]
fn ipv6_client_is_known_with_and_without_the_tag_of_sendmail() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(
            library,
            json!({
                "gate": {"networks": ["::1/128", "2001:db8::/32"]},
                "policy": {"suspect": "reject", "certain": "reject"},
            }),
        )?;
        let mut settings = bench.daemon.settings().clone();
        bench.daemon.stop()?;
        settings.config["listeners"][0]["role"] = json!("relay");
        let daemon = Daemon::start(&settings)?;
        for (address, ours) in [
            ("IPv6:::1", true),
            ("::1", true),
            ("IPv6:2001:db8::25", true),
            ("IPv6:2001:db9::25", false),
            ("2001:db9::25", false),
        ] {
            // In one piece, and octet by octet.
            for size in [4096, 1] {
                let mut client = MilterClient::open(&bench.socket)?;
                client.cut_into(size);
                client.macros(b'C', &[("v", "8.17.1.9"), ("j", "mx.test")])?;
                client.connect_from_inet6(address)?;
                client.helo()?;
                let (rcpt, end) =
                    client.message("alice@army.mil", &["bob@navy.mil", "carl@army.ml"])?;
                let judged = rcpt[1].starts_with("y550 5.7.1 ");
                ensure!(judged == ours, "{address}: {rcpt:?}\n{}", daemon.log());
                ensure!(end == ["c"], "{end:?}");
            }
        }
        daemon.stop()
    })
}

/// The library ends such a session without a word; the MTA defers everything or lets it pass.
#[test]
fn session_that_ends_over_a_bad_frame_leaves_a_line_in_the_log() -> Result<()> {
    let bench = Bench::start(Library::Indymilter, json!({}))?;
    let daemon = &bench.daemon;
    // These end well: an MTA that quits, goes away, or stops in the middle of a frame.
    MilterClient::session(&bench.socket, "alice@army.mil", &["bob@navy.mil"])?;
    drop(half_way(&bench.socket)?);
    half_way(&bench.socket)?.raw(&[0, 0, 1, 0, b'R', b'<'])?;
    ensure!(!daemon.log().contains("session ended"), "{}", daemon.log());

    let mut client = MilterClient::open(&bench.socket)?;
    client.send(b'C', b"client.test\x006\0\0no address\0")?;
    ensure!(client.read().is_err(), "the session goes on");
    let line = wait_for("the line", || {
        let log = daemon.log();
        let mut lines = log.lines().filter(|line| line.contains("session ended"));
        Ok(lines.next().map(str::to_owned))
    })?;
    let at = format!("unix:{}", bench.socket.display());
    ensure!(
        line.contains("session ended: what was sent is not the milter protocol")
            && line.contains(&at)
            && line.contains("last_command=C"),
        "{line}"
    );
    // However many there are.
    for _ in 0..100 {
        let mut client = MilterClient::open(&bench.socket)?;
        client.send(b'C', b"client.test\x006\0\0no address\0")?;
        let _ = client.read();
    }
    let lines = daemon.log().matches("session ended").count();
    ensure!(lines <= 40, "{lines} lines");
    bench.daemon.stop()
}

#[test]
fn missing_and_broken_macros_change_nothing() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        for data in [
            b"R".to_vec(),
            b"Ri".to_vec(),
            b"Ri\0".to_vec(),
            b"R{rcpt_addr}\0\xff\xfe\0".to_vec(),
            b"R{rcpt_addr}\0Recipient address rejected: no such user\0".to_vec(),
            b"R{rcpt_addr}\0carl@army.ml".to_vec(),
            b"R\0\0\0\0".to_vec(),
            [b"R{rcpt_addr}\0".to_vec(), vec![b'a'; 100_000], vec![0]].concat(),
            b"".to_vec(),
            b"Z{rcpt_addr}\0x@y\0".to_vec(),
        ] {
            // The C library itself reads beyond such a list, and may die of it (docs/libmilter.md).
            let strings = data.iter().filter(|octet| **octet == 0).count();
            let whole = strings > 0 && strings % 2 == 0 && data.ends_with(b"\0");
            if library == Library::Libmilter && !whole {
                println!(
                    "skipped: libmilter cannot read the macro list {:?}",
                    String::from_utf8_lossy(&data)
                );
                continue;
            }
            let mut client = MilterClient::open(&bench.socket)?;
            client.connect_from("127.0.0.1", 40_000)?;
            client.mail("alice@army.mil")?;
            // Too long for libmilter.
            let _ = client.send(b'D', &data);
            let shown = String::from_utf8_lossy(&data[..data.len().min(60)]).into_owned();
            // A library may end a session over a frame that is no macro list; it must not pass one.
            match client.rcpt("c@army.ml") {
                Ok(Some(frame)) => ensure!(frame.command == b'y', "{shown:?}: {}", frame.text()),
                Ok(None) => anyhow::bail!("{shown:?}: no answer"),
                Err(error) => println!("{shown:?}: session ended: {error:#}"),
            }
            bench.serves()?;
        }
        bench.daemon.stop()
    })
}

#[test]
fn abort_forgets_the_message_and_the_session_goes_on() -> Result<()> {
    on_each(|library| {
        let bench = Bench::start(
            library,
            json!({"policy": {"suspect": "hold", "certain": "hold"}}),
        )?;
        let mut client = MilterClient::open(&bench.socket)?;
        client.connect_from("127.0.0.1", 40_000)?;
        client.mail("alice@army.mil")?;
        client.rcpt("carl@army.ml")?;
        client.send(b'A', b"")?;
        let (_, end) = client.message("alice@army.mil", &["bob@navy.mil"])?;
        assert_eq!(end, ["c"]);
        // Abort in the middle of a held message's content.
        client.mail("alice@army.mil")?;
        client.rcpt("carl@army.ml")?;
        client.content()?;
        client.send(b'A', b"")?;
        let (_, end) = client.message("alice@army.mil", &["carl@army.ml", "bob@navy.mil"])?;
        assert_eq!(end, ["-<carl@army.ml>|", "c"]);
        assert_eq!(bench.daemon.held()?.len(), 1);
        drop(client);
        bench.daemon.stop()
    })
}

/// What a broken or hostile client may send, after a good negotiation and MAIL where it says so.
fn hostile_inputs() -> Vec<(&'static str, bool, Vec<u8>)> {
    let frame = |command: u8, data: &[u8]| {
        let length = u32::try_from(data.len() + 1).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], &[command], data].concat()
    };
    let mut bad_lengths = vec![0xff; 64];
    bad_lengths[..4].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    vec![
        ("nothing at all", false, vec![]),
        ("one byte", false, vec![0]),
        ("zero length", true, vec![0; 4]),
        ("zero length a thousand times", true, vec![0; 4000]),
        ("length 2^32-1", true, vec![0xff; 64]),
        ("length 2^31-1", true, bad_lengths),
        (
            "truncated frame",
            true,
            [&[0, 0, 1, 0][..], b"R<a"].concat(),
        ),
        ("unknown command", true, frame(b'?', b"what")),
        ("command 0", true, frame(0, b"")),
        ("command 255", true, frame(255, &[255; 300])),
        ("no negotiation", false, frame(b'R', b"<c@army.ml>\0")),
        ("negotiation too short", false, frame(b'O', &[0, 0, 0, 6])),
        ("negotiation of version 0", false, frame(b'O', &[0; 12])),
        (
            "negotiation of version 2^32-1",
            false,
            frame(b'O', &[255; 12]),
        ),
        (
            "negotiation twice",
            true,
            frame(b'O', &[0, 0, 0, 6, 0, 0, 1, 255, 0, 31, 255, 255]),
        ),
        ("RCPT without an end", true, frame(b'R', b"<c@army.ml>")),
        ("RCPT without an argument", true, frame(b'R', b"")),
        ("RCPT of NULs", true, frame(b'R', &[0; 1000])),
        (
            "RCPT of 1 MiB",
            true,
            frame(b'R', &[vec![b'a'; (1 << 20) - 8], vec![0]].concat()),
        ),
        (
            "RCPT of 4 MiB",
            true,
            frame(b'R', &[vec![b'a'; 4 << 20], vec![0]].concat()),
        ),
        (
            "RCPT with format characters",
            true,
            frame(b'R', b"<%s%s%s%n%n@x.mil>\0"),
        ),
        (
            "RCPT that is no text",
            true,
            frame(b'R', &[&[0xfe; 200][..], &[0]].concat()),
        ),
        (
            "10,000 at signs",
            true,
            frame(b'R', &[vec![b'@'; 10_000], vec![0]].concat()),
        ),
        (
            "10,000 dots",
            true,
            frame(
                b'R',
                &[b"<a@".to_vec(), vec![b'.'; 10_000], b">\0".to_vec()].concat(),
            ),
        ),
        (
            "MAIL inside a message",
            true,
            frame(b'M', b"<eve@army.mil>\0"),
        ),
        ("end of message first", true, frame(b'E', b"")),
        ("body first", true, frame(b'B', &[b'x'; 60_000])),
        ("header without a value", true, frame(b'L', b"Subject\0")),
        ("header without a name", true, frame(b'L', b"\0\0")),
        (
            "header of 100 KiB",
            true,
            frame(
                b'L',
                &[b"X\0".to_vec(), vec![b'a'; 100 << 10], vec![0]].concat(),
            ),
        ),
        (
            "CONNECT of an unknown family",
            true,
            frame(b'C', b"h\0X\0\0??\0"),
        ),
        ("CONNECT cut off", true, frame(b'C', b"h\x004")),
        ("HELO that is no text", true, frame(b'H', &[0xff, 0, 0xff])),
        (
            "quit, then more",
            true,
            [frame(b'Q', b""), frame(b'R', b"<c@army.ml>\0")].concat(),
        ),
        (
            "a TLS hello",
            false,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03AAAAAAAAAAAAAAAAAAAAAAAA".to_vec(),
        ),
        (
            "an HTTP request",
            false,
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        (
            "an SMTP greeting",
            false,
            b"EHLO scanner\r\nQUIT\r\n".to_vec(),
        ),
    ]
}

#[test]
fn hostile_input_ends_at_most_its_own_session() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        let mut neighbour = half_way(&bench.socket)?;
        bench.serves()?;
        let inputs = hostile_inputs();
        let mut before = usize::MAX;
        // The second round must leave nothing behind that the first did not.
        for _round in 1..=2 {
            for (name, inside, bytes) in &inputs {
                let mut client = if *inside {
                    half_way(&bench.socket)?
                } else {
                    MilterClient::connect(&bench.socket)?
                };
                // The daemon may hang up while we are still sending.
                let _ = client.raw(bytes);
                drop(client);
                bench.serves().with_context(|| format!("after {name}"))?;
            }
            let mut settled = 0;
            wait_for("the sockets of the hostile sessions to be closed", || {
                settled = bench.daemon.open_sockets()?;
                Ok((settled <= before).then_some(()))
            })
            .with_context(|| format!("{before} before, {:?}", bench.daemon.open_descriptors()))?;
            before = settled;
        }
        println!("{} hostile inputs survived", inputs.len());
        // The session that was open all along goes on where it was.
        let frame = neighbour.rcpt("c@army.ml")?.context("no answer")?;
        ensure!(frame.command == b'y', "{}", frame.text());
        neighbour.content()?;
        let end = neighbour.end()?;
        ensure!(
            end.last().is_some_and(|last| last.command == b'c'),
            "{end:?}"
        );
        drop(neighbour);
        bench.daemon.stop()
    })
}

#[test]
fn a_thousand_port_scans_leave_no_descriptor() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        bench.serves()?;
        let before = bench.daemon.open_sockets()?;
        for _ in 0..1000 {
            drop(UnixStream::connect(&bench.socket)?);
        }
        bench.serves()?;
        wait_for("the descriptors to be closed", || {
            Ok((bench.daemon.open_sockets()? <= before).then_some(()))
        })
        .with_context(|| format!("{before} before, {:?} after", bench.daemon.open_sockets()))?;
        // Nor do scans fill the log.
        let lines = bench.daemon.log().lines().count();
        ensure!(lines < 100, "{lines} lines of log");
        bench.daemon.stop()
    })
}

#[test]
fn three_thousand_idle_connections_do_not_stop_service() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({}))?;
        bench.serves()?;
        let before = bench.daemon.resident_kib()?;
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let count = usize::try_from(limit.saturating_sub(100).min(3000))?;
        let mut idle = Vec::new();
        for number in 0..count {
            idle.push(
                MilterClient::open(&bench.socket)
                    .with_context(|| format!("connection {number}"))?,
            );
        }
        bench.serves()?;
        println!(
            "{count} idle connections: {} KiB resident, {before} KiB before",
            bench.daemon.resident_kib()?
        );
        drop(idle);
        bench.serves()?;
        bench.daemon.stop()
    })
}

#[test]
fn half_a_frame_does_not_block_others_and_silence_is_ended() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start(library, json!({"limits": {"idle_timeout": "10s"}}))?;
        let mut stream = UnixStream::connect(&bench.socket)?;
        std::io::Write::write_all(&mut stream, &[0, 0, 0])?;
        bench.serves()?;
        stream.set_read_timeout(Some(Duration::from_secs(25)))?;
        let mut rest = Vec::new();
        stream
            .read_to_end(&mut rest)
            .context("the silent connection was not closed")?;
        let _ = stream.shutdown(Shutdown::Both);
        bench.serves()?;
        bench.daemon.stop()
    })
}

#[test]
fn running_out_of_descriptors_is_survived() -> Result<()> {
    on_each(|library| {
        let mut bench = Bench::start_with(|mut settings| {
            settings.descriptors = Some(40);
            settings.on(library)
        })?;
        bench.serves()?;
        let crowd: Vec<UnixStream> = (0..100)
            .map(|_| UnixStream::connect(&bench.socket))
            .collect::<Result<_, _>>()?;
        if library == Library::Indymilter {
            // libmilter tells the system's log.
            wait_for("the shortage to be logged", || {
                let log = bench.daemon.log();
                Ok(log.contains("connection not accepted").then_some(()))
            })?;
        }
        drop(crowd);
        bench.serves()?;
        let lines = bench.daemon.log().lines().count();
        ensure!(lines < 200, "the shortage made {lines} lines of log");
        bench.daemon.stop()
    })
}

/// Nagle's algorithm and delayed acknowledgements cost 40 to 90 ms a message where they are on.
/// On libmilter they are, and cannot be turned off (docs/libmilter.md).
#[test]
fn a_message_over_tcp_waits_for_no_timer() -> Result<()> {
    const MESSAGES: u32 = 50;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let bench = Bench::start(
        Library::Indymilter,
        json!({
            "policy": {"suspect": "tag", "certain": "tag"},
            "listeners": [{"socket": format!("inet:{free}"), "role": "submission"}],
        }),
    )?;
    let mut client = MilterClient::open_tcp(free)?;
    client.connect_from("127.0.0.1", 40_000)?;
    let start = Instant::now();
    for _ in 0..MESSAGES {
        // A tag: two frames at the end of the message, the pattern that stalls.
        let (_, end) = client.message("alice@army.mil", &["bob@navy.mil", "c@army.ml"])?;
        ensure!(end.len() == 2, "{end:?}");
    }
    let each = start.elapsed() / MESSAGES;
    println!("{each:?} a message over TCP");
    ensure!(each < Duration::from_millis(35), "{each:?} a message");
    drop(client);
    bench.daemon.stop()
}
