//! The formats, and how a file is told to be of one.
//!
//! A name alone tells little: `virtual-team` may be a map or a list of members, `aliases` belong to
//! Sendmail, to Mutt or to a spreadsheet. So a name only says what to look for. Where the lines are
//! not written that way the file is text, of which every address counts: a wrong address is
//! rather told twice than lost.

use std::borrow::Cow;
use std::path::Path;

use super::{column, ldif, source, vcard};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// aliases(5): `name: address, address`, with `:include:`.
    Aliases,
    /// A map of Postfix or Sendmail whose second column is an address: virtual, canonical,
    /// generic, relocated, bcc maps, virtusertable; also regular expressions.
    Map,
    /// A transport map or a mailertable: domains in both columns.
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

/// What names of maps contain whose second column is an address, or tells what to do with mail to
/// the first.
const MAPS: &[&str] = &[
    "virtual",
    "virtuser",
    "canonical",
    "generic",
    "relocated",
    "bcc",
    "sender_login",
    "vmailbox",
    "access",
    ".pcre",
    ".regexp",
];
/// What names of packed files end with.
const PACKED: &[&str] = &[".gz", ".xz", ".zst", ".bz2"];

impl Kind {
    /// Returns what a file is, from its name and how its text begins.
    pub fn of(path: &Path, beginning: &[u8]) -> Kind {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        let name = (PACKED.iter())
            .find_map(|ending| name.strip_suffix(ending))
            .unwrap_or(&name);
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if vcard::begins(beginning) || ends(&[".vcf", ".vcard"]) {
            Kind::Vcard
        } else if ldif::begins(beginning) || ends(&[".ldif", ".ldi"]) {
            Kind::Ldif
        } else if ends(&[".csv", ".tsv", ".txt"]) {
            Kind::Text
        } else if has(&["transport", "mailertable"]) {
            Kind::Transport.if_most(beginning, column::is_transport)
        } else if has(MAPS) {
            Kind::Map.if_all(beginning, column::is_mapping)
        } else if has(&["alias"]) {
            Kind::Aliases.if_most(beginning, column::is_alias)
        } else if has(&["forward"]) {
            Kind::Forward
        } else {
            Kind::Text
        }
    }

    /// Returns the kind if every line has its shape.
    fn if_all(self, beginning: &[u8], has_shape: fn(&[u8]) -> bool) -> Kind {
        match entries(beginning).all(has_shape) {
            true => self,
            false => Kind::Text,
        }
    }

    /// Returns the kind if more than half of the lines have its shape. For kinds that lose no
    /// address of the others.
    fn if_most(self, beginning: &[u8], has_shape: fn(&[u8]) -> bool) -> Kind {
        let (mut fit, mut other) = (0, 0);
        for line in entries(beginning) {
            match has_shape(line) {
                true => fit += 1,
                false => other += 1,
            }
        }
        match fit > other || other == 0 {
            true => self,
            false => Kind::Text,
        }
    }

    /// Returns whether a line is a comment. Within forwards and included files white space before
    /// the `#` makes it none.
    pub(super) fn is_comment(self, line: &[u8]) -> bool {
        match self {
            Kind::Aliases | Kind::Map | Kind::Transport => {
                line.trim_ascii_start().starts_with(b"#")
            }
            Kind::Forward => line.starts_with(b"#"),
            Kind::Vcard | Kind::Ldif | Kind::Text => false,
        }
    }

    /// Returns whether `:include:/path` names another file.
    pub(super) fn includes(self) -> bool {
        matches!(self, Kind::Aliases | Kind::Forward)
    }

    /// Returns the part of a line that mail goes to.
    pub(super) fn value(self, line: &[u8]) -> Cow<'_, [u8]> {
        let continued = line.first().is_some_and(u8::is_ascii_whitespace);
        match self {
            Kind::Aliases if !continued => column::behind_name(line).into(),
            Kind::Map if !continued => column::behind_key(line).into(),
            Kind::Vcard => vcard::value(line),
            Kind::Ldif => ldif::value(line),
            Kind::Transport if column::is_condition(line) => Cow::default(),
            Kind::Aliases | Kind::Map | Kind::Transport | Kind::Forward | Kind::Text => line.into(),
        }
    }

    /// Returns what names a domain without a local part, in what [`Kind::value`] returned.
    pub(super) fn domains(self, value: &[u8]) -> Vec<&[u8]> {
        match self {
            Kind::Map => column::rewritten_domains(value).collect(),
            Kind::Transport => column::transport_domains(value).collect(),
            _ => Vec::new(),
        }
    }
}

