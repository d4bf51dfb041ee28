//! Line ends and leading dots of a message on its way into DATA (RFC 5321, 2.3.8 and 4.5.2).

/// Turns the octets of a message into those of the DATA phase, piece by piece.
///
/// Every line end becomes CRLF, a bare CR or LF too, *before* dots are doubled. So no
/// sequence in the message, `\n.\r\n`, `\r.\r`, `\n.\n`, can look like its end.
#[derive(Debug)]
pub(super) struct Transparency {
    after_cr: bool,
    line_start: bool,
}

impl Default for Transparency {
    fn default() -> Self {
        Transparency {
            after_cr: false,
            line_start: true,
        }
    }
}

impl Transparency {
    /// Appends the wire form of `octets` to `wire`.
    pub(super) fn push(&mut self, octets: &[u8], wire: &mut Vec<u8>) {
        for &octet in octets {
            if self.after_cr {
                self.after_cr = false;
                self.end_line(wire);
                if octet == b'\n' {
                    continue;
                }
            }
            match octet {
                b'\r' => self.after_cr = true,
                b'\n' => self.end_line(wire),
                _ => {
                    if octet == b'.' && self.line_start {
                        wire.push(b'.');
                    }
                    wire.push(octet);
                    self.line_start = false;
                }
            }
        }
    }

    /// Ends the last line if it has no end.
    pub(super) fn finish(&mut self, wire: &mut Vec<u8>) {
        if self.after_cr || !self.line_start {
            self.after_cr = false;
            self.end_line(wire);
        }
    }

    fn end_line(&mut self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(b"\r\n");
        self.line_start = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(message: &[u8], step: usize) -> Vec<u8> {
        let mut transparency = Transparency::default();
        let mut wire = Vec::new();
        for piece in message.chunks(step.max(1)) {
            transparency.push(piece, &mut wire);
        }
        transparency.finish(&mut wire);
        wire
    }

    #[test]
    fn a_smuggled_end_of_data_is_stuffed() {
        for message in [
            "a\n.\r\nMAIL",
            "a\r\n.\nMAIL",
            "a\r.\rMAIL",
            "a\n.\nMAIL",
            "a\r\n.\r\nMAIL",
            "a\r.\r\nMAIL",
        ] {
            assert_eq!(
                wire(message.as_bytes(), 3),
                b"a\r\n..\r\nMAIL\r\n",
                "{message:?}"
            );
        }
    }

    #[test]
    fn a_well_formed_message_is_not_changed() {
        let message = b"A: 1\r\n\r\nb\xe4\x00y . .\r\n\r\n";
        assert_eq!(wire(message, 4), message);
        assert_eq!(wire(b"", 1), b"");
        assert_eq!(wire(b"x\r", 1), b"x\r\n");
    }

    proptest! {
        #[test]
        fn no_message_ends_itself_and_pieces_do_not_matter(
            message in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..200),
            step in 1_usize..20,
        ) {
            let whole = wire(&message, message.len());
            prop_assert_eq!(&wire(&message, step), &whole);
            prop_assert!(whole.is_empty() || whole.ends_with(b"\r\n"));
            prop_assert!(!whole.starts_with(b".\r\n"));
            for (at, window) in whole.windows(3).enumerate() {
                prop_assert!(window != b"\n.\r" && window != b"\n.\n");
                if whole[at] == b'\r' { prop_assert_eq!(whole[at + 1], b'\n'); }
                if window[1] == b'\n' { prop_assert_eq!(window[0], b'\r'); }
            }
        }
    }
}
