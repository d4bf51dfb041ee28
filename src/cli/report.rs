//! `straymail report`: what became of the mail of a day, a week or a month.

mod page;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use comfy_table::Cell;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::service::report::{Report as Figures, Verdicts, Would};
use crate::store::{Day, Endings};
use crate::untrusted::Untrusted;

use super::desk::{Moment, at_desk, both_spellings, json, moment, number, print, table};
use super::{Failure, usage};

/// Pairs that are shown when no limit is given.
const DEFAULT_LIMIT: usize = 20;

/// Tells what was flagged, held and decided, and what observing rules would have done
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Times are UTC. The confirm rate is the share of the decisions of senders that said \
                  \"send\": so many holds were false alarms."
)]
pub(super) struct Report {
    /// The last 24 hours
    #[arg(long, group = "span")]
    day: bool,
    /// The last 7 days [default]
    #[arg(long, group = "span")]
    week: bool,
    /// The last 30 days
    #[arg(long, group = "span")]
    month: bool,
    /// From then on: 2d, 2026-11-23, 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "span")]
    from: Option<Moment>,
    /// Until before then; now, if absent
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "span")]
    to: Option<Moment>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// At most so many pairs
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For a terminal or a mail
    Text,
    /// One page without anything outside of it
    Html,
    /// One object
    Json,
}

impl Report {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        at_desk(config, |desk| {
            let (from, to) = self.span(desk.now);
            if from >= desk.now {
                return Err(usage("--from is not before now"));
            }
            if from >= to {
                return Err(usage("--from is not before --to"));
            }
            let mut figures = desk.quarantine.report(from, to)?;
            figures.pairs.truncate(self.limit);
            match self.format {
                Format::Text => text(&figures, desk.out)?,
                Format::Json => json(&figures, desk.out)?,
                Format::Html => writeln!(desk.out, "{}", page::render(&figures)?)?,
            }
            Ok(())
        })
    }

    fn span(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let days = match (self.day, self.month) {
            (true, _) => 1,
            (_, true) => 30,
            _ => 7,
        };
        // Of days that have not come there is nothing to tell.
        let to = self.to.map_or(now, |to| to.when(now)).min(now);
        let ago = Moment::Ago(Duration::from_secs(days * 86_400));
        (
            self.from
                .unwrap_or(ago)
                .when(if self.from.is_some() { now } else { to }),
            to,
        )
    }
}

/// Returns the counts that are not 0, with what they count; those of `always` in any case.
fn verdict_rows(verdicts: &Verdicts) -> Vec<(&'static str, u64)> {
    let rows = [
        ("rejected", verdicts.rejected),
        ("held", verdicts.held),
        ("held by the MTA", verdicts.held_message),
        ("tagged", verdicts.tagged),
        ("noted", verdicts.noted),
        ("approved before", verdicts.approved),
        ("deferred, our fault", verdicts.deferred),
        ("observed", verdicts.observed),
    ];
    rows.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn would_rows(would: &Would) -> Vec<(&'static str, u64)> {
    let rows = [
        ("would be rejected", would.rejected),
        ("would be held", would.held),
        ("would be held by the MTA", would.held_message),
        ("would be tagged", would.tagged),
        ("would be noted", would.noted),
        ("not recorded what", would.unknown),
    ];
    rows.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn ending_rows(endings: &Endings) -> [(&'static str, u64, &'static str); 7] {
    [
        ("confirmed", endings.confirmed, "the sender said: send it"),
        (
            "corrected",
            endings.corrected,
            "sent to the address that was meant: a leak prevented",
        ),
        (
            "cancelled",
            endings.cancelled,
            "the sender said: do not send it",
        ),
        ("released", endings.released, "by a reviewer"),
        (
            "redirected",
            endings.redirected,
            "by a reviewer to the address that was meant: a leak prevented",
        ),
        ("dropped", endings.dropped, "by a reviewer"),
        ("expired", endings.expired, "nobody decided"),
    ]
}

/// Returns how long it is, in its two largest units.
fn lasting(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) if minutes == 0 => format!("{seconds} s"),
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn minute(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}

fn percent(hundredths: Option<u8>) -> String {
    hundredths.map_or("-".to_owned(), |hundredths| format!("{hundredths} %"))
}

/// Returns the share of a part, as few digits as tell something.
fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => String::new(),
        whole => format!("{:.2} %", 100.0 * part as f64 / whole as f64),
    }
}

