//! `straymail scan-addresses`: stored addresses that look wrong, each with its file and line.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use jiff::Timestamp;
use serde::Serialize;

use crate::address::{Address, Host};
use crate::addressfile::{self, Kind, Stored, Tally};
use crate::policy::{Band, Role, Subject};
use crate::score::{Assessment, Context};
use crate::service::Snapshot;
use crate::session::Recipient;
use crate::untrusted::{Untrusted, json_line};

use super::desk::{address, both_spellings, number, print, table};
use super::figures::counted;
use super::{EXIT_FINE, EXIT_FOUND, Failure, load_config};

/// Finds wrong addresses stored in aliases, maps, forwards, lists and address books
#[derive(Debug, clap::Args)]
#[command(
    after_help = "No milter sees what an alias expands to, so a wrong address stored there leaks \
                  for months. Files may be packed by gzip, xz, zstd or bzip2. Exit status: 0 none \
                  found, 1 found, or something could not be read, 64 wrong usage, 78 wrong \
                  configuration."
)]
pub(super) struct ScanAddresses {
    /// Files, or directories with all that lies in them; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the files are [default: told by name and content]
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Kind] {
        &[
            Kind::Aliases,
            Kind::Map,
            Kind::Transport,
            Kind::Forward,
            Kind::Vcard,
            Kind::Ldif,
            Kind::Text,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, what) = match self {
            Kind::Aliases => ("aliases", "aliases(5)"),
            Kind::Map => (
                "map",
                "virtual, canonical, generic, relocated and bcc maps, virtusertable",
            ),
            Kind::Transport => ("transport", "transport maps, mailertable"),
            Kind::Forward => ("forward", ".forward files and members of lists"),
            Kind::Vcard => ("vcard", "vCards"),
            Kind::Ldif => ("ldif", "LDIF"),
            Kind::Text => ("text", "CSV and anything else: every address counts"),
        };
        Some(PossibleValue::new(name).help(what))
    }
}

/// A stored address that looks wrong.
#[derive(Serialize)]
struct Found<'a> {
    file: String,
    line: u64,
    address: String,
    meant: &'a str,
    band: Band,
    assessment: &'a Assessment,
}

/// A file that was not read, or not as a whole.
#[derive(Serialize)]
struct Unread<'a> {
    file: String,
    error: &'a str,
}

/// Keeps what was found until it is printed.
struct Wrong {
    stored: Stored,
    address: String,
    assessment: Assessment,
    band: Band,
}

impl ScanAddresses {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let config = load_config(path)?;
        let snapshot = config.into_rules();
        #[expect(clippy::disallowed_methods, reason = "a command may ask for the time")]
        let now = Timestamp::now();
        let mut wrong = Vec::new();
        let tally = addressfile::read(&self.files, self.kind, |stored| {
            wrong.extend(judge(&snapshot, stored, now));
        });
        for (path, why) in &tally.failed {
            let path = path.display().to_string();
            let (path, why) = (Untrusted::text(&path), Untrusted::text(why));
            say!("straymail: {path}: {why}");
        }
        let printed = self.print(&wrong, &tally, BufWriter::new(io::stdout().lock()));
        match printed {
            Ok(()) => {}
            // The reader, such as head(1), has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(Failure::Other(error.into())),
        }
        Ok(if wrong.is_empty() && tally.failed.is_empty() {
            EXIT_FINE
        } else {
            EXIT_FOUND
        })
    }

    fn print(&self, wrong: &[Wrong], tally: &Tally, mut out: impl Write) -> io::Result<()> {
        if self.json {
            for wrong in wrong {
                let found = Found {
                    file: wrong.stored.path.display().to_string(),
                    line: wrong.stored.line,
                    address: wrong.address.clone(),
                    meant: meant(&wrong.assessment),
                    band: wrong.band,
                    assessment: &wrong.assessment,
                };
                writeln!(out, "{}", json_line(&serde_json::to_string(&found)?))?;
            }
            for (path, why) in &tally.failed {
                let file = path.display().to_string();
                let unread = Unread { file, error: why };
                writeln!(out, "{}", json_line(&serde_json::to_string(&unread)?))?;
            }
            return out.flush();
        }
        if !wrong.is_empty() {
            let mut rows = table(&["WHERE", "ADDRESS", "LOOKS LIKE", "SCORE", "WHY"]);
            for wrong in wrong {
                let file = wrong.stored.path.display().to_string();
                let why = super::explanation::reason(&wrong.assessment);
                rows.add_row([
                    format!("{}:{}", Untrusted::text(&file), wrong.stored.line).into(),
                    comfy_table::Cell::new(address(&wrong.address)),
                    both_spellings(meant(&wrong.assessment)).into(),
                    number(wrong.assessment.score),
                    why.into(),
                ]);
            }
            print(&rows, &mut out)?;
        }
        writeln!(
            out,
            "{} of {} in {} look wrong",
            wrong.len(),
            counted(tally.addresses, "address"),
            counted(tally.files, "file")
        )?;
        out.flush()
    }
}

/// Judges a stored address like one that sendmail(1) is given.
fn judge(snapshot: &Snapshot, stored: &Stored, now: Timestamp) -> Option<Wrong> {
    let given = if stored.address.contains(&b'@') {
        stored.address.clone()
    } else {
        [b"@", stored.address.as_slice()].concat()
    };
    let recipient = Recipient {
        args: Vec::new(),
        address: Address::parse(&given, &snapshot.suffixes),
        rewritten: None,
    };
    let assessment = snapshot.assess(&recipient, &Context::default())?;
    // Text around an `@` that is no name is no address.
    if matches!(recipient.address.host(), Host::Invalid { .. }) {
        return None;
    }
    let address = recipient.canonical();
    let subject = Subject {
        sender: "",
        login: None,
        client: None,
        role: Role::Local,
        recipient: &address,
    };
    let verdict = snapshot.policy.decide(&subject, &assessment, None, now);
    (verdict.band > Band::Clean).then(|| Wrong {
        stored: stored.clone(),
        // A domain alone was given its `@` here.
        address: match stored.address.contains(&b'@') {
            true => address,
            false => address.strip_prefix('@').unwrap_or(&address).to_owned(),
        },
        assessment,
        band: verdict.band,
    })
}

fn meant(assessment: &Assessment) -> &str {
    assessment.best().map_or("-", |best| &best.trusted)
}
