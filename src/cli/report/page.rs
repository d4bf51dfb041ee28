//! The report as one page: no script, nothing from outside, light and dark.

use minijinja::{AutoEscape, Environment, context};

use crate::cli::desk::both_spellings;
use crate::service::report::Report;
use crate::store::Day;
use crate::untrusted::Untrusted;

use super::{ending_rows, lasting, minute, percent, share, verdict_rows, would_rows};

/// Width of the drawing of the days, in its own units.
const WIDTH: f64 = 720.0;
/// Height of its tallest bar.
const HEIGHT: u64 = 120;

/// Returns the page.
pub(super) fn render(report: &Report) -> Result<String, minijinja::Error> {
    let mut pages = Environment::new();
    pages.set_auto_escape_callback(|_| AutoEscape::Html);
    pages.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    pages.add_template("report", include_str!("../../../templates/report.html"))?;
    let recipients = report.mail.clean + report.mail.suspicious;
    let rows = |rows: Vec<(&'static str, u64)>| -> Vec<_> {
        (rows.into_iter())
            .map(|(what, count)| context! { what, count })
            .collect()
    };
    let highest = (report.days.iter())
        .map(|day| day.flagged)
        .max()
        .unwrap_or(0)
        .max(1);
    let step = WIDTH / report.days.len().max(1) as f64;
    let gap = (step / 4.0).min(2.0);
    let days: Vec<_> = (report.days.iter().enumerate())
        .map(|(at, day)| {
            let tall = |count: u64| HEIGHT * count / highest;
            let kept = tall(day.kept_back + day.would_keep_back);
            context! {
                day => day.day.to_string(),
                x => format!("{:.2}", at as f64 * step),
                width => format!("{:.2}", step - gap),
                flagged => day.flagged,
                kept_back => day.kept_back,
                would => day.would_keep_back,
                top => HEIGHT - tall(day.flagged),
                tall => tall(day.flagged),
                kept_top => HEIGHT - kept,
                kept,
            }
        })
        .collect();
    let pairs: Vec<_> = (report.pairs.iter())
        .map(|pair| {
            context! {
                domain => both_spellings(&pair.domain),
                meant => pair.meant.as_deref().map_or("-".to_owned(), both_spellings),
                score => pair.score,
                recipients => pair.recipients,
                kept_back => pair.kept_back,
                confirmed => pair.confirmed,
                prevented => pair.prevented,
                last => Day::of(pair.last).to_string(),
            }
        })
        .collect();
    let rules: Vec<_> = (report.rules.iter())
        .map(|rule| {
            context! {
                rule => Untrusted::text(&rule.rule).to_string(),
                rejected => rule.verdicts.rejected,
                held => rule.verdicts.held + rule.verdicts.held_message,
                noted => rule.verdicts.noted + rule.verdicts.tagged,
                observed => rule.verdicts.observed,
                would_reject => rule.would.rejected,
                would_hold => rule.would.held + rule.would.held_message,
                rate => percent(rule.confirm_rate),
            }
        })
        .collect();
    let slowest: Vec<_> = (report.slowest.iter())
        .map(|slow| {
            context! {
                entry => slow.entry.to_string(),
                lasting => lasting(slow.seconds),
                ending => slow.ending,
                domain => both_spellings(&slow.domain),
            }
        })
        .collect();
    let endings: Vec<_> = (ending_rows(&report.endings).into_iter())
        .map(|(what, count, words)| context! { what, count, words })
        .collect();
    pages.get_template("report")?.render(context! {
        from => minute(report.from),
        to => minute(report.to),
        recipients,
        messages => report.mail.judged,
        passed => report.mail.inbound + report.mail.null_sender,
        flagged => report.flagged,
        first_day => report.first_day.to_string(),
        last_day => report.last_day.to_string(),
        doubtful => report.mail.suspicious,
        share => share(report.mail.suspicious, recipients),
        faults => report.mail.faults,
        prevented => report.endings.prevented(),
        kept_back => report.verdicts.rejected + report.verdicts.held + report.verdicts.held_message,
        confirm_rate => percent(report.confirm_rate),
        waiting => report.waiting,
        verdicts => rows(verdict_rows(&report.verdicts)),
        would => rows(would_rows(&report.would)),
        endings,
        rules,
        pairs,
        slowest,
        days,
        highest,
        drawn => WIDTH as u64,
        height => HEIGHT,
    })
}
