//! Addresses within text, whatever stands around them.
//!
//! A letter or digit of any script may be part of an address (RFC 6531), also one that only looks
//! like another; quotation marks, dashes, spaces and bytes that are no UTF-8 end it. Where marks
//! that an address may hold are more likely the text's (`_a@army.mil_`, `a@army.mil-Adresse`), they
//! are taken for the text's: what is judged is the domain.

use unicode_normalization::char::is_combining_mark;
use unicode_script::{Script, UnicodeScript as _};
use unicode_security::confusable_detection::skeleton;

/// Most bytes of a local part; RFC 5321, 4.5.3.1.1 allows 64.
const MAX_LOCAL: usize = 256;
/// Most bytes of a domain; 253 as A-labels (RFC 1035), in UTF-8 more.
const MAX_DOMAIN: usize = 1024;

/// Returns every `local@domain` of a line.
pub(super) fn addresses(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut behind_last = 0;
    memchr::memchr_iter(b'@', text).filter_map(move |at| {
        let (start, end) = around(text, at, behind_last)?;
        behind_last = end;
        text.get(start..end)
    })
}

/// Returns where the address around the `@` at `at` begins and ends. The one before it ends at
/// `behind_last`.
fn around(text: &[u8], at: usize, behind_last: usize) -> Option<(usize, usize)> {
    let before = text.get(..at)?;
    let after = text.get(at + 1..)?;
    let name = domain(after);
    if !name.contains(is_dot) {
        return None;
    }
    let next = after.get(name.len()).copied();
    let local = match before.strip_suffix(b"\"") {
        Some(quoted) => quoted_length(quoted)?,
        None => local(before.get(behind_last..)?, next).len(),
    };
    (local > 0).then_some((at - local, at + 1 + name.len()))
}

/// Returns how long the quoted local part is that ends here, with both quotation marks. In CSV a
/// quotation mark here would be inside of a field.
fn quoted_length(before: &[u8]) -> Option<usize> {
    let window = before.len().saturating_sub(MAX_LOCAL);
    let start = (before.iter().enumerate().skip(window).rev())
        .find(|(at, byte)| {
            **byte == b'"' && !before.get(..*at).unwrap_or_default().ends_with(b"\\")
        })?
        .0;
    Some(before.len() - start + 1)
}

/// Returns the local part that `before` ends with; `next` stands behind the domain.
fn local(before: &[u8], next: Option<u8>) -> &str {
    let window = before.len().saturating_sub(MAX_LOCAL);
    let before = before.get(window..).unwrap_or_default();
    let start = before
        .iter()
        .rposition(|byte| byte.is_ascii() && !is_local(char::from(*byte)))
        .map_or(0, |stop| stop + 1);
    let last = before.get(start..).unwrap_or_default().utf8_chunks().last();
    let Some(last) = last.filter(|chunk| chunk.invalid().is_empty()) else {
        return "";
    };
    let mut local = last
        .valid()
        .rsplit(|c| !is_local(c))
        .next()
        .unwrap_or_default();
    // Marks that begin no local part, and those that also stand behind the address.
    while let Some(first) = local.chars().next() {
        let closing = if first == '{' { '}' } else { first };
        let around = first.is_ascii_punctuation() && next.map(char::from) == Some(closing);
        if !around && !matches!(first, '\'' | '`' | '*' | '.' | '/' | '=' | '|' | '?' | '&') {
            break;
        }
        local = local.strip_prefix(first).unwrap_or_default();
    }
    local
}

/// Returns the domain that `after` begins with.
fn domain(after: &[u8]) -> &str {
    let after = after.get(..MAX_DOMAIN).unwrap_or(after);
    let end = after
        .iter()
        .position(|byte| byte.is_ascii() && !is_domain(char::from(*byte)));
    let run = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
    let run = run.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let mut last = '.';
    let mut rest = run.char_indices().peekable();
    let mut stop = run.len();
    while let Some((at, c)) = rest.next() {
        let next = rest.peek().map(|(_, next)| *next);
        let belongs = match c {
            '.' => !is_dot(last),
            // A full stop of Chinese or Japanese (UTS #46, 2.3), or the end of their sentence.
            c if is_dot(c) => {
                let ends = last.is_ascii() && next.is_some_and(|next| !next.is_ascii());
                !ends && !is_dot(last)
            }
            // RFC 5892, A.3: Catalan.
            '\u{b7}' => last == 'l' && next == Some('l'),
            c => is_domain(c),
        };
        if !belongs {
            stop = at;
            break;
        }
        last = c;
    }
    let mut name = run.get(..stop).unwrap_or_default();
    // At most once more for each label that is no name.
    loop {
        name = name.trim_end_matches(|c| is_dot(c) || is_joiner(c) || c == '-' || c == '_');
        let start = (name.char_indices().rev())
            .find(|(_, c)| is_dot(*c))
            .map_or(0, |(at, dot)| at + dot.len_utf8());
        let (before, top) = name.split_at_checked(start).unwrap_or((name, ""));
        let kept = top_label(top);
        if kept == top || before.is_empty() {
            return name;
        }
        name = name.get(..start + kept.len()).unwrap_or_default();
    }
}

/// Returns what of the last label can be one: no top-level domain has a hyphen, save in an
/// A-label, and in writing without spaces the next word follows at once.
fn top_label(label: &str) -> &str {
    let is_a_label = label
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
    let is_latin = label.starts_with(|c: char| c.is_ascii_alphanumeric());
    let end = label.find(|c| match c {
        '-' | '_' => !is_a_label,
        c => is_latin && is_next_word(c),
    });
    label.get(..end.unwrap_or(label.len())).unwrap_or_default()
}

