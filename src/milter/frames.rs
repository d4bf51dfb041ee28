//! The frames of one connection on their way to the library, one of them put right.
//!
//! Sendmail writes the client's IPv6 address as `IPv6:2001:db8::1` (its `anynet_ntop`), which
//! libmilter understands and indymilter 0.3.0 does not: it ends the session, and every message of
//! the client is deferred or passes unseen. So the tag is taken out of CONNECT. Every other octet
//! stays where it was read to, unless it follows a CONNECT or a torn header in the same read.
//!
//! Pure: octets in, octets out, in whatever pieces they come.

use tokio::io::ReadBuf;

/// A length of 32 bits, which counts the command, and the command.
const HEADER: usize = 5;

/// The longest CONNECT that is looked at. A host name has 255 octets at most, an address 46;
/// what is longer comes from no MTA and passes as it is.
const LONGEST: usize = 4096;

/// SMFIC_CONNECT and SMFIA_INET6 of `mfdef.h`.
const CONNECT: u8 = b'C';
const INET6: u8 = b'6';

/// What Sendmail puts before an IPv6 address (RFC 5321, 4.1.3).
const TAG: &[u8] = b"IPv6:";

/// Where in a frame the connection is, and what has been read and not given on.
#[derive(Debug)]
pub(super) struct Frames {
    at: At,
    /// May be given on; the first `given` of it has been.
    ready: Vec<u8>,
    given: usize,
    last: Option<u8>,
}

#[derive(Debug)]
enum At {
    /// So many octets of a frame are still to come, and pass.
    Passing { left: usize },
    /// A header, then a CONNECT, of which `wanted` octets are collected.
    Held { octets: Vec<u8>, wanted: usize },
}

impl At {
    const START: At = At::Held {
        octets: Vec::new(),
        wanted: HEADER,
    };
}

impl Default for Frames {
    fn default() -> Self {
        Frames {
            at: At::START,
            ready: Vec::new(),
            given: 0,
            last: None,
        }
    }
}

impl Frames {
    /// Takes in what was read. Returns how much of its beginning may be given on as it stands;
    /// what follows is kept here, and what of it may be given on is got by [`Frames::give`].
    pub(super) fn follow(&mut self, read: &[u8]) -> usize {
        let mut stands = 0;
        let mut taken = !self.ready.is_empty();
        let mut rest = read;
        while !rest.is_empty() {
            match &mut self.at {
                At::Passing { left } => {
                    let (passing, then) = parted(rest, *left);
                    *left -= passing.len();
                    if *left == 0 {
                        self.at = At::START;
                    }
                    match taken {
                        true => self.ready.extend_from_slice(passing),
                        false => stands += passing.len(),
                    }
                    rest = then;
                }
                At::Held { octets, wanted } => {
                    // The usual case: the whole header is here, and nothing is to be copied.
                    if octets.is_empty()
                        && let Some((length, command)) = header(rest)
                        && !collected(length, command)
                    {
                        self.last = Some(command);
                        self.at = At::Passing {
                            left: HEADER.saturating_add(length),
                        };
                        continue;
                    }
                    taken = true;
                    let (held, then) = parted(rest, wanted.saturating_sub(octets.len()));
                    octets.extend_from_slice(held);
                    rest = then;
                    if octets.len() == *wanted {
                        self.complete();
                    }
                }
            }
        }
        stands
    }

    /// Goes on from as many octets as were wanted: of a header, or of a CONNECT.
    fn complete(&mut self) {
        let At::Held { octets, wanted } = &mut self.at else {
            return;
        };
        let next = match header(octets) {
            Some((length, command)) if *wanted == HEADER => {
                self.last = Some(command);
                if collected(length, command) {
                    *wanted = HEADER + length;
                    return;
                }
                match length {
                    0 => At::START,
                    left => At::Passing { left },
                }
            }
            _ => {
                untag(octets);
                At::START
            }
        };
        self.ready.append(octets);
        self.at = next;
    }

    /// Gives on what may be, as far as there is room. Says whether there was anything.
    pub(super) fn give(&mut self, to: &mut ReadBuf<'_>) -> bool {
        let waiting = self.ready.get(self.given..).unwrap_or_default();
        if waiting.is_empty() {
            return false;
        }
        let (now, later) = parted(waiting, to.remaining());
        to.put_slice(now);
        let all = later.is_empty();
        self.given += now.len();
        if all {
            (self.ready, self.given) = (Vec::new(), 0);
        }
        true
    }

    /// Nothing more comes: what was held back may be given on.
    pub(super) fn end(&mut self) {
        if let At::Held { octets, .. } = &mut self.at {
            self.ready.append(octets);
        }
    }

    /// Returns the command of the last frame that began.
    pub(super) fn last(&self) -> Option<u8> {
        self.last
    }
}

/// Returns the octets that follow the command, and the command, when the header is whole.
fn header(octets: &[u8]) -> Option<(usize, u8)> {
    let ([a, b, c, d, command], _) = octets.split_first_chunk::<HEADER>()?;
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    // As the library counts: a length of 0 has a command all the same.
    let data = usize::try_from(length).unwrap_or(usize::MAX);
    Some((data.saturating_sub(1), *command))
}

/// Says whether a frame is to be looked at as a whole.
fn collected(length: usize, command: u8) -> bool {
    command == CONNECT && (1..=LONGEST).contains(&length)
}

/// Returns the first `at` octets, as far as there are so many, and the rest.
fn parted(octets: &[u8], at: usize) -> (&[u8], &[u8]) {
    octets.split_at_checked(at).unwrap_or((octets, &[]))
}

