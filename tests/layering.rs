//! Who may import whom. The table is the design; this test holds the code to it.
//!
//! It reads `crate::…` paths from the sources, so it sees `use` lines and paths in the code
//! alike; comments and strings do not count.

#![expect(
    clippy::string_slice,
    reason = "every offset comes from find or match_indices; a wrong one fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer, lowest first. A module may import from lower layers and, without a circle,
/// from its own.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "vocabulary",
        &[
            "address",
            "domain",
            "fault",
            "hexadecimal",
            "octets",
            "public_suffix",
            "untrusted",
        ],
    ),
    ("core", &["policy", "reply", "score", "session", "trusted"]),
    (
        "ports",
        &[
            "addressfile",
            "logging",
            "maillog",
            "metrics",
            "notice",
            "owner",
            "smtp",
            "socketfile",
            "spool",
            "store",
        ],
    ),
    ("service", &["service"]),
    ("edges", &["cli", "milter", "review"]),
    ("wiring", &["config", "daemon"]),
];

/// What a module may not import although it is lower: an edge asks the service.
const FORBIDDEN: &[(&str, &[&str])] = &[("milter", &["store", "spool", "smtp", "cli"])];

/// What a module may import although it is higher: a command starts the daemon.
const ALLOWED: &[(&str, &[&str])] = &[("cli", &["config", "daemon"])];

/// A crate and a file or folder below `src` that may name it, and no other.
const OWNED: &[(&str, &str)] = &[
    ("indymilter", "milter"),
    // Where it is named; the module of this name is `crate::milter`.
    ("use milter", "milter/libmilter.rs"),
    ("nix", "milter/vendor.rs"),
    ("granit_parser", "config/yaml.rs"),
    ("serde_saphyr", "nowhere"),
    ("rusqlite", "store"),
    ("clap", "cli"),
    ("clap_mangen", "cli/manual.rs"),
    ("clap_complete", "cli/manual.rs"),
    ("comfy_table", "cli"),
    ("publicsuffix", "public_suffix.rs"),
    ("psl", "public_suffix.rs"),
    ("argon2", "service/account.rs"),
    ("landlock", "daemon/sandbox.rs"),
    ("axum", "review"),
    ("askama", "review"),
    ("hyper", "review/server.rs"),
    ("hyper_util", "review/server.rs"),
    ("form_urlencoded", "review"),
    ("flate2", "maillog/source.rs"),
    ("bzip2", "maillog/source.rs"),
    ("lzma_rust2", "maillog/source.rs"),
    ("ruzstd", "maillog/source.rs"),
    ("indicatif", "cli"),
    ("hashbrown", "maillog/queue.rs"),
    ("hashbrown", "service/learning/mailboxes.rs"),
    ("indexmap", "service"),
];

/// What the pure layers must not touch: I/O, clock, randomness, logging, async, threads.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::env",
    "std::time::SystemTime",
    "std::time::Instant",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "getrandom",
    "rustix",
    "rusqlite",
    "slog::",
    "tokio::",
];

/// The crash hook of the tests is no part of a release build.
const NOT_PURE: &[&str] = &["fault"];

/// One source file: path below `src` and its text without comments and strings.
struct Source {
    path: PathBuf,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            code: code_only(text),
        }
    }

    /// The module a file belongs to: `score` for `score/mod.rs`.
    fn module(&self) -> String {
        let first = self.path.components().next();
        let first = first.map_or_else(String::new, |c| c.as_os_str().to_string_lossy().into());
        first.trim_end_matches(".rs").to_owned()
    }

    /// The modules the file names by `crate::`, and from the top level by `super::`.
    fn imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut prefixes = vec!["crate::"];
        if self.path.components().count() == 1 {
            prefixes.push("super::");
        }
        for prefix in prefixes {
            for (at, _) in self.code.match_indices(prefix) {
                let before = self.code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                    continue;
                }
                let rest = self.code[at + prefix.len()..].trim_start();
                match rest.strip_prefix('{') {
                    Some(group) => found.extend(top_level_names(group)),
                    None => found.extend(name(rest)),
                }
            }
        }
        found
    }

    /// Whether the code names `word` as a whole word.
    fn names(&self, word: &str) -> bool {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(word).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(part) && (word.ends_with(':') || !after.is_some_and(part))
        })
    }
}

