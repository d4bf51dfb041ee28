//! The second adapter: Sendmail's libmilter through the crate `milter`, for sites bound to their
//! vendor's library. The only file that names that crate.
//!
//! The conversation is the one of the other adapter. The crate's dangers are kept out by rules
//! (`tests/layering.rs` holds the file to them): a handler returns a [`Status`] and never a
//! `Result`, whose error text would become a format of `syslog`; every handler body is caught
//! before a panic reaches the crate, which would stop the daemon; arguments come as `&CStr`.

use std::ffi::CStr;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

pub(super) use milter::Error as Failed;
use milter::{Actions, Context, ContextApi, ProtocolOpts, Stage, Status};
use milter::{on_abort, on_body, on_close, on_connect, on_eoh, on_eom, on_header, on_mail};
use milter::{on_negotiate, on_rcpt};

use super::MilterSettings;
use super::guarded::{Edge, Guarded, client, path_and_args};
use super::vendor::with_progress;
use crate::fault;
use crate::logging::event;
use crate::policy::Role;
use crate::service::Service;
use crate::service::conversation::{Conversation, Outcome, RcptStep};
use crate::session::{Answer, Change, Mail, Rcpt};

/// Serves at `place` (`unix:/path`, `inet:port@host`) until a signal stops the library, and
/// returns how many sessions were cut off. Once in a process.
pub(super) fn run(
    place: &str,
    settings: MilterSettings,
    service: Arc<Service>,
    role: Role,
) -> Result<usize, Failed> {
    let edge = Edge { service, role };
    (EDGE.set(edge)).map_err(|_| Failed::from("it has served in this process before"))?;
    milter::Milter::new(place)
        .name("straymail")
        .on_negotiate(negotiate_callback)
        .on_connect(connect_callback)
        .on_mail(mail_callback)
        .on_rcpt(rcpt_callback)
        .on_header(header_callback)
        .on_eoh(eoh_callback)
        .on_body(body_callback)
        .on_eom(eom_callback)
        .on_abort(abort_callback)
        .on_close(close_callback)
        .actions(wanted_actions())
        .timeout(settings.idle_timeout)
        .remove_socket(true)
        .run()?;
    Ok(OPEN.load(Ordering::Relaxed))
}

/// The handlers are plain functions; what they need stands here.
static EDGE: OnceLock<Edge> = OnceLock::new();
/// Sessions now open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// What the library keeps for one connection.
struct Connection {
    guarded: Guarded,
    agreed: Agreed,
}

/// What was agreed on at negotiation.
#[derive(Clone, Copy)]
struct Agreed {
    steps: ProtocolOpts,
    actions: Actions,
    /// The crate cannot name a recipient that is not UTF-8, so it cannot delete one.
    deletable: bool,
}

