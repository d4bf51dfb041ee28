//! How fast scan-log reads: lines a second, memory at most, and pflogsumm(1) on the same file.
//!
//! `cargo run --release --example scan_speed -- [lines in millions]` writes a month of Postfix
//! mail with so many lines (default 10), 1,000 trusted partners and planted typos, then runs
//! the program `straymail` of the same build, and pflogsumm over the first million lines. It
//! fails when scan-log misses or invents a typo, is not 20 times faster than pflogsumm, or takes
//! more memory for ten times the lines. The million lines a second are printed, and a gate only
//! with `--strict`: a busy machine has no seconds to promise.

#[path = "../tests/support/traffic.rs"]
mod traffic;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use traffic::{Format, Model, Truth};

/// Where Debian has it.
const PFLOGSUMM: &str = "/usr/sbin/pflogsumm";
/// Of the issue: lines a second on one core, times faster than pflogsumm.
const LINES_A_SECOND: f64 = 1e6;
const TIMES_FASTER: f64 = 20.0;
/// How often scan-log reads what pflogsumm reads once.
const REPEATED: usize = 7;
/// More memory than this for ten times the lines is growth, not the names of more people.
const MEMORY_GROWTH_MIB: f64 = 8.0;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scan_speed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut millions = 10.0;
    let mut strict = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--strict" => strict = true,
            number => millions = number.parse().context("say how many million lines")?,
        }
    }
    let straymail = program()?;
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("mail.log");
    let model = Model {
        format: Format::Postfix,
        // Seven and a half lines a mail, on 22 of 30 days in full.
        mails_a_day: (millions * 1e6 / 7.4 / 23.5) as u32,
        partners: 1000,
        typos: 100,
        neighbours: 10,
        ..Model::default()
    };
    let truth = traffic::write(
        &model,
        BufWriter::with_capacity(1 << 20, File::create(&log)?),
    )?;
    fs::write(
        dir.path().join("milter.yaml"),
        traffic::configuration(&truth),
    )?;
    let bytes = fs::metadata(&log)?.len();
    println!(
        "a generated month: {} lines, {} MB, {} trusted names, {} typos planted",
        truth.lines,
        bytes / 1_000_000,
        truth.partners.len(),
        truth.typos.len()
    );
    let small = dir.path().join("small.log");
    let small_lines = head(&log, &small, truth.lines / 10)?;

    let mut good = true;
    let few = measure(Command::new(&straymail).args(arguments(dir.path(), &small)))?;
    let all = measure(Command::new(&straymail).args(arguments(dir.path(), &log)))?;
    let rate = truth.lines as f64 / all.cpu.as_secs_f64();
    println!(
        "scan-log   {:>10} lines  {:>6.2} s of one core ({:.2} s by the clock)  {:>9.0} lines/s  {:>4} MiB at most",
        truth.lines,
        all.cpu.as_secs_f64(),
        all.clock.as_secs_f64(),
        rate,
        all.memory_kib / 1024
    );
    println!(
        "scan-log   {small_lines:>10} lines  {:>6.2} s of one core  {:>4} MiB at most",
        few.cpu.as_secs_f64(),
        few.memory_kib / 1024
    );
    good &= gate(
        rate >= LINES_A_SECOND || !strict,
        "a million lines a second on one core",
        rate / LINES_A_SECOND,
    );
    let growth = (all.memory_kib as f64 - few.memory_kib as f64) / 1024.0;
    good &= gate(
        growth <= MEMORY_GROWTH_MIB,
        "MiB more for ten times the lines",
        growth,
    );
    good &= gate(
        found(&all.output, &truth)?,
        "every planted typo found, none invented",
        truth.typos.len() as f64,
    );

    match Command::new(PFLOGSUMM).arg("--version").output() {
        Ok(_) => {
            let lines = small_lines.min(1_000_000);
            let sample = dir.path().join("sample.log");
            let lines = head(&log, &sample, lines)?;
            let scan = || -> Result<f64> {
                let ours = measure(Command::new(&straymail).args(arguments(dir.path(), &sample)))?;
                Ok(ours.cpu.as_secs_f64())
            };
            // A third of a second is soon disturbed, seven seconds are not: ours around theirs.
            let mut ours = (0..REPEATED / 2)
                .map(|_| scan())
                .collect::<Result<Vec<_>>>()?;
            let theirs = measure(Command::new(PFLOGSUMM).arg(&sample))?;
            let theirs = theirs.cpu.as_secs_f64();
            while ours.len() < REPEATED {
                ours.push(scan()?);
            }
            ours.sort_by(f64::total_cmp);
            let [first, .., last] = ours[..] else {
                bail!("nothing was measured");
            };
            let median = ours[REPEATED / 2];
            let times = theirs / median;
            println!(
                "pflogsumm  {lines:>10} lines  {theirs:>6.2} s of one core; scan-log on the same file {median:.2} s, \
                 the median of {REPEATED} from {first:.2} to {last:.2} s"
            );
            good &= gate(times >= TIMES_FASTER, "times faster than pflogsumm", times);
        }
        Err(_) => println!("skipped: pflogsumm is not installed"),
    }
    Ok(good)
}