fn name(text: &str) -> Option<String> {
    let name: String = (text.chars())
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// The first name of each item of `a::b, c, d::{e, f}}…`.
fn top_level_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = Vec::new();
    let mut item = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(name(std::mem::take(&mut item).trim())),
            c if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.extend(name(item.trim()));
    names
}

/// Replaces comments and the content of strings by nothing.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[hashes + 2..];
            rest = body.find(&end).map_or("", |at| &body[at + end.len()..]);
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            rest = end.map_or("", |end| &rest[end + 2..]);
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest = &rest[rest[1..].find("'").map_or(1, |end| end + 2)..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

/// The number of `#` of a raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// Everything in `sources` that breaks the table.
fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let module = source.module();
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let file = source.path.display();
        let Some(own) = layer(&module) else {
            found.push(format!(
                "{file}: {module} has no layer; give it one in {}",
                file!()
            ));
            continue;
        };
        let table = |table: &[(&str, &[&str])], import: &str| {
            (table.iter()).any(|(m, imports)| *m == module && imports.contains(&import))
        };
        for import in source.imports() {
            let Some(layer) = layer(&import).filter(|_| import != module) else {
                continue;
            };
            let higher = layer > own && !table(ALLOWED, &import);
            if higher || table(FORBIDDEN, &import) {
                let (from, to) = (LAYERS[own].0, LAYERS[layer].0);
                found.push(format!("{file}: {module} ({from}) imports {import} ({to})"));
            }
            graph.entry(module.clone()).or_default().insert(import);
        }
        for (krate, owner) in OWNED {
            let owns = |owner: &str| source.path.starts_with(owner) || module == owner;
            let owned = (OWNED.iter()).any(|(other, owner)| other == krate && owns(owner));
            if !owned && source.names(krate) {
                found.push(format!("{file}: names {krate}, which belongs to {owner}"));
            }
        }
        if own <= 1 && !NOT_PURE.contains(&module.as_str()) {
            for impure in IMPURE {
                if source.names(impure) {
                    found.push(format!("{file}: {module} is pure but names {impure}"));
                }
            }
        }
    }
    found.extend(circle(&graph));
    found
}

/// A circle of imports, if there is one. Modules without a way on are taken away until none is left.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let mut left: BTreeSet<&String> = graph.keys().collect();
    loop {
        let next: BTreeSet<&String> = (left.iter().copied())
            .filter(|module| graph[*module].iter().any(|import| left.contains(import)))
            .collect();
        if next.len() == left.len() {
            break;
        }
        left = next;
    }
    let names: Vec<&str> = left.iter().map(|name| name.as_str()).collect();
    (!names.is_empty()).then(|| format!("modules import each other: {}", names.join(", ")))
}

fn sources(below: &Path) -> std::io::Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let short = path
                    .strip_prefix(below)
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                found.push(Source::new(&short, &fs::read_to_string(&path)?));
            }
        }
    }
    Ok(found)
}

#[test]
fn every_module_imports_only_what_its_layer_may() {
    let sources = sources(Path::new("src")).unwrap();
    assert!(sources.len() > 20, "src is not where it was");
    assert_eq!(violations(&sources), Vec::<String>::new());
}

