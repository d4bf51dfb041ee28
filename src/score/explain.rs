//! Words for a person who has never seen this program.

use super::distance::{Keyboard, Step, steps};
use super::evidence::{Edit, Piece, Reason};
use super::name::Name;

/// Longest part of two names that is compared letter by letter; longer differences are marked as
/// a whole. Ordinary labels are shorter, and the work grows with the square.
const LONGEST_DIFFERENCE: usize = 64;

/// Returns the difference between what was typed and what was meant.
pub fn edit(typed: &str, meant: &str) -> Edit {
    let (t, m): (Vec<char>, Vec<char>) = (typed.chars().collect(), meant.chars().collect());
    let front = t.iter().zip(&m).take_while(|(t, m)| t == m).count();
    let back = t[front..]
        .iter()
        .rev()
        .zip(m[front..].iter().rev())
        .take_while(|(t, m)| t == m)
        .count();
    let mut pieces = Pieces::default();
    pieces.same_run(&m[..front]);
    align(
        &t[front..t.len() - back],
        &m[front..m.len() - back],
        &mut pieces,
    );
    pieces.same_run(&m[m.len() - back..]);
    let pieces = pieces.done();
    let mut marked = String::with_capacity(meant.len() + 4);
    for piece in &pieces {
        match piece {
            Piece::Same(text) => marked.push_str(text),
            Piece::Missing(text) => marked.extend(["[", text, "]"]),
            Piece::Extra(text) => marked.extend(["{", text, "}"]),
        }
    }
    Edit { marked, pieces }
}

#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    extra: String,
    missing: String,
}

impl Pieces {
    fn same(&mut self, c: char) {
        self.flush();
        match self.done.last_mut() {
            Some(Piece::Same(text)) => text.push(c),
            _ => self.done.push(Piece::Same(c.into())),
        }
    }

    fn same_run(&mut self, run: &[char]) {
        if run.is_empty() {
            return;
        }
        self.flush();
        match self.done.last_mut() {
            Some(Piece::Same(text)) => text.extend(run),
            _ => self.done.push(Piece::Same(run.iter().collect())),
        }
    }

    fn flush(&mut self) {
        if !self.extra.is_empty() {
            self.done
                .push(Piece::Extra(std::mem::take(&mut self.extra)));
        }
        if !self.missing.is_empty() {
            self.done
                .push(Piece::Missing(std::mem::take(&mut self.missing)));
        }
    }

    fn done(mut self) -> Vec<Piece> {
        self.flush();
        self.done
    }
}

