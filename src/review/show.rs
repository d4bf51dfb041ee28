//! Foreign text and differing names, made ready for a template.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_parser::MessageParser;
use unicode_script::{Script, UnicodeScript as _};

use crate::domain::unicode;
use crate::octets::Octets;
use crate::score::{Candidate, Piece, edit};
use crate::untrusted::Untrusted;

/// A piece of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: Kind,
    /// Safe to show; still to be escaped for HTML.
    pub(super) text: String,
}

/// How a piece stands to the other name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In both.
    Same,
    /// In this one only.
    Only,
    /// Here the other one has something that this one lacks.
    Gap,
}

/// One name, marked where it differs from another, in each spelling that says something new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    /// As people read it.
    pub(super) unicode: Vec<Part>,
    /// In A-labels; empty when that is the same.
    pub(super) ascii: Vec<Part>,
}

/// Two names side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) typed: Marked,
    pub(super) meant: Marked,
    /// The letters of `typed` that are not ASCII, named: `а is U+0430, Cyrillic`.
    pub(super) foreign: Vec<String>,
}

/// Compares two domains in A-labels. A meant suffix (`.mil`) is compared with the end of `typed`.
pub(super) fn pair(typed: &str, meant: &str) -> Pair {
    let meant = whole(typed, meant);
    let (typed_unicode, meant_unicode) = (unicode(typed), unicode(&meant));
    let (left, right) = sides(&edit(&typed_unicode, &meant_unicode).pieces);
    let mut pair = Pair {
        typed: Marked {
            unicode: left,
            ascii: Vec::new(),
        },
        meant: Marked {
            unicode: right,
            ascii: Vec::new(),
        },
        foreign: foreign(&typed_unicode),
    };
    if typed_unicode != typed || meant_unicode != meant {
        let (left, right) = sides(&edit(typed, &meant).pieces);
        if typed_unicode != typed {
            pair.typed.ascii = left;
        }
        if meant_unicode != meant {
            pair.meant.ascii = right;
        }
    }
    pair
}

/// Returns the name a candidate stands for: a suffix (`.mil`) names no domain on its own.
pub(super) fn meant(typed: &str, candidate: &Candidate) -> String {
    whole(typed, &candidate.name())
}

/// Returns the whole name that was meant: the hosts typed in front of a trusted name stay, and a
/// suffix takes the place of as many labels as it has.
fn whole(typed: &str, meant: &str) -> String {
    let Some(suffix) = meant.strip_prefix('.') else {
        return match edit(typed, meant).pieces.first() {
            Some(Piece::Extra(hosts)) if hosts.ends_with('.') => format!("{hosts}{meant}"),
            _ => meant.to_owned(),
        };
    };
    let labels: Vec<&str> = typed.split('.').collect();
    let kept = labels
        .len()
        .saturating_sub(suffix.split('.').count())
        .max(1);
    let kept = labels.get(..kept).unwrap_or_default().join(".");
    format!("{kept}.{suffix}")
}

/// A name without anything to compare it with.
pub(super) fn plain(name: &str) -> Marked {
    let same = |text: &str| {
        vec![Part {
            kind: Kind::Same,
            text: Untrusted::text(text).to_string(),
        }]
    };
    let shown = unicode(name);
    Marked {
        ascii: if shown == name {
            Vec::new()
        } else {
            same(name)
        },
        unicode: same(&shown),
    }
}

fn sides(pieces: &[Piece]) -> (Vec<Part>, Vec<Part>) {
    let (mut typed, mut meant) = (Vec::new(), Vec::new());
    let part = |kind, text: &str| Part {
        kind,
        text: Untrusted::text(text).to_string(),
    };
    for (at, piece) in pieces.iter().enumerate() {
        let next = pieces.get(at + 1);
        let before = at.checked_sub(1).and_then(|at| pieces.get(at));
        match piece {
            Piece::Same(text) => {
                typed.push(part(Kind::Same, text));
                meant.push(part(Kind::Same, text));
            }
            Piece::Extra(text) => {
                typed.push(part(Kind::Only, text));
                if !matches!(next, Some(Piece::Missing(_))) {
                    meant.push(part(Kind::Gap, ""));
                }
            }
            Piece::Missing(text) => {
                meant.push(part(Kind::Only, text));
                if !matches!(before, Some(Piece::Extra(_))) {
                    typed.push(part(Kind::Gap, ""));
                }
            }
        }
    }
    (typed, meant)
}

fn foreign(name: &str) -> Vec<String> {
    let mut seen: Vec<char> = Vec::new();
    for c in name.chars().filter(|c| !c.is_ascii()) {
        // More than a handful is a name in another script, not a trick.
        if !seen.contains(&c) && seen.len() < 8 {
            seen.push(c);
        }
    }
    let named = |c: &char| {
        let script = c.script();
        let script = match script {
            Script::Common | Script::Inherited | Script::Unknown => String::new(),
            script => format!(", {}", script.full_name().replace('_', " ")),
        };
        format!(
            "{} is U+{:04X}{script}",
            Untrusted::text(&c.to_string()),
            u32::from(*c)
        )
    };
    seen.iter().map(named).collect()
}

