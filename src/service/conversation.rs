//! One milter connection from CONNECT to its end: the session, what is decided about it, and
//! the copy of a message that is kept when a recipient is held.
//!
//! The adapters convert bytes and nothing else, so every milter library behaves the same.
//! Calls that may wait for the disk say so; an asynchronous adapter moves those off its
//! executor.

mod record;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::answer::MAX_ANSWER;
use super::decide::{DecideError, Decision};
use super::desk::{Taken, Writer};
use super::quarantine::HoldError;
use super::{Service, Snapshot};
use crate::fault;
use crate::logging::event;
use crate::octets::Octets;
use crate::policy::{Action, Band, DEFAULT_RULE, OnError, Role};
use crate::reply::Reply;
use crate::score::{Assessment, Context};
use crate::session::{
    Answer, Change, Client, Judged, Mail, Message, Passage, Rcpt, Recipient, Session,
};
use crate::spool::{Draft, Envelope, HeldRecipient, SpoolError};
use crate::untrusted::Untrusted;

/// Octets in every chunk of a body but the last one (`MILTER_CHUNK_SIZE` of both MTAs).
const FULL_CHUNK: usize = 65_535;

/// The client by whose name `straymail doctor` speaks to a listener; no MTA gives a name without a dot
/// to a stranger.
pub const DOCTOR: &str = "straymail-doctor";

/// What a RCPT needs.
#[derive(Debug)]
pub enum RcptStep {
    /// Nothing more: answer this.
    Answered(Answer),
    /// There is evidence: call [`Conversation::settle`], which may wait for the disk.
    Evidence(Box<Recipient>, Assessment),
}

/// What to tell the MTA at the end of a message.
#[derive(Debug)]
pub struct Outcome {
    /// Changes to ask for, in this order, before the answer.
    pub changes: Vec<Change>,
    /// The final answer.
    pub answer: Answer,
}

/// One milter connection.
pub struct Conversation {
    service: Arc<Service>,
    snapshot: Arc<Snapshot>,
    id: String,
    session: Session,
    copy: Copy,
    reply: Option<ReplyToNotice>,
    /// It is the watchdog's: judged like any other, and not counted, logged or kept.
    probe: bool,
    /// It is the doctor's: as any other, but nobody's mail and so not counted.
    doctor: bool,
    /// The message is ours to judge, and not counted yet: its first recipient tells whether it is
    /// new, or held mail on its way out.
    uncounted: bool,
    /// Since when the MTA waits for the answer about a recipient with evidence.
    asked: Option<Instant>,
}

/// A message to the address that notices come from, read while it passes.
struct ReplyToNotice {
    recipient: Recipient,
    octets: Vec<u8>,
}

impl ReplyToNotice {
    /// Keeps what fits; the deciding word stands in front.
    fn write(&mut self, octets: &[u8]) {
        let room = MAX_ANSWER.saturating_sub(self.octets.len());
        self.octets.extend(octets.iter().take(room));
    }
}

/// The copy of the message for the quarantine.
enum Copy {
    /// Nobody is held (yet): nothing is kept.
    NotNeeded,
    /// Header fields are coming in.
    Header(Draft),
    /// The header has ended.
    Body(Draft),
    /// Writing failed; the error is for the end of the message.
    Failed(SpoolError),
}

impl Conversation {
    /// Begins a conversation on a listener of `role`, under the rules now in force.
    pub fn new(service: Arc<Service>, role: Role) -> Conversation {
        Conversation {
            snapshot: service.snapshot(),
            id: service.next_session_id(),
            session: Session::new(role),
            copy: Copy::NotNeeded,
            reply: None,
            probe: false,
            doctor: false,
            uncounted: false,
            asked: None,
            service,
        }
    }

    /// Returns the session id that stands in every log line of this conversation.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Before CONNECT: the MTA's version, see [`Session::mta`].
    pub fn mta(&mut self, version: Option<&[u8]>) {
        self.session.mta(version);
    }

