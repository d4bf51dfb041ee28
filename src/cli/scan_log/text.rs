//! The report as a person reads it on a terminal: what matters first.

use std::io::{self, Write};

use comfy_table::Cell;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::desk::{address, both_spellings, number, print, table};
use crate::cli::explanation::reason;
use crate::service::scan::{Difference, Leak, MOST_SENDERS, Neighbour, Suspect, Turn, Way};
use crate::untrusted::Untrusted;

use super::Findings;
use crate::cli::figures::{counted, day, grouped, minute};

/// Prints the report, with at most `top` rows in each table.
pub(super) fn write(
    findings: &Findings,
    zone: &TimeZone,
    top: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    head(findings, zone, out)?;
    leaks(findings, zone, top, out)?;
    suspects(findings, zone, top, out)?;
    neighbours(findings, top, out)?;
    if let Some(compared) = &findings.compared {
        difference(compared, top, out)?;
    }
    not_used(findings, out)
}

fn head(findings: &Findings, zone: &TimeZone, out: &mut dyn Write) -> io::Result<()> {
    let (counts, read) = (&findings.report.counts, &findings.read);
    let time = |second: Option<i64>| {
        second
            .and_then(|second| Timestamp::from_second(second).ok())
            .map(|time| minute(time, zone))
    };
    match (time(read.first), time(read.last)) {
        (Some(first), Some(last)) => {
            writeln!(out, "{first} to {last}, {}", counted(read.lines, "line"))?
        }
        _ => writeln!(
            out,
            "no line of Postfix or Sendmail in {}",
            counted(read.lines, "line")
        )?,
    }
    let line = |out: &mut dyn Write, count: u64, what: &str| {
        writeln!(out, "  {:>11}  {what}", grouped(count))
    };
    line(out, counts.mails, "mails of your senders")?;
    line(out, counts.recipients, "recipients of these")?;
    line(
        out,
        counts.domains,
        "distinct domains, with those that aliases and forwards led to",
    )?;
    line(
        out,
        counts.inbound_mails + counts.null_sender_mails,
        "mails of others and bounces, not judged",
    )?;
    writeln!(out, "Of the recipients would be")?;
    line(out, counts.rejected, "rejected")?;
    line(out, counts.held, "held")?;
    if counts.tagged > 0 {
        line(out, counts.tagged, "tagged")?;
    }
    line(out, counts.accepted, "noted in the log, and delivered")?;
    if let Some(observed) = observed(findings) {
        writeln!(out, "{observed}")?;
    }
    if let Some((mean, most)) = findings.report.kept_back_per_day {
        writeln!(
            out,
            "That is {mean:.1} a day to confirm or to correct, {most} on the worst day."
        )?;
    }
    if let Some(without) = without_neighbours(findings) {
        writeln!(out, "{without}")?;
    }
    writeln!(
        out,
        "Leaked already: {} to domains that look like yours or your partners'.",
        counted(counts.leaks, "mail")
    )?;
    if counts.leaks_unseen > 0 {
        writeln!(
            out,
            "Of these {} by an alias, a list or a forward of this host: no milter sees those, mend the stored address.",
            grouped(counts.leaks_unseen)
        )?;
    }
    Ok(())
}

/// Says how much of what would be kept back is only observed, when any is.
pub(super) fn observed(findings: &Findings) -> Option<String> {
    let counts = &findings.report.counts;
    let kept_back = counts.held + counts.rejected;
    match counts.observed {
        0 => None,
        all if all == kept_back => Some(
            "All that is to be held or rejected is only observed (`mode: observe`): nothing is kept back yet."
                .to_owned(),
        ),
        some => Some(format!(
            "Of those to be held or rejected, {} only observed (`mode: observe`) and go out all the same.",
            match some {
                1 => "1 is".to_owned(),
                some => format!("{} are", grouped(some)),
            }
        )),
    }
}

/// Returns what trusting the likely neighbours would spare, when there are any.
pub(super) fn without_neighbours(findings: &Findings) -> Option<String> {
    let report = &findings.report;
    let spared = report.counts.neighbours_kept_back;
    if spared == 0 {
        return None;
    }
    let rest = (report.counts.held + report.counts.rejected).saturating_sub(spared);
    let days = report.days.len().max(1);
    let verb = if spared == 1 { "goes" } else { "go" };
    Some(format!(
        "Of these {} {verb} to names that are probably real neighbours (below): once those are trusted, {:.1} a day are left.",
        grouped(spared),
        rest as f64 / days as f64
    ))
}