/// Returns whether Latin letters end before `c`, which does not look like one of them.
fn is_next_word(c: char) -> bool {
    let unspaced = matches!(
        c.script(),
        Script::Han
            | Script::Hiragana
            | Script::Katakana
            | Script::Bopomofo
            | Script::Hangul
            | Script::Thai
            | Script::Lao
            | Script::Khmer
            | Script::Myanmar
            | Script::Tibetan
    );
    unspaced && !skeleton(c.encode_utf8(&mut [0; 4])).all(|c| c.is_ascii())
}

/// RFC 5322, 3.2.3: atext and the dot; RFC 6531: beyond ASCII too.
fn is_local(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        c if c.is_ascii() => "!#$%&'*+-/=?^_`{|}~.".contains(c),
        // Pictures are local parts at some providers.
        '\u{1f000}'..='\u{1faff}' => true,
        c => is_letter(c),
    }
}

fn is_domain(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => true,
        c if c.is_ascii() => c == '.',
        c => is_letter(c) || is_dot(c) || c == '\u{b7}',
    }
}

/// Returns whether a character beyond ASCII is a letter, a digit or goes with one. The number of a
/// footnote is neither.
fn is_letter(c: char) -> bool {
    let footnote = matches!(c, '²' | '³' | '¹' | '\u{2070}'..='\u{2079}' | '\u{2080}'..='\u{2089}'
        | '\u{2460}'..='\u{24ff}');
    !footnote && (c.is_alphanumeric() || is_combining_mark(c) || is_joiner(c))
}

/// Zero width non-joiner and joiner, which some scripts write within words.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// What separates labels (UTS #46, 2.3).
fn is_dot(c: char) -> bool {
    matches!(c, '.' | '。' | '．' | '｡')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: impl AsRef<[u8]>) -> Vec<String> {
        addresses(text.as_ref())
            .map(|address| String::from_utf8(address.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn marks_and_spaces_around_an_address_are_not_of_it() {
        for text in [
            "„a@army.mil“",
            "«a@army.mil»",
            "“a@army.mil”",
            "‘a@army.mil’",
            "a@army.mil”",
            "a@army.mil—x",
            "x—a@army.mil–y",
            "a@army.mil-",
            "--a@army.mil--",
            "_a@army.mil_",
            "**a@army.mil**",
            "`a@army.mil`",
            "'a@army.mil'",
            "{a@army.mil}",
            "a@army.mil’s",
            "a@army.mil's",
            "a@army.mil-Adresse",
            "a@army.mil--text",
            "a@army.mil...",
            "a@army.mil..x",
            "a@army.mil…",
            "a@army.mil\u{a0}(work)",
            "\u{feff}a@army.mil\u{200b}",
            "a@army.mil\u{2060}\u{ad}",
            "\u{202a}a@army.mil\u{202c}",
            "a@army.mil，",
            "a@army.mil。",
            "a@army.mil。次の",
            "a@army.milに送る",
            "a@army.mil로",
            "a@army.mil¹",
            "a@army.mil?subject=x",
            "mailto:a@army.mil&body",
            "=?utf-8?q?A?=<a@army.mil>",
            "\"a@army.mil\"",
            "|a@army.mil|",
        ] {
            assert_eq!(found(text), ["a@army.mil"], "{text}");
        }
        assert_eq!(found(b"a@army.mil\xa0latin"), ["a@army.mil"]);
        assert_eq!(found(b"\x84a@army.mil\x93"), ["a@army.mil"]);
        assert_eq!(
            found("a@army.ml，b@army.ml/c@army.ml;d@army.ml·e@army.ml"),
            [
                "a@army.ml",
                "b@army.ml",
                "c@army.ml",
                "d@army.ml",
                "e@army.ml"
            ]
        );
    }

    #[test]
    fn an_address_is_found_whole() {
        for text in [
            "a/b@army.ml",
            "e+f=g@army.ml",
            "o'brien@army.ml",
            "_spam-@army.ml",
            "-x@army.ml",
            "${1}@army.ml",
            "%1@army.ml",
            "\"b c\"@army.ml",
            "\"b\\\"c\"@army.ml",
            "a@xn--rmy-5cd.mil",
            "a@mx-1.my_host.army.ml",
            "a@b.xn--p1ai",
            // Letters that look like others: Cyrillic, Greek, full width, Burmese, Cherokee.
            "a@аrmy.mil",
            "a@army.mіl",
            "a@αrmy.mil",
            "a@ａrmy．mil",
            "a@gmail.c\u{101d}m",
            "a@ꭺrmy.mil",
            "a@arm\u{0443}\u{0306}.mil",
            // International names.
            "a@müller.example",
            "a@mu\u{308}ller.example",
            "a@例え.テスト",
            "a@例え。テスト",
            "a@abc日本.jp",
            "a@почта.рф",
            "a@उदाहरण.भारत",
            "a@paral·lel.cat",
            "a@نامه\u{200c}ای.ایران",
            // International local parts.
            "jürgen@army.ml",
            "用户@army.ml",
            "अजय@army.ml",
            "почта@army.ml",
            "😀@army.ml",
        ] {
            assert_eq!(found(text), [text]);
        }
    }

    #[test]
    fn what_has_no_local_part_or_no_dot_is_no_address() {
        for text in [
            "@army.ml",
            "a@army",
            "a@ army.ml",
            "@@",
            "“@army.ml",
            "a@.",
            "a@-_",
            "a@[192.0.2.1]",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }
}
