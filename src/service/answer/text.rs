//! What the writer of a reply wrote: its text, without what is quoted in it.

use mail_parser::{HeaderName, Message, MessageParser, MimeHeaders, PartType};

use super::{html, order};

/// Most multiparts in one another that are opened; mail programs make three or four.
const MAX_DEPTH: usize = 10;

/// Most parts that are looked at; the text stands in front.
const MAX_PARTS: usize = 30;

/// What an encrypted text begins with (RFC 9580, 6.2.1).
const PGP_MESSAGE: &str = "-----BEGIN PGP MESSAGE-----";

/// Most lines of `On Monday, straymail wrote:`.
const MAX_ATTRIBUTION: usize = 3;

/// The text of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// It is this.
    Found(String),
    /// It is encrypted, or wrapped in its signature.
    Wrapped,
    /// There is none.
    Missing,
}

/// A line of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The writer's, with something in it.
    Own(String),
    /// Nothing, or a line drawn.
    Blank,
    /// A quote.
    Quoted,
}

/// Returns the first text of a message that is not empty.
///
/// Only the part that is text goes to the parser as a whole: it reads messages within messages
/// as deep as a stranger nests them, and freeing 9,000 of them overflows the stack, which no
/// `catch_unwind` survives.
pub(super) fn find(octets: &[u8]) -> Text {
    find_in(octets, 0, &mut 0)
}

fn find_in(octets: &[u8], depth: usize, seen: &mut usize) -> Text {
    *seen += 1;
    if depth > MAX_DEPTH || *seen > MAX_PARTS {
        return Text::Missing;
    }
    // The parser knows no part without a field.
    let part = [b"MIME-Version: 1.0\r\n", octets].concat();
    let Some(header) = MessageParser::default().parse_headers(&part) else {
        return Text::Missing;
    };
    match kind(&header) {
        Kind::Other => Text::Missing,
        Kind::Wrapped => Text::Wrapped,
        Kind::Text => match decoded(&part) {
            Some(text) if text.trim_start().starts_with(PGP_MESSAGE) => Text::Wrapped,
            Some(text) if !text.trim().is_empty() => Text::Found(text),
            _ => Text::Missing,
        },
        Kind::Multipart(boundary) => {
            let mut found = Text::Missing;
            for section in sections(&part, &boundary) {
                match find_in(section, depth + 1, seen) {
                    Text::Missing => {}
                    Text::Wrapped => found = Text::Wrapped,
                    text => return text,
                }
            }
            found
        }
    }
}

/// What a part is.
enum Kind {
    Text,
    Multipart(String),
    Wrapped,
    Other,
}

/// Returns what a part is, in so many words: of two types the parser might take the other one.
fn kind(header: &Message<'_>) -> Kind {
    let types = (header.headers().iter()).filter(|field| field.name == HeaderName::ContentType);
    let kind = match (types.count(), header.content_type()) {
        (0, _) => return Kind::Text,
        (1, Some(kind)) => kind,
        _ => return Kind::Other,
    };
    // What has the name of a file is one, also where a program shows it.
    let attached = kind.attribute("name").is_some()
        || (header.content_disposition())
            .is_some_and(|how| how.is_attachment() || how.attribute("filename").is_some());
    let subtype = kind.c_subtype.as_deref().unwrap_or_default();
    match (kind.c_type.as_ref(), subtype) {
        ("multipart", "encrypted")
        | ("application", "pkcs7-mime" | "x-pkcs7-mime" | "pgp-encrypted") => Kind::Wrapped,
        ("multipart", _) => match kind.attribute("boundary") {
            Some(boundary) => Kind::Multipart(boundary.to_owned()),
            None => Kind::Other,
        },
        ("text", _) if !attached => Kind::Text,
        _ => Kind::Other,
    }
}

/// Returns the text of a part that is text, without what shows as nothing.
fn decoded(part: &[u8]) -> Option<String> {
    let message = MessageParser::default().parse(part)?;
    let text = match &message.text_part(0)?.body {
        PartType::Text(text) => text.to_string(),
        PartType::Html(page) => html::to_text(page),
        _ => return None,
    };
    Some(
        (text.chars())
            .filter(|c| !is_nothing(*c))
            .map(|c| match c {
                '\u{2028}' | '\u{2029}' => '\n',
                c => c,
            })
            .collect(),
    )
}

/// Whether a character shows as nothing. What reorders others is left, and not understood.
fn is_nothing(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
    )
}

