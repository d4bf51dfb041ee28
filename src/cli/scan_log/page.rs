//! The report as one HTML file for people who were not there: no script, nothing loaded, light
//! and dark, on a phone and on paper.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::cli::desk::{address, both_spellings};
use crate::cli::explanation::reason;
use crate::score::Piece;
use crate::service::scan::{Day, Neighbour, Report, Suspect, Turn};
use crate::untrusted::Untrusted;

use super::Findings;
use super::text::{notes, observed, unlisted, up_to_most, way_of, without_neighbours};
use crate::cli::figures::{counted, day, grouped, minute};

/// Rows of each table: a report is read, data are asked of `--json`.
const ROWS: usize = 500;
/// The drawing's size in its own units.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 10.0;
/// Room for the dates.
const BOTTOM: f64 = 22.0;
/// Rough number of grid lines above the zero line.
const TICKS: u64 = 4;

/// Returns the page, made at `now`.
///
/// # Errors
/// The template does not fit: a mistake of ours.
pub(super) fn render(
    findings: &Findings,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<String, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_template(
        "scan-log.html",
        include_str!("../../../templates/scan-log.html"),
    )?;
    let (report, read) = (&findings.report, &findings.read);
    let counts = &report.counts;
    let time = |second: Option<i64>| second.and_then(|at| Timestamp::from_second(at).ok());
    let period = match (time(read.first), time(read.last)) {
        (Some(first), Some(last)) => format!("{} to {}", day(first, zone), day(last, zone)),
        _ => "no mail in the log".to_owned(),
    };
    let (mean, worst) = report.kept_back_per_day.unwrap_or((0.0, 0));
    let most = report
        .suspects
        .iter()
        .map(|suspect| suspect.delivered)
        .max()
        .unwrap_or(0);
    let listed: Vec<&Suspect> = report.suspects.iter().take(ROWS).collect();
    let leaks = report.leaks.iter().rev().take(ROWS).map(|leak| {
        let meant = report.suspect_of(leak).map_or("-", Suspect::meant);
        context! {
            time => minute(leak.time, zone), sender => address(&leak.sender),
            recipient => address(&leak.recipient), meant => both_spellings(meant),
            by => way_of(leak), queue_id => leak.queue_id.as_str(),
        }
    });
    let neighbours = report.neighbours().take(ROWS);
    templates.get_template("scan-log.html")?.render(context! {
        period, made => day(now, zone), version => env!("CARGO_PKG_VERSION"),
        summary => summary(report),
        neighbourly => without_neighbours(findings).unwrap_or_default(),
        leaks => grouped(counts.leaks), rejected => grouped(counts.rejected),
        held => grouped(counts.held), per_day => format!("{mean:.1}"),
        worst => if worst > 0 { grouped(worst) } else { String::new() },
        mails => grouped(counts.mails), domains => grouped(counts.domains),
        observed => observed(findings).unwrap_or_default(),
        chart => chart(&report.days),
        leaked_rows => leaks.collect::<Vec<_>>(),
        leaked_more => more(report.leaks.len() as u64),
        leaked_unlisted => unlisted(findings).unwrap_or_default(),
        unseen => if counts.leaks_unseen > 0 { grouped(counts.leaks_unseen) } else { String::new() },
        suspects => listed.iter().map(|suspect| row(suspect, most, zone)).collect::<Vec<_>>(),
        suspects_more => more(report.suspects.len() as u64 + counts.unlisted_domains),
        neighbours_more => more(report.neighbours().count() as u64),
        neighbours => neighbours.map(|suspect| row(suspect, most, zone)).collect::<Vec<_>>(),
        compared => compared(findings),
        read => format!("{} in {}", counted(read.lines, "line"), counted(findings.logs.len() as u64, "file")),
        notes => notes(findings),
    })
}

fn summary(report: &Report) -> String {
    let counts = &report.counts;
    if counts.recipients == 0 {
        return "The log holds no mail of your senders.".to_owned();
    }
    let leaked = match counts.leaks {
        0 => "no mail went to a domain that looks like one of yours or your partners’".to_owned(),
        leaks => format!(
            "{} went to domains that look like one of yours or your partners’, and nobody was told",
            counted(leaks, "mail")
        ),
    };
    let kept_back = counts.held + counts.rejected;
    let share = kept_back as f64 * 100.0 / counts.recipients as f64;
    format!(
        "In this time {leaked}. straymail would have kept back {} of {} ({share:.2} %).",
        counted(kept_back, "recipient"),
        grouped(counts.recipients)
    )
}

fn more(all: u64) -> String {
    let rest = all.saturating_sub(ROWS as u64);
    if rest > 0 {
        grouped(rest)
    } else {
        String::new()
    }
}

