//! What a line of a reply orders: `send`, `cancel 7Q2M`, `correct to carl@example.org, thanks`.
//!
//! A line counts only when every word in it is understood. `send it never` begins with a word of
//! ours too, and what was sent does not come back; what was refused is only written again.
//!
//! Pure. One reader for notices and digests: which messages a line names is for the caller to
//! judge.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::text::Line;
use crate::service::decide::{Choice, Decision, Remember};

/// Most orders read from one reply; no digest lists more.
const MAX_ORDERS: usize = 100;

/// The words that decide.
const COMMANDS: &[&str] = &["send", "cancel", "correct"];

/// What may stand before the word, and behind a mere `correct`: `Correct, thanks` may mean that
/// the address is.
const PLEASE: &[&str] = &["please", "pls"];

/// What a line may say of the message itself.
const OBJECTS: &[&str] = &[
    "it", "this", "them", "these", "the", "mail", "mails", "message", "messages",
];

/// The same behind `correct`, where `the message` might be about its text.
const CORRECTED: &[&str] = &["it", "them"];

/// What may stand at the end of a line.
const ENDS: &[&str] = &[
    "please", "pls", "now", "anyway", "thanks", "thank", "thx", "you",
];

/// Words directly below an order that may take it back or narrow it.
const DOUBTS: &[&str] = &[
    "no", "not", "never", "nothing", "none", "nobody", "cannot", "dont", "wait", "stop", "but",
    "instead", "except", "unless", "if",
];

/// Words with which a line below an order goes on with it.
const GOES_ON: &[&str] = &["to", "or", "only"];

/// One line of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which messages it names: ids as in the digest, or their beginnings, or `all`; in the
    /// reply to a notice none. Any word that is not understood stands here too.
    pub which: Vec<String>,
    /// What to do.
    pub says: Says,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// `send`, `send always`, `send always domain`, `cancel`, `correct name@example.org`.
    Decision(Decision),
    /// `correct` alone: to the address the notice suggested.
    CorrectAsSuggested,
}

/// What the writer of a reply wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// The first lines, at least one.
    pub lines: Vec<Order>,
    /// The words of the paragraph in which something else begins: a name, or the notice itself,
    /// which not every mail program marks as quoted.
    pub behind: Vec<String>,
}

/// Why a text orders nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is encrypted, or wrapped in its signature.
    #[error(
        "it is encrypted, or signed in a way that it cannot be read; answer as plain text, or by the link if the notice has one"
    )]
    Wrapped,
    /// The first line says something else, or something more.
    #[error(
        "the first line must be send, send always, cancel, correct or correct name@example.org, and nothing else"
    )]
    Unclear,
    /// A later line may change what the first ones say.
    #[error("{0:?} may change the answer; write only what decides, and an empty line below it")]
    Doubt(String),
}

/// Reads the lines of a reply.
///
/// # Errors
/// It begins with something else, or takes back what it says.
pub(super) fn read(lines: &[Line]) -> Result<Orders, Unread> {
    let mut orders = Orders::default();
    let mut directly_below = false;
    let mut rest = lines.iter().skip_while(|line| !is_own(line)).peekable();
    while let Some(line) = rest.peek() {
        match line {
            Line::Quoted => break,
            Line::Blank => directly_below = false,
            Line::Own(line) => match order(line) {
                Some(_) if orders.lines.len() == MAX_ORDERS => return Err(Unread::Unclear),
                Some(order) => {
                    orders.lines.push(order);
                    directly_below = true;
                }
                None => break,
            },
        }
        rest.next();
    }
    if orders.lines.is_empty() {
        return Err(Unread::Unclear);
    }
    while let Some(Line::Own(line)) = rest.peek() {
        if directly_below && may_change(line) {
            return Err(Unread::Doubt(line.clone()));
        }
        orders.behind.extend(words(line));
        rest.next();
    }
    // An order below a marked quote is the writer's own as well.
    for line in rest.skip_while(|line| **line != Line::Quoted) {
        if let Line::Own(line) = line
            && begins(line)
            && !order(line).is_some_and(|order| orders.lines.contains(&order))
        {
            return Err(Unread::Doubt(line.clone()));
        }
    }
    Ok(orders)
}