/// Returns what stands between the lines `--boundary` (RFC 2046, 5.1.1).
fn sections<'p>(part: &'p [u8], boundary: &str) -> Vec<&'p [u8]> {
    let delimiter = format!("--{boundary}");
    let end = format!("--{boundary}--");
    let mut sections = Vec::new();
    let mut begun = None;
    let mut at = 0;
    for line in part.split_inclusive(|octet| *octet == b'\n') {
        let text = line.trim_ascii_end();
        if text == delimiter.as_bytes() || text == end.as_bytes() {
            sections.extend(begun.and_then(|begun| part.get(begun..at)));
            begun = (text == delimiter.as_bytes()).then_some(at + line.len());
        }
        at += line.len();
    }
    sections.extend(begun.and_then(|begun| part.get(begun..)));
    sections
}

/// Returns the lines of a text up to the signature; who is quoted is part of the quote.
pub(super) fn lines(text: &str) -> Vec<Line> {
    // Where nothing is written above a line drawn, what is below is the other message.
    let (mut wrote, mut below) = (false, false);
    let mut lines: Vec<Line> = (clear_signed(text).into_iter())
        .map(str::trim)
        .take_while(|line| *line != "--")
        .map(|line| match line {
            "" => Line::Blank,
            line if line.starts_with('>') => Line::Quoted,
            line if is_drawn(line) => {
                below = !wrote;
                Line::Blank
            }
            _ if below => Line::Quoted,
            line => {
                wrote = true;
                Line::Own(line.to_owned())
            }
        })
        .collect();
    for at in 0..lines.len() {
        if lines.get(at) == Some(&Line::Quoted) {
            take_attribution(&mut lines, at);
        }
    }
    lines
}

/// Returns the lines within the signature of RFC 9580, 7; all where there is none.
fn clear_signed(text: &str) -> Vec<&str> {
    let mut lines = text.lines().skip_while(|line| line.trim().is_empty());
    match lines.next() {
        Some(line) if line.trim() == "-----BEGIN PGP SIGNED MESSAGE-----" => lines
            // The hash's name, up to an empty line.
            .skip_while(|line| !line.trim().is_empty())
            .take_while(|line| !line.starts_with("-----BEGIN PGP SIGNATURE"))
            .map(|line| line.strip_prefix("- ").unwrap_or(line))
            .collect(),
        _ => text.lines().collect(),
    }
}

/// `________`, `-----Original Message-----`: below it is another message.
fn is_drawn(line: &str) -> bool {
    ["-----", "_____", "====="]
        .iter()
        .any(|drawn| line.starts_with(drawn))
}

/// Makes the lines before the quote at `quote` part of it, when they tell whose it is:
/// `On 28 Nov 2026 straymail wrote:`.
fn take_attribution(lines: &mut [Line], quote: usize) {
    let own = |at: usize| match lines.get(at) {
        Some(Line::Own(line)) => Some(line),
        _ => None,
    };
    let Some(last) = (0..quote)
        .rev()
        .find(|at| lines.get(*at) != Some(&Line::Blank))
    else {
        return;
    };
    if !own(last).is_some_and(|line| line.ends_with(':')) {
        return;
    }
    let mut first = None;
    let mut dated = false;
    for at in (0..=last).rev().take(MAX_ATTRIBUTION) {
        match own(at) {
            Some(line) if !order::begins(line) => {
                dated |= line.contains(|c: char| c.is_ascii_digit() || c == '@');
                first = Some(at);
            }
            _ => break,
        }
    }
    // `But only this one:` tells of no message that was written at some time.
    if let Some(first) = first.filter(|_| dated) {
        lines[first..=last].fill(Line::Quoted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_attributions_and_signatures_are_not_the_writers() {
        let own = |line: &str| Line::Own(line.to_owned());
        for (text, expected) in [
            ("a\n\n> b", vec![own("a"), Line::Blank, Line::Quoted]),
            ("a\n-- \nb", vec![own("a")]),
            (
                "On 28 Nov 2026, straymail <s@x.example>\nwrote:\n\n> b\nc",
                vec![
                    Line::Quoted,
                    Line::Quoted,
                    Line::Blank,
                    Line::Quoted,
                    own("c"),
                ],
            ),
            (
                "send\nAm 28.11.2026 schrieb straymail:\n> b",
                vec![own("send"), Line::Quoted, Line::Quoted],
            ),
            (
                "But not this one:\n> b",
                vec![own("But not this one:"), Line::Quoted],
            ),
            ("send this:\n> 1", vec![own("send this:"), Line::Quoted]),
            (
                "a\n-----Original Message-----\nb",
                vec![own("a"), Line::Blank, own("b")],
            ),
            (
                "\n-----Original Message-----\nsend",
                vec![Line::Blank, Line::Blank, Line::Quoted],
            ),
            (
                "\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\na\n- - b\n-----BEGIN PGP SIGNATURE-----\nc",
                vec![Line::Blank, own("a"), own("- b")],
            ),
        ] {
            assert_eq!(lines(text), expected, "{text}");
        }
    }
}