fn leaks(findings: &Findings, zone: &TimeZone, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let leaks = &findings.report.leaks;
    if leaks.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nPast leaks, newest first")?;
    let mut rows = table(&["TIME", "SENDER", "RECIPIENT", "MEANT", "BY", "QUEUE ID"]);
    for leak in leaks.iter().rev().take(top) {
        let meant = findings.report.suspect_of(leak).map_or("-", Suspect::meant);
        rows.add_row([
            minute(leak.time, zone),
            address(&leak.sender),
            address(&leak.recipient),
            both_spellings(meant),
            way_of(leak),
            leak.queue_id.clone(),
        ]);
    }
    print(&rows, out)?;
    more(leaks.len(), top, out)?;
    if let Some(unlisted) = unlisted(findings) {
        writeln!(out, "{unlisted}")?;
    }
    Ok(())
}

fn suspects(
    findings: &Findings,
    zone: &TimeZone,
    top: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let suspects = &findings.report.suspects;
    if suspects.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nDoubtful domains")?;
    let mut rows = table(&[
        "DOMAIN",
        "LOOKS LIKE",
        "SCORE",
        "REJECT",
        "HOLD",
        "NOTE",
        "LEAKED",
        "SENDERS",
        "LAST",
        "WHY",
    ]);
    for suspect in suspects.iter().take(top) {
        rows.add_row([
            Cell::new(both_spellings(&suspect.domain)),
            Cell::new(both_spellings(suspect.meant())),
            number(suspect.assessment.score),
            number(suspect.rejected),
            number(suspect.held),
            number(suspect.noted),
            number(suspect.delivered),
            number(up_to_most(suspect.senders)),
            Cell::new(
                suspect
                    .last
                    .map_or_else(String::new, |last| day(last, zone)),
            ),
            Cell::new(reason(&suspect.assessment)),
        ]);
    }
    print(&rows, out)?;
    more(
        suspects.len() + findings.report.counts.unlisted_domains as usize,
        top,
        out,
    )
}

fn neighbours(findings: &Findings, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let neighbours: Vec<&Suspect> = findings.report.neighbours().collect();
    if neighbours.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nProbably real neighbours: frequent, on several days, and they write back. Look at each; when it is real, add it to `trusted`"
    )?;
    let mut rows = table(&[
        "DOMAIN",
        "LOOKS LIKE",
        "MAILS",
        "ANSWERS",
        "DAYS",
        "SENDERS",
        "",
    ]);
    for suspect in neighbours.iter().take(top) {
        rows.add_row([
            Cell::new(both_spellings(&suspect.domain)),
            Cell::new(both_spellings(suspect.meant())),
            number(suspect.delivered),
            number(suspect.answers),
            number(up_to_most(suspect.days)),
            number(up_to_most(suspect.senders)),
            Cell::new(match suspect.neighbour {
                Neighbour::Disguised => "looks the same to the eye: beware",
                Neighbour::Likely | Neighbour::No => "",
            }),
        ]);
    }
    print(&rows, out)?;
    more(neighbours.len(), top, out)
}

fn difference(compared: &Difference, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let (before, after) = (&compared.before, &compared.after);
    writeln!(out, "\nAgainst the older configuration")?;
    let mut rows = table(&["", "BEFORE", "AFTER"]);
    for (what, before, after) in [
        ("rejected", before.rejected, after.rejected),
        ("held", before.held, after.held),
        ("of these observed only", before.observed, after.observed),
        ("tagged", before.tagged, after.tagged),
        ("noted", before.accepted, after.accepted),
    ] {
        rows.add_row([Cell::new(what), number(before), number(after)]);
    }
    print(&rows, out)?;
    for turn in Turn::ALL {
        let (changes, recipients) = compared.of(turn);
        writeln!(
            out,
            "{}: {}",
            turn.title(),
            counted(recipients, "recipient")
        )?;
        let mut rows = table(&["SENDER", "RECIPIENT", "BEFORE", "AFTER", "MAILS"]);
        for change in changes.iter().take(top) {
            let shift = change.shift;
            rows.add_row([
                Cell::new(address(&change.sender)),
                Cell::new(address(&change.recipient)),
                Cell::new(shift.before.name()),
                Cell::new(shift.after.name()),
                number(shift.recipients),
            ]);
        }
        if !changes.is_empty() {
            print(&rows, out)?;
            more(changes.len(), top, out)?;
        }
    }
    if compared.untold > 0 {
        let untold = counted(compared.untold, "recipient");
        writeln!(
            out,
            "{untold} of these counted only: more pairs than are listed"
        )?;
    }
    Ok(())
}