impl Connection {
    fn new(steps: ProtocolOpts, actions: Actions) -> Connection {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Connection {
            guarded: Guarded::New,
            agreed: Agreed {
                steps,
                actions,
                deletable: true,
            },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

fn wanted_actions() -> Actions {
    Actions::ADD_HEADER | Actions::REMOVE_RECIPIENT | Actions::QUARANTINE | Actions::REQUEST_MACROS
}

fn wanted_steps() -> ProtocolOpts {
    ProtocolOpts::SKIP
        | ProtocolOpts::HEADER_LEADING_SPACE
        | ProtocolOpts::NOREPLY_CONNECT
        | ProtocolOpts::NOREPLY_HEADER
        | ProtocolOpts::NOREPLY_EOH
        // These have no handler.
        | ProtocolOpts::NO_HELO
        | ProtocolOpts::NO_DATA
        | ProtocolOpts::NO_UNKNOWN
}

/// Calls `f` on the conversation of this connection. `None` when it panicked, now or earlier.
fn with<R>(
    context: &mut Context<Connection>,
    f: impl FnOnce(&mut Conversation, &ContextApi, &mut Agreed) -> R,
) -> Option<R> {
    if context.data.borrow().is_none() {
        // The connection is used again (SMFIC_QUIT_NC); what was agreed on still holds.
        let connection = Connection::new(wanted_steps(), wanted_actions());
        context.data.replace(connection).ok()?;
    }
    let Connection { guarded, agreed } = context.data.borrow_mut()?;
    (EDGE.get()?).with(guarded, |conversation| {
        f(conversation, &context.api, agreed)
    })
}

/// Returns `Noreply` where the MTA agreed not to wait for an answer to this step.
fn unanswered(context: &Context<Connection>, step: ProtocolOpts) -> Status {
    match context.data.borrow() {
        Some(connection) if connection.agreed.steps.contains(step) => Status::Noreply,
        _ => Status::Continue,
    }
}

#[on_negotiate(negotiate_callback)]
fn negotiate(
    mut context: Context<Connection>,
    actions: Actions,
    steps: ProtocolOpts,
) -> (Status, Actions, ProtocolOpts) {
    let (actions, steps) = (wanted_actions() & actions, wanted_steps() & steps);
    // Sendmail tells its version only when asked. Where that fails a refusal names the
    // recipient twice, and nothing else is lost.
    if actions.contains(Actions::REQUEST_MACROS) {
        let _ = context.api.request_macros(Stage::Connect, "v");
    }
    match context.data.replace(Connection::new(steps, actions)) {
        Ok(_) => (Status::Continue, actions, steps),
        Err(_) => (Status::Reject, actions, steps),
    }
}

#[on_connect(connect_callback)]
fn connect(mut context: Context<Connection>, name: &CStr, socket: Option<SocketAddr>) -> Status {
    let client = client(name, socket);
    with(&mut context, |conversation, api, _| {
        conversation.mta(text(api, "v").map(str::as_bytes));
        conversation.connect(client);
    });
    unanswered(&context, ProtocolOpts::NOREPLY_CONNECT)
}

#[on_mail(mail_callback)]
fn mail(mut context: Context<Connection>, args: Vec<&CStr>) -> Status {
    let (path, args) = path_and_args(args);
    let answered = with(&mut context, |conversation, api, agreed| {
        agreed.deletable = true;
        let login = text(api, "{auth_authen}").map(str::as_bytes);
        let queue_id = text(api, "i").map(str::as_bytes);
        conversation.mail(Mail {
            path,
            args: &args,
            login,
            queue_id,
        });
    });
    answered.map_or(Status::Tempfail, |()| Status::Continue)
}

#[on_rcpt(rcpt_callback)]
fn rcpt(mut context: Context<Connection>, args: Vec<&CStr>) -> Status {
    let (path, args) = path_and_args(args);
    let answer = with(&mut context, |conversation, api, agreed| {
        let rewritten = text(api, "{rcpt_addr}");
        agreed.deletable &= std::str::from_utf8(path).is_ok() && rewritten != Some(UNREADABLE);
        let rewritten = rewritten.map(str::as_bytes);
        let queue_id = text(api, "i").map(str::as_bytes);
        match conversation.rcpt(Rcpt {
            path,
            args: &args,
            rewritten,
            queue_id,
        }) {
            RcptStep::Answered(answer) => answer,
            RcptStep::Evidence(recipient, assessment) => {
                conversation.settle(*recipient, assessment)
            }
        }
    });
    status(&context, answer)
}

#[on_header(header_callback)]
fn header(mut context: Context<Connection>, name: &CStr, value: &CStr) -> Status {
    let (name, value) = (name.to_bytes(), value.to_bytes());
    with(&mut context, |conversation, _, agreed| {
        match agreed.steps.contains(ProtocolOpts::HEADER_LEADING_SPACE) {
            true => conversation.header(name, value),
            false => conversation.header(name, &[b" ", value].concat()),
        }
    });
    unanswered(&context, ProtocolOpts::NOREPLY_HEADER)
}

#[on_eoh(eoh_callback)]
fn end_of_header(mut context: Context<Connection>) -> Status {
    with(&mut context, |conversation, _, _| {
        conversation.end_of_header()
    });
    unanswered(&context, ProtocolOpts::NOREPLY_EOH)
}

#[on_body(body_callback)]
fn body(mut context: Context<Connection>, chunk: &[u8]) -> Status {
    let answer = with(&mut context, |conversation, _, agreed| {
        match conversation.body(chunk) {
            Answer::Skip if !agreed.steps.contains(ProtocolOpts::SKIP) => Answer::Continue,
            answer => answer,
        }
    });
    status(&context, answer)
}

#[on_eom(eom_callback)]
fn end_of_message(mut context: Context<Connection>) -> Status {
    let answer = with(&mut context, |conversation, api, agreed| {
        let queue_id = text(api, "i").map(str::as_bytes);
        let can_hold = agreed.deletable && agreed.actions.contains(Actions::REMOVE_RECIPIENT);
        let Outcome { changes, answer } = match conversation.holds() {
            false => conversation.end_of_message(queue_id, can_hold),
            true => {
                // A lost connection shows in the answer as well.
                let progress = || drop(api.signal_progress());
                with_progress(progress, || conversation.end_of_message(queue_id, can_hold))
            }
        };
        for change in changes {
            if let Err(error) = make(api, agreed, &change) {
                let log = EDGE.get()?.service.log();
                event::change_failed(log, conversation.id(), &change, &error);
                return None;
            }
        }
        fault::point("eom-after-delrcpt");
        Some(answer)
    });
    status(&context, answer.flatten())
}

#[on_abort(abort_callback)]
fn abort(mut context: Context<Connection>) -> Status {
    with(&mut context, |conversation, _, _| conversation.abort());
    Status::Continue
}

#[on_close(close_callback)]
fn close(mut context: Context<Connection>) -> Status {
    let _ = catch_unwind(AssertUnwindSafe(|| context.data.take()));
    Status::Continue
}

fn make(api: &ContextApi, agreed: &Agreed, change: &Change) -> Result<(), Failed> {
    match change {
        Change::DeleteRecipient(path) => api.remove_recipient(std::str::from_utf8(path)?),
        // A tag is a courtesy; without it the message still may go.
        Change::AddHeader { .. } if !agreed.actions.contains(Actions::ADD_HEADER) => Ok(()),
        Change::AddHeader { name, value } => {
            // With leading space agreed on, the MTA puts none behind the colon itself.
            match agreed.steps.contains(ProtocolOpts::HEADER_LEADING_SPACE) {
                true => api.add_header(name, &format!(" {value}")),
                false => api.add_header(name, value),
            }
        }
        Change::Quarantine(reason) => api.quarantine(reason),
    }
}

/// Stands for a macro that is not UTF-8, which the crate does not give out.
const UNREADABLE: &str = "\u{fffd}";

fn text<'c>(api: &'c ContextApi, name: &str) -> Option<&'c str> {
    api.macro_value(name).unwrap_or(Some(UNREADABLE))
}

/// Turns an answer into the library's status; `None`, after a panic, into a tempfail.
fn status(context: &Context<Connection>, answer: Option<Answer>) -> Status {
    match answer {
        Some(Answer::Continue) => Status::Continue,
        Some(Answer::Skip) => Status::Skip,
        Some(Answer::Discard) => Status::Discard,
        Some(Answer::Refuse(reply)) => {
            let text = vec![reply.text.as_str()];
            match context
                .api
                .set_error_reply(reply.code, Some(reply.enhanced), text)
            {
                Ok(()) if reply.code.starts_with('5') => Status::Reject,
                // A text that the library refuses is our fault, never an accept.
                Ok(()) | Err(_) => Status::Tempfail,
            }
        }
        None => Status::Tempfail,
    }
}
