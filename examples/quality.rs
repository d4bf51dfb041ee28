//! Prints how good the detector is on a folder of labelled recipient domains.
//!
//! ```text
//! cargo run --release --example quality -- DATA [--threshold 50] [--known FILE] [--mails N]
//!     [--oracle] [--misses N] [--write DIR] [--only SCENARIO] [--curve]
//! ```
//!
//! DATA holds one folder for each scenario, with `trusted.txt` (a trusted list) and
//! `cases.tsv` or `cases.tsv.gz` (recipient domain, `ok`/`typo`/`lookalike`, meant domain,
//! class, source), and `class-weights.tsv` (kind, class, weight). `known.txt` in a scenario, or
//! `--known FILE` for all, adds known names. `--mails N` pretends that each recipient domain got
//! N mails before. `--oracle` compares every verdict with the slow scan. `--write DIR` writes
//! the verdicts as `DIR/SCENARIO.tsv`. `--curve` prints what other thresholds would give.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use straymail::domain::Domain;
use straymail::public_suffix::PublicSuffixes;
use straymail::score::{Context, ScoreSettings, Scorer};
use straymail::trusted::{Cover, TrustedList};

/// Probability that a recipient is a typo, for precision and F1.
const BASE_RATE: f64 = 0.001;

struct Options {
    data: PathBuf,
    threshold: f64,
    known: Option<PathBuf>,
    mails: u32,
    oracle: bool,
    misses: usize,
    write: Option<PathBuf>,
    only: Option<String>,
    curve: bool,
}

/// One judged case.
struct Row {
    class: String,
    ok: bool,
    score: f64,
    /// The score after three mails to the domain, and one from it.
    after: f64,
    right: bool,
    recipient: String,
    meant: String,
    best: String,
}

fn main() -> Result<()> {
    let options = options()?;
    let suffixes = PublicSuffixes::built_in();
    let weights = weights(&options.data)?;
    let mut scenarios: BTreeMap<String, (usize, Vec<Row>)> = BTreeMap::new();
    for entry in std::fs::read_dir(&options.data)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !path.join("trusted.txt").exists() || options.only.as_ref().is_some_and(|o| *o != name) {
            continue;
        }
        let judged = judge_scenario(&path, &name, &options, &suffixes)?;
        scenarios.insert(name, judged);
    }
    if scenarios.is_empty() {
        bail!(
            "no scenario with a trusted.txt in {}",
            options.data.display()
        );
    }
    report(&scenarios, &weights, &options);
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options {
        data: PathBuf::new(),
        threshold: 50.0,
        known: None,
        mails: 0,
        oracle: false,
        misses: 0,
        write: None,
        only: None,
        curve: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--threshold" => options.threshold = value()?.parse()?,
            "--known" => options.known = Some(value()?.into()),
            "--mails" => options.mails = value()?.parse()?,
            "--oracle" => options.oracle = true,
            "--misses" => options.misses = value()?.parse()?,
            "--write" => options.write = Some(value()?.into()),
            "--curve" => options.curve = true,
            "--only" => options.only = Some(value()?),
            other if other.starts_with("--") => bail!("unknown option {other}"),
            data => options.data = data.into(),
        }
    }
    if options.data.as_os_str().is_empty() {
        bail!(
            "usage: quality DATA [--threshold 50] [--known FILE] [--mails N] [--oracle] [--misses N] [--write DIR] [--only SCENARIO] [--curve]"
        );
    }
    Ok(options)
}