/// Says how many leaks are counted and not listed anywhere, when there are any.
pub(super) fn unlisted(findings: &Findings) -> Option<String> {
    let count = findings.report.counts.unlisted_leaks;
    (count > 0).then(|| {
        format!(
            "{} counted and not listed: only the newest 200 of a domain and 20 000 in all are.",
            match count {
                1 => "1 older one is".to_owned(),
                count => format!("{} older ones are", grouped(count)),
            }
        )
    })
}

/// Returns a number of senders or days as it is counted: up to a thousand.
pub(super) fn up_to_most(number: usize) -> String {
    let and_more = if number >= MOST_SENDERS { "+" } else { "" };
    format!("{}{and_more}", grouped(number as u64))
}

/// Says what could not be used, and only that.
fn not_used(findings: &Findings, out: &mut dyn Write) -> io::Result<()> {
    let notes = notes(findings);
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nNot used, or used in part")?;
    for note in notes {
        writeln!(out, "  {note}")?;
    }
    Ok(())
}

/// Returns a sentence for everything in the logs that could not be used.
pub(super) fn notes(findings: &Findings) -> Vec<String> {
    let (read, counts) = (&findings.read, &findings.report.counts);
    let mut notes: Vec<String> = Vec::new();
    let mut note = |count: u64, noun: &str, rest: &str| {
        if count > 0 {
            notes.push(format!("{} {rest}", counted(count, noun)));
        }
    };
    note(read.other_lines, "line", "of other programs");
    note(
        read.unreadable_lines,
        "line",
        "without a time and a program",
    );
    note(read.truncated_lines, "line", "of the MTA cut off");
    note(read.overlong_lines, "line", "longer than 64 KiB");
    note(
        read.later_lines,
        "line",
        "of the MTA dated in the future: taken for as late as the line before",
    );
    note(read.abridged, "recipient", "abridged by Sendmail with ...");
    note(
        read.without_sender,
        "recipient",
        "whose sender is not in the log",
    );
    note(
        read.inner_hops,
        "recipient",
        "handed to a filter of this host: counted at the next hop",
    );
    note(
        read.forgotten_messages,
        "message",
        "forgotten: more than 262 144 at once",
    );
    note(
        counts.uncounted_domains,
        "recipient",
        "at domains beyond the 500 000 that are counted",
    );
    note(
        counts.uncounted_answers,
        "inbound mail",
        "of domains beyond the million that are counted",
    );
    for log in &findings.logs {
        let name = Untrusted::text(&log.name);
        if log.grown_by > 0 {
            let bytes = grouped(log.grown_by);
            notes.push(format!("{name} grew by {bytes} bytes meanwhile, not read"));
        }
        if let Some(error) = &log.error {
            let error = Untrusted::text(error);
            notes.push(format!("{name} could not be read to its end: {error}"));
        }
    }
    for sample in &read.samples {
        let (log, line) = (Untrusted::text(&sample.log), sample.line);
        notes.push(format!("{log}:{line} is unreadable: {}", sample.text));
    }
    notes
}

/// Returns who addressed a leaked mail.
pub(super) fn way_of(leak: &Leak) -> String {
    match (leak.way, &leak.original) {
        (Way::Direct, _) => "sender".to_owned(),
        (Way::Alias, Some(original)) => format!("alias {original}"),
        (Way::Alias, None) => "alias".to_owned(),
        (Way::Forward, _) => "forward".to_owned(),
    }
}

fn more(all: usize, shown: usize, out: &mut dyn Write) -> io::Result<()> {
    match all.checked_sub(shown).filter(|rest| *rest > 0) {
        Some(rest) => writeln!(out, "… and {} more (--top, --json)", grouped(rest as u64)),
        None => Ok(()),
    }
}
