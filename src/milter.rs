//! The milter edge: bytes of the MTA in, session events out. The only place that names
//! indymilter; the feature `libmilter` adds a second adapter beside it.
//!
//! The callbacks convert and nothing else. What the library leaves open is closed here: a
//! panic ends in a tempfail for its own session, stopping waits for the open sessions, and
//! only steps and actions that the MTA offers are asked for.

mod frames;
mod guarded;
#[cfg(feature = "libmilter")]
mod libmilter;
pub mod listener;
mod probe;
#[cfg(feature = "libmilter")]
pub mod vendor;

use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use indymilter::{
    ActionError, Actions, Callbacks, Config, ContextActions, EomContext, MacroStage, Macros,
    NegotiateContext, ProtoOpts, SetErrorReply, SmtpReply, SocketInfo, Status,
};
use listenfd::ListenFd;
use tokio::sync::watch;

use crate::fault;
use crate::logging::event;
use crate::policy::Role;
use crate::reply::Reply;
use crate::service::Service;
use crate::service::conversation::{Conversation, Outcome, RcptStep};
use crate::session::{Answer, Change, Mail, Rcpt};

use guarded::{Edge, Guarded, client, path_and_args};
use listener::{ListenError, Listener, ListenerSettings, Trouble, Way};
pub use probe::{Probe, ProbeError};

/// Pause between two signs of life while a message is stored; MTAs wait 300 s for the answer
/// to the end of a message, a busy disk may need longer.
const PROGRESS: Duration = Duration::from_secs(5);

/// Limits of the milter edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MilterSettings {
    /// Most connections served at a time over each listener; further ones wait in the
    /// kernel's queue.
    pub connections: usize,
    /// How long the MTA may be silent inside a session. Longer than the slowest client takes
    /// for its DATA, during which the MTA says nothing.
    pub idle_timeout: Duration,
    /// How long a stop waits for the open sessions.
    pub drain: Duration,
}

impl Default for MilterSettings {
    fn default() -> Self {
        MilterSettings {
            connections: 4096,
            idle_timeout: Duration::from_secs(3600),
            drain: Duration::from_secs(30),
        }
    }
}

/// The listeners, before and while they serve.
pub struct Milter {
    listeners: Vec<(ListenerSettings, Listener)>,
    settings: MilterSettings,
    stop: watch::Sender<bool>,
    open: Arc<watch::Sender<usize>>,
}