/// Returns the text of `path`, or of `path.gz` unpacked by gzip(1).
fn read(path: &Path) -> Result<String> {
    if path.exists() {
        return Ok(std::fs::read_to_string(path)?);
    }
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let output = Command::new("gzip")
        .arg("-dc")
        .arg(&packed)
        .output()
        .context("cannot run gzip")?;
    if !output.status.success() {
        bail!("cannot read {} or {}", path.display(), packed.display());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn weights(data: &Path) -> Result<BTreeMap<String, (String, f64)>> {
    let mut weights = BTreeMap::new();
    for line in read(&data.join("class-weights.tsv"))?.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let [kind, class, weight, ..] = fields.as_slice()
            && !line.starts_with('#')
        {
            weights.insert((*class).to_owned(), ((*kind).to_owned(), weight.parse()?));
        }
    }
    Ok(weights)
}

fn judge_scenario(
    path: &Path,
    name: &str,
    options: &Options,
    suffixes: &PublicSuffixes,
) -> Result<(usize, Vec<Row>)> {
    let mut list = TrustedList::new();
    let file = path.join("trusted.txt");
    for problem in list.add_text(&read(&file)?, &file, suffixes) {
        eprintln!("{problem}");
    }
    list.add_well_known(suffixes);
    let known = options
        .known
        .clone()
        .unwrap_or_else(|| path.join("known.txt"));
    if known.exists() {
        for line in read(&known)?.lines().filter(|line| !line.starts_with('#')) {
            if let Ok(domain) = Domain::parse(line.trim().as_bytes(), suffixes) {
                list.add_known(domain);
            }
        }
    }
    let size = list.entries().len();
    let trusted: BTreeSet<String> = list
        .entries()
        .iter()
        .map(|entry| match entry.cover {
            Cover::Domain => entry.domain.ascii().to_owned(),
            Cover::Suffix => format!(".{}", entry.domain.ascii()),
        })
        .collect();
    let scorer = Scorer::new(list, ScoreSettings::default());
    let context = Context {
        mails_before: options.mails,
        ..Context::default()
    };
    let history = Context {
        mails_before: 3,
        answers_before: 1,
        ..Context::default()
    };
    let mut rows = Vec::new();
    let mut verdicts = String::new();
    let mut different = 0;
    for line in read(&path.join("cases.tsv"))?.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [recipient, label, meant, class, ..] = fields.as_slice() else {
            continue;
        };
        if line.starts_with('#') {
            continue;
        }
        let parsed = Domain::parse(recipient.as_bytes(), suffixes);
        let assessment = match &parsed {
            Ok(domain) => scorer.assess(domain, &context),
            Err(error) => scorer.assess_undecodable(recipient.as_bytes(), error),
        };
        let after = match &parsed {
            Ok(domain) if assessment.score > 0 => scorer.assess(domain, &history).score,
            _ => assessment.score,
        };
        if let (true, Ok(domain)) = (options.oracle, &parsed)
            && scorer.assess_by_scan(domain, &context) != assessment
        {
            different += 1;
            eprintln!("index and scan differ: {recipient}");
        }
        let best = assessment
            .best()
            .map_or_else(|| "-".to_owned(), |best| best.trusted.clone());
        write!(verdicts, "{recipient}\t{}\t{best}\t", assessment.score)?;
        for term in assessment.best().map_or(&[][..], |best| &best.evidence) {
            write!(verdicts, "{:?}{:+} ", term.reason, term.points)?;
        }
        verdicts.push('\n');
        rows.push(Row {
            class: (*class).to_owned(),
            ok: *label == "ok",
            score: f64::from(assessment.score),
            after: f64::from(after),
            right: is_right(&best, meant, &trusted),
            recipient: (*recipient).to_owned(),
            meant: (*meant).to_owned(),
            best,
        });
    }
    if options.oracle {
        println!(
            "{name}: {} verdicts, {different} differ from the scan",
            rows.len()
        );
    }
    if let Some(dir) = &options.write {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join(format!("{name}.tsv")), verdicts)?;
    }
    Ok((size, rows))
}

/// A suggestion is right when it is the meant domain, or a trusted (or covered) parent of it.
fn is_right(best: &str, meant: &str, trusted: &BTreeSet<String>) -> bool {
    let core = best.trim_start_matches('.');
    if best == meant {
        return true;
    }
    if core.is_empty() || core == "-" || !(meant == core || meant.ends_with(&format!(".{core}"))) {
        return false;
    }
    trusted.contains(core)
        || trusted.contains(&format!(".{core}"))
        || trusted
            .iter()
            .any(|entry| entry.starts_with('.') && format!(".{core}").ends_with(entry.as_str()))
}

/// Figures over some rows.
struct Figures<'r> {
    rows: Vec<&'r Row>,
    threshold: f64,
    weights: &'r BTreeMap<String, (String, f64)>,
}

