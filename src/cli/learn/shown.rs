//! What was learned, as a person and a program read it.

use std::io::{self, Write};

use comfy_table::Cell;
use serde::Serialize;

use crate::cli::desk::{Desk, both_spellings, json, number, print, table};
use crate::service::learning::{Doubtful, History, Learning, Suggestions};
use crate::store::Day;

/// Prints how much was learned.
pub(super) fn extent(
    learning: &Learning,
    as_json: bool,
    desk: &mut Desk<'_>,
) -> anyhow::Result<()> {
    let extent = learning.extent()?;
    if as_json {
        return json(&extent, desk.out);
    }
    let since = match (extent.first_on, extent.last_on) {
        (Some(first), Some(last)) => format!(", from {first} to {last}"),
        _ => String::new(),
    };
    writeln!(
        desk.out,
        "{} recipient domains ({} trusted, {} doubtful), {} pairs of sender and domain, {} known addresses; {} mails{since}; {} logs read",
        extent.domains,
        extent.trusted,
        extent.doubtful,
        extent.pairs,
        extent.mailboxes,
        extent.mails,
        extent.logs
    )?;
    Ok(())
}

/// A doubtful name for programs.
#[derive(Serialize)]
struct DoubtfulRow<'a> {
    domain: &'a str,
    meant: Option<&'a str>,
    score: u8,
    with_history: u8,
    excused: &'static str,
    history: &'a History,
}

/// Returns in one word or a few whether history excuses the name.
fn excused(doubtful: &Doubtful) -> &'static str {
    match doubtful.not_yet {
        Some(why) => why.words(),
        None if doubtful.weighed.score < doubtful.assessment.score => "by history",
        None => "never: only approval lets this likeness pass",
    }
}

/// Prints doubtful names.
pub(super) fn doubtful(
    found: &[Doubtful],
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if as_json {
        for doubtful in found {
            json(&row(doubtful), out)?;
        }
        return Ok(());
    }
    if found.is_empty() {
        writeln!(out, "no mail went to a name that resembles a trusted one")?;
        return Ok(());
    }
    Ok(doubtful_table(found, out)?)
}

fn row(doubtful: &Doubtful) -> DoubtfulRow<'_> {
    DoubtfulRow {
        domain: &doubtful.name,
        meant: doubtful.assessment.best().map(|best| best.trusted.as_str()),
        score: doubtful.assessment.score,
        with_history: doubtful.weighed.score,
        excused: excused(doubtful),
        history: &doubtful.history,
    }
}

fn doubtful_table(found: &[Doubtful], out: &mut dyn Write) -> io::Result<()> {
    let mut table = table(&[
        "DOMAIN", "LIKE", "SCORE", "NOW", "MAILS", "DAYS", "SENDERS", "ANSWERS", "LAST", "EXCUSED",
    ]);
    for doubtful in found {
        let (row, history) = (row(doubtful), &doubtful.history);
        table.add_row([
            Cell::new(both_spellings(row.domain)),
            Cell::new(row.meant.map_or("-".to_owned(), both_spellings)),
            number(row.score),
            number(row.with_history),
            number(history.mails),
            number(history.days),
            number(senders(history)),
            number(history.answers),
            Cell::new(date(history.last_on)),
            Cell::new(row.excused),
        ]);
    }
    print(&table, out)
}

fn senders(history: &History) -> String {
    match history.senders >= crate::service::learning::EVERYBODY {
        true => format!("{}+", history.senders),
        false => history.senders.to_string(),
    }
}

fn date(day: Option<Day>) -> String {
    day.map_or("-".to_owned(), |day| day.to_string())
}

/// Prints what is known of one domain.
pub(super) fn history(
    name: &str,
    history: &History,
    standing: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} mails on {} of the days remembered, worth {} today, by {} senders; answered on days worth {}; {} to {}",
        both_spellings(name),
        history.mails,
        history.days,
        history.worth,
        senders(history),
        history.answers,
        date(history.first_on),
        date(history.last_on)
    )?;
    writeln!(out, "  {standing}")
}

/// Suggestions for programs.
#[derive(Serialize)]
struct SuggestionRows<'a> {
    trusted: &'a [crate::service::learning::Suggestion],
    doubtful: Vec<DoubtfulRow<'a>>,
    too_little: usize,
}

/// Prints suggestions as YAML to paste, with the reasons beside the names.
pub(super) fn suggestions(
    found: &Suggestions,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if as_json {
        let rows = SuggestionRows {
            trusted: &found.names,
            doubtful: found.doubtful.iter().map(row).collect(),
            too_little: found.too_little,
        };
        return json(&rows, out);
    }
    writeln!(
        out,
        "# Written to again and again; each line says why. Check it, then paste it into"
    )?;
    writeln!(
        out,
        "# milter.yaml: from then on, what resembles one of these names is stopped."
    )?;
    writeln!(out, "trusted:")?;
    let mut presets: Vec<&str> = found.names.iter().filter_map(|it| it.preset).collect();
    presets.sort_unstable();
    presets.dedup();
    if !presets.is_empty() {
        let names: Vec<&str> = (found.names.iter())
            .filter(|it| it.preset.is_some())
            .map(|it| it.name.as_str())
            .collect();
        writeln!(
            out,
            "  presets: [{}]  # {}",
            presets.join(", "),
            names.join(", ")
        )?;
    }
    let own: Vec<_> = found
        .names
        .iter()
        .filter(|it| it.preset.is_none())
        .collect();
    match own.is_empty() {
        true => writeln!(out, "  domains: []")?,
        false => writeln!(out, "  domains:")?,
    }
    let width = own.iter().map(|it| it.name.len()).max().unwrap_or(0);
    for suggestion in own {
        let history = &suggestion.history;
        let answered = match history.answers {
            0 => String::new(),
            _ => ", answered".to_owned(),
        };
        writeln!(
            out,
            "    - {:width$}  # {} mails by {} senders on {} days, {} to {}{answered}",
            suggestion.name,
            history.mails,
            senders(history),
            history.days,
            date(history.first_on),
            date(history.last_on)
        )?;
    }
    writeln!(
        out,
        "# {} other domains had mail on too few days, or too few answers.",
        found.too_little
    )?;
    if !found.doubtful.is_empty() {
        writeln!(
            out,
            "#\n# NOT proposed, because they resemble a trusted name. Only you can tell a neighbour from a leak:"
        )?;
        for doubtful in &found.doubtful {
            let row = row(doubtful);
            writeln!(
                out,
                "#   {}  like {}, score {}; {} mails by {} senders on {} days; excused: {}",
                both_spellings(row.domain),
                row.meant.map_or("-".to_owned(), both_spellings),
                row.score,
                row.history.mails,
                senders(row.history),
                row.history.days,
                row.excused
            )?;
        }
        writeln!(
            out,
            "# For a neighbour: straymail approve add DOMAIN --forever --reason \"...\""
        )?;
    }
    Ok(())
}
