//! The mail log of Postfix and Sendmail, read as it is: every delivery with its sender.
//!
//! The lines of one message are scattered: who brought it, who sent it, what became of each
//! recipient. [`MailLog`] joins them by queue id and tells one [`Delivery`] after the other.
//! It reads bytes in one pass, allocates nothing per line, and keeps only what is under way.
//!
//! Nothing in a log is an error: what is cut off, unreadable, of another program or without its
//! beginning is counted in [`Tally`] and passed over.

mod line;
mod login;
mod postfix;
mod queue;
mod record;
mod refusal;
mod sendmail;
mod source;
mod timestamp;

use std::io::{self, Read};
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use line::Line;
use login::Logins;
use queue::{Entry, Queue, Slot};
use record::{Client, Record};
use refusal::{Attempt, Refusal, Refusals, Waiting};
use timestamp::Clock;

pub use record::{Destination, Entrance, Outcome};
pub use source::{Compression, LogFile, decompress, in_order};

/// Longest line looked into. Syslog daemons cut at 8 KiB (rsyslog), Postfix at 2 KiB.
pub const MAX_LINE: usize = 64 * 1024;
/// Bytes read at once.
const BUFFER: usize = 1024 * 1024;
/// How far beyond now a line may be dated, in seconds: the other host's clock may be ahead, and a
/// time without a zone may be of another one.
const AHEAD: i64 = 86_400;
/// Most unreadable lines that are kept to be shown.
const SAMPLES: usize = 5;
/// Bytes of an unreadable line that are kept.
const SAMPLE: usize = 120;

/// What became of one recipient of one message, in one line of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivery<'l> {
    /// Seconds since 1970-01-01T00:00Z.
    pub time: i64,
    /// The MTA's name for the message; empty when it was refused before it had one.
    pub queue_id: &'l [u8],
    /// Counts the messages of this run, from 1; 0 for one refused before it had a queue id.
    pub message: u64,
    /// Envelope sender without brackets, empty for the null sender; `None` when its line is
    /// missing.
    pub sender: Option<&'l [u8]>,
    /// Envelope recipient as delivered to, after aliases.
    pub recipient: &'l [u8],
    /// Envelope recipient as it was given, where an alias changed it (Postfix's `orig_to`). This
    /// is what a milter sees.
    pub original: Option<&'l [u8]>,
    /// The next host, mailbox or program, as the MTA writes it.
    pub relay: &'l [u8],
    /// What kind of next hop it is.
    pub destination: Destination,
    /// What became of it.
    pub outcome: Outcome,
    /// How the message came in; with a content filter, how it came to the first hop.
    pub entrance: Entrance,
    /// Who brought it in, likewise.
    pub client: Option<IpAddr>,
    /// SASL login of whoever brought it in.
    pub login: Option<&'l [u8]>,
    /// Whether no earlier line told of this recipient of this message. One that was refused for
    /// now (4xx) has been told of when it is tried again.
    pub first: bool,
    /// Whether no earlier line told of this original recipient of this message, likewise; `true`
    /// without one.
    pub first_original: bool,
    /// Whether no earlier line told of a recipient of this message.
    pub first_of_message: bool,
}

/// What was read, and what could not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Bytes, after decompression.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Lines of Postfix or Sendmail.
    pub mail_lines: u64,
    /// Lines of other programs.
    pub other_lines: u64,
    /// Lines without a time or a program: no lines of a syslog.
    pub unreadable_lines: u64,
    /// Lines of the MTA that are cut off within what is needed.
    pub truncated_lines: u64,
    /// Lines longer than [`MAX_LINE`], passed over.
    pub overlong_lines: u64,
    /// Lines of the MTA dated more than a day later than now: they are told with the time of the
    /// line before.
    pub later_lines: u64,
    /// Recipients told of.
    pub deliveries: u64,
    /// Deliveries to a filter of this host whose next hop is in the log as well: not told.
    pub inner_hops: u64,
    /// Deliveries whose sender is not in the log: its line was before the beginning. And refused
    /// recipients whose sender is behind the end: not told.
    pub without_sender: u64,
    /// Recipients that Sendmail abridged with `...`: not told.
    pub abridged: u64,
    /// Messages forgotten for want of room.
    pub forgotten_messages: u64,
    /// First and last time, in seconds since 1970-01-01T00:00Z.
    pub first: Option<i64>,
    /// See `first`.
    pub last: Option<i64>,
    /// The first unreadable lines.
    pub samples: Vec<Sample>,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Sample {
    /// The log's name.
    pub log: String,
    /// Line, counted from 1.
    pub line: u64,
    /// How it begins, escaped.
    pub text: String,
}

