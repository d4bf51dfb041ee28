//! Words for a person who has never seen this program.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::distance::{Keyboard, Step, only_step, steps};
use super::evidence::{Edit, Piece, Reason};
use super::name::{Name, folded};

/// Longest part of two names that is compared letter by letter; longer differences are marked as
/// a whole. Ordinary labels are shorter, and the work grows with the square.
const LONGEST_DIFFERENCE: usize = 64;

/// Returns the difference between what was typed and what was meant.
pub fn edit(typed: &str, meant: &str) -> Edit {
    let same = typed.bytes().zip(meant.bytes());
    let mut front = same.take_while(|(t, m)| t == m).count();
    while !(typed.is_char_boundary(front) && meant.is_char_boundary(front)) {
        front -= 1;
    }
    let (head, typed) = typed.split_at_checked(front).unwrap_or(("", typed));
    let meant = meant.get(front..).unwrap_or(meant);
    let same = typed.bytes().rev().zip(meant.bytes().rev());
    let mut back = same.take_while(|(t, m)| t == m).count();
    let starts = |text: &str, back: usize| text.is_char_boundary(text.len() - back);
    while !(starts(typed, back) && starts(meant, back)) {
        back -= 1;
    }
    let typed = typed.get(..typed.len() - back).unwrap_or(typed);
    let (meant, tail) = meant
        .split_at_checked(meant.len() - back)
        .unwrap_or((meant, ""));
    let mut pieces = Pieces(Vec::with_capacity(4));
    pieces.push(Kind::Same, head);
    let dots = |text: &str| text.bytes().filter(|byte| *byte == b'.').count();
    if dots(typed) == dots(meant) {
        // Label by label: nobody typed the `m` of `.com` for that of `.mil`.
        let mut dot = "";
        for (typed, meant) in typed.split('.').zip(meant.split('.')) {
            pieces.push(Kind::Same, dot);
            part(typed, meant, &mut pieces);
            dot = ".";
        }
    } else {
        part(typed, meant, &mut pieces);
    }
    pieces.push(Kind::Same, tail);
    let pieces = pieces.0;
    let length: usize = pieces.iter().map(|piece| text(piece).len() + 2).sum();
    let mut marked = String::with_capacity(length);
    for piece in &pieces {
        let (before, after) = match piece {
            Piece::Same(_) => ("", ""),
            Piece::Missing(_) => ("[", "]"),
            Piece::Extra(_) => ("{", "}"),
        };
        marked.push_str(before);
        marked.push_str(text(piece));
        marked.push_str(after);
    }
    Edit { marked, pieces }
}

/// Adds the difference between two parts, which may be equal.
fn part(typed: &str, meant: &str, pieces: &mut Pieces) {
    // What was added in front or behind, `loginnavy`, is seen when the same letters are set aside.
    let added = typed.len().saturating_sub(meant.len());
    let around = match (typed.strip_suffix(meant), typed.strip_prefix(meant)) {
        _ if meant.is_empty() => None,
        (Some(front), _) => Some((front, "")),
        (None, Some(behind)) => Some(("", behind)),
        // A letter or two are an edit, which is aligned as such.
        (None, None) if added > 2 => typed.rsplit_once(meant),
        (None, None) => None,
    };
    if let Some((front, behind)) = around {
        pieces.push(Kind::Extra, front);
        pieces.push(Kind::Same, meant);
        pieces.push(Kind::Extra, behind);
        return;
    }
    let (mut t, mut m) = (['\0'; LONGEST_DIFFERENCE], ['\0'; LONGEST_DIFFERENCE]);
    match (letters(typed, &mut t), letters(meant, &mut m)) {
        (Some(typed), Some(meant)) if !typed.is_empty() && !meant.is_empty() => {
            align(typed, meant, pieces);
        }
        _ => {
            pieces.push(Kind::Extra, typed);
            pieces.push(Kind::Missing, meant);
        }
    }
}

/// The letters of a text, when they fit.
fn letters<'b>(text: &str, buffer: &'b mut [char; LONGEST_DIFFERENCE]) -> Option<&'b [char]> {
    let mut count = 0;
    for c in text.chars() {
        *buffer.get_mut(count)? = c;
        count += 1;
    }
    buffer.get(..count)
}

fn text(piece: &Piece) -> &str {
    let (Piece::Same(text) | Piece::Missing(text) | Piece::Extra(text)) = piece;
    text
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Same,
    Extra,
    Missing,
}

/// The pieces so far; between two that are the same, at most one that is extra and then at most one
/// that is missing.
struct Pieces(Vec<Piece>);