impl Figures<'_> {
    fn share(&self, classes: &[&str]) -> f64 {
        self.share_of(|row| classes.contains(&row.class.as_str()))
    }

    fn share_of(&self, wanted: impl Fn(&Row) -> bool) -> f64 {
        let of: Vec<_> = self.rows.iter().filter(|row| wanted(row)).collect();
        let flagged = of.iter().filter(|row| row.score >= self.threshold).count();
        flagged as f64 / of.len() as f64
    }

    /// The share that is flagged after three mails to the domain and one from it.
    fn after(&self, classes: &[&str]) -> f64 {
        let of = |row: &&&Row| classes.contains(&row.class.as_str());
        let flagged = |row: &&&Row| row.after >= self.threshold;
        let rows = || self.rows.iter().filter(of);
        rows().filter(flagged).count() as f64 / rows().count() as f64
    }

    /// The mean of the classes of a kind, weighted.
    fn weighted(&self, kind: &str) -> f64 {
        let classes: BTreeSet<&str> = self.rows.iter().map(|row| row.class.as_str()).collect();
        let (mut sum, mut total) = (0.0, 0.0);
        for class in classes {
            if let Some((of, weight)) = self.weights.get(class)
                && of == kind
                && *weight > 0.0
            {
                sum += weight * self.share(&[class]);
                total += weight;
            }
        }
        sum / total
    }

    fn right(&self) -> f64 {
        let flagged: Vec<_> = self
            .rows
            .iter()
            .filter(|row| !row.ok && row.score >= self.threshold)
            .collect();
        flagged.iter().filter(|row| row.right).count() as f64 / flagged.len() as f64
    }

    /// The probability that a positive scores above a negative, ties counted half.
    fn auc(&self) -> f64 {
        let mut negatives: Vec<f64> = Vec::new();
        let mut positives: Vec<f64> = Vec::new();
        for row in &self.rows {
            if row.ok {
                negatives.push(row.score);
            } else {
                positives.push(row.score);
            }
        }
        negatives.sort_by(f64::total_cmp);
        let mut sum = 0.0;
        for score in &positives {
            let below = negatives.partition_point(|n| n < score);
            let up_to = negatives.partition_point(|n| n <= score);
            sum += below as f64 + (up_to - below) as f64 / 2.0;
        }
        sum / (positives.len() as f64 * negatives.len() as f64)
    }

    fn precision(&self) -> f64 {
        let (recall, alarms) = (self.weighted("typo"), self.weighted("traffic"));
        BASE_RATE * recall / (BASE_RATE * recall + (1.0 - BASE_RATE) * alarms)
    }

    fn f1(&self) -> f64 {
        let (precision, recall) = (self.precision(), self.weighted("typo"));
        2.0 * precision * recall / (precision + recall)
    }
}

