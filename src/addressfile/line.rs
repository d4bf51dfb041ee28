//! The lines of a text, whatever ends them.

use std::io::{self, BufRead, Read as _};

use super::source::Source;

/// Longest line looked into; an alias of a large list is one line.
pub(super) const MAX_LINE: u64 = 4 << 20;

/// A text that is read line by line.
pub(super) struct Lines {
    text: Box<dyn BufRead>,
    ending: u8,
    number: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, with its number counted from 1.
    Whole(u64),
    /// A line longer than [`MAX_LINE`], passed over.
    Overlong(u64),
    /// No more lines.
    End,
}

impl Lines {
    pub(super) fn new(source: Source) -> Lines {
        // Old Macs, and Excel for them still, end lines with CR alone.
        let has = |byte| memchr::memchr(byte, &source.beginning).is_some();
        Lines {
            ending: if has(b'\r') && !has(b'\n') {
                b'\r'
            } else {
                b'\n'
            },
            text: source.text,
            number: 0,
        }
    }

    /// Puts the next line into `line`, without what ends it.
    ///
    /// # Errors
    /// When the text cannot be read on, or is binary behind the longest line there may be.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        // One more byte tells that the line is too long.
        let read = (&mut self.text)
            .take(MAX_LINE + 1)
            .read_until(self.ending, line)?;
        if read == 0 {
            return Ok(Line::End);
        }
        self.number += 1;
        if line.last() == Some(&self.ending) {
            line.pop();
        } else if read as u64 > MAX_LINE {
            self.skip()?;
            return Ok(Line::Overlong(self.number));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Line::Whole(self.number))
    }

    /// Skips the rest of a line. Some bytes of text can be followed by a hole that takes no room
    /// on the disk and years to read, so zeros end it.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            let chunk = self.text.fill_buf()?;
            let end = memchr::memchr2(self.ending, 0, chunk);
            if end.is_some_and(|end| chunk.get(end) == Some(&0)) {
                let why = format!("is binary from line {} on", self.number);
                return Err(io::Error::other(why));
            }
            let used = end.map_or(chunk.len(), |end| end + 1);
            self.text.consume(used);
            if end.is_some() || used == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static [u8]) -> Vec<(Line, String)> {
        let mut lines = Lines::new(Source {
            beginning: text.to_vec(),
            text: Box::new(text),
        });
        let mut found = Vec::new();
        let mut line = Vec::new();
        loop {
            match lines.next(&mut line).unwrap() {
                Line::End => return found,
                read => found.push((read, String::from_utf8(line.clone()).unwrap())),
            }
        }
    }

    #[test]
    fn every_ending_ends_a_line() {
        let expected = vec![
            (Line::Whole(1), "a".to_owned()),
            (Line::Whole(2), String::new()),
            (Line::Whole(3), "b".to_owned()),
        ];
        for text in [
            &b"a\n\nb"[..],
            b"a\n\nb\n",
            b"a\r\n\r\nb\r\n",
            b"a\r\rb\r",
            b"a\r\rb",
        ] {
            assert_eq!(lines(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_hole_behind_text_is_not_read_to_its_end() {
        let hole = b"a\nb".chain(io::repeat(0));
        let mut lines = Lines::new(Source {
            beginning: b"a\nb".to_vec(),
            text: Box::new(io::BufReader::new(hole)),
        });
        let mut line = Vec::new();
        assert_eq!(lines.next(&mut line).unwrap(), Line::Whole(1));
        let error = lines.next(&mut line).unwrap_err();
        assert_eq!(error.to_string(), "is binary from line 2 on");
    }

    #[test]
    fn a_line_too_long_is_passed_over_and_the_next_one_read() {
        let limit = MAX_LINE as usize;
        let text = [
            "a".repeat(limit + 1).as_str(),
            "\n",
            "b".repeat(limit).as_str(),
            "\nc",
        ]
        .concat();
        let found = lines(text.leak().as_bytes());
        let numbers: Vec<Line> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(numbers, [Line::Overlong(1), Line::Whole(2), Line::Whole(3)]);
    }
}