impl Pieces {
    fn push(&mut self, kind: Kind, text: &str) {
        if text.is_empty() {
            return;
        }
        let behind = kind == Kind::Extra && matches!(self.0.last(), Some(Piece::Missing(_)));
        let at = self.0.len() - usize::from(behind);
        let before = self.0.get_mut(..at).and_then(<[Piece]>::last_mut);
        match (kind, before) {
            (Kind::Same, Some(Piece::Same(before)))
            | (Kind::Extra, Some(Piece::Extra(before)))
            | (Kind::Missing, Some(Piece::Missing(before))) => before.push_str(text),
            (Kind::Same, _) => self.0.insert(at, Piece::Same(text.to_owned())),
            (Kind::Extra, _) => self.0.insert(at, Piece::Extra(text.to_owned())),
            (Kind::Missing, _) => self.0.insert(at, Piece::Missing(text.to_owned())),
        }
    }

    fn push_char(&mut self, kind: Kind, c: char) {
        self.push(kind, c.encode_utf8(&mut [0; 4]));
    }
}

/// Aligns two differing parts by their longest common subsequence.
fn align(typed: &[char], meant: &[char], pieces: &mut Pieces) {
    let width = meant.len() + 1;
    let size = (typed.len() + 1) * width;
    // The usual difference is a few letters long.
    let (mut small, mut large) = ([0u8; 64], Vec::new());
    let common = match small.get_mut(..size) {
        Some(small) => small,
        None => {
            large.resize(size, 0);
            &mut *large
        }
    };
    for i in (0..typed.len()).rev() {
        for j in (0..meant.len()).rev() {
            common[i * width + j] = if typed[i] == meant[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    // Where most letters differ, those that do not are an accident.
    let (mut i, mut j) = (0, 0);
    if 2 * usize::from(common[0]) < typed.len().max(meant.len()) {
        typed.iter().for_each(|c| pieces.push_char(Kind::Extra, *c));
        meant
            .iter()
            .for_each(|c| pieces.push_char(Kind::Missing, *c));
        return;
    }
    while i < typed.len() || j < meant.len() {
        if i < typed.len() && j < meant.len() && typed[i] == meant[j] {
            pieces.push_char(Kind::Same, meant[j]);
            (i, j) = (i + 1, j + 1);
        } else if j == meant.len()
            || (i < typed.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            pieces.push_char(Kind::Extra, typed[i]);
            i += 1;
        } else {
            pieces.push_char(Kind::Missing, meant[j]);
            j += 1;
        }
    }
}

/// Returns a reason in words. `meant` is the name of the candidate, `label` and `suffix` are parts of it.
pub(super) fn detail(
    reason: Reason,
    typed: &Name<'_>,
    meant: &str,
    label: &str,
    suffix: &str,
) -> Cow<'static, str> {
    let reading = typed.reading();
    let ending = reading.suffix;
    match reason {
        Reason::MissingLetter
        | Reason::ExtraLetter
        | Reason::ReplacedLetter
        | Reason::SwappedLetters => {
            let by = |reading: super::name::Reading<'_>| {
                let (typed, meant) = (reading.label.as_bytes(), label.as_bytes());
                let only = only_step(typed, meant, Keyboard::Qwerty);
                only.map(|at| at.step)
                    .or_else(|| match &*steps(typed, meant, Keyboard::Qwerty) {
                        [only] => Some(only.step),
                        _ => None,
                    })
            };
            match by(reading).or_else(|| typed.second_reading().and_then(by)) {
                Some(step) => step_in_words(step).into(),
                None => "one letter differs".into(),
            }
        }
        Reason::TwoEdits => "the name differs in two places".into(),
        Reason::Hyphen => "the names differ in a hyphen".into(),
        Reason::UnlikelySlip => "fingers rarely slip like this".into(),
        Reason::TellingSlip => "few other names are exactly one such slip away".into(),
        Reason::ClosedRegistry => format!("many short names below .{suffix} are in use").into(),
        Reason::AlsoLabel => "the name in front of the ending differs as well".into(),
        Reason::DeadEnding => format!("the ending .{ending} does not exist; .{suffix} does").into(),
        Reason::EndingTypo => format!("the ending is .{ending} instead of .{suffix}").into(),
        Reason::OtherEnding => {
            format!("same name, but the ending is .{ending}, not .{suffix}").into()
        }
        Reason::OtherCountry => {
            format!("same name in another country: .{ending}, not .{suffix}").into()
        }
        Reason::CountryDropped => {
            format!("the country is missing: .{ending} instead of .{suffix}").into()
        }
        Reason::CountryAdded => {
            format!("the ending is .{ending}, a country more than .{suffix}").into()
        }
        Reason::WrongSecondLevel | Reason::SecondLevelDropped | Reason::SecondLevelAdded => {
            format!("the ending is .{ending}, not .{suffix}").into()
        }
        Reason::TrustedEnding => format!("the ending is nearly .{suffix}").into(),
        Reason::KnownName => format!("{label}.{suffix} is a name in use").into(),
        Reason::OwnDomain => format!("{label}.{suffix} is your own domain").into(),
        Reason::Homoglyph => "it holds letters of another alphabet that look the same".into(),
        Reason::WholeScript => "it is written in another alphabet and looks the same".into(),
        Reason::Accent => "the letters carry different accents".into(),
        Reason::AsciiLookalike => {
            format!("letters or digits in it look like those of {label}.{suffix}").into()
        }
        Reason::Dots => moved_dots(typed, meant).into(),
        Reason::HostGlued => {
            let front = reading.label.strip_suffix(label);
            let what = match front.is_some_and(|front| front.ends_with('-')) {
                true => "a hyphen stands for the dot",
                false => "a dot is missing",
            };
            format!("{what} in front of {label}.{suffix}").into()
        }
        Reason::EmbeddedDomain => format!(
            "the mail would go to {}.{ending}, which only mentions the trusted name",
            reading.label
        )
        .into(),
        Reason::LabelAndWord => format!("it is {label} with another word added").into(),
        Reason::LabelInside => format!("it contains the word {label}").into(),
        Reason::ShortLabel => "short names exist under every ending".into(),
        Reason::Plural => "one is the plural of the other".into(),
        Reason::StateCode => "the two are authorities of different states".into(),
        Reason::Number => "the two differ in a number".into(),
        Reason::ManyNeighbours => "several trusted domains are equally near".into(),
        Reason::ManyEndings => "the name is used with several endings".into(),
        Reason::Chance => "among so many trusted domains, one is near by chance".into(),
        Reason::RealWebmail => "it is a well-known mail provider itself".into(),
        Reason::RealName => "it is a well-known name itself".into(),
        Reason::FrequentTarget => {
            format!("{label}.{suffix} is a name that much mail goes to").into()
        }
        Reason::History => "mail was sent to this domain before".into(),
        Reason::Answered => "this domain has written to us before".into(),
        Reason::Companion => "other recipients of this message are at that domain".into(),
        Reason::LocalPart => "the same address is known at that domain".into(),
        Reason::Limit => "scores end at 0 and at 100".into(),
    }
}

/// What became of the dots of `meant`.
fn moved_dots(typed: &Name<'_>, meant: &str) -> &'static str {
    let mut tails = typed.tails();
    let Some(tail) = tails.find(|tail| folded(tail).eq(folded(meant))) else {
        return "a dot is missing, too much or in another place";
    };
    let count = |text: &str, separator| text.bytes().filter(|byte| *byte == separator).count();
    match count(tail, b'.').cmp(&count(meant, b'.')) {
        Ordering::Less if count(tail, b'-') > count(meant, b'-') => "a hyphen stands for a dot",
        Ordering::Less => "a dot is missing",
        Ordering::Equal => "a dot is in another place",
        Ordering::Greater => "there is a dot too many",
    }
}

fn step_in_words(step: Step) -> String {
    match step {
        Step::Missing { letter, .. } => words("the letter ", letter, " is missing", None),
        Step::Extra { letter, .. } => words("the letter ", letter, " is too much", None),
        Step::Replaced { typed, meant, .. } => words("", typed, " stands for ", Some(meant)),
        Step::Swapped { first, second } => {
            let mut text = words("", first, " and ", Some(second));
            text.push_str(" changed places");
            text
        }
    }
}

/// One or two letters in quotes with words around the first. Formatting would cost more than the
/// search for the name.
fn words(before: &str, letter: u8, after: &str, second: Option<u8>) -> String {
    let mut text = String::with_capacity(40);
    text.push_str(before);
    quote(letter, &mut text);
    text.push_str(after);
    if let Some(second) = second {
        quote(second, &mut text);
    }
    text
}

fn quote(letter: u8, text: &mut String) {
    text.push('"');
    if letter.is_ascii_alphanumeric() || letter == b'-' {
        text.push(char::from(letter));
    } else {
        text.extend(char::from(letter).escape_default());
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_marked() {
        let marked = |typed: &str, meant: &str| edit(typed, meant).marked;
        assert_eq!(marked("army.ml", "army.mil"), "army.m[i]l");
        assert_eq!(marked("gmeil.com", "gmail.com"), "gm{e}[a]il.com");
        assert_eq!(marked("gmaill.com", "gmail.com"), "gmail{l}.com");
        assert_eq!(marked("gmial.com", "gmail.com"), "gm{i}a[i]l.com");
        assert_eq!(
            marked("army.mil.evil.com", "army.mil"),
            "army.mil{.evil.com}"
        );
        assert_eq!(marked("аrmy.mil", "army.mil"), "{а}[a]rmy.mil");
        assert_eq!(marked("cba.com", "cba.com.au"), "cba.com[.au]");
        assert_eq!(marked("gmailc.om", "gmail.com"), "gmail{c}.[c]om");
        assert_eq!(
            marked("loginnavy.com", "navy.mil"),
            "{login}navy.{com}[mil]"
        );
        assert_eq!(marked("zürich.ch", "zurich.com"), "z{ü}[u]rich.{ch}[com]");
        assert_eq!(marked("af.il", "af.mil"), "af.[m]il");
        assert_eq!(
            edit("army.ml", "army.mil").pieces,
            [
                Piece::Same("army.m".into()),
                Piece::Missing("i".into()),
                Piece::Same("l".into())
            ]
        );
    }
}