/// One line of the table: what is measured, and what must be and is aimed for.
struct Line {
    name: &'static str,
    must: &'static str,
    aim: &'static str,
    of: fn(&Figures<'_>) -> f64,
    /// Which scenarios count.
    only: fn(&str, usize) -> bool,
}

const ANY: fn(&str, usize) -> bool = |_, _| true;
const MIL: fn(&str, usize) -> bool = |name, _| name == "mil";

/// Real organisations near a trusted name.
const NEIGHBOURS: &[&str] = &[
    "neg_near1",
    "neg_near2",
    "neg_short_near",
    "neg_sibling_tld",
];
/// Names that were made to look the same: no history may excuse them.
const DISGUISED: &[&str] = &[
    "ascii_homoglyph",
    "idn_homoglyph",
    "idn_diacritic",
    "idn_whole_script",
    "subdomain_trick",
];

const LINES: &[Line] = &[
    Line {
        name: "weighted typo recall",
        must: ".93",
        aim: ".95",
        of: |f| f.weighted("typo"),
        only: ANY,
    },
    Line {
        name: "mil: live ending",
        must: ".99",
        aim: ".995",
        of: |f| f.share(&["suffix_typo_live"]),
        only: MIL,
    },
    Line {
        name: "mil: dead ending",
        must: ".99",
        aim: "1.00",
        of: |f| f.share(&["suffix_typo_dead"]),
        only: MIL,
    },
    Line {
        name: "all: live ending",
        must: "",
        aim: "",
        of: |f| f.share(&["suffix_typo_live"]),
        only: ANY,
    },
    Line {
        name: "all: dead ending",
        must: ".99",
        aim: "1.00",
        of: |f| f.share(&["suffix_typo_dead"]),
        only: ANY,
    },
    Line {
        name: "mil: suffix swap",
        must: ".85",
        aim: ".95",
        of: |f| f.share(&["suffix_swap"]),
        only: MIL,
    },
    Line {
        name: "all: suffix swap",
        must: "",
        aim: "",
        of: |f| f.share(&["suffix_swap"]),
        only: ANY,
    },
    Line {
        name: "wrong second level",
        must: ".80",
        aim: ".90",
        of: |f| f.share(&["wrong_2ld"]),
        only: ANY,
    },
    Line {
        name: "missing dot",
        must: ".96",
        aim: ".98",
        of: |f| f.share(&["missing_dot"]),
        only: ANY,
    },
    Line {
        name: "dot to hyphen",
        must: ".96",
        aim: ".98",
        of: |f| f.share(&["dot_hyphen"]),
        only: ANY,
    },
    Line {
        name: "extra dot",
        must: ".96",
        aim: ".98",
        of: |f| f.share(&["extra_dot"]),
        only: ANY,
    },
    Line {
        name: "hyphen",
        must: ".96",
        aim: ".98",
        of: |f| f.share(&["hyphen"]),
        only: ANY,
    },
    Line {
        name: "homoglyph IDN",
        must: ".98",
        aim: ".995",
        of: |f| f.share(&["idn_homoglyph"]),
        only: ANY,
    },
    Line {
        name: "diacritic",
        must: ".98",
        aim: ".995",
        of: |f| f.share(&["idn_diacritic"]),
        only: ANY,
    },
    Line {
        name: "homoglyph ASCII",
        must: ".98",
        aim: ".995",
        of: |f| f.share(&["ascii_homoglyph"]),
        only: ANY,
    },
    Line {
        name: "whole script",
        must: ".90",
        aim: ".97",
        of: |f| f.share(&["idn_whole_script"]),
        only: ANY,
    },
    Line {
        name: "subdomain trick",
        must: ".97",
        aim: ".99",
        of: |f| f.share(&["subdomain_trick"]),
        only: ANY,
    },
    Line {
        name: "combosquat",
        must: ".75",
        aim: ".85",
        of: |f| f.share(&["combosquat"]),
        only: ANY,
    },
    Line {
        name: "real observed typos",
        must: ".88",
        aim: ".95",
        of: |f| f.share(&["real_typo"]),
        only: ANY,
    },
    Line {
        name: "false: exact, sub, freemail, IDN",
        must: "0",
        aim: "0",
        of: |f| f.share(&["neg_exact", "neg_sub", "neg_freemail", "neg_idn"]),
        only: ANY,
    },
    Line {
        name: "false: unrelated, lists <= 500",
        must: ".0005",
        aim: ".0002",
        of: |f| f.share_of(|r| r.class.starts_with("neg_random")),
        only: |_, size| size <= 500,
    },
    Line {
        name: "false: unrelated, larger lists",
        must: ".004",
        aim: ".002",
        of: |f| f.share_of(|r| r.class.starts_with("neg_random")),
        only: |_, size| size > 500,
    },
    Line {
        name: "false: sibling TLD",
        must: ".06",
        aim: ".03",
        of: |f| f.share(&["neg_sibling_tld"]),
        only: ANY,
    },
    Line {
        name: "false: short neighbours",
        must: ".06",
        aim: ".03",
        of: |f| f.share(&["neg_short_near"]),
        only: ANY,
    },
    Line {
        name: "false: one-letter neighbours",
        must: ".60",
        aim: ".35",
        of: |f| f.share(&["neg_near1"]),
        only: ANY,
    },
    Line {
        name: "false: the same after 3 mails",
        must: ".01",
        aim: "0",
        of: |f| f.after(&["neg_near1"]),
        only: ANY,
    },
    Line {
        name: "false: any neighbour after 3 mails",
        must: "",
        aim: "",
        of: |f| f.after(NEIGHBOURS),
        only: ANY,
    },
    Line {
        name: "look-alikes after 3 mails",
        must: "",
        aim: "",
        of: |f| f.after(DISGUISED),
        only: ANY,
    },
    Line {
        name: "the same before",
        must: "",
        aim: "",
        of: |f| f.share(DISGUISED),
        only: ANY,
    },
    Line {
        name: "false: two-letter neighbours",
        must: ".15",
        aim: ".08",
        of: |f| f.share(&["neg_near2"]),
        only: ANY,
    },
    Line {
        name: "false: contains the name",
        must: ".02",
        aim: ".01",
        of: |f| f.share(&["neg_contains"]),
        only: ANY,
    },
    Line {
        name: "false: confusable TLD",
        must: "",
        aim: "",
        of: |f| f.share(&["neg_confusable_tld"]),
        only: ANY,
    },
    Line {
        name: "right suggestion",
        must: ".99",
        aim: ".99",
        of: |f| f.right(),
        only: ANY,
    },
    Line {
        name: "AUC",
        must: ".95",
        aim: ".97",
        of: |f| f.auc(),
        only: ANY,
    },
    Line {
        name: "look-alike recall, weighted",
        must: "",
        aim: "",
        of: |f| f.weighted("lookalike"),
        only: ANY,
    },
    Line {
        name: "false alarms per recipient",
        must: "",
        aim: "",
        of: |f| f.weighted("traffic"),
        only: ANY,
    },
    Line {
        name: "precision at 1 typo in 1,000",
        must: ".55",
        aim: ".70",
        of: |f| f.precision(),
        only: ANY,
    },
    Line {
        name: "F1 at 1 typo in 1,000",
        must: ".65",
        aim: ".80",
        of: |f| f.f1(),
        only: ANY,
    },
];

fn report(
    scenarios: &BTreeMap<String, (usize, Vec<Row>)>,
    weights: &BTreeMap<String, (String, f64)>,
    options: &Options,
) {
    print!("{:34}{:>7}{:>7}{:>9}", "figure", "must", "aim", "all");
    for name in scenarios.keys() {
        print!("{name:>9}");
    }
    println!();
    for line in LINES {
        print!("{:34}{:>7}{:>7}", line.name, line.must, line.aim);
        let of = |counts: &dyn Fn(&str) -> bool| {
            (line.of)(&figures(
                scenarios,
                weights,
                options.threshold,
                |name, size| counts(name) && (line.only)(name, size),
            ))
        };
        print(&of(&|_| true));
        for scenario in scenarios.keys() {
            print(&of(&|name| name == scenario));
        }
        println!();
    }
    let missed = missed(scenarios, weights, options);
    println!(
        "\nworse than must: {}",
        if missed.is_empty() {
            "none".to_owned()
        } else {
            missed.join(", ")
        }
    );
    if options.curve {
        curve(scenarios, weights);
    }
    let figures = figures(scenarios, weights, options.threshold, |_, _| true);
    println!("\n{:24}{:>8}{:>9}", "class", "rows", "flagged");
    let classes: BTreeSet<(bool, &str)> = figures
        .rows
        .iter()
        .map(|row| (row.ok, row.class.as_str()))
        .collect();
    for (_, class) in classes {
        let rows = figures.rows.iter().filter(|row| row.class == class).count();
        println!("{class:24}{rows:>8}{:>9.4}", figures.share(&[class]));
        let wrong = figures
            .rows
            .iter()
            .filter(|row| row.class == class && (row.score >= options.threshold) == row.ok);
        for row in wrong.take(options.misses) {
            println!(
                "    {} ({}) {} {}",
                row.recipient, row.meant, row.score, row.best
            );
        }
    }
}

/// Returns the rows of some scenarios as figures.
fn figures<'r>(
    scenarios: &'r BTreeMap<String, (usize, Vec<Row>)>,
    weights: &'r BTreeMap<String, (String, f64)>,
    threshold: f64,
    counts: impl Fn(&str, usize) -> bool,
) -> Figures<'r> {
    Figures {
        rows: scenarios
            .iter()
            .filter(|(name, (size, _))| counts(name, *size))
            .flat_map(|(_, (_, rows))| rows)
            .collect(),
        threshold,
        weights,
    }
}

