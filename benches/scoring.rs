//! Speed of the scoring core: instructions (callgrind) and time, by size of the trusted list.
//!
//! `cargo bench --bench scoring` prints both and fails when a gate on instructions is exceeded.
//! Instructions do not depend on how busy the machine is, so they are the gates; they need
//! `valgrind` and are skipped, saying so, without it.

#[path = "peers/src/names.rs"]
mod names;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use straymail::domain::Domain;
use straymail::public_suffix::PublicSuffixes;
use straymail::score::{Context, ScoreSettings, Scorer};
use straymail::trusted::TrustedList;

use names::{Random, name, names, typo};

/// Names asked in one counted run.
const COUNTED: usize = 100;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Exact,
    Unrelated,
    Typo,
    Hostile,
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::Exact, "exact"),
    (Kind::Unrelated, "unrelated"),
    (Kind::Typo, "typo"),
    (Kind::Hostile, "hostile"),
];

/// By kind and size of the list: most instructions a name may cost, parsing included.
const GATES: &[(&str, usize, u64)] = &[
    ("exact", 1_000, 1_500),
    ("unrelated", 1_000, 5_000),
    ("unrelated", 100_000, 8_000),
    ("typo", 1_000, 16_000),
];

/// Most that a hostile name of 253 bytes may cost, in times an unrelated one.
const HOSTILE: u64 = 3;

/// Most bytes of the index for each name.
const BYTES: usize = 300;

/// Recipients of the message in which each is another hostile name.
const RECIPIENTS: usize = 1_000;

/// Most that an unrelated name may cost at 100,000 names, in tenths of what it costs at 1,000.
const GROWTH: u64 = 25;

fn scorer(names: &[String], suffixes: &PublicSuffixes) -> Scorer {
    let mut list = TrustedList::new();
    // The generator repeats itself now and then, which the list reports.
    let _duplicates = list.add_text(&names.join("\n"), Path::new("bench"), suffixes);
    Scorer::new(list, ScoreSettings::default())
}

fn queries(kind: Kind, names: &[String], count: usize) -> Vec<String> {
    let mut random = Random::new(0xfeed_f00d);
    (0..count)
        .map(|_| match kind {
            Kind::Exact => names[random.below(names.len())].clone(),
            Kind::Unrelated => name(&mut random),
            Kind::Typo => typo(&mut random, names),
            Kind::Hostile => {
                let mut long = String::new();
                while long.len() < 240 {
                    long.push_str(&name(&mut random).replace('.', "-"));
                    long.push('.');
                    if random.below(2) == 0 {
                        long.push_str("a.b-");
                    }
                    long.push('x');
                }
                long.truncate(248);
                let long = long.trim_end_matches(['.', '-']);
                format!("{long}.com")
            }
        })
        .collect()
}

/// What is measured: from the bytes of the recipient to the assessment.
#[inline(never)]
fn measured(scorer: &Scorer, suffixes: &PublicSuffixes, context: &Context, query: &str) -> u8 {
    match Domain::parse(query.as_bytes(), suffixes) {
        Ok(domain) => scorer.assess(&domain, context).score,
        Err(_) => 255,
    }
}

/// The same for the index alone: is the name trusted?
#[inline(never)]
fn measured_exact(scorer: &Scorer, domain: &Domain) -> bool {
    scorer.is_trusted(domain)
}

