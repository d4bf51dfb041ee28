//! Writes a mail log of some weeks with planted typos, and next to it the ground truth.
//!
//! `cargo run --release --example traffic -- DIRECTORY [postfix|filtered|sendmail] [mails a day]
//! [partners] [seed]` writes `mail.log`, `milter.yaml`, which trusts the partners, and
//! `truth.json`. `straymail scan-log --config DIRECTORY/milter.yaml DIRECTORY/mail.log` should
//! find every typo and nothing else.

#[path = "../tests/support/traffic.rs"]
mod traffic;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use traffic::{Format, Model, OWN};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().context("say into which directory")?);
    let mut model = Model {
        format: match arguments.next().as_deref() {
            None | Some("postfix") => Format::Postfix,
            Some("filtered") => Format::PostfixFiltered,
            Some("sendmail") => Format::Sendmail,
            Some(other) => bail!("{other:?} is no format; say postfix, filtered or sendmail"),
        },
        ..Model::default()
    };
    if let Some(mails) = arguments.next() {
        model.mails_a_day = mails.parse().context("mails a day")?;
    }
    if let Some(partners) = arguments.next() {
        model.partners = partners.parse().context("partners")?;
    }
    if let Some(seed) = arguments.next() {
        model.seed = seed.parse().context("seed")?;
    }
    fs::create_dir_all(&dir)?;
    let log = BufWriter::with_capacity(1 << 20, File::create(dir.join("mail.log"))?);
    let truth = traffic::write(&model, log)?;
    fs::write(dir.join("milter.yaml"), traffic::configuration(&truth))?;
    let json = serde_json::json!({
        "own": OWN,
        "typos": truth.typos.iter().map(|(typo, (meant, mails))| serde_json::json!({
            "domain": typo, "meant": meant, "mails": mails,
        })).collect::<Vec<_>>(),
        "neighbours": truth.neighbours,
        "outbound": truth.outbound,
        "inbound": truth.inbound,
        "lines": truth.lines,
    });
    fs::write(dir.join("truth.json"), serde_json::to_string_pretty(&json)?)?;
    println!(
        "{} lines, {} typos planted, {} real neighbours: {}",
        truth.lines,
        truth.typos.len(),
        truth.neighbours.len(),
        dir.display()
    );
    Ok(())
}
