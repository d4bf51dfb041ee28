//! Foreign bytes made safe to show: in a log line, on a terminal, in an SMTP reply.
//!
//! Envelope addresses, headers and macros come from strangers and may hold newlines,
//! terminal escapes or bidirectional controls. Nothing prints them but through this type.

use std::fmt;

/// Bytes that a stranger chose. `Display` escapes whatever could deceive a reader.
#[derive(Clone, Copy)]
pub struct Untrusted<'a>(pub &'a [u8]);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(self.0).escape_debug())
    }
}