impl Milter {
    /// Binds every listener; none takes connections, or one away from another instance, before
    /// [`Milter::open`].
    ///
    /// # Errors
    /// The first listener that cannot be bound.
    pub fn bind(
        wanted: &[ListenerSettings],
        settings: MilterSettings,
        log: &slog::Logger,
    ) -> Result<Milter, ListenError> {
        let (stop, stopped) = watch::channel(false);
        let open = Arc::new(watch::Sender::new(0));
        let mut passed = ListenFd::from_env();
        let listeners = (wanted.iter())
            .map(|wanted| {
                let (log, name) = (log.clone(), wanted.address.to_string());
                let hears = move |trouble: Trouble<'_>| match trouble {
                    Trouble::NotAccepted(error) => event::not_accepted(&log, &name, error),
                    Trouble::NotUnderstood(command) => event::not_understood(&log, &name, command),
                };
                let open = Arc::clone(&open);
                let listener = Listener::bind(wanted, &mut passed, stopped.clone(), open, hears)?;
                Ok((wanted.clone(), listener))
            })
            .collect::<Result<_, ListenError>>()?;
        Ok(Milter {
            listeners,
            settings,
            stop,
            open,
        })
    }

    /// Opens every listener: last of all that a start may fail at.
    ///
    /// # Errors
    /// The first listener that cannot be opened. With `self`, those before it are given back.
    pub fn open(&mut self) -> Result<(), ListenError> {
        for (wanted, listener) in &mut self.listeners {
            listener.open().map_err(|source| ListenError::Bind {
                socket: wanted.address.to_string(),
                source,
            })?;
        }
        Ok(())
    }

    /// Returns where it listens, for the log.
    pub fn addresses(&self) -> impl Iterator<Item = String> {
        (self.listeners.iter()).map(|(wanted, listener)| match listener.local_addr() {
            Some(address) => format!("inet:{address}"),
            None => wanted.address.to_string(),
        })
    }

    /// Returns how a session of our own comes to each listener.
    pub fn ways(&mut self) -> Vec<Way> {
        (self.listeners.iter_mut())
            .map(|(_, listener)| listener.way())
            .collect()
    }

    /// Returns how many sessions and doors are open, and the most sessions there may be.
    pub fn sessions(&self) -> (watch::Receiver<usize>, usize) {
        (self.open.subscribe(), self.settings.connections)
    }

    /// Serves until `stop` completes, then lets the open sessions finish for at most the drain
    /// time, or until `cut` completes, and cuts the rest off. Returns how many were cut off.
    pub async fn serve(
        self,
        service: Arc<Service>,
        stop: impl Future<Output = ()>,
        cut: impl Future<Output = ()>,
    ) -> usize {
        let (end, _) = watch::channel(false);
        let config = Config {
            max_connections: self.settings.connections,
            actions: Actions::empty(),
            connection_timeout: self.settings.idle_timeout,
        };
        let mut tasks = tokio::task::JoinSet::new();
        for (wanted, listener) in self.listeners {
            let callbacks = callbacks(&service, wanted.role);
            let mut end = end.subscribe();
            let end = async move {
                // An error means the sender is gone, which is the end as well.
                let _ = end.wait_for(|end| *end).await;
            };
            tasks.spawn(indymilter::run(listener, callbacks, config.clone(), end));
        }
        stop.await;
        self.stop.send_replace(true);
        let mut open = self.open.subscribe();
        tokio::select! {
            _ = open.wait_for(|open| *open == 0) => {}
            () = tokio::time::sleep(self.settings.drain) => {}
            () = cut => {}
        }
        let cut_off = *self.open.borrow();
        end.send_replace(true);
        while tasks.join_next().await.is_some() {}
        cut_off
    }
}

/// What the library keeps for one connection.
struct Connection {
    guarded: Guarded,
    /// What was agreed on at negotiation.
    steps: ProtoOpts,
    actions: Actions,
}

/// The conversation of a connection; one without negotiation has agreed on nothing.
fn guarded(data: &mut Option<Connection>) -> &mut Guarded {
    let connection = data.get_or_insert_with(|| Connection {
        guarded: Guarded::New,
        steps: ProtoOpts::empty(),
        actions: Actions::empty(),
    });
    &mut connection.guarded
}

/// Returns `Noreply` where the MTA agreed not to wait for an answer to this step.
fn unanswered(data: &Option<Connection>, step: ProtoOpts) -> Status {
    match data {
        Some(connection) if connection.steps.contains(step) => Status::Noreply,
        _ => Status::Continue,
    }
}