/// A reader of mail logs. Read rotated logs oldest first: a message may begin in one and end in
/// the next.
#[derive(Debug)]
pub struct MailLog {
    clock: Clock,
    queue: Queue,
    logins: Logins,
    refusals: Refusals,
    tally: Tally,
    log: String,
    line: u64,
    now: i64,
    /// The time of the last line of the MTA that was not later than now.
    before: Option<i64>,
}

impl MailLog {
    /// Reads times without a zone as those of `zone`. No line is later than a day after `now`:
    /// where a clock was wrong, the time of the line before is told.
    pub fn new(zone: TimeZone, now: Timestamp) -> MailLog {
        MailLog {
            clock: Clock::new(zone, now),
            now: now.as_second(),
            queue: Queue::new(),
            logins: Logins::default(),
            refusals: Refusals::default(),
            tally: Tally::default(),
            log: String::new(),
            line: 0,
            before: None,
        }
    }

    /// Begins the log `name`, last written at `written`: times without a year are inferred from
    /// that.
    pub fn begin(&mut self, name: &str, written: Timestamp) {
        name.clone_into(&mut self.log);
        self.line = 0;
        self.clock.begin(written);
    }

    /// Reads all of `input` and tells `sink` every delivery, in the order of the log.
    ///
    /// # Errors
    /// When reading fails; what was read before has been told.
    pub fn read(
        &mut self,
        mut input: impl Read,
        mut sink: impl FnMut(&Delivery<'_>),
    ) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut filled = 0;
        let mut overlong = false;
        loop {
            let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) else {
                return Ok(());
            };
            let read = match input.read(room) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = filled + read;
            self.tally.bytes += read as u64;
            let mut start = 0;
            // What was filled before holds no line end.
            for at in memchr::memchr_iter(b'\n', buffer.get(filled..end).unwrap_or_default()) {
                let line = buffer.get(start..filled + at).unwrap_or_default();
                if std::mem::take(&mut overlong) {
                    self.count_line();
                    self.tally.overlong_lines += 1;
                } else {
                    self.line(line, &mut sink);
                }
                start = filled + at + 1;
            }
            filled = end - start;
            if filled > MAX_LINE {
                // Its beginning is dropped; its end will be, too.
                overlong = true;
                filled = 0;
            } else {
                buffer.copy_within(start..end, 0);
            }
        }
        if overlong {
            self.count_line();
            self.tally.overlong_lines += 1;
        } else if filled > 0 {
            self.line(buffer.get(..filled).unwrap_or_default(), &mut sink);
        }
        Ok(())
    }

    /// Reads one line, with or without its line end.
    pub fn line(&mut self, text: &[u8], mut sink: impl FnMut(&Delivery<'_>)) {
        self.count_line();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() > MAX_LINE {
            self.tally.overlong_lines += 1;
            return;
        }
        let Some(mut line) = Line::parse(text, &mut self.clock) else {
            if !text.is_empty() {
                self.unreadable(text);
            }
            return;
        };
        let (instance, record) = if let Some((instance, daemon)) = postfix::program(line.tag) {
            (instance, postfix::parse(line.tag, daemon, line.body))
        } else if sendmail::is_program(line.tag) {
            (&b"sendmail"[..], sendmail::parse(line.body))
        } else {
            self.tally.other_lines += 1;
            return;
        };
        self.tally.mail_lines += 1;
        if self.is_later(line.time) {
            self.tally.later_lines += 1;
            line.time = self.before.unwrap_or(self.now);
        } else {
            let (first, last) = (self.tally.first, self.tally.last);
            self.tally.first = Some(first.map_or(line.time, |first| first.min(line.time)));
            self.tally.last = Some(last.map_or(line.time, |last| last.max(line.time)));
            self.before = Some(line.time);
        }
        self.record(&line, instance, record, &mut sink);
    }

    /// Returns what was read so far.
    pub fn tally(&self) -> Tally {
        Tally {
            forgotten_messages: self.queue.evicted,
            without_sender: self.tally.without_sender
                + self.queue.unheard
                + self.queue.waiting as u64,
            ..self.tally.clone()
        }
    }

    /// Returns the time in front of a line, unless that is still to come.
    fn time_of(&mut self, text: &[u8]) -> Option<i64> {
        let time = Line::parse(text, &mut self.clock)?.time;
        (!self.is_later(time)).then_some(time)
    }

    fn is_later(&self, time: i64) -> bool {
        time > self.now.saturating_add(AHEAD)
    }

    fn count_line(&mut self) {
        self.tally.lines += 1;
        self.line += 1;
    }

    #[cold]
    fn unreadable(&mut self, text: &[u8]) {
        self.tally.unreadable_lines += 1;
        if self.tally.samples.len() < SAMPLES {
            let text = text.get(..SAMPLE).unwrap_or(text);
            self.tally.samples.push(Sample {
                log: self.log.clone(),
                line: self.line,
                text: crate::untrusted::Untrusted(text).to_string(),
            });
        }
    }

    fn record(
        &mut self,
        line: &Line<'_>,
        instance: &[u8],
        record: Record<'_>,
        sink: &mut impl FnMut(&Delivery<'_>),
    ) {
        match record {
            Record::Nothing => {}
            Record::Truncated => self.tally.truncated_lines += 1,
            Record::Begun { id, client } => {
                let slot = self.slot(line, instance, id);
                if self.queue.entry(slot).is_some_and(|entry| entry.is_begun()) {
                    self.queue.begin_again(slot);
                }
                self.set_client(slot, client);
            }
            // Sendmail's queue ids hold the time and the process: none comes again in sixty years.
            Record::Client { id, client } => {
                let slot = self.slot(line, instance, id);
                self.set_client(slot, client);
            }
            Record::MessageId { id, message_id } => {
                let slot = self.slot(line, instance, id);
                if self
                    .queue
                    .entry(slot)
                    .is_some_and(|entry| entry.is_queued())
                {
                    self.queue.begin_again(slot);
                }
                self.queue.set_message_id(slot, message_id);
            }
            Record::From {
                id,
                sender,
                recipients,
                message_id,
                entrance,
                login_at,
            } => {
                let slot = self.slot(line, instance, id);
                if let Some(entry) = self.queue.entry(slot) {
                    entry.set_sender(sender);
                    if let Some((entrance, ip)) = entrance {
                        entry.expected = recipients;
                        entry.entrance = entrance;
                        (entry.peer, entry.ip) = (ip, ip);
                    }
                }
                if let Some(message_id) = message_id {
                    self.queue.set_message_id(slot, message_id);
                }
                if let Some(process) = login_at
                    && let Some((_, ip)) = entrance
                    && let process = self.queue.process(line.host, process)
                    && let Some(login) = self.logins.of(process, ip)
                    && let Some(entry) = self.queue.entry(slot)
                    && entry.login().is_none()
                {
                    entry.set_login(login);
                }
                self.queue.inherit(slot);
                for waited in self.queue.waited(slot) {
                    self.refuse(Some(slot), waited.time, &waited.refusal(id), sink);
                }
            }
            Record::Login { ip, login } => {
                if let Some(process) = sendmail::number(line.process) {
                    let process = self.queue.process(line.host, process);
                    self.logins.add(process, ip, login);
                }
            }
            Record::To {
                id,
                recipients,
                original,
                relay,
                destination,
                outcome,
            } => {
                let slot = self.slot(line, instance, id);
                if instance == b"sendmail" {
                    for recipient in sendmail::addresses(recipients) {
                        // shortenstring() of Sendmail.
                        if memchr::memmem::find(recipient, b"...").is_some() {
                            self.tally.abridged += 1;
                            continue;
                        }
                        let told = Told {
                            recipient,
                            original,
                            relay,
                            destination,
                            outcome,
                        };
                        self.deliver(slot, line.time, id, told, sink);
                    }
                } else {
                    let told = Told {
                        recipient: recipients,
                        original,
                        relay,
                        destination,
                        outcome,
                    };
                    self.deliver(slot, line.time, id, told, sink);
                }
            }
            Record::Refused {
                id,
                entrance,
                ip,
                login,
                sender,
                recipient,
                lasting,
            } => {
                let refusal = Refusal {
                    id: id.unwrap_or_default(),
                    entrance,
                    ip,
                    login,
                    sender,
                    recipient,
                    lasting,
                };
                let slot = match (id, sender) {
                    // Sendmail tells the sender at the end of the transaction.
                    (Some(id), None) => {
                        let slot = self.slot(line, instance, id);
                        let entry = self.queue.entry(slot);
                        if entry.is_some_and(|entry| entry.sender().is_none())
                            && self
                                .queue
                                .wait(slot, Waiting::new(line.time, lasting, recipient))
                        {
                            return;
                        }
                        Some(slot)
                    }
                    // Without a message of its own a refusal leaves no trace in the queue.
                    (Some(id), Some(_)) => {
                        let key = self.queue.key(line.host, instance, id);
                        self.queue.find(key, id)
                    }
                    (None, _) => None,
                };
                self.refuse(slot, line.time, &refusal, sink);
            }
            Record::Removed { id } => {
                let key = self.queue.key(line.host, instance, id);
                if let Some(slot) = self.queue.find(key, id) {
                    self.queue.remove(slot);
                }
            }
        }
    }

    fn slot(&mut self, line: &Line<'_>, instance: &[u8], id: &[u8]) -> Slot {
        let key = self.queue.key(line.host, instance, id);
        self.queue.find_or_add(key, id, line.time)
    }

    fn set_client(&mut self, slot: Slot, client: Client<'_>) {
        if let Some(entry) = self.queue.entry(slot) {
            entry.entrance = client.entrance;
            (entry.peer, entry.ip) = (client.peer, client.ip);
            if let Some(login) = client.login {
                entry.set_login(login);
            }
        }
    }

    fn refuse(
        &mut self,
        slot: Option<Slot>,
        time: i64,
        refusal: &Refusal<'_>,
        sink: &mut impl FnMut(&Delivery<'_>),
    ) {
        let recipient = self.queue.hash(refusal.recipient);
        let entry = slot.and_then(|slot| self.queue.entry(slot));
        let entry = entry.map(|entry| &*entry);
        let sender = refusal.sender.or(entry.and_then(Entry::sender));
        let client = refusal.ip.or(entry.and_then(|entry| entry.ip));
        let first = sender.is_none_or(|sender| {
            let attempt = Attempt {
                time,
                recipient,
                sender,
                client,
            };
            self.refusals.refused(&attempt, refusal.lasting)
        });
        self.tally.deliveries += 1;
        self.tally.without_sender += u64::from(sender.is_none());
        sink(&Delivery {
            time,
            queue_id: refusal.id,
            message: entry.map_or(0, |entry| entry.number),
            sender,
            recipient: refusal.recipient,
            original: None,
            relay: b"",
            destination: Destination::Nobody,
            outcome: Outcome::Refused,
            entrance: entry
                .map(|entry| entry.entrance)
                .filter(|known| *known != Entrance::Unknown)
                .unwrap_or(refusal.entrance),
            client,
            login: refusal.login.or(entry.and_then(Entry::login)),
            first,
            first_original: true,
            first_of_message: false,
        });
    }

    fn deliver(
        &mut self,
        slot: Slot,
        time: i64,
        id: &[u8],
        told: Told<'_>,
        sink: &mut impl FnMut(&Delivery<'_>),
    ) {
        let recipient = self.queue.hash(told.recipient);
        let original = told.original.map(|original| self.queue.hash(original));
        let Some(entry) = self.queue.entry(slot) else {
            return;
        };
        let is_final = told.outcome.is_final();
        entry.finished += u32::from(is_final);
        // The filter has given it back already, so the next hop tells.
        let to_filter = entry.next_hop.is_some_and(|next| {
            next.to_canonical().is_loopback() && told.destination == Destination::Loopback
                || record::ip(told.relay).is_some_and(|relay| relay == next)
        });
        if to_filter && told.outcome == Outcome::Sent {
            self.tally.inner_hops += 1;
            return;
        }
        let mut first = entry.first_try(recipient, !is_final);
        let mut first_original = original.is_none_or(|original| entry.first_original(original));
        let is_first = match original {
            Some(_) => first_original,
            None => first,
        };
        // Refused for now before it was accepted, as it was given then.
        if is_first
            && let Some(sender) = entry.sender()
            && self.refusals.end(&Attempt {
                time,
                recipient: original.unwrap_or(recipient),
                sender,
                client: entry.ip,
            })
        {
            (first, first_original) = (false, false);
        }
        let first_of_message = !std::mem::replace(&mut entry.told, true);
        self.tally.deliveries += 1;
        self.tally.without_sender += u64::from(entry.sender().is_none());
        sink(&Delivery {
            time,
            queue_id: id,
            message: entry.number,
            sender: entry.sender(),
            recipient: told.recipient,
            original: told.original,
            relay: told.relay,
            destination: told.destination,
            outcome: told.outcome,
            entrance: entry.entrance,
            client: entry.ip,
            login: entry.login(),
            first,
            first_original,
            first_of_message,
        });
    }
}

/// What a delivery line told.
struct Told<'l> {
    recipient: &'l [u8],
    original: Option<&'l [u8]>,
    relay: &'l [u8],
    destination: Destination,
    outcome: Outcome,
}

#[cfg(test)]
mod tests;