fn text(figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "straymail, {} to {} (UTC)",
        minute(figures.from),
        minute(figures.to)
    )?;
    writeln!(out)?;
    writeln!(out, "{:>9}  looked like a trusted domain", figures.flagged)?;
    for (what, count) in verdict_rows(&figures.verdicts) {
        writeln!(out, "{count:>15}  {what}")?;
    }
    for (what, count) in would_rows(&figures.would) {
        writeln!(out, "{count:>21}  {what}")?;
    }
    passed(figures, out)?;
    writeln!(out, "\nHeld mail that ended; {} wait now", figures.waiting)?;
    for (what, count, words) in ending_rows(&figures.endings) {
        writeln!(out, "{count:>9}  {what:<10}  {words}")?;
    }
    if let Some(rate) = figures.confirm_rate {
        writeln!(
            out,
            "{rate:>8}%  confirm rate: so many holds were false alarms, by the word of their senders"
        )?;
    }
    if !figures.rules.is_empty() {
        writeln!(out, "\nBy rule")?;
        rules(figures, out)?;
    }
    if !figures.pairs.is_empty() {
        writeln!(out, "\nWhere mail was going")?;
        pairs(figures, out)?;
    }
    if !figures.slowest.is_empty() {
        writeln!(out, "\nWhat waited longest")?;
        for slow in &figures.slowest {
            let domain = both_spellings(&slow.domain);
            writeln!(
                out,
                "  {}  {:>12}  {}  {domain}",
                slow.entry,
                lasting(slow.seconds),
                slow.ending
            )?;
        }
    }
    if figures.days.len() > 1 {
        writeln!(out, "\nBy day")?;
        days(figures, out)?;
    }
    Ok(())
}

/// Prints what there is of whole days only.
fn passed(figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
    let mail = &figures.mail;
    let recipients = mail.clean + mail.suspicious;
    writeln!(
        out,
        "\nAll mail on the whole days {} to {}",
        figures.first_day, figures.last_day
    )?;
    writeln!(
        out,
        "{recipients:>9}  recipients of {} messages; {} messages were not ours to judge",
        mail.judged,
        mail.inbound + mail.null_sender
    )?;
    if recipients > 0 {
        writeln!(
            out,
            "{:>9}  of them looked like a trusted domain, {}",
            mail.suspicious,
            share(mail.suspicious, recipients)
        )?;
    }
    if mail.faults > 0 {
        writeln!(out, "{:>9}  faults of straymail itself", mail.faults)?;
    }
    Ok(())
}

fn rules(figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
    let mut table = table(&[
        "RULE",
        "REJECTED",
        "HELD",
        "NOTED OR TAGGED",
        "OBSERVED",
        "WOULD REJECT",
        "WOULD HOLD",
        "CONFIRM RATE",
    ]);
    for rule in &figures.rules {
        table.add_row([
            Cell::new(Untrusted::text(&rule.rule)),
            number(rule.verdicts.rejected),
            number(rule.verdicts.held + rule.verdicts.held_message),
            number(rule.verdicts.noted + rule.verdicts.tagged),
            number(rule.verdicts.observed),
            number(rule.would.rejected),
            number(rule.would.held + rule.would.held_message),
            number(percent(rule.confirm_rate)),
        ]);
    }
    print(&table, out)
}

fn pairs(figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
    let mut table = table(&[
        "DOMAIN",
        "LIKE",
        "SCORE",
        "RECIPIENTS",
        "KEPT BACK",
        "CONFIRMED",
        "PREVENTED",
        "LAST",
    ]);
    for pair in &figures.pairs {
        table.add_row([
            Cell::new(both_spellings(&pair.domain)),
            Cell::new(pair.meant.as_deref().map_or("-".to_owned(), both_spellings)),
            number(pair.score),
            number(pair.recipients),
            number(pair.kept_back),
            number(pair.confirmed),
            number(pair.prevented),
            Cell::new(Day::of(pair.last)),
        ]);
    }
    print(&table, out)
}

fn days(figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
    let mut table = table(&["DAY", "FLAGGED", "KEPT BACK", "WOULD KEEP BACK"]);
    for day in &figures.days {
        table.add_row([
            Cell::new(day.day),
            number(day.flagged),
            number(day.kept_back),
            number(day.would_keep_back),
        ]);
    }
    print(&table, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        let told: Vec<String> = [42, 60, 3600, 5430, 90_000, 1_000_000].map(lasting).into();
        assert_eq!(
            told,
            [
                "42 s",
                "1 min",
                "1 h 0 min",
                "1 h 30 min",
                "1 d 1 h",
                "11 d 13 h"
            ]
        );
    }
}