fn is_own(line: &Line) -> bool {
    matches!(line, Line::Own(_))
}

/// Returns whether a line begins with a word that decides.
pub(super) fn begins(line: &str) -> bool {
    let mut words = words(line).into_iter().peekable();
    while take(&mut words, PLEASE).is_some() {}
    take(&mut words, COMMANDS).is_some()
}

/// Returns whether a line directly below an order may be about it.
fn may_change(line: &str) -> bool {
    let found = words(line);
    let is = |word: &str, list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known));
    let doubts = |word: &String| {
        let lower = word.to_lowercase();
        word.contains('@') || is(word, DOUBTS) || lower.ends_with("n't") || lower.ends_with("n’t")
    };
    begins(line) || found.iter().any(doubts) || found.first().is_some_and(|word| is(word, GOES_ON))
}

/// Reads one line; `None` when a word in it has no meaning at its place.
fn order(line: &str) -> Option<Order> {
    let mut words = words(line).into_iter().peekable();
    while take(&mut words, PLEASE).is_some() {}
    let command = take(&mut words, COMMANDS)?;
    let objects = match command {
        "correct" => CORRECTED,
        _ => OBJECTS,
    };
    let mut named = false;
    while take(&mut words, objects).is_some() {
        named = true;
    }
    let mut remember = Remember::Not;
    if command == "send" {
        remember = always(&mut words);
    }
    let which = which(&mut words)?;
    if command == "send" && remember == Remember::Not {
        remember = always(&mut words);
    }
    let says = match command {
        "send" => decision(Choice::Send, remember),
        "cancel" => decision(Choice::Cancel, remember),
        _ => match address(&mut words)? {
            Some(address) => {
                named = true;
                decision(Choice::Correct(address), remember)
            }
            None => Says::CorrectAsSuggested,
        },
    };
    let ends = match says {
        Says::CorrectAsSuggested if !named && which.is_empty() => PLEASE,
        _ => ENDS,
    };
    while take(&mut words, ends).is_some() {}
    words.next().is_none().then_some(Order { which, says })
}

fn decision(choice: Choice, remember: Remember) -> Says {
    Says::Decision(Decision { choice, remember })
}

/// The words of a line that are not read yet.
type Words = Peekable<IntoIter<String>>;

/// Takes the next word if it is one of `known`.
fn take<'k>(words: &mut Words, known: &[&'k str]) -> Option<&'k str> {
    let word = words.peek()?;
    let found = (known.iter()).find(|known| word.eq_ignore_ascii_case(known))?;
    words.next();
    Some(found)
}

/// Reads `always`, `always domain` or nothing.
fn always(words: &mut Words) -> Remember {
    match take(words, &["always"]) {
        None => Remember::Not,
        Some(_) => match take(words, &["domain"]) {
            None => Remember::Recipient,
            Some(_) => Remember::Domain,
        },
    }
}

/// Reads `7Q2M, AB12 and 9XYZ`; words of no meaning are taken for ids.
fn which(words: &mut Words) -> Option<Vec<String>> {
    let is_id = |word: &String| {
        let known = |list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known));
        !word.contains('@') && !known(ENDS) && !known(&["always", "to"])
    };
    let mut which = Vec::new();
    while let Some(word) = words.next_if(is_id) {
        which.push(word);
        if take(words, &["and", "&"]).is_some() {
            which.push(words.next_if(is_id)?);
        }
    }
    Some(which)
}

/// Reads `to carl@example.org` or `carl@example.org`, which a mail program may have doubled to
/// `carl@example.org<mailto:carl@example.org>`.
fn address(words: &mut Words) -> Option<Option<String>> {
    let to = take(words, &["to"]);
    let Some(first) = words.next_if(|word| word.contains('@')) else {
        return to.is_none().then_some(None);
    };
    while words
        .next_if(|word| word.eq_ignore_ascii_case(&first))
        .is_some()
    {}
    Some(Some(first))
}