/// What keeps the dangers of the crate `milter` out (docs/libmilter.md), seen in the source.
fn broken_rules(adapter: &str, serving: &str, daemon: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rule = |kept: bool, what: &str| {
        if !kept {
            found.push(what.to_owned());
        }
    };
    let handlers: Vec<&str> = (adapter.split("\n#[on_").skip(1))
        .filter_map(|rest| rest.split_once("fn ")?.1.split_once(" {\n"))
        .map(|(head, _)| head)
        .collect();
    rule(handlers.len() == 10, "a handler is not seen, or new");
    for head in &handlers {
        let (arguments, returned) = head.rsplit_once(" -> ").unwrap_or((head, ""));
        let status = returned == "Status" || returned == "(Status, Actions, ProtocolOpts)";
        rule(status, &format!("a handler returns {returned}: {head}"));
        let text = arguments.contains("&str") || arguments.contains("String");
        rule(!text, &format!("a handler takes text: {head}"));
    }
    rule(!adapter.contains("Result<Status"), "a Result of a Status");
    let bodies = adapter.split("\n#[on_").skip(1);
    for body in bodies.filter_map(|rest| rest.split("\n}\n").next()) {
        let caught = body.contains("with(&mut context") || body.contains("catch_unwind");
        let asked = body.starts_with("negotiate");
        rule(caught || asked, &format!("a panic is not caught: {body}"));
    }
    rule(!adapter.contains("Status::Accept"), "an early accept");
    rule(
        adapter.contains("remove_socket(true)"),
        "the socket file stays",
    );
    let signals = ["SIGTERM", "SIGINT", "SIGHUP", "thread_block"];
    rule(
        signals.iter().all(|s| serving.contains(s)),
        "a signal is not blocked",
    );
    let start = daemon
        .split_once("pub fn run(")
        .map_or("", |(_, rest)| rest);
    let blocked = start.find("block_signals()");
    let first = start.find("logging::logger");
    rule(
        blocked.is_some() && blocked < first,
        "threads before signals",
    );
    rule(
        daemon.contains("SignalKind::user_defined1()"),
        "reload is not SIGUSR1",
    );
    found
}

#[test]
fn the_libmilter_adapter_keeps_its_rules() {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let adapter = read("src/milter/libmilter.rs");
    let (serving, daemon) = (read("src/milter/vendor.rs"), read("src/daemon.rs"));
    assert_eq!(
        broken_rules(&adapter, &serving, &daemon),
        Vec::<String>::new()
    );
    for (good, bad) in [
        (
            "args: Vec<&CStr>) -> Status",
            "args: Vec<&CStr>) -> milter::Result<Status>",
        ),
        ("args: Vec<&CStr>)", "args: Vec<&str>)"),
        (
            "Some(Answer::Continue) => Status::Continue",
            "_ => Status::Accept",
        ),
        (
            "let _ = catch_unwind(AssertUnwindSafe(|| context.data.take()));",
            "drop(context.data.take());",
        ),
    ] {
        let broken = adapter.replace(good, bad);
        assert!(
            !broken_rules(&broken, &serving, &daemon).is_empty(),
            "{bad}"
        );
    }
}

#[test]
fn a_violation_is_caught_however_it_is_written() {
    let broken = [
        ("score/mod.rs", "use crate::store::Store;"),
        ("policy.rs", "fn f() { crate::config::load() }"),
        (
            "domain.rs",
            "use crate::{\n    trusted::TrustedList,\n    untrusted::Untrusted,\n};",
        ),
        ("session.rs", "use super::service;"),
        ("milter.rs", "use crate::store::Store;"),
        ("store.rs", "use crate::service::Service;"),
        ("service.rs", "use indymilter::Status;"),
        ("daemon.rs", "use milter::Status;"),
        ("score/index.rs", "let now = std::time::Instant::now();"),
        ("reply.rs", "use slog::info;"),
        ("novel.rs", "//! A module nobody gave a layer."),
    ];
    for (path, text) in broken {
        let found = violations(&[Source::new(path, text)]);
        assert!(!found.is_empty(), "not caught: {path}: {text}");
    }
    let circle = [
        Source::new("spool.rs", "use crate::store::Store;"),
        Source::new("store/entry.rs", "use crate::spool::Spool;"),
    ];
    assert_eq!(
        violations(&circle),
        ["modules import each other: spool, store"]
    );
}

#[test]
fn comments_strings_and_lower_layers_are_no_violation() {
    let fine = [
        (
            "score/mod.rs",
            "//! See [`crate::store`].\n/* crate::daemon */ use crate::domain::Domain;",
        ),
        (
            "policy.rs",
            "const A: &str = \"crate::store \\\" slog::\"; const B: &str = r#\"tokio::\"#;",
        ),
        (
            "cli/check.rs",
            "use super::Failure; use crate::config::Config;",
        ),
        (
            "milter.rs",
            "use indymilter::Status; use crate::{service::Service, logging};",
        ),
        ("reply.rs", "let quote = '\"'; // crate::store\n"),
    ];
    for (path, text) in fine {
        assert_eq!(violations(&[Source::new(path, text)]), Vec::<String>::new());
    }
}