    /// CONNECT.
    pub fn connect(&mut self, client: Client) {
        fault::point("connect");
        self.probe = self.service.is_probe(&client);
        self.doctor = client.name == DOCTOR.as_bytes();
        self.session.connect(client);
    }

    /// MAIL.
    pub fn mail(&mut self, mail: Mail<'_>) {
        fault::point("mail");
        self.copy = Copy::NotNeeded;
        self.reply = None;
        let (gate, suffixes) = (&self.snapshot.gate, &self.snapshot.suffixes);
        let passage = self.session.mail(mail, gate, suffixes).passage;
        let counts = !self.probe && !self.doctor;
        self.uncounted = counts && passage == Passage::Judged;
        if counts && !self.uncounted {
            self.service.count_message(passage);
        }
    }

    /// RCPT: assesses without I/O.
    pub fn rcpt(&mut self, rcpt: Rcpt<'_>) -> RcptStep {
        let asked = Instant::now();
        let step = self.look_at(rcpt);
        match &step {
            _ if self.probe => {}
            RcptStep::Answered(_) => {
                self.service.counters.rcpt.observe(asked.elapsed());
                self.count_as_new();
            }
            RcptStep::Evidence(..) => self.asked = Some(asked),
        }
        step
    }

    fn look_at(&mut self, rcpt: Rcpt<'_>) -> RcptStep {
        fault::point("rcpt");
        if self.probe {
            let recipient = Recipient::parse(rcpt, &self.snapshot.suffixes);
            return match self.snapshot.assess(&recipient, &Context::default()) {
                Some(assessment) => RcptStep::Evidence(Box::new(recipient), assessment),
                None => RcptStep::Answered(Answer::Refuse(Reply::probe_judged())),
            };
        }
        let Some(recipient) = self.session.rcpt(rcpt, &self.snapshot.suffixes) else {
            return RcptStep::Answered(Answer::Continue);
        };
        if (self.service.desk()).is_some_and(|desk| recipient.canonical() == desk.from) {
            self.session.let_pass(recipient.clone());
            self.reply = Some(ReplyToNotice {
                recipient,
                octets: Vec::new(),
            });
            return RcptStep::Answered(Answer::Continue);
        }
        let Some(assessment) = self.snapshot.assess(&recipient, &Context::default()) else {
            self.let_pass(recipient);
            return RcptStep::Answered(Answer::Continue);
        };
        // What is known beside the name matters only where the name itself is doubtful.
        let companions = (self.session.message()).map_or(&[][..], |message| &message.companions);
        let assessment = match companions {
            [] => assessment,
            companions => {
                let context = Context {
                    companions: companions.to_vec(),
                    ..Context::default()
                };
                (self.snapshot.assess(&recipient, &context)).unwrap_or(assessment)
            }
        };
        RcptStep::Evidence(Box::new(recipient), assessment)
    }

    /// Decides about a recipient with evidence. May wait for the disk.
    pub fn settle(&mut self, recipient: Recipient, assessment: Assessment) -> Answer {
        let answer = self.decide_about(recipient, assessment);
        self.count_as_new();
        if let Some(asked) = self.asked.take() {
            self.service.counters.rcpt.observe(asked.elapsed());
        }
        answer
    }

