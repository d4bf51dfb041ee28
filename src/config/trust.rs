//! The trusted list and the public suffix list, gathered from wherever the configuration names.

use std::path::{Path, PathBuf};

use crate::domain::Domain;
use crate::public_suffix::PublicSuffixes;
use crate::trusted::{Preset, Source, TrustedError, TrustedList};

use super::problem::{ConfigErrors, Problem, either, meant, quoted};
use super::reader::Reader;
use super::yaml::Position;

/// Where Debian, Fedora and the BSDs install the list.
const DISTRIBUTION_LISTS: &[&str] = &[
    "/usr/share/publicsuffix/public_suffix_list.dat",
    "/usr/local/share/public_suffix_list/public_suffix_list.dat",
];

/// A list of a million names has some 20 MiB.
const MAX_BYTES: usize = 256 << 20;

/// Of one list, so many problems are told; a wrong file has one on every line.
const MAX_PROBLEMS: usize = 100;

/// What the site trusts, and where registrable domains end.
#[derive(Debug, Default)]
pub struct Trust {
    /// Every entry and known name.
    pub list: TrustedList,
    /// The public suffix list the entries were read with.
    pub suffixes: PublicSuffixes,
    /// Where that list came from: `built-in` or a path.
    pub suffixes_from: String,
    /// The files it was read from, beside the configuration itself.
    pub files: Vec<PathBuf>,
    /// How many known names were read.
    pub known_names: usize,
}

/// A piece of text and where it was written.
pub(super) struct Located {
    pub(super) text: String,
    pub(super) at: Position,
    pub(super) key: String,
}

/// Where the trusted list comes from.
#[derive(Default)]
pub(super) struct TrustedSources {
    pub(super) own: Vec<Located>,
    pub(super) domains: Vec<Located>,
    pub(super) suffixes: Vec<Located>,
    pub(super) files: Vec<Located>,
    pub(super) presets: Vec<Located>,
    pub(super) known_names: Vec<Located>,
}

/// Which public suffix list is used.
#[derive(Default)]
pub(super) enum SuffixList {
    /// The distribution's file if there is one, else the built-in list.
    #[default]
    Auto,
    /// The list compiled into this release.
    BuiltIn,
    /// This file.
    File(PathBuf),
}

impl Trust {
    /// Reads the lists at `paths`, for a command that works without a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn from_files(paths: &[PathBuf]) -> Result<Trust, ConfigErrors> {
        let from = TrustedSources {
            files: (paths.iter())
                .map(|path| Located {
                    text: path.to_string_lossy().into_owned(),
                    at: Position { line: 0, column: 0 },
                    key: String::new(),
                })
                .collect(),
            ..TrustedSources::default()
        };
        let command_line = Path::new("--trusted");
        let mut reader = Reader::new(command_line);
        let trust = Trust::load(&mut reader, &from, &SuffixList::Auto);
        if reader.problems.is_empty() {
            Ok(trust)
        } else {
            Err(ConfigErrors::new(
                command_line,
                reader.problems,
                reader.warnings,
            ))
        }
    }

    /// Reads every list; what is wrong goes to `r`.
    pub(super) fn load(r: &mut Reader, from: &TrustedSources, suffixes: &SuffixList) -> Trust {
        let (mut suffixes, suffixes_from) = load_suffixes(r, suffixes);
        let mut list = TrustedList::new();
        // A subdomain of an own domain is own as well, so files and presets come after.
        for own in &from.own {
            match parsed(r, own, &own.text, &suffixes) {
                Some(entry) => list.add_own(entry, source(r, own)),
                None => continue,
            }
        }
        for entry in &from.domains {
            add_inline(r, &mut list, entry, &entry.text, &suffixes);
        }
        for entry in &from.suffixes {
            let text = format!(".{}", entry.text.trim_start_matches('.'));
            add_inline(r, &mut list, entry, &text, &suffixes);
        }
        for file in &from.files {
            let Some((path, text)) = read(r, file) else {
                continue;
            };
            let problems = list.add_text(&text, &path, &suffixes);
            let shown = problems.iter().map(|p| (p.is_harmless(), list_problem(p)));
            report(r, &path, shown.collect());
        }
        for preset in &from.presets {
            match Preset::named(&preset.text) {
                Some(preset) => list.add_preset(preset, &suffixes),
                None => {
                    let names = Preset::ALL.map(Preset::name);
                    let hint = meant(&preset.text, names)
                        .map(|name| format!(" (did you mean {name}?)"))
                        .unwrap_or_default();
                    let message = format!(
                        "{} is unknown; use {}{hint}",
                        quoted(&preset.text),
                        either(&names)
                    );
                    r.problem(preset.at, &preset.key, message);
                }
            }
        }
        if list.entries().is_empty() && r.problems.is_empty() {
            let nowhere = Position { line: 0, column: 0 };
            let message = "is empty: nothing will be stopped; name the domains you write to";
            r.warning(nowhere, "trusted", message);
        }
        let private = list.private_suffixes(&suffixes);
        if !private.is_empty() {
            suffixes = suffixes.counting(private);
            list.divide(&suffixes);
        }
        list.add_well_known(&suffixes);
        let mut known_names = 0;
        for file in &from.known_names {
            known_names += load_known(r, &mut list, file, &suffixes);
        }
        Trust {
            list,
            suffixes,
            files: r.files.clone(),
            suffixes_from,
            known_names,
        }
    }
}

