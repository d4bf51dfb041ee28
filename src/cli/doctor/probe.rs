//! Speaks to straymail as an MTA does, and hands a held mail's way back a question: does
//! everything answer that must?
//!
//! The probe is one recipient at a trusted domain, so it leaves no line in the log and no row
//! in the store, nor does it count.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::service::conversation::DOCTOR;

use super::finding::{Finding, Severity};
use super::place::Place;

/// How long a listener may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer that takes longer is no fault and not as it should be: microseconds are usual.
const SLOW: Duration = Duration::from_secs(1);
/// The longest answer that is read; straymail's are a few dozen bytes.
const LONGEST: u32 = 1 << 20;

/// What came of speaking to a listener.
#[derive(Debug)]
pub(super) enum Answer {
    /// It let the recipient pass, after so long.
    Passed(Duration),
    /// It said something else; the first byte of the answer.
    Odd(char),
    /// It did not answer.
    Silent(io::Error),
}

impl Answer {
    /// Returns whether it is we who may not connect.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Answer::Silent(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Asks the listener about a recipient; `None` when the place is not one to connect to.
pub(super) fn ask(place: &Place, recipient: &str) -> Option<Answer> {
    let stream = connect(place)?;
    let started = Instant::now();
    Some(
        match stream.and_then(|mut stream| dialog(&mut *stream, recipient)) {
            Ok(b'c') => Answer::Passed(started.elapsed()),
            Ok(other) => Answer::Odd(char::from(other)),
            Err(error) => Answer::Silent(error),
        },
    )
}

fn connect(place: &Place) -> Option<io::Result<Box<dyn Stream>>> {
    let unix = |stream: UnixStream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    let tcp = |stream: TcpStream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    match place {
        Place::Unix { path, .. } => Some(UnixStream::connect(path).and_then(unix)),
        Place::Inet(hosts, port) => {
            let address = SocketAddr::new(*hosts.first()?, *port);
            Some(TcpStream::connect_timeout(&address, PATIENCE).and_then(tcp))
        }
        Place::Unknown => None,
    }
}

/// One session up to RCPT; returns the command byte of its answer.
fn dialog(stream: &mut dyn Stream, recipient: &str) -> io::Result<u8> {
    // Version 6, every action, no step left out: the listener must answer each.
    let mut offer = Vec::new();
    for word in [6_u32, 0x1ff, 0] {
        offer.extend_from_slice(&word.to_be_bytes());
    }
    send(stream, b'O', &offer)?;
    expect(stream, b'O')?;
    let client = [DOCTOR.as_bytes(), b"\x004\x9c\x40127.0.0.1\0"].concat();
    send(stream, b'C', &client)?;
    expect(stream, b'c')?;
    send(stream, b'M', b"<straymail-doctor@localhost>\0")?;
    expect(stream, b'c')?;
    send(stream, b'R', format!("<{recipient}>\0").as_bytes())?;
    let answer = read(stream)?;
    send(stream, b'A', b"")?;
    send(stream, b'Q', b"")?;
    Ok(answer)
}

fn send(stream: &mut dyn Stream, command: u8, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len() + 1).map_err(io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.push(command);
    frame.extend_from_slice(data);
    stream.write_all(&frame)
}

fn read(stream: &mut dyn Stream) -> io::Result<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if !(1..=LONGEST).contains(&length) {
        return Err(io::Error::other("the answer is not of the milter protocol"));
    }
    let mut command = [0; 1];
    stream.read_exact(&mut command)?;
    io::copy(&mut stream.take(u64::from(length - 1)), &mut io::sink())?;
    Ok(command[0])
}

fn expect(stream: &mut dyn Stream, wanted: u8) -> io::Result<()> {
    match read(stream)? {
        answer if answer == wanted => Ok(()),
        answer => Err(io::Error::other(format!(
            "it answered {:?} where {:?} was expected",
            char::from(answer),
            char::from(wanted)
        ))),
    }
}

/// Says what is wrong with an answer.
pub(super) fn check(listener: &str, answer: &Answer) -> Option<Finding> {
    let finding = |severity, found, why| Finding::new("milter-answer", severity, found, why);
    match answer {
        Answer::Passed(after) if *after <= SLOW => None,
        Answer::Passed(after) => Some(
            finding(
                Severity::Warning,
                format!(
                    "{listener} took {:.1} s to judge a trusted recipient",
                    after.as_secs_f64()
                ),
                "Every recipient waits so long; the machine or its memory is short.",
            )
            .run("systemctl status straymail"),
        ),
        Answer::Odd(command) => Some(
            finding(
                Severity::Error,
                format!("{listener} answered {command:?} to a recipient at a trusted domain"),
                "Mail to your partners is stopped or put off; the log says why.",
            )
            .run("journalctl -u straymail -n 50"),
        ),
        Answer::Silent(error) => Some(
            finding(
                Severity::Error,
                format!("{listener} does not answer: {error}"),
                "Mail meets the MTA's default action until it does.",
            )
            .run("systemctl restart straymail")
            .edit("without systemd: start `straymail run`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_yes_is_fine_and_everything_else_is_told() {
        assert_eq!(
            check("unix:/s", &Answer::Passed(Duration::from_millis(1))),
            None
        );
        let found =
            |answer| check("unix:/s", &answer).map(|finding| (finding.severity, finding.found));
        assert_eq!(
            found(Answer::Passed(Duration::from_millis(2500))),
            Some((
                Severity::Warning,
                "unix:/s took 2.5 s to judge a trusted recipient".into()
            ))
        );
        assert_eq!(
            found(Answer::Odd('t')),
            Some((
                Severity::Error,
                "unix:/s answered 't' to a recipient at a trusted domain".into()
            ))
        );
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(
            found(Answer::Silent(refused)),
            Some((
                Severity::Error,
                "unix:/s does not answer: connection refused".into()
            ))
        );
    }

    #[test]
    fn what_is_no_milter_ends_the_dialog() {
        struct Web(io::Cursor<Vec<u8>>);
        impl Read for Web {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(buffer)
            }
        }
        impl Write for Web {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                Ok(octets.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut web = Web(io::Cursor::new(
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        ));
        let error = dialog(&mut web, "a@b.example").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the answer is not of the milter protocol"
        );
    }
}