fn gate(holds: bool, what: &str, figure: f64) -> bool {
    println!(
        "{}  {what}: {figure:.2}",
        if holds { "ok    " } else { "FAILED" }
    );
    holds
}

/// The program of the same build: next to the directory of the examples.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let build = own
        .parent()
        .and_then(Path::parent)
        .context("no directory")?;
    let program = build.join("straymail");
    ensure!(
        program.exists(),
        "{} is missing: cargo build --release",
        program.display()
    );
    Ok(program)
}

fn arguments(dir: &Path, log: &Path) -> Vec<PathBuf> {
    vec![
        "scan-log".into(),
        "--json".into(),
        "--config".into(),
        dir.join("milter.yaml"),
        log.to_owned(),
    ]
}

/// Copies the first lines and returns how many.
fn head(from: &Path, to: &Path, lines: u64) -> Result<u64> {
    let mut input = BufReader::with_capacity(1 << 20, File::open(from)?);
    let mut out = BufWriter::new(File::create(to)?);
    let mut line = Vec::new();
    let mut count = 0;
    while count < lines && input.read_until(b'\n', &mut line)? > 0 {
        out.write_all(&line)?;
        line.clear();
        count += 1;
    }
    out.flush()?;
    Ok(count)
}

struct Measured {
    clock: Duration,
    /// User and system time: what one core had to do.
    cpu: Duration,
    memory_kib: u64,
    output: Vec<u8>,
}

/// Runs a program to its end. Its memory is looked at every few milliseconds: `VmHWM` is a
/// high-water mark, so only the last moment can be missed.
fn measure(command: &mut Command) -> Result<Measured> {
    let output = tempfile::NamedTempFile::new()?;
    let before = children_ticks()?;
    let started = Instant::now();
    let mut child = command
        .env("TZ", "UTC")
        .stdout(Stdio::from(output.reopen()?))
        .stderr(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut memory_kib = 0;
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let mark = mark.and_then(|mark| mark.trim().strip_suffix(" kB")?.trim().parse().ok());
        memory_kib = mark.unwrap_or(0).max(memory_kib);
        std::thread::sleep(Duration::from_millis(3));
    }
    let clock = started.elapsed();
    // A tick is 10 ms on every Linux that Rust runs on.
    let cpu = Duration::from_millis((children_ticks()? - before) * 10);
    Ok(Measured {
        clock,
        cpu: cpu.max(Duration::from_millis(10)),
        memory_kib: memory_kib.max(1),
        output: fs::read(output.path())?,
    })
}

/// User and system time of the children that have ended (proc(5), fields 16 and 17).
fn children_ticks() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(") ").context("no fields")?;
    let mut fields = fields.split(' ').skip(13);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("too few fields")?.parse()?) };
    Ok(ticks()? + ticks()?)
}

/// Returns whether the leaks are the planted ones and nothing else.
fn found(output: &[u8], truth: &Truth) -> Result<bool> {
    let report: serde_json::Value = serde_json::from_slice(output)?;
    let leaks = report["leaks"].as_array().context("no leaks")?;
    let domains: BTreeSet<&str> = (leaks.iter())
        .filter_map(|leak| leak["recipient"].as_str()?.rsplit_once('@'))
        .map(|(_, domain)| domain)
        .collect();
    let planted: BTreeSet<&str> = truth.typos.keys().map(String::as_str).collect();
    let mails: u64 = truth.typos.values().map(|(_, mails)| mails).sum();
    for missed in planted.difference(&domains) {
        println!("  missed: {missed} for {:?}", truth.typos.get(*missed));
    }
    for invented in domains.difference(&planted) {
        println!("  invented: {invented}");
    }
    Ok(domains == planted && leaks.len() as u64 == mails)
}
