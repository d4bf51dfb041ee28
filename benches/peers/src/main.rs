//! The scoring core of straymail side by side with other libraries, on the same generated names.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Each library is asked for the trusted names within two edits of the recipient domain; straymail
//! parses the name and judges it by all its rules. Printed: the median time of a name, and, with
//! valgrind, instructions; in brackets how many times straymail's figure. The machine is shared by all
//! rows of a run, so the ratios are what to look at.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fst::{IntoStreamer as _, Set, Streamer as _};
use levenshtein_automata::LevenshteinAutomatonBuilder;
use rapidfuzz::distance::osa;
use symspell::{AsciiStringStrategy, SymSpell, Verbosity};

use domain::Domain;
use names::{Random, name, names, typo};
use public_suffix::PublicSuffixes;
use score::{Context, ScoreSettings, Scorer};
use trusted::TrustedList;

// The core compiles by itself; only a part of it is used here.
#[allow(dead_code)]
#[path = "../../../src/domain.rs"]
mod domain;
mod names;
#[allow(dead_code)]
#[path = "../../../src/public_suffix.rs"]
mod public_suffix;
#[allow(dead_code, unused_imports)]
#[path = "../../../src/score/mod.rs"]
mod score;
#[allow(dead_code)]
#[path = "../../../src/trusted.rs"]
mod trusted;
#[allow(dead_code)]
#[path = "../../../src/untrusted.rs"]
mod untrusted;

/// Edits up to which a peer finds a name.
const DISTANCE: usize = 2;
/// Names asked in one counted run; the peers are slow under valgrind.
const COUNTED: usize = 10;
/// How long one peer may be timed.
const PATIENCE: Duration = Duration::from_secs(4);

const PEERS: [&str; 5] = [
    "straymail",
    "symspell",
    "rapidfuzz + length",
    "fst + levenshtein_automata",
    "strsim + length",
];

/// Returns how a name is asked: the number of trusted names found, or the score.
fn peer(which: &str, names: &[String]) -> Box<dyn Fn(&str) -> usize> {
    let owned = names.to_vec();
    match which {
        "straymail" => {
            let suffixes = PublicSuffixes::built_in();
            let mut list = TrustedList::new();
            // The generator repeats itself now and then, which the list reports.
            let _duplicates = list.add_text(&names.join("\n"), Path::new("peers"), &suffixes);
            let scorer = Scorer::new(list, ScoreSettings::default());
            let context = Context::default();
            Box::new(
                move |query| match Domain::parse(query.as_bytes(), &suffixes) {
                    Ok(domain) => usize::from(scorer.assess(&domain, &context).score),
                    Err(_) => 0,
                },
            )
        }
        "symspell" => {
            let mut index: SymSpell<AsciiStringStrategy> = SymSpell::default();
            for name in names {
                index.load_dictionary_line(&format!("{name} 1"), 0, 1, " ");
            }
            Box::new(move |query| index.lookup(query, Verbosity::All, DISTANCE as i64).len())
        }
        "rapidfuzz + length" => Box::new(move |query| {
            let length = query.len();
            let query = osa::BatchComparator::new(query.bytes());
            let arguments = osa::Args::default().score_cutoff(DISTANCE);
            owned
                .iter()
                .filter(|name| name.len().abs_diff(length) <= DISTANCE)
                .filter(|name| query.distance_with_args(name.bytes(), &arguments).is_some())
                .count()
        }),
        "fst + levenshtein_automata" => {
            let mut sorted = owned;
            sorted.sort_unstable();
            sorted.dedup();
            let set = Set::from_iter(sorted).expect("sorted names");
            let builder = LevenshteinAutomatonBuilder::new(DISTANCE as u8, true);
            Box::new(move |query| {
                let mut stream = set.search(builder.build_dfa(query)).into_stream();
                let mut found = 0;
                while stream.next().is_some() {
                    found += 1;
                }
                found
            })
        }
        _ => Box::new(move |query| {
            owned
                .iter()
                .filter(|name| name.len().abs_diff(query.len()) <= DISTANCE)
                .filter(|name| strsim::osa_distance(name, query) <= DISTANCE)
                .count()
        }),
    }
}

fn queries(kind: &str, names: &[String], count: usize) -> Vec<String> {
    let mut random = Random::new(0xfeed_f00d);
    (0..count)
        .map(|_| match kind {
            "exact" => names[random.below(names.len())].clone(),
            "typo" => typo(&mut random, names),
            _ => name(&mut random),
        })
        .collect()
}

/// What is counted by callgrind.
#[inline(never)]
fn asked(ask: &dyn Fn(&str) -> usize, query: &str) -> usize {
    ask(query)
}

/// Returns the median time of a name.
fn time(ask: &dyn Fn(&str) -> usize, queries: &[String]) -> Duration {
    let begin = Instant::now();
    let mut times = Vec::new();
    for query in queries {
        let start = Instant::now();
        black_box(asked(ask, black_box(query)));
        times.push(start.elapsed());
        if begin.elapsed() > PATIENCE {
            break;
        }
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Runs this program once more under callgrind; returns instructions for each name.
fn instructions(which: &str, kind: &str, size: usize) -> Option<u64> {
    let out = std::env::temp_dir().join(format!("straymail-peers-{}", std::process::id()));
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=*asked*",
        ])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().ok()?)
        .args(["--count", which, kind, &size.to_string()])
        .output()
        .ok()?;
    let text = std::fs::read_to_string(&out).ok()?;
    // A leftover in the temporary directory is no reason to lose the measurement.
    let _removed = std::fs::remove_file(&out);
    let total = text.lines().find_map(|line| {
        line.strip_prefix("totals: ")
            .or(line.strip_prefix("summary: "))
    })?;
    let total: u64 = total.trim().parse().ok()?;
    output.status.success().then_some(total / COUNTED as u64)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, which, kind, size] = arguments.as_slice()
        && flag == "--count"
    {
        let names = names(size.parse().expect("a number"));
        let ask = peer(which, &names);
        for query in queries(kind, &names, COUNTED) {
            black_box(asked(&ask, black_box(&query)));
        }
        return;
    }
    for size in [1_000, 100_000] {
        let names = names(size);
        println!("{size} names; median time of a name (times straymail's):");
        println!("{:28}{:>22}{:>22}{:>22}", "", "exact", "unrelated", "typo");
        let mut ours = Vec::new();
        for which in PEERS {
            let ask = peer(which, &names);
            print!("{which:28}");
            for (at, kind) in ["exact", "unrelated", "typo"].into_iter().enumerate() {
                let nanos = time(&ask, &queries(kind, &names, 1_000)).as_nanos() as f64;
                if which == "straymail" {
                    ours.push(nanos);
                }
                print!(
                    "{:>22}",
                    format!("{nanos:.0} ns ({:.1}x)", nanos / ours[at])
                );
            }
            println!();
        }
    }
    println!("1000 names; instructions for an unrelated name (callgrind):");
    let mut ours = None;
    for which in PEERS {
        let Some(count) = instructions(which, "unrelated", 1_000) else {
            println!("skipped: valgrind is not installed or cannot run this program");
            return;
        };
        let ratio = count as f64 / *ours.get_or_insert(count) as f64;
        println!("{which:28}{:>22}", format!("{count} ({ratio:.1}x)"));
    }
}
