//! Text in UTF-16, as address books of Outlook and Excel have it.

use std::io::{self, Read};

/// The order of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Utf16 {
    Little,
    Big,
}

impl Utf16 {
    /// Returns which, from the byte order mark; without one, from where the zeros stand that
    /// nearly every character of an address has. `None` when it is no UTF-16.
    pub(super) fn of(beginning: &[u8]) -> Option<Utf16> {
        match beginning {
            [0xff, 0xfe, ..] => return Some(Utf16::Little),
            [0xfe, 0xff, ..] => return Some(Utf16::Big),
            _ => {}
        }
        let (pairs, _) = beginning.as_chunks::<2>();
        let zeros = |of: fn(&[u8; 2]) -> u8| pairs.iter().filter(|pair| of(pair) == 0).count();
        let (first, second) = (zeros(|pair| pair[0]), zeros(|pair| pair[1]));
        let most = pairs.len() / 2;
        if first == 0 && second > most {
            Some(Utf16::Little)
        } else if second == 0 && first > most {
            Some(Utf16::Big)
        } else {
            None
        }
    }

    /// Returns the text as UTF-8.
    pub(super) fn reader<R: Read>(self, input: R) -> impl Read {
        Recoded {
            input,
            order: self,
            ready: Vec::new(),
            half: Vec::new(),
        }
    }
}

struct Recoded<R> {
    input: R,
    order: Utf16,
    ready: Vec<u8>,
    /// Bytes of a character that is not complete.
    half: Vec<u8>,
}

impl<R: Read> Read for Recoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            let mut chunk = [0; 8192];
            let read = self.input.read(&mut chunk)?;
            if read == 0 {
                return Ok(0);
            }
            self.half.extend(chunk.iter().take(read));
            let (pairs, _) = self.half.as_chunks::<2>();
            let mut units: Vec<u16> = (pairs.iter())
                .map(|pair| match self.order {
                    Utf16::Little => u16::from_le_bytes(*pair),
                    Utf16::Big => u16::from_be_bytes(*pair),
                })
                .collect();
            // A character beyond U+FFFF has two units.
            if units
                .last()
                .is_some_and(|unit| (0xd800..0xdc00).contains(unit))
            {
                units.pop();
            }
            self.half.drain(..units.len() * 2);
            self.ready = String::from_utf16_lossy(&units).into_bytes();
        }
        let count = self.ready.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.ready.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_known_with_and_without_a_mark() {
        let little: Vec<u8> = "a@b.example\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let big: Vec<u8> = (little.chunks(2))
            .flat_map(|pair| [pair[1], pair[0]])
            .collect();
        for (bytes, order) in [(&little, Utf16::Little), (&big, Utf16::Big)] {
            assert_eq!(Utf16::of(bytes), Some(order));
            let mut text = String::new();
            order
                .reader(bytes.as_slice())
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "a@b.example\r\n");
        }
        assert_eq!(Utf16::of(b"\xff\xfea"), Some(Utf16::Little));
        for other in [
            &b"plain text"[..],
            b"",
            b"\0",
            &[0; 64],
            b"\x7fELF\x02\x01\x01\0\0\0\0\0",
        ] {
            assert_eq!(Utf16::of(other), None, "{other:?}");
        }
    }
}