fn callbacks(service: &Arc<Service>, role: Role) -> Callbacks<Connection> {
    let edge = Edge {
        service: Arc::clone(service),
        role,
    };
    // Each callback needs its own handle.
    macro_rules! on {
        (|$edge:ident, $($argument:ident),+| $body:expr) => {{
            let $edge = edge.clone();
            move |$($argument),+| {
                let $edge = $edge.clone();
                Box::pin(async move { $body })
            }
        }};
    }
    Callbacks::new()
        .on_negotiate(|context, actions, steps| {
            Box::pin(async move { negotiate(context, actions, steps) })
        })
        .on_connect(on!(|edge, context, name, socket| {
            let address = match socket {
                SocketInfo::Inet(address) => Some(address),
                SocketInfo::Unix(_) | SocketInfo::Unknown => None,
            };
            let client = client(&name, address);
            let version = value(&context.macros, c"v").map(<[u8]>::to_vec);
            edge.with(guarded(&mut context.data), |conversation| {
                // A connection that is used again (SMFIC_QUIT_NC) is a new conversation.
                *conversation = *edge.conversation();
                conversation.mta(version.as_deref());
                conversation.connect(client);
            });
            unanswered(&context.data, ProtoOpts::NOREPLY_CONNECT)
        }))
        .on_mail(on!(|edge, context, args| {
            let (path, args) = path_and_args(args.iter().map(CString::as_c_str));
            let mail = Mail {
                path,
                args: &args,
                login: value(&context.macros, c"{auth_authen}"),
                queue_id: value(&context.macros, c"i"),
            };
            match edge.with(guarded(&mut context.data), |conversation| {
                conversation.mail(mail)
            }) {
                Some(()) => Status::Continue,
                None => Status::Tempfail,
            }
        }))
        .on_rcpt(on!(|edge, context, args| {
            let (path, args) = path_and_args(args.iter().map(CString::as_c_str));
            let rcpt = Rcpt {
                path,
                args: &args,
                rewritten: value(&context.macros, c"{rcpt_addr}"),
                queue_id: value(&context.macros, c"i"),
            };
            let answer = edge.with(
                guarded(&mut context.data),
                |conversation| match conversation.rcpt(rcpt) {
                    RcptStep::Answered(answer) => answer,
                    RcptStep::Evidence(recipient, assessment) => {
                        tokio::task::block_in_place(|| conversation.settle(*recipient, assessment))
                    }
                },
            );
            status(answer, &mut context.reply)
        }))
        .on_header(on!(|edge, context, name, header| {
            let leading_space =
                (context.data.as_ref()).is_some_and(|c| c.steps.contains(ProtoOpts::LEADING_SPACE));
            let header = header.to_bytes();
            edge.with(guarded(&mut context.data), |conversation| {
                if leading_space {
                    conversation.header(name.to_bytes(), header);
                } else {
                    conversation.header(name.to_bytes(), &[b" ", header].concat());
                }
            });
            unanswered(&context.data, ProtoOpts::NOREPLY_HEADER)
        }))
        .on_eoh(on!(|edge, context| {
            edge.with(guarded(&mut context.data), Conversation::end_of_header);
            unanswered(&context.data, ProtoOpts::NOREPLY_EOH)
        }))
        .on_body(on!(|edge, context, chunk| {
            let answer = edge.with(
                guarded(&mut context.data),
                |conversation| match conversation.holds() {
                    true => tokio::task::block_in_place(|| conversation.body(&chunk)),
                    false => conversation.body(&chunk),
                },
            );
            let may_skip =
                (context.data.as_ref()).is_some_and(|c| c.steps.contains(ProtoOpts::SKIP));
            match answer {
                Some(Answer::Skip) if !may_skip => Status::Continue,
                answer => status(answer, &mut context.reply),
            }
        }))
        .on_eom(on!(|edge, context| end_of_message(&edge, context).await))
        .on_abort(on!(|edge, context| {
            edge.with(guarded(&mut context.data), Conversation::abort);
            Status::Continue
        }))
}

/// Asks for what straymail uses and the MTA offers; the library closes the connection over a
/// request for anything else.
fn negotiate(
    context: &mut NegotiateContext<Connection>,
    actions: Actions,
    steps: ProtoOpts,
) -> Status {
    let wanted_actions = Actions::ADD_HEADER | Actions::DELETE_RCPT | Actions::QUARANTINE;
    let wanted_steps = ProtoOpts::SKIP
        | ProtoOpts::LEADING_SPACE
        | ProtoOpts::NOREPLY_CONNECT
        | ProtoOpts::NOREPLY_HEADER
        | ProtoOpts::NOREPLY_EOH;
    let connection = Connection {
        guarded: Guarded::New,
        steps: wanted_steps & steps,
        actions: wanted_actions & actions,
    };
    context.requested_actions = connection.actions;
    // The library asks to leave out the steps without a callback (HELO, DATA, unknown
    // commands); an MTA that does not offer that sends them, and they are answered "continue".
    context.requested_opts = (context.requested_opts | connection.steps) & steps;
    context.data = Some(connection);
    // Sendmail tells its version only when asked; nothing else of CONNECT's macros is used.
    if actions.contains(Actions::REQUEST_MACROS) {
        context.requested_actions |= Actions::REQUEST_MACROS;
        let macros = &mut context.requested_macros;
        macros.insert(MacroStage::Connect, c"v".into());
    }
    Status::Continue
}