fn load_suffixes(r: &mut Reader, from: &SuffixList) -> (PublicSuffixes, String) {
    let key = "public_suffix_list";
    let whole = Position { line: 0, column: 0 };
    let read_list = |path: &Path| {
        let bytes = super::read_bounded(path, MAX_BYTES)?;
        let text = super::utf8(bytes).map_err(|line| format!("line {line} is not UTF-8"))?;
        PublicSuffixes::parse(&text).map_err(|error| error.to_string())
    };
    match from {
        SuffixList::BuiltIn => {}
        SuffixList::File(path) => {
            r.files.push(path.clone());
            match read_list(path) {
                Ok(list) => return (list, path.display().to_string()),
                Err(error) => r.problem(whole, key, format!("{}: {error}", path.display())),
            }
        }
        SuffixList::Auto => {
            let found = DISTRIBUTION_LISTS
                .iter()
                .map(Path::new)
                .find(|p| p.exists());
            match found.map(|path| (path, read_list(path))) {
                Some((path, Ok(list))) => return (list, path.display().to_string()),
                Some((path, Err(error))) => r.warning(
                    whole,
                    key,
                    format!("{}: {error}; the built-in list is used", path.display()),
                ),
                None => {}
            }
        }
    }
    (PublicSuffixes::built_in(), "built-in".to_owned())
}

fn source(r: &Reader, entry: &Located) -> Source {
    Source {
        path: r.file().to_owned(),
        line: entry.at.line,
    }
}

/// Returns the domain of an inline entry; reports it when it is none.
fn parsed(
    r: &mut Reader,
    entry: &Located,
    text: &str,
    suffixes: &PublicSuffixes,
) -> Option<Domain> {
    // `add` knows every way to be wrong; a list of its own keeps it free of side effects.
    let mut alone = TrustedList::new();
    let source = source(r, entry);
    if let Err(error) = alone.add(text, source, suffixes) {
        r.problem(entry.at, &entry.key, list_problem(&error).1);
        return None;
    }
    alone.entries().first().map(|entry| entry.domain.clone())
}

fn add_inline(
    r: &mut Reader,
    list: &mut TrustedList,
    entry: &Located,
    text: &str,
    suffixes: &PublicSuffixes,
) {
    let source = source(r, entry);
    if let Err(error) = list.add(text, source, suffixes) {
        let message = list_problem(&error).1;
        if error.is_harmless() {
            r.warning(entry.at, &entry.key, message);
        } else {
            r.problem(entry.at, &entry.key, message);
        }
    }
}

/// Reads the file an entry names; relative to the directory of the configuration.
fn read(r: &mut Reader, entry: &Located) -> Option<(PathBuf, String)> {
    let directory = r.file().parent().unwrap_or_else(|| Path::new("."));
    let path = directory.join(&entry.text);
    r.files.push(path.clone());
    let bytes = match super::read_bounded(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            r.problem(entry.at, &entry.key, format!("{}: {error}", path.display()));
            return None;
        }
    };
    match super::utf8(bytes) {
        Ok(text) => Some((path, text)),
        Err(line) => {
            r.problems.push(Problem {
                file: path,
                line,
                column: 0,
                key: String::new(),
                message: "is not UTF-8; write one domain per line".to_owned(),
            });
            None
        }
    }
}

fn load_known(
    r: &mut Reader,
    list: &mut TrustedList,
    file: &Located,
    suffixes: &PublicSuffixes,
) -> usize {
    let Some((path, text)) = read(r, file) else {
        return 0;
    };
    let mut count = 0;
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        let name = name.trim_start_matches('\u{feff}');
        if name.is_empty() {
            continue;
        }
        match Domain::parse(name.as_bytes(), suffixes) {
            Ok(domain) => {
                list.add_known(domain);
                count += 1;
            }
            Err(error) => problems.push((
                false,
                (
                    index + 1,
                    format!("{} is not a domain name: {error}", quoted(name)),
                ),
            )),
        }
    }
    report(r, &path, problems);
    count
}

/// Returns the line and the sentence of a problem, without the place in front of it.
fn list_problem(error: &TrustedError) -> (usize, String) {
    let (TrustedError::NotADomain { source_line, .. }
    | TrustedError::Address { source_line, .. }
    | TrustedError::SeveralWords { source_line, .. }
    | TrustedError::PublicSuffix { source_line, .. }
    | TrustedError::Duplicate { source_line, .. }) = error;
    let text = error.to_string();
    let message = text
        .strip_prefix(&format!("{source_line}: "))
        .unwrap_or(&text);
    (source_line.line, message.to_owned())
}

/// Reports the problems of one list: (harmless, (line, message)).
fn report(r: &mut Reader, path: &Path, found: Vec<(bool, (usize, String))>) {
    let problem = |line: usize, message: String| Problem {
        file: path.to_owned(),
        line,
        column: 0,
        key: String::new(),
        message,
    };
    for harmless in [false, true] {
        let of_kind = || found.iter().filter(|(kind, _)| *kind == harmless);
        let into = if harmless {
            &mut r.warnings
        } else {
            &mut r.problems
        };
        for (_, (line, message)) in of_kind().take(MAX_PROBLEMS) {
            into.push(problem(*line, message.clone()));
        }
        let more = of_kind().count().saturating_sub(MAX_PROBLEMS);
        if more > 0 {
            into.push(problem(0, format!("{more} more lines like these")));
        }
    }
}
