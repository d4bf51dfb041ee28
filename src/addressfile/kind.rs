//! The formats, and which part of a line mail goes to.

use std::borrow::Cow;
use std::path::Path;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// aliases(5): `name: address, address`, with `:include:`.
    Aliases,
    /// A Postfix map whose second column is an address: virtual, canonical, generic, relocated,
    /// bcc maps; also regular expressions.
    Map,
    /// A Postfix transport map: domains in both columns.
    Transport,
    /// A .forward file or a list of members: addresses, one or several a line.
    Forward,
    /// vCards.
    Vcard,
    /// LDIF (RFC 2849).
    Ldif,
    /// Anything else, CSV among it: every address counts.
    Text,
}

impl Kind {
    /// Returns what a file is, from its name and how it begins.
    pub fn of(path: &Path, beginning: &[u8]) -> Kind {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        let begins = |word: &[u8]| {
            beginning
                .get(..word.len())
                .is_some_and(|text| text.eq_ignore_ascii_case(word))
        };
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if begins(b"BEGIN:VCARD") || ends(&[".vcf", ".vcard"]) {
            Kind::Vcard
        } else if begins(b"dn:") || begins(b"version: 1") || ends(&[".ldif", ".ldi"]) {
            Kind::Ldif
        } else if ends(&[".csv", ".tsv", ".txt"]) {
            Kind::Text
        } else if has(&["aliases"]) && !has(&["virtual"]) {
            Kind::Aliases
        } else if has(&["transport"]) {
            Kind::Transport
        } else if has(&["virtual", "canonical", "generic", "relocated", "bcc"]) {
            Kind::Map
        } else if has(&["forward"]) {
            Kind::Forward
        } else {
            Kind::Text
        }
    }

    /// Returns whether a `#` in front makes a line a comment.
    pub(super) fn has_comments(self) -> bool {
        !matches!(self, Kind::Vcard | Kind::Ldif)
    }

    /// Returns whether `:include:/path` names another file.
    pub(super) fn includes(self) -> bool {
        matches!(self, Kind::Aliases | Kind::Forward)
    }

    /// Returns the part of a line that mail goes to.
    pub(super) fn value(self, line: &[u8]) -> Cow<'_, [u8]> {
        let continued = line.first().is_some_and(u8::is_ascii_whitespace);
        Cow::Borrowed(match self {
            Kind::Aliases if !continued => behind_name(line),
            Kind::Map if !continued => behind_pattern(line),
            Kind::Vcard => behind_email(line).unwrap_or_default(),
            Kind::Ldif => return behind_attribute(line),
            Kind::Aliases | Kind::Map | Kind::Transport | Kind::Forward | Kind::Text => line,
        })
    }

    /// Returns the domains, without an address, that a transport map's line names.
    pub(super) fn domains(self, line: &[u8]) -> impl Iterator<Item = &[u8]> {
        let line = if self == Kind::Transport { line } else { b"" };
        // `army.mil  smtp:[mx.army.mil]:25`: words, without the name of the transport.
        line.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b':' | b'[' | b']' | b','))
            .map(|word| word.strip_prefix(b".").unwrap_or(word))
            .filter(|word| word.contains(&b'.') && !word.contains(&b'@'))
            .filter(|word| word.iter().any(u8::is_ascii_alphabetic))
    }
}

/// `name: value`; the name may be quoted and hold a colon.
fn behind_name(line: &[u8]) -> &[u8] {
    let mut quoted = false;
    let colon = line.iter().position(|byte| {
        quoted ^= *byte == b'"';
        *byte == b':' && !quoted
    });
    colon
        .and_then(|colon| line.get(colon + 1..))
        .unwrap_or_default()
}

/// `pattern value`, `/expression/flags value`.
fn behind_pattern(line: &[u8]) -> &[u8] {
    let mut rest = line;
    if let Some(expression) = line.strip_prefix(b"/") {
        let mut escaped = false;
        let end = expression.iter().position(|byte| {
            let ends = *byte == b'/' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        rest = end
            .and_then(|end| expression.get(end + 1..))
            .unwrap_or_default();
    }
    let end = rest.iter().position(u8::is_ascii_whitespace);
    end.and_then(|end| rest.get(end..)).unwrap_or_default()
}

/// `EMAIL;TYPE=work:a@b`, `item1.EMAIL:a@b` (RFC 6350, 6.4.2); also IMPP and CALADRURI, whose
/// values are URIs.
fn behind_email(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = name.split(|byte| *byte == b';').next()?;
    let name = name.rsplit(|byte| *byte == b'.').next()?;
    let wanted = [&b"EMAIL"[..], b"IMPP", b"CALADRURI"];
    (wanted
        .iter()
        .any(|wanted| name.eq_ignore_ascii_case(wanted)))
    .then_some(value)
}

/// `mail: a@b`, `mail:: YUBi`. Names of entries are left out: they repeat what attributes say.
fn behind_attribute(line: &[u8]) -> Cow<'_, [u8]> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Cow::Borrowed(b"");
    };
    let (name, value) = line.split_at(colon);
    if name.eq_ignore_ascii_case(b"dn") {
        return Cow::Borrowed(b"");
    }
    let value = value.get(1..).unwrap_or_default();
    match value.strip_prefix(b":") {
        Some(packed) => {
            use base64ct::{Base64, Encoding as _};
            let text = std::str::from_utf8(packed.trim_ascii()).unwrap_or_default();
            Cow::Owned(Base64::decode_vec(text).unwrap_or_default())
        }
        None => Cow::Borrowed(value),
    }
}
