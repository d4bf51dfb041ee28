//! Foreign bytes made safe to show: in a log line, on a terminal, in an SMTP reply.
//!
//! Envelope addresses, headers and macros come from strangers and may hold newlines,
//! terminal escapes or bidirectional controls. Nothing prints them but through this type.

use std::fmt;

/// At most this many bytes are shown: the longest path of RFC 5321 (4.5.3.1.3) is 256.
const SHOWN: usize = 256;

/// Bytes that a stranger chose. `Display` escapes whatever could deceive a reader.
///
/// Printed as they are: the visible characters of Unicode and the space. Escaped: controls (C0,
/// C1, DEL), bidirectional and zero-width characters, line and paragraph separators, tags and
/// other invisible format characters as `\u{…}`, `\n`, `\r`, `\t`; bytes that are not UTF-8 as
/// `\xNN`; the backslash as `\\`, so that an escape cannot be imitated. After 256 bytes follows
/// `…(+N bytes)`.
#[derive(Clone, Copy)]
pub struct Untrusted<'a>(pub &'a [u8]);

impl<'a> Untrusted<'a> {
    /// Wraps text of a stranger.
    pub fn text(text: &'a str) -> Untrusted<'a> {
        Untrusted(text.as_bytes())
    }

    /// Returns all of it escaped, however long. For what is compared, not only shown: no two
    /// byte strings give the same text.
    pub fn whole(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, usize::MAX);
        text
    }

    /// Writes at most `left` bytes of it.
    fn write(&self, f: &mut impl fmt::Write, mut left: usize) -> fmt::Result {
        let mut rest = self.0.len();
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.len_utf8() > left {
                    return write!(f, "…(+{rest} bytes)");
                }
                left -= c.len_utf8();
                rest -= c.len_utf8();
                write_char(f, c)?;
            }
            for byte in chunk.invalid() {
                if left == 0 {
                    return write!(f, "…(+{rest} bytes)");
                }
                left -= 1;
                rest -= 1;
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, SHOWN)
    }
}

impl fmt::Debug for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Writes `c`, escaped when it could deceive a reader.
pub(crate) fn write_char(f: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        '\\' => f.write_str("\\\\"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        c if deceives(c) => write!(f, "\\u{{{:x}}}", u32::from(c)),
        c => f.write_char(c),
    }
}

/// Returns whether a terminal or a reader may take `c` for something else than one visible
/// character: controls, and the format characters (category Cf) and separators of Unicode.
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            // soft hyphen; Arabic number signs and letter mark; Syriac; Mongolian separators
            0x00AD | 0x034F | 0x0600..=0x0605 | 0x061C | 0x06DD | 0x070F | 0x0890..=0x0891
            | 0x08E2 | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F
            // zero width, marks, separators, embeddings and overrides, invisible operators,
            // isolates
            | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F
            // fillers, variation selectors, byte order mark, interlinear annotation
            | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            // shorthand, musical formatting, tags, more variation selectors
            | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
            | 0xE0000..=0xE0FFF)
        // Other spaces than U+0020 look like it.
        || (c.is_whitespace() && c != ' ')
}

/// Returns `json`, one line of JSON, with every character that could deceive a reader as `\uXXXX`.
///
/// JSON allows U+202E and its kin raw, and only inside of strings, so the meaning stays.
pub fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if deceives(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> String {
        Untrusted(bytes).to_string()
    }

    #[test]
    fn ordinary_addresses_are_shown_as_they_are() {
        assert_eq!(shown(b"j.doe+x@army.mil"), "j.doe+x@army.mil");
        assert_eq!(
            shown("bärbel@bücher.example".as_bytes()),
            "bärbel@bücher.example"
        );
        assert_eq!(shown(b"\"x y\"@a.example"), "\"x y\"@a.example");
    }

    #[test]
    fn deceiving_bytes_are_escaped() {
        assert_eq!(
            shown(b"a\r\nb\tc\0\x1b[2J\x7f"),
            r"a\r\nb\tc\u{0}\u{1b}[2J\u{7f}"
        );
        assert_eq!(shown("lim.y\u{202e}ra".as_bytes()), r"lim.y\u{202e}ra");
        assert_eq!(
            shown("a\u{85}b\u{2028}c\u{feff}".as_bytes()),
            r"a\u{85}b\u{2028}c\u{feff}"
        );
        assert_eq!(shown(b"\xff\xfeok\xc3"), r"\xff\xfeok\xc3");
    }

    #[test]
    fn an_escape_cannot_be_imitated() {
        assert_ne!(shown(b"\\u{202e}"), shown("\u{202e}".as_bytes()));
        assert_eq!(shown(b"a\\nb"), r"a\\nb");
    }

    #[test]
    fn long_input_is_cut_with_a_marker() {
        assert_eq!(shown(&[b'x'; 256]), "x".repeat(256));
        assert_eq!(
            shown(&[b'x'; 1000]),
            format!("{}…(+744 bytes)", "x".repeat(256))
        );
        // Never in the middle of a character.
        let text = "é".repeat(200);
        assert_eq!(
            shown(text.as_bytes()),
            format!("{}…(+144 bytes)", "é".repeat(128))
        );
        assert_eq!(
            shown(&[0xff; 300]),
            format!("{}…(+44 bytes)", "\\xff".repeat(256))
        );
    }

    /// The list of the threat model, written down apart from the code.
    fn forbidden(c: char) -> bool {
        let u = u32::from(c);
        u < 0x20
            || (0x7f..=0x9f).contains(&u)
            || (0x202a..=0x202e).contains(&u)
            || (0x2066..=0x2069).contains(&u)
            || (0x200b..=0x200f).contains(&u)
            || [0x061c, 0x2028, 0x2029, 0x85, 0xfeff].contains(&u)
    }

    proptest! {
        #[test]
        fn no_bytes_produce_a_deceiving_character(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let shown = shown(&bytes);
            prop_assert!(!shown.chars().any(forbidden), "{shown:?}");
            prop_assert!(shown.len() <= SHOWN * 4 + 40);
        }

        #[test]
        fn no_text_produces_a_deceiving_character(text in "[\\PC\u{0}-\u{9f}\u{200b}-\u{206f}\u{feff}\u{61c}]{0,80}") {
            let shown = Untrusted::text(&text).to_string();
            prop_assert!(!shown.chars().any(forbidden), "{shown:?}");
        }
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_its_disguise() {
        let text = "a\u{202e}b\u{1d173}\u{85}\"\\";
        let json = serde_json::to_string(text).unwrap();
        let line = json_line(&json);
        assert_eq!(line, r#""a\u202eb\ud834\udd73\u0085\"\\""#);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn every_forbidden_character_is_escaped() {
        for c in ('\0'..=char::MAX).filter(|c| forbidden(*c)) {
            let shown = Untrusted::text(&c.to_string()).to_string();
            assert!(shown.starts_with('\\'), "{:x}", u32::from(c));
        }
    }
}