/// Runs one kind under callgrind and returns instructions for each name.
fn instructions(kind: &str, size: usize, function: &str) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let out = std::env::temp_dir().join(format!("straymail-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["--count", kind, &size.to_string(), function])
        .output()
        .ok()?;
    let text = std::fs::read_to_string(&out).ok()?;
    // A leftover in the temporary directory is no reason to lose the measurement.
    let _removed = std::fs::remove_file(&out);
    if !output.status.success() {
        return None;
    }
    let line = text.lines().find_map(|line| {
        line.strip_prefix("totals: ")
            .or(line.strip_prefix("summary: "))
    })?;
    let total: u64 = line.trim().parse().ok()?;
    Some(total / COUNTED as u64)
}

/// The child of [`instructions`]: asks the names and nothing else of note.
fn count(kind: &str, size: usize, function: &str) {
    let suffixes = PublicSuffixes::built_in();
    let names = names(size);
    let scorer = scorer(&names, &suffixes);
    let context = Context::default();
    let kind = KINDS
        .iter()
        .find_map(|(k, name)| (*name == kind).then_some(*k))
        .unwrap_or(Kind::Exact);
    let queries = queries(kind, &names, COUNTED);
    let domains: Vec<Domain> = queries
        .iter()
        .filter_map(|query| Domain::parse(query.as_bytes(), &suffixes).ok())
        .collect();
    if function == "measured_exact" {
        for domain in &domains {
            black_box(measured_exact(&scorer, black_box(domain)));
        }
    } else {
        for query in &queries {
            black_box(measured(&scorer, &suffixes, &context, black_box(query)));
        }
    }
}

/// Returns the median time of one name.
fn time(scorer: &Scorer, suffixes: &PublicSuffixes, queries: &[String]) -> Duration {
    let context = Context::default();
    let mut times: Vec<Duration> = queries
        .iter()
        .map(|query| {
            let start = Instant::now();
            black_box(measured(scorer, suffixes, &context, black_box(query)));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// One message to as many different hostile names as a server takes: the work stays small.
fn many_recipients(suffixes: &PublicSuffixes) {
    let names = names(1_000);
    let scorer = scorer(&names, suffixes);
    let queries = queries(Kind::Hostile, &names, RECIPIENTS);
    let companions = (queries.iter())
        .filter_map(|query| Domain::parse(query.as_bytes(), suffixes).ok())
        .collect();
    let context = Context {
        companions,
        ..Context::default()
    };
    let start = Instant::now();
    for query in &queries {
        black_box(measured(&scorer, suffixes, &context, query));
    }
    println!(
        "one message to {RECIPIENTS} different hostile names, 1000 trusted: {:.1?}",
        start.elapsed()
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--count")
        && let [kind, size, function] = &arguments[at + 1..]
    {
        count(kind, size.parse().unwrap_or(1_000), function);
        return;
    }
    let suffixes = PublicSuffixes::built_in();
    println!("from the bytes of a recipient domain to its assessment, median time:");
    println!(
        "{:>9} {:>10} {:>10} {:>10} {:>10} {:>10} {:>12}",
        "names", "exact", "unrelated", "typo", "hostile", "build", "bytes/name"
    );
    let mut exceeded = false;
    for size in [10, 1_000, 100_000, 1_000_000] {
        let names = names(size);
        let mut list = TrustedList::new();
        let _duplicates = list.add_text(&names.join("\n"), Path::new("bench"), &suffixes);
        let distinct = list.entries().len();
        let start = Instant::now();
        let scorer = Scorer::new(list, ScoreSettings::default());
        let build = start.elapsed();
        print!("{distinct:>9}");
        for (kind, _) in KINDS {
            let median = time(&scorer, &suffixes, &queries(kind, &names, 2_000));
            print!(" {:>10}", format!("{median:.0?}"));
        }
        let bytes = scorer.index_size() / distinct.max(1);
        println!(" {:>10} {bytes:>12}", format!("{build:.1?}"));
        // Ten names share what an index of any size has.
        exceeded |= size > 10 && bytes > BYTES;
    }
    many_recipients(&suffixes);
    println!("\ninstructions for each name (callgrind):");
    let mut unrelated = None;
    for size in [10, 1_000, 100_000] {
        match instructions("exact", size, "measured_exact") {
            Some(count) => {
                println!("{size:>9} exact, index alone {count:>8}  (gate 150)");
                exceeded |= count > 150;
            }
            None => {
                println!("skipped: valgrind is not installed or cannot run this program");
                return;
            }
        }
        for (_, kind) in KINDS {
            let Some(count) = instructions(kind, size, "measured") else {
                continue;
            };
            let gate = (GATES.iter())
                .find(|(k, s, _)| *k == kind && *s == size)
                .map(|(.., gate)| *gate)
                .or_else(|| unrelated.filter(|_| kind == "hostile").map(|u| HOSTILE * u));
            let shown = gate.map_or(String::new(), |gate| format!("  (gate {gate})"));
            println!("{size:>9} {kind:18} {count:>8}{shown}");
            exceeded |= gate.is_some_and(|gate| count > gate);
            if kind == "unrelated" {
                if let Some(before) = unrelated.filter(|_| size == 100_000) {
                    let growth = 10 * count / before;
                    println!("{:>28} {:>8.1}  (gate 2.5)", "growth", growth as f64 / 10.0);
                    exceeded |= growth > GROWTH;
                }
                unrelated = Some(count);
            }
        }
    }
    if exceeded {
        eprintln!("a gate is exceeded");
        std::process::exit(1);
    }
}