/// Returns the words of a line, without the punctuation around them. A question mark stays: who
/// asks has not decided.
fn words(line: &str) -> Vec<String> {
    line.split(|c: char| c.is_whitespace() || ",;<>()[]\"“”„«»".contains(c))
        .map(bare)
        .filter(|word| !word.chars().all(|c| "-–—".contains(c)))
        .map(str::to_owned)
        .collect()
}

/// `Send.` and `*send*` are meant as well; an address keeps its own characters.
fn bare(word: &str) -> &str {
    let is_end = |c: char| ".:!…".contains(c);
    if !word.contains('@') {
        return word.trim_matches(|c: char| is_end(c) || "*_'‘’".contains(c));
    }
    let word = word.trim_end_matches(is_end);
    let word = match word.split_at_checked("mailto:".len()) {
        Some((scheme, address)) if scheme.eq_ignore_ascii_case("mailto:") => address,
        _ => word,
    };
    // Bold, slanted or quoted, as programs write it in plain text.
    (['*', '_', '\'', '/'].iter())
        .find_map(|mark| word.strip_prefix(*mark)?.strip_suffix(*mark))
        .unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::answer::text;

    fn says(choice: Choice, remember: Remember) -> Option<Says> {
        Some(decision(choice, remember))
    }

    /// What a line says of the message of a notice.
    fn word(line: &str) -> Option<Says> {
        order(line)
            .filter(|order| order.which.is_empty())
            .map(|order| order.says)
    }

    #[test]
    fn line_counts_when_every_word_is_understood() {
        let send = || says(Choice::Send, Remember::Not);
        let cancel = || says(Choice::Cancel, Remember::Not);
        let correct = |address: &str| says(Choice::Correct(address.into()), Remember::Not);
        for (line, expected) in [
            ("send", send()),
            ("SEND.", send()),
            ("*Send*!", send()),
            ("\"send\"", send()),
            ("please send it", send()),
            ("Send it, please.", send()),
            ("Send this message now, thank you!", send()),
            ("send - thanks", send()),
            ("*send* always", says(Choice::Send, Remember::Recipient)),
            (
                "Send always, thanks!",
                says(Choice::Send, Remember::Recipient),
            ),
            (
                "send it always domain please",
                says(Choice::Send, Remember::Domain),
            ),
            ("Cancel, please", cancel()),
            ("Please cancel it.", cancel()),
            ("correct", Some(Says::CorrectAsSuggested)),
            ("Correct!", Some(Says::CorrectAsSuggested)),
            ("correct it, thanks", Some(Says::CorrectAsSuggested)),
            ("correct <carl@army.mil>", correct("carl@army.mil")),
            ("correct it to carl@army.mil.", correct("carl@army.mil")),
            ("Correct: carl@army.mil, thanks", correct("carl@army.mil")),
            (
                "correct carl@navy.mil<mailto:carl@navy.mil>",
                correct("carl@navy.mil"),
            ),
            (
                "correct [carl@navy.mil](mailto:carl@navy.mil)",
                correct("carl@navy.mil"),
            ),
            ("correct *carl@navy.mil*", correct("carl@navy.mil")),
            // Its own characters.
            ("correct _carl@navy.mil", correct("_carl@navy.mil")),
        ] {
            assert_eq!(word(line), expected, "{line:?}");
        }
    }

    #[test]
    fn line_with_anything_else_in_it_does_not_count() {
        for line in [
            // To somewhere else.
            "send to bob@army.mil instead",
            "send, but to carl@army.mil",
            "send: carl@army.mil",
            "send carl@army.mil",
            "send it to Bob",
            "cancel carl@army.mil",
            // Not at all.
            "Send it never!",
            "Send not",
            "send nothing",
            "don't send",
            "do not cancel",
            "send (not yet)",
            "send 👎",
            // Both, or a question.
            "send or cancel? I do not know",
            "send cancel",
            "send, no, cancel",
            "send?",
            "send please ?",
            "cancel / correct",
            // An approval nobody asked for.
            "send. Always glad to help",
            "send it, thanks always",
            "send as always",
            "cancel always",
            "correct always",
            "send domain",
            // An adjective, and addresses to choose from.
            "Correct, the address is right, please send",
            "Correct, thanks",
            "correct, it is",
            "That is correct",
            "correct carl@army.ml to carl@army.mil",
            "correct carl@army.mil or bob@army.mil",
            "correct not carl@army.mil",
            "correct to",
            "correct the message",
            "correct address",
            // Other words.
            "sender",
            "sending",
            "cancelled",
            "Dear admin, please send",
            "please",
            "",
        ] {
            assert_eq!(word(line), None, "{line:?}");
        }
    }

    #[test]
    fn line_may_name_several_messages() {
        let which = |line: &str| order(line).map(|order| order.which);
        let ids = |ids: &[&str]| Some(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        for (line, expected) in [
            ("Send 7q2m.", ids(&["7q2m"])),
            (
                "send 7Q2M, AB12 and 9XYZ please",
                ids(&["7Q2M", "AB12", "9XYZ"]),
            ),
            ("send always 7Q2M", ids(&["7Q2M"])),
            ("send ALL always", ids(&["ALL"])),
            ("correct 7Q2M to bob@army.mil", ids(&["7Q2M"])),
            ("correct 7Q2M", ids(&["7Q2M"])),
            // For the caller, who knows no such message.
            ("send all except 7Q2M", ids(&["all", "except", "7Q2M"])),
            ("send 7Q2M cancel AB12", ids(&["7Q2M", "cancel", "AB12"])),
            ("send 7Q2M to bob@army.mil", None),
            ("send 7Q2M and", None),
            ("correct 7Q2M bob@army.mil AB12", None),
            ("correct 7Q2M bob@army.mil, AB12 eve@army.mil", None),
        ] {
            assert_eq!(which(line), expected, "{line:?}");
        }
    }

    fn lines(text: &str) -> Result<Vec<String>, Unread> {
        let orders = read(&text::lines(text))?;
        Ok((orders.lines.into_iter())
            .map(|order| order.which.join("+"))
            .collect())
    }

    #[test]
    fn orders_end_where_the_reply_ends() {
        let behind = |text: &str| read(&text::lines(text)).map(|orders| orders.behind);
        for (text, expected) in [
            ("send 1\ncancel 2\n\ncorrect 3\n", "1 2 3"),
            ("\n\n  send 1\nAnna\n", "1"),
            ("send 1\n\nRegards\nsend 2\n", "1"),
            ("send 1\n-- \nsend 2\n", "1"),
            // A notice that is quoted without a mark.
            (
                "cancel 1\n\nYour message has not gone\n\n    send 9  The address is right",
                "1",
            ),
            ("On 1 May, straymail wrote:\n> x\n\ncancel 1\nAnna", "1"),
            ("send 1\n> x\nAnna\nsend 1\n", "1"),
        ] {
            assert_eq!(lines(text).unwrap().join(" "), expected, "{text:?}");
        }
        assert_eq!(behind("send 1\nAnna B.\n\nC").unwrap(), ["Anna", "B"]);
        assert_eq!(behind("send 1\n\ncancle 2\n\nC").unwrap(), ["cancle", "2"]);
    }

    #[test]
    fn lines_that_may_change_the_answer_refuse_it() {
        for (text, line) in [
            ("send\nto bob@army.mil instead", "to bob@army.mil instead"),
            ("send\nto Bob", "to Bob"),
            ("send\nbob@army.mil", "bob@army.mil"),
            ("send\nNo wait, not yet", "No wait, not yet"),
            ("send\nBut don’t", "But don’t"),
            (
                "send\nplease cancel bob@army.mil",
                "please cancel bob@army.mil",
            ),
            ("send 1\n> x\ncancel 2", "cancel 2"),
            ("send\nAnna\nSend nothing", "Send nothing"),
        ] {
            assert_eq!(lines(text), Err(Unread::Doubt(line.into())), "{text:?}");
        }
        for text in ["", "> send", "Hello,\nsend", "send?", "Anna\n\nsend"] {
            assert_eq!(lines(text), Err(Unread::Unclear), "{text:?}");
        }
        let many = |count| "send x\n".repeat(count);
        assert_eq!(lines(&many(MAX_ORDERS)).unwrap().len(), MAX_ORDERS);
        assert_eq!(lines(&many(MAX_ORDERS + 1)), Err(Unread::Unclear));
    }
}
