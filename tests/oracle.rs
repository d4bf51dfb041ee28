//! The index finds what a scan over every trusted name finds.
//!
//! `STRAYMAIL_ORACLE_ROUNDS=400 cargo test --release --test oracle` runs longer than the default
//! of 24 rounds; a round compares 50,000 pairs of a typed and a trusted name.

use std::path::Path;

use straymail::domain::Domain;
use straymail::public_suffix::PublicSuffixes;
use straymail::score::{Context, ScoreSettings, Scorer};
use straymail::trusted::TrustedList;

const NAMES: usize = 200;
const QUERIES: usize = 250;

/// Small deterministic random numbers (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

const SUFFIXES: &[&str] = &[
    "com",
    "net",
    "org",
    "mil",
    "gov",
    "edu",
    "co.uk",
    "ac.uk",
    "com.au",
    "edu.cn",
    "de",
    "ml",
    "co",
    "info",
    "gov.in",
    "xn--p1ai",
    "invalidtld",
];
const WORDS: &[&str] = &[
    "bank", "north", "mail", "army", "gmail", "outlook", "data", "rn", "vv", "cl", "nn", "secure",
    "online", "web", "a", "ab", "x1", "boeing", "0o", "online", "us", "ü", "а", "е", "secure",
];
const LETTERS: &[char] = &[
    'a', 'b', 'c', 'd', 'e', 'i', 'l', 'm', 'n', 'o', 'r', 's', 'u', 'v', 'w', '0', '1', '-', 'о',
    'é', 'г',
];

fn label(random: &mut Random) -> String {
    let mut label = String::new();
    for _ in 0..1 + random.below(3) {
        if random.below(3) == 0 {
            for _ in 0..1 + random.below(5) {
                label.push(*random.of(LETTERS));
            }
        } else {
            label.push_str(WORDS[random.below(WORDS.len())]);
        }
        if random.below(6) == 0 {
            label.push('-');
        }
    }
    label
}

fn name(random: &mut Random) -> String {
    let mut name = label(random);
    for _ in 0..random.below(3) {
        name = format!("{}.{name}", label(random));
    }
    format!("{name}.{}", random.of(SUFFIXES))
}

/// A trusted name after one to four slips, or inside of another name.
fn typed(random: &mut Random, trusted: &[String]) -> String {
    let mut chars: Vec<char> = random.of(trusted).chars().collect();
    for _ in 0..1 + random.below(3) {
        let at = random.below(chars.len());
        match random.below(8) {
            0 if chars.len() > 3 => drop(chars.remove(at)),
            1 => chars.insert(at, *random.of(LETTERS)),
            2 => chars[at] = *random.of(LETTERS),
            3 if at + 1 < chars.len() => chars.swap(at, at + 1),
            4 => chars.insert(at, '.'),
            5 => chars.retain(|c| *c != '.' || random.below(2) == 0),
            6 => chars
                .iter_mut()
                .filter(|c| **c == '.')
                .take(1)
                .for_each(|c| *c = '-'),
            _ => {}
        }
    }
    let name: String = chars.into_iter().collect();
    match random.below(8) {
        0 => format!("{name}.{}", random.of(SUFFIXES)),
        1 => format!("{}-{name}", random.of(WORDS)),
        2 => format!("{}{name}", random.of(WORDS)),
        3 => format!("{name}-{}.{}", random.of(WORDS), random.of(SUFFIXES)),
        4 => {
            let stem = name.split('.').next().unwrap_or("a").to_owned();
            format!("{stem}.{}", random.of(SUFFIXES))
        }
        _ => name,
    }
}

#[test]
fn the_index_finds_what_the_scan_finds() {
    let rounds: usize =
        std::env::var("STRAYMAIL_ORACLE_ROUNDS").map_or(24, |rounds| rounds.parse().unwrap());
    let suffixes = PublicSuffixes::built_in();
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let (mut pairs, mut found) = (0usize, 0usize);
    for _ in 0..rounds {
        let names: Vec<String> = (0..NAMES).map(|_| name(&mut random)).collect();
        let mut list = TrustedList::new();
        // Some names are no domains; the list leaves them out.
        let _problems = list.add_text(&names.join("\n"), Path::new("random"), &suffixes);
        let _problems = list.add_text(".mil\n.gov.in\ngmail.com\n", Path::new("r"), &suffixes);
        list.add_well_known(&suffixes);
        let size = list.entries().len();
        let scorer = Scorer::new(list, ScoreSettings::default());
        for _ in 0..QUERIES {
            let text = if random.below(5) == 0 {
                name(&mut random)
            } else {
                typed(&mut random, &names)
            };
            let Ok(domain) = Domain::parse(text.as_bytes(), &suffixes) else {
                continue;
            };
            let context = Context::default();
            let by_index = scorer.assess(&domain, &context);
            let by_scan = scorer.assess_by_scan(&domain, &context);
            assert_eq!(by_index, by_scan, "{text} in\n{}", names.join("\n"));
            pairs += size;
            found += usize::from(by_index.score > 0);
        }
    }
    println!("{pairs} pairs compared, {found} names with evidence");
    assert!(
        found > rounds * QUERIES / 4,
        "the generator is too tame: {found}"
    );
    assert!(pairs > rounds * QUERIES * NAMES / 2);
}