/// Returns the names of the lines whose figure over all scenarios is worse than it must be.
fn missed(
    scenarios: &BTreeMap<String, (usize, Vec<Row>)>,
    weights: &BTreeMap<String, (String, f64)>,
    options: &Options,
) -> Vec<String> {
    let worse = |line: &&Line| {
        let Ok(must) = line.must.parse::<f64>() else {
            return false;
        };
        let figure = (line.of)(&figures(scenarios, weights, options.threshold, line.only));
        if line.name.starts_with("false") {
            figure > must
        } else {
            figure < must
        }
    };
    (LINES.iter().filter(worse))
        .map(|line| line.name.to_owned())
        .collect()
}

/// Prints the figures that pull against each other, by threshold.
fn curve(
    scenarios: &BTreeMap<String, (usize, Vec<Row>)>,
    weights: &BTreeMap<String, (String, f64)>,
) {
    const COLUMNS: &[(&str, &str)] = &[
        ("weighted typo recall", "recall"),
        ("false: unrelated, lists <= 500", "<=500"),
        ("false: unrelated, larger lists", "larger"),
        ("false: sibling TLD", "sibling"),
        ("false: short neighbours", "short"),
        ("false: one-letter neighbours", "1 letter"),
        ("precision at 1 typo in 1,000", "precision"),
        ("F1 at 1 typo in 1,000", "F1"),
    ];
    print!("\n{:>8}", "hold_at");
    for (_, head) in COLUMNS {
        print!("{head:>11}");
    }
    println!();
    for threshold in [40, 42, 44, 46, 48, 50, 52, 55, 60, 65, 70, 80] {
        print!("{threshold:>8}");
        for (name, _) in COLUMNS {
            let figure = LINES
                .iter()
                .find(|line| line.name == *name)
                .map_or(f64::NAN, |line| {
                    (line.of)(&figures(
                        scenarios,
                        weights,
                        f64::from(threshold),
                        line.only,
                    ))
                });
            print!("{figure:>11.4}");
        }
        println!();
    }
}

fn print(figure: &f64) {
    if figure.is_nan() {
        print!("{:>9}", "-");
    } else {
        print!("{figure:>9.4}");
    }
}