/// Returns the lines that begin something: no comments, no continuations, no conditions.
fn entries(beginning: &[u8]) -> impl Iterator<Item = &[u8]> {
    let cut = beginning.len() as u64 >= source::PEEK;
    let whole = match beginning.iter().rposition(|byte| *byte == b'\n') {
        Some(end) if cut => beginning.get(..end).unwrap_or_default(),
        _ => beginning,
    };
    (whole.split(|byte| matches!(byte, b'\n' | b'\r')))
        .filter(|line| !line.starts_with(b"#") && !column::is_condition(line))
        .filter(|line| line.first().is_some_and(|byte| !byte.is_ascii_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, beginning: &str) -> Kind {
        Kind::of(Path::new(name), beginning.as_bytes())
    }

    #[test]
    fn name_and_content_tell_together() {
        let aliases = "# x\nroot: anna\n\"odd: name\" : \"|/bin/x y\"\nlist:\n\ta@b.example\n";
        for name in ["aliases", "mail-aliases.gz", "alias_maps", "aliases2.bak"] {
            assert_eq!(kind(name, aliases), Kind::Aliases, "{name}");
        }
        let mutt = "alias anna Anna <anna@army.ml>\nalias bob bob@army.ml\n";
        let csv = "carl@army.ml,Carl\ndora@army.ml,Dora\n";
        for (name, text) in [("aliases", mutt), ("aliases-export.dat", csv)] {
            assert_eq!(kind(name, text), Kind::Text, "{name}");
        }
        let map = "# x\na@b.example  c@d.example\n  e@f.example\n\"a b\"@c.example x\n@x.example @y.example\n";
        for name in [
            "virtual",
            "virtual_aliases",
            "virtusertable",
            "sender_login_maps",
            "vmailbox",
            "access",
            "generics",
        ] {
            assert_eq!(kind(name, map), Kind::Map, "{name}");
        }
        let expressions = "if /^a b/\n!/c d/ x@y.example\nendif\n/e/ <x@y.example>\n";
        assert_eq!(kind("rewrite.pcre", expressions), Kind::Map);
        for members in [
            "carl@army.ml\nDora <dora@army.ml>\n",
            "emil@army.ml, fred@army.ml\n",
            "Dora D. <dora@army.ml>\n",
        ] {
            for name in ["virtual-team", "generic.members", "transport-team"] {
                assert_eq!(kind(name, members), Kind::Text, "{name} {members}");
            }
        }
        let transport = "army.ml smtp:[mx.army.mil]:25\n.navy.mil :\n* smtp:relay.example\n";
        for name in ["transport", "mailertable", "transport.regexp"] {
            assert_eq!(kind(name, transport), Kind::Transport, "{name}");
        }
        assert_eq!(kind(".forward", "a@b.example"), Kind::Forward);
        for (name, empty) in [("aliases", Kind::Aliases), ("virtual", Kind::Map)] {
            assert_eq!(kind(name, "# nothing yet\n"), empty);
        }
    }

    #[test]
    fn address_books_are_known_by_their_beginning() {
        assert_eq!(kind("contacts", "\r\nbegin:vcard\r\n"), Kind::Vcard);
        assert_eq!(kind("all.vcf.xz", ""), Kind::Vcard);
        for text in [
            "dn: uid=a,dc=army,dc=ml\n",
            "version:1\ndn:: dWlkPWE=\n",
            "version: 1\n\n# a\ndn: uid=a\n",
            "# extended LDIF\n#\n# LDAPv3\n",
            "#\n\ndn:uid=a\n",
        ] {
            assert_eq!(kind("dump", text), Kind::Ldif, "{text}");
        }
        assert_eq!(
            kind("aliases", "dn: donald\nversion: anna\n"),
            Kind::Aliases
        );
        assert_eq!(kind("book.csv", "Name,E-mail\n"), Kind::Text);
    }

    #[test]
    fn the_line_that_the_beginning_cuts_off_does_not_count() {
        let mut map = "a@b.example  c@d.example\n".repeat(1000);
        map.truncate(source::PEEK as usize);
        assert!(!map.ends_with("e\n"));
        assert_eq!(kind("virtual", &map), Kind::Map);
    }
}