/// Aligns two differing parts by their longest common subsequence.
fn align(typed: &[char], meant: &[char], pieces: &mut Pieces) {
    if typed.len() > LONGEST_DIFFERENCE
        || meant.len() > LONGEST_DIFFERENCE
        || typed.is_empty()
        || meant.is_empty()
    {
        pieces.extra.extend(typed);
        pieces.missing.extend(meant);
        return;
    }
    let width = meant.len() + 1;
    let mut common = vec![0u8; (typed.len() + 1) * width];
    for i in (0..typed.len()).rev() {
        for j in (0..meant.len()).rev() {
            common[i * width + j] = if typed[i] == meant[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < typed.len() || j < meant.len() {
        if i < typed.len() && j < meant.len() && typed[i] == meant[j] {
            pieces.same(meant[j]);
            (i, j) = (i + 1, j + 1);
        } else if j == meant.len()
            || (i < typed.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            pieces.extra.push(typed[i]);
            i += 1;
        } else {
            pieces.missing.push(meant[j]);
            j += 1;
        }
    }
}

/// Returns a reason in words. `meant` is the name of the candidate.
pub(super) fn detail(reason: Reason, typed: &Name<'_>, label: &str, suffix: &str) -> String {
    let reading = typed.reading();
    let ending = reading.suffix;
    match reason {
        Reason::MissingLetter
        | Reason::ExtraLetter
        | Reason::ReplacedLetter
        | Reason::SwappedLetters => {
            let by = |reading: super::name::Reading<'_>| {
                let found = steps(reading.label.as_bytes(), label.as_bytes(), Keyboard::Qwerty);
                match found.as_slice() {
                    [only] => Some(only.step),
                    _ => None,
                }
            };
            match by(reading).or_else(|| typed.second_reading().and_then(by)) {
                Some(step) => step_in_words(step),
                None => "one letter differs".to_owned(),
            }
        }
        Reason::TwoEdits => "the name differs in two places".to_owned(),
        Reason::Hyphen => "the names differ in a hyphen".to_owned(),
        Reason::UnlikelySlip => "fingers rarely slip like this".to_owned(),
        Reason::TellingSlip => "hardly any other name is just that far away".to_owned(),
        Reason::ClosedRegistry => format!("short names are dense below .{suffix}"),
        Reason::AlsoLabel => "the name in front of the ending differs as well".to_owned(),
        Reason::DeadEnding => format!("the ending .{ending} does not exist; .{suffix} does"),
        Reason::EndingTypo => format!("the ending is .{ending} instead of .{suffix}"),
        Reason::OtherEnding => format!("same name, but the ending is .{ending}, not .{suffix}"),
        Reason::OtherCountry => {
            format!("same name in another country: .{ending}, not .{suffix}")
        }
        Reason::CountryDropped => {
            format!("the ending is .{ending} without the country of .{suffix}")
        }
        Reason::CountryAdded => format!("the ending is .{ending}, a country more than .{suffix}"),
        Reason::WrongSecondLevel | Reason::SecondLevelDropped | Reason::SecondLevelAdded => {
            format!("the ending is .{ending}, not .{suffix}")
        }
        Reason::TrustedEnding => format!("the end is nearly .{suffix}"),
        Reason::KnownName => format!("{label}.{suffix} is a name in use"),
        Reason::OwnDomain => format!("{label}.{suffix} is your own domain"),
        Reason::Homoglyph => "it holds letters of another alphabet that look the same".to_owned(),
        Reason::WholeScript => "it is written in another alphabet and looks the same".to_owned(),
        Reason::Accent => "the letters carry different accents".to_owned(),
        Reason::AsciiLookalike => "it holds letters or digits that look the same".to_owned(),
        Reason::Dots => "the dots are in other places".to_owned(),
        Reason::HostGlued => format!("a dot is missing in front of {label}.{suffix}"),
        Reason::EmbeddedDomain => "the name stands inside of another domain".to_owned(),
        Reason::LabelAndWord => format!("it is {label} with another word added"),
        Reason::LabelInside => format!("it contains the word {label}"),
        Reason::ShortLabel => "short names exist under every ending".to_owned(),
        Reason::Plural => "one is the plural of the other".to_owned(),
        Reason::StateCode => "the two are authorities of different states".to_owned(),
        Reason::Number => "the two differ in a number".to_owned(),
        Reason::ManyNeighbours => "several trusted domains are equally near".to_owned(),
        Reason::ManyEndings => "the name is used with several endings".to_owned(),
        Reason::Chance => "many domains are trusted, one is near by chance".to_owned(),
        Reason::RealWebmail => "it is a well-known mail provider itself".to_owned(),
        Reason::RealName => "it is a well-known name itself".to_owned(),
        Reason::FrequentTarget => "much mail goes to that domain".to_owned(),
        Reason::History => "mail was sent to this domain before".to_owned(),
        Reason::Answered => "this domain has written to us before".to_owned(),
        Reason::Companion => "other recipients of this message are at that domain".to_owned(),
        Reason::LocalPart => "the same address is known at that domain".to_owned(),
        Reason::Limit => "scores end at 0 and at 100".to_owned(),
    }
}

fn step_in_words(step: Step) -> String {
    let quoted = |byte: u8| format!("\"{}\"", char::from(byte).escape_default());
    match step {
        Step::Missing { letter, .. } => format!("the letter {} is missing", quoted(letter)),
        Step::Extra { letter, .. } => format!("the letter {} is too much", quoted(letter)),
        Step::Replaced { typed, meant, .. } => {
            format!("{} stands for {}", quoted(typed), quoted(meant))
        }
        Step::Swapped { first, second } => {
            format!("{} and {} changed places", quoted(first), quoted(second))
        }
    }
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