async fn end_of_message(edge: &Edge, context: &mut EomContext<Connection>) -> Status {
    let can_hold =
        (context.data.as_ref()).is_some_and(|c| c.actions.contains(Actions::DELETE_RCPT));
    let queue_id = value(&context.macros, c"i").map(<[u8]>::to_vec);
    let Some(mut conversation) = edge.take(guarded(&mut context.data)) else {
        return Status::Tempfail;
    };
    let (id, holds) = (conversation.id().to_owned(), conversation.holds());
    let work = move || {
        let outcome = conversation.end_of_message(queue_id.as_deref(), can_hold);
        (conversation, outcome)
    };
    let done = match holds {
        false => catch_unwind(AssertUnwindSafe(work)).ok(),
        true => {
            let mut storing = tokio::task::spawn_blocking(work);
            loop {
                tokio::select! {
                    stored = &mut storing => break stored.ok(),
                    () = tokio::time::sleep(PROGRESS) => {
                        // A lost connection shows in the answer as well.
                        let _ = context.actions.progress().await;
                    }
                }
            }
        }
    };
    let Some((conversation, outcome)) = done else {
        event::panicked(edge.service.log(), &id);
        return Status::Tempfail;
    };
    *guarded(&mut context.data) = Guarded::Open(conversation);
    let Outcome { changes, answer } = outcome;
    for change in changes {
        if let Err(error) = make(context, &change).await {
            event::change_failed(edge.service.log(), &id, &change, &error);
            return Status::Tempfail;
        }
    }
    fault::point("eom-after-delrcpt");
    status(Some(answer), &mut context.reply)
}

async fn make(context: &EomContext<Connection>, change: &Change) -> Result<(), ActionError> {
    let actions = &context.actions;
    match change {
        Change::DeleteRecipient(path) => actions.delete_recipient(c_string(path)).await,
        Change::AddHeader { name, value } => {
            let Some(agreed) = context.data.as_ref() else {
                return Ok(());
            };
            // A tag is a courtesy; without it the message still may go.
            if !agreed.actions.contains(Actions::ADD_HEADER) {
                return Ok(());
            }
            // With leading space agreed on, the MTA puts none behind the colon itself.
            let space = match agreed.steps.contains(ProtoOpts::LEADING_SPACE) {
                true => " ",
                false => "",
            };
            let value = format!("{space}{value}");
            actions
                .add_header(c_string(name.as_bytes()), c_string(value.as_bytes()))
                .await
        }
        Change::Quarantine(reason) => actions.quarantine(c_string(reason.as_bytes())).await,
    }
}

/// Returns `bytes` up to the first NUL, which the milter protocol cannot carry inside a text.
fn c_string(bytes: &[u8]) -> CString {
    let text: Vec<u8> = bytes
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    CString::new(text).unwrap_or_default()
}

fn value<'m>(macros: &'m Macros, name: &CStr) -> Option<&'m [u8]> {
    macros.get(name).map(CStr::to_bytes)
}

/// Turns an answer into the library's status; `None`, after a panic, into a tempfail.
fn status(answer: Option<Answer>, reply: &mut SmtpReply) -> Status {
    match answer {
        Some(Answer::Continue) => Status::Continue,
        Some(Answer::Skip) => Status::Skip,
        Some(Answer::Discard) => Status::Discard,
        Some(Answer::Refuse(Reply {
            code,
            enhanced,
            text,
        })) => {
            let permanent = code.starts_with('5');
            match reply.set_error_reply(code, Some(enhanced), [text.as_str()]) {
                Ok(()) if permanent => Status::Reject,
                // A text that the library refuses is our fault, never an accept.
                Ok(()) | Err(_) => Status::Tempfail,
            }
        }
        None => Status::Tempfail,
    }
}
