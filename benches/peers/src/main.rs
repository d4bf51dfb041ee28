//! The scoring core of straymail side by side with other libraries, on the same generated names.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Each library is asked for the trusted names within two edits of the recipient domain. straymail
//! is there twice: its index alone, which does the same work and more (other endings, look-alikes,
//! moved dots, names inside of names), and the whole core, which parses the name and judges it by
//! all rules. Printed: the median time of a name, and, with valgrind, instructions; in brackets how
//! many times the index's and the whole core's figure. The machine is shared by all rows of a run,
//! so the ratios are what to look at.
//!
//! Fails when a ratio of instructions to the index is below its gate.

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
const COUNTED: usize = 100;
/// How long one peer may be timed.
const PATIENCE: Duration = Duration::from_secs(4);

/// Each with the least that it must cost, in times the index's instructions at 1,000 names.
const PEERS: [(&str, u64); 6] = [
    ("straymail, index alone", 0),
    ("straymail, whole core", 0),
    ("symspell", 20),
    ("rapidfuzz + length", 50),
    ("fst + levenshtein_automata", 300),
    ("strsim + length", 800),
];

/// A name to ask for, parsed for those who take it so.
struct Query {
    text: String,
    domain: Option<Domain>,
}

/// How a name is asked: the number of trusted names found, or the score.
type Ask = Box<dyn Fn(&Query) -> usize>;

fn scorer(names: &[String], suffixes: &PublicSuffixes) -> Scorer {
    let mut list = TrustedList::new();
    // The generator repeats itself now and then, which the list reports.
    let _duplicates = list.add_text(&names.join("\n"), Path::new("peers"), suffixes);
    Scorer::new(list, ScoreSettings::default())
}

fn peer(which: &str, names: &[String]) -> Ask {
    let owned = names.to_vec();
    match which {
        "straymail, index alone" => {
            let scorer = scorer(names, &PublicSuffixes::built_in());
            Box::new(move |query| {
                let domain = query.domain.as_ref();
                domain.map_or(0, |domain| scorer.proposed(domain))
            })
        }
        "straymail, whole core" => {
            let suffixes = PublicSuffixes::built_in();
            let scorer = scorer(names, &suffixes);
            let context = Context::default();
            Box::new(
                move |query| match Domain::parse(query.text.as_bytes(), &suffixes) {
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
            Box::new(move |query| {
                let found = index.lookup(&query.text, Verbosity::All, DISTANCE as i64);
                found.len()
            })
        }
        "rapidfuzz + length" => Box::new(move |query| {
            let length = query.text.len();
            let query = osa::BatchComparator::new(query.text.bytes());
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
                let mut stream = set.search(builder.build_dfa(&query.text)).into_stream();
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
                .filter(|name| name.len().abs_diff(query.text.len()) <= DISTANCE)
                .filter(|name| strsim::osa_distance(name, &query.text) <= DISTANCE)
                .count()
        }),
    }
}

fn queries(kind: &str, names: &[String], count: usize) -> Vec<Query> {
    let suffixes = PublicSuffixes::built_in();
    let mut random = Random::new(0xfeed_f00d);
    (0..count)
        .map(|_| match kind {
            "exact" => names[random.below(names.len())].clone(),
            "typo" => typo(&mut random, names),
            _ => name(&mut random),
        })
        .map(|text| Query {
            domain: Domain::parse(text.as_bytes(), &suffixes).ok(),
            text,
        })
        .collect()
}

/// What is counted by callgrind.
#[inline(never)]
fn asked(ask: &dyn Fn(&Query) -> usize, query: &Query) -> usize {
    ask(query)
}

/// Returns the median time of a name.
fn time(ask: &dyn Fn(&Query) -> usize, queries: &[Query]) -> Duration {
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
            // Not `*asked*`: the loader has a function with `masked` in its name.
            "--toggle-collect=straymail_peers::asked*",
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
        println!("{size} names; median time of a name (times the index's, the whole core's):");
        println!("{:28}{:>28}{:>28}{:>28}", "", "exact", "unrelated", "typo");
        let kinds = ["exact", "unrelated", "typo"];
        let mut ours: [Vec<f64>; 3] = Default::default();
        for (which, _) in PEERS {
            let ask = peer(which, &names);
            print!("{which:28}");
            for (kind, ours) in kinds.into_iter().zip(&mut ours) {
                let nanos = time(&ask, &queries(kind, &names, 1_000)).as_nanos() as f64;
                if which.starts_with("straymail") {
                    ours.push(nanos);
                }
                let ratios = ours.iter().map(|ours| format!("{:.1}x", nanos / ours));
                let ratios = ratios.collect::<Vec<_>>().join(", ");
                print!("{:>28}", format!("{nanos:.0} ns ({ratios})"));
            }
            println!();
        }
    }
    println!(
        "1000 names; instructions for an unrelated name (callgrind), least times the index's:"
    );
    let mut ours: Vec<u64> = Vec::new();
    let mut missed = false;
    for (which, least) in PEERS {
        let Some(count) = instructions(which, "unrelated", 1_000) else {
            println!("skipped: valgrind is not installed or cannot run this program");
            return;
        };
        if which.starts_with("straymail") {
            ours.push(count);
        }
        let ratios = ours
            .iter()
            .map(|ours| format!("{:.1}x", count as f64 / *ours as f64));
        let ratios = ratios.collect::<Vec<_>>().join(", ");
        let gate = match least {
            0 => String::new(),
            least => format!("  (gate {least}x the index)"),
        };
        println!("{which:28}{:>28}{gate}", format!("{count} ({ratios})"));
        missed |= ours.first().is_some_and(|index| count < least * index);
    }
    if missed {
        eprintln!("a gate is missed");
        std::process::exit(1);
    }
}
