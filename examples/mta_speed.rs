//! `make bench-mta`: what straymail costs a real Postfix, beside a filter in C that takes all.
//!
//! Rounds are interleaved and medians printed, because a machine is never quite idle; what is
//! judged is a ratio of the same run where there is one. `-- ROUNDS MESSAGES` chooses how many
//! (7 and 400). The program measured is the release build.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use support::daemon::{Daemon, Settings};
use support::milter_client::MilterClient;
use support::postfix::{Options, Postfix, run};
use support::wait_for;

/// Trusted names.
const NAMES: usize = 10_000;
/// SMTP sessions at a time, and recipients of each message.
const SESSIONS: usize = 10;
const RECIPIENTS: usize = 5;
/// RCPT commands whose answers are timed.
const RCPTS: usize = 20_000;
/// Connections that are open and idle.
const IDLE: usize = 3000;

fn main() -> ExitCode {
    if let Some(why) = support::why_no_postfix() {
        eprintln!("bench-mta: {why}");
        return ExitCode::FAILURE;
    }
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-mta: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn argument(nth: usize, default: usize) -> Result<usize> {
    (std::env::args().nth(nth)).map_or(Ok(default), |text| text.parse().context(text))
}

/// Prints every figure; says whether all are as they are to be.
fn measure() -> Result<bool> {
    let (rounds, messages) = (argument(1, 7)?, argument(2, 400)?);
    let postfix = Postfix::start(&Options::default())?;
    // Nothing is delivered: the milter is measured, not the way behind it.
    let discard = [
        "default_transport=discard:",
        "relay_transport=discard:",
        "relayhost=",
    ];
    run(postfix.tool("postconf").arg("-e").args(discard))?;
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let at = format!(
        "127.0.0.1:{}/inet/smtpd_milters=inet:{tcp}",
        postfix.relay_port
    );
    run(postfix.tool("postconf").args(["-P", &at]))?;
    run(postfix.tool("postfix").arg("reload"))?;
    let settings = settings(&postfix, tcp)?;
    let filter = Filter::build(postfix.directory())?;

    println!(
        "busy or not: load {}",
        fs::read_to_string("/proc/loadavg")?.trim()
    );
    let all = [
        throughput(&postfix, &settings, &filter, rounds, messages)?,
        over_tcp(&postfix, &settings, rounds, messages / 4)?,
        at_rcpt(&postfix, &settings)?,
        idle(&postfix, &settings)?,
    ];
    Ok(all.iter().all(|good| *good))
}

/// A daemon that trusts [`NAMES`] names, on the UNIX socket of the submission port and on TCP.
fn settings(postfix: &Postfix, tcp: SocketAddr) -> Result<Settings> {
    let mut settings = Settings::for_postfix(postfix);
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("not below target/")?;
    settings.program = target.join("release/straymail");
    ensure!(settings.program.exists(), "no release build of straymail");
    let mut names = String::new();
    for number in 0..NAMES {
        let _ = writeln!(names, "{}", name(number));
    }
    fs::create_dir_all(&settings.directory)?;
    let file = settings.directory.join("trusted");
    fs::write(&file, names)?;
    settings.config["trusted"]["files"] = json!([file]);
    let socket = format!("unix:{}", postfix.milter_socket.display());
    settings.config["listeners"] = json!([
        {"socket": socket, "role": "submission", "mode": "0666"},
        {"socket": format!("inet:{tcp}"), "role": "submission"},
    ]);
    Ok(settings)
}

/// Names as organisations have them: two words and an ending.
fn name(number: usize) -> String {
    const WORDS: [&str; 22] = [
        "river", "stone", "maple", "harbor", "silver", "valley", "summit", "coastal", "meadow",
        "granite", "orchard", "beacon", "prairie", "cedar", "falcon", "lantern", "willow",
        "copper", "juniper", "thunder", "crystal", "garden",
    ];
    const ENDINGS: [&str; 4] = ["com", "org", "net", "example"];
    let (first, rest) = (number % WORDS.len(), number / WORDS.len());
    let (second, rest) = (rest % WORDS.len(), rest / WORDS.len());
    let ending = ENDINGS[number % ENDINGS.len()];
    format!("{}{}{rest}.{ending}", WORDS[first], WORDS[second])
}

/// The filter in C.
struct Filter(PathBuf);

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Filter {
    fn build(directory: &Path) -> Result<Filter> {
        let program = directory.join("accept_all");
        run(Command::new("cc").args(["-O2", "-o"]).arg(&program).args([
            "benches/accept_all.c",
            "-lmilter",
            "-lpthread",
        ]))?;
        Ok(Filter(program))
    }

    fn start(&self, socket: &Path) -> Result<Running> {
        let _ = fs::remove_file(socket);
        // Its socket is for everybody, like the one of straymail here.
        let command = format!(
            "umask 0111; exec {} unix:{}",
            self.0.display(),
            socket.display()
        );
        let child = Command::new("/bin/sh")
            .args(["-c", &command])
            .stdin(Stdio::null())
            .spawn()?;
        let running = Running(child);
        wait_for("the filter in C", || Ok(MilterClient::connect(socket).ok()))?;
        Ok(running)
    }
}

/// Sends messages and returns how many went through in a second.
fn send(postfix: &Postfix, port: u16, sessions: usize, messages: usize) -> Result<f64> {
    let count = messages.to_string();
    let start = Instant::now();
    run(Command::new("/usr/sbin/smtp-source")
        .args([
            "-s",
            &sessions.to_string(),
            "-m",
            &count,
            "-r",
            &RECIPIENTS.to_string(),
        ])
        .args(["-l", "2048", "-f", "alice@army.mil", "-t", "bob@navy.mil"])
        .arg(format!("127.0.0.1:{port}")))?;
    let took = start.elapsed();
    postfix.settle(&[])?;
    Ok(f64::from(u32::try_from(messages)?) / took.as_secs_f64())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn verdict(good: bool) -> &'static str {
    if good { "ok" } else { "MISSED" }
}

fn throughput(
    postfix: &Postfix,
    settings: &Settings,
    filter: &Filter,
    rounds: usize,
    messages: usize,
) -> Result<bool> {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let port = postfix.submission_port;
    for round in 0..=rounds {
        let one = || -> Result<f64> {
            let daemon = Daemon::start(settings)?;
            let rate = send(postfix, port, SESSIONS, messages)?;
            daemon.stop()?;
            Ok(rate)
        };
        let other = || -> Result<f64> {
            let running = filter.start(&postfix.milter_socket)?;
            let rate = send(postfix, port, SESSIONS, messages)?;
            drop(running);
            Ok(rate)
        };
        // Who comes second finds the machine warmer.
        let (us, them) = match round % 2 {
            0 => (one()?, other()?),
            _ => {
                let them = other()?;
                (one()?, them)
            }
        };
        // The first round warms Postfix up.
        if round > 0 {
            ours.push(us);
            theirs.push(them);
            ratios.push(us / them);
        }
    }
    let ratio = median(&mut ratios);
    let good = ratio >= 0.95;
    println!(
        "throughput: straymail {:.0} msg/s, accept-all in C {:.0} msg/s ({SESSIONS} sessions, {RECIPIENTS} recipients, {NAMES} trusted names, {rounds} rounds of {messages}): ratio {ratio:.3}, at least 0.95: {}",
        median(&mut ours),
        median(&mut theirs),
        verdict(good)
    );
    Ok(good)
}

fn over_tcp(
    postfix: &Postfix,
    settings: &Settings,
    rounds: usize,
    messages: usize,
) -> Result<bool> {
    let daemon = Daemon::start(settings)?;
    let (mut unix, mut tcp, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let by_unix = 1000.0 / send(postfix, postfix.submission_port, 1, messages)?;
        let by_tcp = 1000.0 / send(postfix, postfix.relay_port, 1, messages)?;
        if round > 0 {
            unix.push(by_unix);
            tcp.push(by_tcp);
            ratios.push(by_tcp / by_unix);
        }
    }
    daemon.stop()?;
    let ratio = median(&mut ratios);
    let good = ratio <= 1.5;
    println!(
        "loopback TCP: {:.2} ms a message, UNIX socket {:.2} ms (one session, {rounds} rounds of {messages}): ratio {ratio:.2}, at most 1.5: {}",
        median(&mut tcp),
        median(&mut unix),
        verdict(good)
    );
    Ok(good)
}

/// The answers to RCPT: trusted names, strangers, and one in ten that looks like a trusted one.
fn at_rcpt(postfix: &Postfix, settings: &Settings) -> Result<bool> {
    let daemon = Daemon::start(settings)?;
    let mut client = MilterClient::open(&postfix.milter_socket)?;
    client.connect_from("127.0.0.1", 40_000)?;
    let (mut clean, mut doubtful) = (Vec::new(), Vec::new());
    for number in 0..RCPTS {
        if number % 100 == 0 {
            client.send(b'A', b"")?;
            client.mail("alice@army.mil")?;
        }
        let known = name(number * 7919 % NAMES);
        let (recipient, times) = match number % 10 {
            0 => (
                format!("u{number}@{}", known.replacen('e', "", 1)),
                &mut doubtful,
            ),
            1..=4 => (format!("u{number}@{known}"), &mut clean),
            _ => (
                format!("u{number}@host{number}.stranger-{}.test", number % 977),
                &mut clean,
            ),
        };
        let start = Instant::now();
        client.rcpt(&recipient)?.context("no answer")?;
        times.push(start.elapsed());
    }
    drop(client);
    daemon.stop()?;
    let refused = doubtful.len();
    let mut all = [clean, doubtful].concat();
    all.sort();
    let at = |part: usize| {
        all.get(all.len() * part / 1000)
            .copied()
            .unwrap_or_default()
    };
    let good = at(990) < Duration::from_millis(2);
    println!(
        "RCPT: p50 {:?}, p99 {:?}, p99.9 {:?} of {RCPTS} with {NAMES} trusted names, {refused} of them look-alikes: p99 below 2 ms: {}",
        at(500),
        at(990),
        at(999),
        verdict(good)
    );
    Ok(good)
}

fn idle(postfix: &Postfix, settings: &Settings) -> Result<bool> {
    let daemon = Daemon::start(settings)?;
    let before = daemon.resident_kib()?;
    let mut open = Vec::new();
    for number in 0..IDLE {
        let client = MilterClient::open(&postfix.milter_socket);
        open.push(client.with_context(|| format!("connection {number}"))?);
    }
    let after = daemon.resident_kib()?;
    drop(open);
    daemon.stop()?;
    let good = after <= 96 * 1024;
    println!(
        "memory: {} MiB resident with {IDLE} idle connections, {} MiB without, at most 96: {}",
        after / 1024,
        before / 1024,
        verdict(good)
    );
    Ok(good)
}