/// Returns the time to the second, UTC, as the command line shows it.
pub(super) fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%SZ")
        .to_string()
}

/// Returns the time to the minute, for people who do not read logs.
pub(super) fn minute(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M UTC")
        .to_string()
}

/// Returns the local part and the domain of `local@domain`, the first safe to show.
pub(super) fn split(address: &str) -> (String, &str) {
    match address.rsplit_once('@') {
        Some((local, domain)) => (Untrusted::text(local).to_string(), domain),
        None => (String::new(), address),
    }
}

/// Returns an address in one line, its domain in both spellings.
pub(super) fn address(address: &str) -> String {
    if address.is_empty() {
        return "<>".to_owned();
    }
    let (local, domain) = split(address);
    let shown = unicode(domain);
    let at = if local.is_empty() { "" } else { "@" };
    if shown == domain {
        return format!("{local}{at}{}", Untrusted::text(domain));
    }
    let (shown, domain) = (Untrusted::text(&shown), Untrusted::text(domain));
    format!("{local}{at}{shown}/{domain}")
}

/// Returns a subject decoded (RFC 2047) and safe to show.
pub(super) fn subject(subject: Option<&Octets>) -> String {
    let Some(subject) = subject else {
        return String::new();
    };
    let mut header = b"Subject: ".to_vec();
    header.extend(subject.as_bytes());
    header.extend(b"\r\n\r\n");
    let message = MessageParser::new().parse_headers(&header);
    match message.as_ref().and_then(|message| message.subject()) {
        Some(decoded) => Untrusted::text(decoded).to_string(),
        None => Untrusted(subject.as_bytes()).to_string(),
    }
}

/// Returns the lines of a header block, safe to show; long ones in pieces, so that nothing hides
/// behind their first 256 octets.
pub(super) fn headers(block: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in block.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        lines.extend(line.chunks(200).map(|piece| Untrusted(piece).to_string()));
    }
    lines
}

/// Returns a size for people.
pub(super) fn size(octets: u64) -> String {
    match octets {
        0..10_000 => format!("{octets} octets"),
        10_000..10_000_000 => format!("{} kB", octets / 1000),
        _ => format!("{} MB", octets / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: &[Part]) -> String {
        (parts.iter())
            .map(|part| match part.kind {
                Kind::Same => part.text.clone(),
                Kind::Only => format!("[{}]", part.text),
                Kind::Gap => "_".to_owned(),
            })
            .collect()
    }

    #[test]
    fn each_name_is_marked_where_it_differs() {
        for (typed, meant, left, right) in [
            ("army.ml", "army.mil", "army.m_l", "army.m[i]l"),
            ("gmeil.com", "gmail.com", "gm[e]il.com", "gm[a]il.com"),
            (
                "example.comm",
                "example.com",
                "example.com[m]",
                "example.com_",
            ),
            ("army.ml", ".mil", "army.m_l", "army.m[i]l"),
            ("same.org", "same.org", "same.org", "same.org"),
            ("mx.army.ml", "army.mil", "mx.army.m_l", "mx.army.m[i]l"),
        ] {
            let pair = pair(typed, meant);
            let shown = (text(&pair.typed.unicode), text(&pair.meant.unicode));
            assert_eq!(
                shown,
                (left.to_owned(), right.to_owned()),
                "{typed} {meant}"
            );
            assert_eq!(pair.typed.ascii, []);
            assert_eq!(pair.foreign, [""; 0]);
        }
    }

    #[test]
    fn a_name_with_foreign_letters_is_shown_in_both_spellings_and_they_are_named() {
        let pair = pair("xn--rmy-5cd.mil", "army.mil");
        assert_eq!(text(&pair.typed.unicode), "[а]rmy.mil");
        assert_eq!(text(&pair.meant.unicode), "[a]rmy.mil");
        assert!(text(&pair.typed.ascii).contains("[xn--"));
        assert_eq!(pair.meant.ascii, []);
        assert_eq!(pair.foreign, ["а is U+0430, Cyrillic"]);
    }

    #[test]
    fn a_subject_is_decoded_and_loses_its_disguise() {
        let shown = |text: &str| subject(Some(&Octets::from(text)));
        assert_eq!(shown("=?UTF-8?B?R3LDvMOfZQ==?="), "Grüße");
        assert_eq!(shown("plan \u{202e}fdp.exe"), "plan \\u{202e}fdp.exe");
        assert_eq!(shown("=?UTF-8?Q?a=1B[2Jb?="), "a\\u{1b}[2Jb");
        assert_eq!(subject(None), "");
    }
}