/// Takes the tag out of the address of a CONNECT: host name, NUL, family, port, address, NUL.
fn untag(frame: &mut Vec<u8>) {
    let name = frame.iter().skip(HEADER).position(|octet| *octet == 0);
    let Some(family) = name.map(|length| HEADER + length + 1) else {
        return;
    };
    let address = family + 3;
    let tagged = (frame.get(address..address + TAG.len()))
        .is_some_and(|octets| octets.eq_ignore_ascii_case(TAG));
    if frame.get(family) != Some(&INET6) || !tagged {
        return;
    }
    frame.drain(address..address + TAG.len());
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    if let Some(octets) = frame.first_chunk_mut::<4>() {
        *octets = length.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(command: u8, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len() + 1).unwrap();
        [&length.to_be_bytes()[..], &[command], data].concat()
    }

    fn connect(family: u8, address: &[u8]) -> Vec<u8> {
        frame(
            b'C',
            &[b"client.test\0", &[family, 0x9c, 0x40][..], address, b"\0"].concat(),
        )
    }

    /// What the library reads when the connection brings `pieces` and then ends, with room for
    /// `room` octets at a time.
    fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, room: usize) -> Vec<u8> {
        let mut frames = Frames::default();
        let mut read = Vec::new();
        let drain = |frames: &mut Frames, read: &mut Vec<u8>| {
            loop {
                let mut space = vec![0; room];
                let mut buf = ReadBuf::new(&mut space);
                let some = frames.give(&mut buf);
                assert_eq!(some, !buf.filled().is_empty());
                read.extend_from_slice(buf.filled());
                if !some {
                    break;
                }
            }
        };
        for piece in pieces {
            let stands = frames.follow(piece);
            read.extend_from_slice(&piece[..stands]);
            drain(&mut frames, &mut read);
        }
        frames.end();
        drain(&mut frames, &mut read);
        read
    }

    /// A session as Sendmail 8.17 opens it, over IPv6 and as it should be.
    fn session(address: &[u8]) -> Vec<u8> {
        [
            frame(b'O', &[0; 12]),
            frame(b'D', b"Cj\0mx.test\0"),
            connect(b'6', address),
            frame(b'D', b"M"),
            frame(b'M', b"<alice@army.mil>\0"),
            frame(b'N', b""),
            connect(b'6', address),
            frame(b'Q', b""),
        ]
        .concat()
    }

    #[test]
    fn the_tag_of_sendmail_is_taken_out_of_connect_however_it_is_cut() {
        let (sent, meant) = (session(b"IPv6:2001:db8::1"), session(b"2001:db8::1"));
        for size in 1..=sent.len() {
            for room in [1, 3, 8192] {
                assert_eq!(read(sent.chunks(size), room), meant, "{size} {room}");
            }
        }
    }

    #[test]
    fn every_other_frame_is_left_as_it_is() {
        for untouched in [
            connect(b'6', b"2001:db8::1"),
            connect(b'6', b""),
            connect(b'6', b"IPv6"),
            connect(b'4', b"192.0.2.1"),
            connect(b'4', b"IPv6:192.0.2.1"),
            connect(b'L', b"IPv6:"),
            frame(b'C', b"IPv6:"),
            frame(b'C', b"name\0U"),
            frame(b'C', b"name\x006"),
            frame(b'C', b""),
            frame(b'R', b"name\x006\0\0IPv6:::1\0"),
            frame(
                b'C',
                &[b"n".repeat(LONGEST).as_slice(), b"\x006\0\0IPv6:::1\0"].concat(),
            ),
            // No length at all, which counts as one; more than can be; the middle of a frame.
            b"\0\0\0\0C\0\0\0\x01Q".to_vec(),
            b"\xff\xff\xff\xffC".to_vec(),
            b"\0\0\0\x20Cname".to_vec(),
            b"\0\0".to_vec(),
        ] {
            for size in 1..=untouched.len() {
                assert_eq!(read(untouched.chunks(size), 16), untouched, "{untouched:?}");
            }
        }
    }

    #[test]
    fn whole_frames_stay_where_they_were_read_to() {
        let mut frames = Frames::default();
        let chunk = [frame(b'M', b"<a@b>\0"), frame(b'B', &[0; 65_535])].concat();
        assert_eq!(frames.follow(&chunk), chunk.len());
        assert_eq!(frames.last(), Some(b'B'));
        let connect = connect(b'6', b"IPv6:::1");
        assert_eq!(
            frames.follow(&[chunk.as_slice(), &connect].concat()),
            chunk.len()
        );
        assert_eq!(frames.last(), Some(b'C'));
    }

    proptest! {
        /// Whatever comes, in whatever pieces, the same is read as in one piece, and octets are
        /// lost only with a tag.
        #[test]
        fn pieces_change_nothing(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    Just(connect(b'6', b"IPv6:::1")),
                    Just(frame(b'M', b"<alice@army.mil>\0")),
                ],
                0..6,
            ),
            cuts in prop::collection::vec(1_usize..20, 1..20),
        ) {
            let sent = parts.concat();
            let whole = read([sent.as_slice()], 8192);
            let mut pieces = Vec::new();
            let (mut rest, mut cuts) = (sent.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, then) = parted(rest, *cuts.next().unwrap());
                pieces.push(piece);
                rest = then;
            }
            prop_assert_eq!(&read(pieces, 7), &whole);
            prop_assert_eq!((sent.len() - whole.len()) % TAG.len(), 0);
        }
    }
}