fn row(suspect: &Suspect, most: u64, zone: &TimeZone) -> Value {
    let pieces = suspect
        .assessment
        .best()
        .map(|best| best.edit.pieces.as_slice());
    let pieces = pieces.unwrap_or_default().iter().map(|piece| {
        let (kind, text) = match piece {
            Piece::Same(text) => ("same", text),
            Piece::Missing(text) => ("missing", text),
            Piece::Extra(text) => ("extra", text),
        };
        context! { kind, text => Untrusted::text(text).to_string() }
    });
    let bar = if suspect.delivered > 0 && suspect.neighbour != Neighbour::Likely {
        format!(
            "{:.2}",
            0.25 + 4.0 * suspect.delivered as f64 / most.max(1) as f64
        )
    } else {
        String::new()
    };
    context! {
        domain => both_spellings(&suspect.domain), meant => both_spellings(suspect.meant()),
        pieces => pieces.collect::<Vec<_>>(), why => reason(&suspect.assessment),
        score => suspect.assessment.score, rejected => grouped(suspect.rejected),
        held => grouped(suspect.held), noted => grouped(suspect.noted),
        senders => up_to_most(suspect.senders), leaked => grouped(suspect.delivered), bar,
        last => suspect.last.map_or_else(String::new, |last| day(last, zone)),
        answers => suspect.answers, days => up_to_most(suspect.days),
        disguised => suspect.neighbour == Neighbour::Disguised,
    }
}

/// Bars upwards for what would be kept back, downwards for what leaked.
fn chart(days: &[Day]) -> Value {
    let most_up = days
        .iter()
        .map(|day| day.held + day.rejected)
        .max()
        .unwrap_or(0);
    let most_down = days.iter().map(|day| day.leaked).max().unwrap_or(0);
    if most_up + most_down == 0 || days.is_empty() {
        return context! { days => Vec::<Value>::new() };
    }
    let unit = (HEIGHT - TOP - BOTTOM) / (most_up + most_down) as f64;
    let zero = TOP + most_up as f64 * unit;
    let step = (WIDTH - LEFT) / days.len() as f64;
    let gap = if step > 6.0 { 2.0 } else { 0.0 };
    let round = |value: f64| format!("{value:.1}");
    // A height of nothing is left out.
    let height = |count: u64| {
        if count > 0 {
            round(count as f64 * unit)
        } else {
            String::new()
        }
    };
    let label_every = days.len().div_ceil(8).max(1);
    let bars = days.iter().enumerate().map(|(at, day)| {
        let held_y = zero - day.held as f64 * unit;
        context! {
            title => format!(
                "{}: {} rejected, {} held, {} leaked, of {}",
                day.date, day.rejected, day.held, day.leaked, counted(day.recipients, "recipient")
            ),
            x => round(LEFT + at as f64 * step), width => round(step - gap),
            held_y => round(held_y), held_h => height(day.held),
            rejected_y => round(held_y - day.rejected as f64 * unit), rejected_h => height(day.rejected),
            leaked_h => height(day.leaked),
            label => if at % label_every == 0 { day.date.strftime("%e %b").to_string() } else { String::new() },
        }
    });
    // 1, 2, 5, 10, 20, …
    let scale = (0..60).map(|n| [1, 2, 5][n % 3] * 10_u64.saturating_pow(n as u32 / 3));
    let spacing = scale
        .into_iter()
        .find(|spacing| (most_up + most_down) / spacing <= TICKS + 1)
        .unwrap_or(1);
    let up = (0..=most_up / spacing)
        .map(|n| n * spacing)
        .map(|value| (value, zero - value as f64 * unit));
    let down = (1..=most_down / spacing)
        .map(|n| n * spacing)
        .map(|value| (value, zero + value as f64 * unit));
    let ticks = up.chain(down).map(|(value, y)| {
        context! { y => (y * 10.0).round() / 10.0, label => grouped(value) }
    });
    context! {
        width => WIDTH, height => HEIGHT, left => LEFT, zero => round(zero),
        days => bars.collect::<Vec<_>>(), ticks => ticks.collect::<Vec<_>>(),
    }
}

fn compared(findings: &Findings) -> Value {
    let Some(compared) = &findings.compared else {
        return Value::from(());
    };
    let (before, after) = (&compared.before, &compared.after);
    let counts = [
        ("would be rejected", before.rejected, after.rejected),
        ("would be held", before.held, after.held),
        ("of these observed only", before.observed, after.observed),
        ("would be tagged", before.tagged, after.tagged),
        ("would be noted", before.accepted, after.accepted),
    ];
    let counts = counts.map(|(what, before, after)| {
        context! { what, before => grouped(before), after => grouped(after) }
    });
    let parts = Turn::ALL.map(|turn| {
        let (changes, recipients) = compared.of(turn);
        let rows = changes.iter().take(ROWS).map(|change| {
            let shift = change.shift;
            context! {
                sender => address(&change.sender), recipient => address(&change.recipient),
                before => shift.before.name(), after => shift.after.name(),
                mails => grouped(shift.recipients),
            }
        });
        context! {
            title => turn.title(), count => counted(recipients, "recipient"),
            rows => rows.collect::<Vec<_>>(), more => more(changes.len() as u64),
        }
    });
    context! { counts => counts.to_vec(), parts => parts.to_vec() }
}