    fn decide_about(&mut self, recipient: Recipient, assessment: Assessment) -> Answer {
        let service = Arc::clone(&self.service);
        if self.probe {
            let to = recipient.canonical();
            let subject = self.session.subject("", &to);
            // A store that cannot be read is told where a recipient needs it; judging goes on.
            let _ =
                (self.snapshot).decide(&subject, &assessment, service.quarantine(), service.now());
            return Answer::Refuse(Reply::probe_judged());
        }
        if self.session.message().is_none() {
            // Nobody would remember at the end of the message what was decided now.
            let (what, error) = ("a recipient cannot be judged", NotHeld::NoMail);
            service.counters.faults.fetch_add(1, Ordering::Relaxed);
            event::fault(service.log(), &self.id, what, OnError::Tempfail, &error);
            return Answer::Refuse(Reply::fault());
        }
        let now = service.now();
        let to = recipient.canonical();
        let from = self.sender();
        let subject = self.session.subject(&from, &to);
        let band = (self.snapshot.policy)
            .decide(&subject, &assessment, None, now)
            .band;
        let weighed = match service.learning() {
            // Worth a line in the log, so worth a look at what was learned.
            Some(learning) if band != Band::Clean => {
                let companions = (self.session.message()).map_or(&[][..], |m| &m.companions);
                learning.weigh(
                    &self.snapshot,
                    &recipient,
                    &from,
                    companions,
                    assessment,
                    now,
                )
            }
            _ => Ok(assessment),
        };
        let decided = weighed.and_then(|assessment| {
            let verdict =
                (self.snapshot).decide(&subject, &assessment, service.quarantine(), now)?;
            Ok((assessment, verdict))
        });
        let (assessment, verdict) = match decided {
            Ok(decided) => decided,
            Err(error) => {
                let on_error = self.snapshot.policy.on_error_for(&subject, now);
                return self.fault(recipient, on_error, &error);
            }
        };
        if verdict.band == Band::Clean {
            // Too weak to be worth a line in the log: as good as no evidence, and as cheap.
            self.let_pass(recipient);
            return Answer::Continue;
        }
        let verdict = match recipient.can_be_held(self.session.role()) {
            true => verdict,
            false => verdict.without_removal(),
        };
        // Only figures depend on it: where the store does not tell, it is new.
        let released = match &verdict.approval {
            Some(_) => (service.quarantine().being_released(&from, &to, now)).unwrap_or_default(),
            None => None,
        };
        match released {
            None => service.counters.count(&verdict),
            Some(_) if self.uncounted => {
                self.uncounted = false;
                service.counters.released.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => {}
        }
        let judged = Judged {
            recipient,
            assessment,
            verdict,
        };
        self.report(&judged, &to, released);
        match judged.verdict.action {
            Action::Reject => {
                let reply = Reply::rejected(&to, &judged.assessment, &self.snapshot.help);
                return Answer::Refuse(match self.session.mta_names(&judged.recipient) {
                    true => reply.without_recipient(),
                    false => reply,
                });
            }
            Action::Tempfail => return Answer::Refuse(Reply::fault()),
            Action::Accept | Action::Tag | Action::Hold | Action::HoldMessage => {}
        }
        self.session.note(judged);
        Answer::Continue
    }

    /// One header field, `value` as the MTA gave it, with its leading white space and with
    /// bare LF at line folds.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if let Some(reply) = &mut self.reply {
            for part in [name, b":", &with_crlf(value), b"\r\n"] {
                reply.write(part);
            }
        }
        if matches!(self.copy, Copy::NotNeeded) && self.session.wants_content() {
            self.copy = Copy::Header(self.service.quarantine().draft());
        }
        if let Copy::Header(draft) = &mut self.copy {
            let written = (draft.write(name))
                .and_then(|()| draft.write(b":"))
                .and_then(|()| draft.write(&with_crlf(value)))
                .and_then(|()| draft.write(b"\r\n"));
            if let Err(error) = written {
                self.copy = Copy::Failed(error);
            }
        }
    }

    /// End of the header.
    pub fn end_of_header(&mut self) {
        fault::point("eoh");
        if let Some(reply) = &mut self.reply {
            reply.write(b"\r\n");
        }
        if matches!(self.copy, Copy::NotNeeded) && self.session.wants_content() {
            // A message without a single header field.
            self.copy = Copy::Header(self.service.quarantine().draft());
        }
        self.copy = match std::mem::replace(&mut self.copy, Copy::NotNeeded) {
            Copy::Header(mut draft) => match draft.write(b"\r\n") {
                Ok(()) => Copy::Body(draft),
                Err(error) => Copy::Failed(error),
            },
            copy => copy,
        };
    }

    /// One chunk of the body. Writes to the disk from 256 KiB on.
    pub fn body(&mut self, chunk: &[u8]) -> Answer {
        if let Some(reply) = &mut self.reply {
            reply.write(chunk);
        }
        match &mut self.copy {
            Copy::Body(draft) => {
                if let Err(error) = draft.write(chunk) {
                    self.copy = Copy::Failed(error);
                }
                Answer::Continue
            }
            // indymilter answers twice and leaves out the end of the message when the body was
            // skipped in its very last chunk (SMFIC_BODYEOB with data), so skip only what has
            // nothing left to decide, and in a full chunk, behind which there is more to skip.
            Copy::NotNeeded
                if chunk.len() >= FULL_CHUNK && self.session.is_plain() && self.reply.is_none() =>
            {
                Answer::Skip
            }
            Copy::NotNeeded | Copy::Header(_) | Copy::Failed(_) => Answer::Continue,
        }
    }

    /// Returns whether [`Conversation::end_of_message`] will wait for the disk.
    pub fn holds(&self) -> bool {
        self.session.wants_content() || self.reply.is_some()
    }

    /// End of the message: stores what is held, then says what to ask of the MTA.
    ///
    /// Waits for the disk when [`Conversation::holds`]. `can_hold` says whether the MTA lets
    /// recipients be deleted; where it does not, holding is our fault, not an accept.
    pub fn end_of_message(&mut self, queue_id: Option<&[u8]>, can_hold: bool) -> Outcome {
        fault::point("eom-before-store");
        let copy = std::mem::replace(&mut self.copy, Copy::NotNeeded);
        let reply = self.reply.take();
        let Some(message) = self.session.end_of_message(queue_id) else {
            return Outcome::plain(Answer::Continue);
        };
        let mut answered = Vec::new();
        if let Some(reply) = reply {
            match self.take_answer(&reply, &message) {
                Ok(Taken::NoAnswer) => {}
                // Nobody else is to get it.
                Ok(Taken::Decided(_)) if message.clean == 1 && message.judged.is_empty() => {
                    return Outcome::plain(Answer::Discard);
                }
                Ok(Taken::Decided(_)) => answered = reply.recipient.removals().collect(),
                Err(refusal) => return Outcome::plain(Answer::Refuse(refusal)),
            }
        }
        let other = "another recipient of the message could not be judged";
        if message.fault == Some(OnError::Tempfail) {
            self.report_not_held(&message, OnError::Tempfail, other);
            return Outcome::plain(Answer::Refuse(Reply::fault()));
        }
        if message.fault == Some(OnError::HoldMessage) && message.must_split() {
            self.report_not_held(&message, OnError::HoldMessage, other);
            return Outcome {
                changes: vec![unjudged()],
                answer: Answer::Continue,
            };
        }
        if message.held().next().is_some() {
            let stored = match copy {
                Copy::Body(draft) if message.must_split() => self.take_over(draft, &message),
                _ if !can_hold => Err(NotHeld::CannotDelete),
                Copy::Body(draft) => self.hold(draft, &message),
                Copy::Failed(error) => Err(NotHeld::Spool(error)),
                Copy::NotNeeded | Copy::Header(_) => Err(NotHeld::NoContent),
            };
            if let Err(error) = stored {
                let on_error = message.on_hold_error();
                let what = "message cannot be held";
                self.report_not_held(
                    &message,
                    on_error,
                    &format!("{what}: {}", event::chain(&error)),
                );
                return self.fault_at_end(on_error, what, &error);
            }
            fault::point("eom-after-store");
        }
        if message.must_split() || message.all_held() && message.fault != Some(OnError::HoldMessage)
        {
            return Outcome::plain(Answer::Discard);
        }
        if let Some(learning) = self.service.learning()
            && message.fault.is_none()
        {
            learning.note(&message, &self.snapshot, self.service.now());
        }
        let mut changes = message.changes();
        changes.extend(answered);
        if message.fault == Some(OnError::HoldMessage) {
            changes.push(unjudged());
        }
        Outcome {
            changes,
            answer: Answer::Continue,
        }
    }

    /// Takes a reply to a notice; a reply that does not count is refused with the reason.
    fn take_answer(&self, reply: &ReplyToNotice, message: &Message) -> Result<Taken, Reply> {
        let Some(desk) = self.service.desk() else {
            return Ok(Taken::NoAnswer);
        };
        let writer = Writer {
            sender: message.sender.canonical(),
            login: (message.login.as_deref()).map(|login| Untrusted::text(login).to_string()),
        };
        let now = self.service.now();
        let taken = desk.take(self.service.quarantine(), &reply.octets, &writer, now);
        let log = self.service.log();
        match &taken {
            Ok(Taken::Decided(entries)) => {
                for entry in entries {
                    event::answered(log, &self.id, entry, &writer.sender);
                }
            }
            Ok(Taken::NoAnswer) => {}
            Err(error) => event::not_answered(log, &self.id, &writer.sender, error),
        }
        taken.map_err(|error| match error.is_our_fault() {
            true => Reply::fault(),
            false => Reply::not_taken(&error),
        })
    }

    /// ABORT: the message is not going to be sent.
    pub fn abort(&mut self) {
        self.copy = Copy::NotNeeded;
        self.reply = None;
        self.session.abort();
    }

    fn let_pass(&mut self, recipient: Recipient) {
        self.session.let_pass(recipient);
        if !self.doctor {
            self.service.counters.clean.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the message, unless that was done.
    fn count_as_new(&mut self) {
        if std::mem::take(&mut self.uncounted) {
            self.service.count_message(Passage::Judged);
        }
    }

    fn sender(&self) -> String {
        (self.session.message()).map_or(String::new(), |message| message.sender.canonical())
    }

    /// Stores the message for its held recipients.
    fn hold(&self, draft: Draft, message: &Message) -> Result<(), NotHeld> {
        let held = message.held().map(held_recipient);
        self.store(draft, message, held, std::iter::empty())
    }

    /// Takes the whole message over, because the MTA would not remove the held recipients: they
    /// are held, and the worker sends the others their copies at once.
    fn take_over(&self, draft: Draft, message: &Message) -> Result<(), NotHeld> {
        let (held, passed): (Vec<&Judged>, Vec<&Judged>) =
            (message.judged.iter()).partition(|judged| match judged.verdict.action {
                Action::Hold | Action::HoldMessage => true,
                Action::Accept | Action::Tag | Action::Reject | Action::Tempfail => false,
            });
        let passed = (passed.into_iter().map(held_recipient))
            .chain(message.passed.iter().map(passed_recipient));
        self.store(draft, message, held.into_iter().map(held_recipient), passed)
    }

    /// Stores the message; entries of `passed` recipients are released at once.
    fn store(
        &self,
        draft: Draft,
        message: &Message,
        held: impl Iterator<Item = HeldRecipient>,
        passed: impl Iterator<Item = HeldRecipient>,
    ) -> Result<(), NotHeld> {
        let now = self.service.now();
        let client = self.session.client();
        // One mailbox is one entry, however often and in whatever spelling the client named it;
        // one that is held in any spelling is held.
        let mut recipients: Vec<HeldRecipient> = Vec::new();
        let mut add = |recipient: HeldRecipient| {
            let known = (recipients.iter()).any(|known| known.address == recipient.address);
            if !known {
                recipients.push(recipient);
            }
            recipients.len()
        };
        let held = held.fold(0, |_, recipient| add(recipient));
        passed.for_each(|recipient| {
            add(recipient);
        });
        let envelope = Envelope {
            sender: message.sender.path().into(),
            sender_address: message.sender.canonical(),
            sender_args: octets(&message.sender_args),
            session: self.id.clone(),
            queue_id: message.queue_id.clone(),
            client_ip: client.ip,
            client_name: Some(client.name.as_slice().into()),
            login: message.login.as_deref().map(Octets::from),
            role: self.session.role(),
            received_at: now,
            recipients,
        };
        let quarantine = self.service.quarantine();
        let ids = quarantine.hold(draft, envelope, now)?;
        let (held, passed) = ids.split_at_checked(held).unwrap_or((&ids, &[]));
        for id in passed {
            match quarantine.decide(id, &Decision::SEND, "milter, not in doubt", now) {
                // The client tried again, and the worker was faster.
                Ok(_) | Err(DecideError::Decided { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (log, queue_id) = (self.service.log(), message.queue_id.as_deref());
        event::held(log, &self.id, queue_id, held);
        if !passed.is_empty() {
            event::taken_over(log, &self.id, queue_id, passed);
        }
        Ok(())
    }
}

impl Conversation {
    /// A fault while judging a recipient: the rule's `on_error` decides.
    fn fault(&mut self, recipient: Recipient, on_error: OnError, error: &dyn Error) -> Answer {
        let what = "approvals cannot be read";
        self.service.counters.faults.fetch_add(1, Ordering::Relaxed);
        event::fault(self.service.log(), &self.id, what, on_error, error);
        match on_error {
            // A recipient of sendmail(1) mail must not be refused at RCPT.
            OnError::Tempfail if self.session.role() != Role::Local => {
                return Answer::Refuse(Reply::fault());
            }
            OnError::Tempfail | OnError::HoldMessage | OnError::Accept => {}
        }
        self.session.fail(on_error, recipient);
        Answer::Continue
    }

    /// A fault while holding: the strictest `on_error` of the held recipients' rules decides.
    fn fault_at_end(&self, on_error: OnError, what: &'static str, error: &dyn Error) -> Outcome {
        self.service.counters.faults.fetch_add(1, Ordering::Relaxed);
        event::fault(self.service.log(), &self.id, what, on_error, error);
        match on_error {
            OnError::Tempfail => Outcome::plain(Answer::Refuse(Reply::fault())),
            OnError::HoldMessage => Outcome {
                changes: vec![unjudged()],
                answer: Answer::Continue,
            },
            OnError::Accept => Outcome::plain(Answer::Continue),
        }
    }
}

/// Why recipients that should be held are not.
#[derive(Debug, thiserror::Error)]
enum NotHeld {
    #[error("the MTA sent RCPT without MAIL")]
    NoMail,
    #[error("the MTA does not let a milter delete recipients")]
    CannotDelete,
    #[error("the MTA sent no header and body")]
    NoContent,
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Quarantine(#[from] HoldError),
    #[error(transparent)]
    NotSent(#[from] DecideError),
}

impl Outcome {
    fn plain(answer: Answer) -> Outcome {
        Outcome {
            changes: Vec::new(),
            answer,
        }
    }
}

/// The request to hold a message that could not be judged.
fn unjudged() -> Change {
    Change::Quarantine("straymail: recipients could not be checked".into())
}

fn held_recipient(judged: &Judged) -> HeldRecipient {
    HeldRecipient {
        path: judged.recipient.address.path().into(),
        rcpt_addr: (judged.recipient.rewritten.as_ref()).map(|a| a.path().into()),
        args: octets(&judged.recipient.args),
        address: judged.recipient.canonical(),
        assessment: judged.assessment.clone(),
        rule: judged.verdict.rule.clone(),
        suggestion: judged.assessment.best().map(|best| best.trusted.clone()),
    }
}

/// A recipient that is not in doubt, of a message that is taken over.
fn passed_recipient(recipient: &Recipient) -> HeldRecipient {
    HeldRecipient {
        path: recipient.address.path().into(),
        rcpt_addr: (recipient.rewritten.as_ref()).map(|a| a.path().into()),
        args: octets(&recipient.args),
        address: recipient.canonical(),
        assessment: Assessment::unrelated(),
        rule: DEFAULT_RULE.to_owned(),
        suggestion: None,
    }
}

fn octets(args: &[Vec<u8>]) -> Vec<Octets> {
    args.iter().map(|arg| arg.as_slice().into()).collect()
}

/// Returns a header value with CRLF at its folds; Postfix gives bare LF.
fn with_crlf(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 8);
    for (at, line) in value.split(|byte| *byte == b'\n').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    }
    out
}
