//! What to do about an assessment: ordered rules, thresholds, actions.
//!
//! Pure: the time and the looked-up approval come in as arguments, so `straymail check`
//! and the milter reach the same verdict.

mod pattern;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::score::{Assessment, Finding};

pub use pattern::PatternError;

/// What a listener is for, and so what it may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A submission port: all its mail is of our own senders, so all of it is judged.
    Submission,
    /// Mail from sendmail(1) (`non_smtpd_milters`): all judged; held, never rejected at RCPT.
    Local,
    /// A port where mail of our senders and inbound mail mix: the gate says which is ours.
    #[default]
    Relay,
}

/// What straymail asks of the MTA for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Deliver.
    Accept,
    /// Deliver with a header that says the message has a doubtful recipient, not which.
    Tag,
    /// Keep this recipient's copy in the quarantine and deliver the rest.
    Hold,
    /// Ask the MTA to put the whole message into its own hold queue.
    HoldMessage,
    /// Refuse this recipient with a 550 reply.
    Reject,
    /// Ask the client to try again later; only for our own faults.
    Tempfail,
}

/// Whether verdicts are carried out or only recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Record what would have been done, and accept.
    Observe,
    /// Carry the action out.
    #[default]
    Enforce,
}

/// Where a score lies among the thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Band {
    /// Below `note_at`.
    Clean,
    /// From `note_at`: worth a line in the log.
    Note,
    /// From `hold_at`.
    Suspect,
    /// From `reject_at`.
    Certain,
}

/// Scores (0 to 100) from which a band begins; ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// First score of [`Band::Note`].
    pub note_at: u8,
    /// First score of [`Band::Suspect`].
    pub hold_at: u8,
    /// First score of [`Band::Certain`].
    pub reject_at: u8,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            note_at: 40,
            hold_at: 50,
            reject_at: 90,
        }
    }
}

/// The action of each band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandActions {
    /// For [`Band::Note`].
    pub note: Action,
    /// For [`Band::Suspect`].
    pub suspect: Action,
    /// For [`Band::Certain`].
    pub certain: Action,
}

impl Default for BandActions {
    fn default() -> Self {
        // Rejecting one of several recipients makes most mail programs abort the whole
        // message; holding never does. So reject only where the mistake is certain.
        BandActions {
            note: Action::Accept,
            suspect: Action::Hold,
            certain: Action::Reject,
        }
    }
}

/// What to do with a message when straymail itself fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// 451: the client keeps the message and tries again. Nothing leaks, nothing is lost.
    #[default]
    Tempfail,
    /// The MTA holds the whole message in its own queue.
    HoldMessage,
    /// Deliver unjudged. Leaks by design; for a trial in observe mode only.
    Accept,
}

/// Addresses a rule or an approval speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AddressPattern {
    /// `carl@army.ml`: this address, compared without regard to case.
    Address(String),
    /// `army.ml`: every address at this domain or below it.
    Domain(String),
    /// `.ml`: every address below this suffix.
    Suffix(String),
}

/// Which recipients a rule is for. An absent field fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Envelope sender.
    pub sender: Option<AddressPattern>,
    /// SASL login (`{auth_authen}`), exact.
    pub login: Option<String>,
    /// Network of the SMTP client.
    pub client: Option<ipnet::IpNet>,
    /// Role of the listener.
    pub role: Option<Role>,
    /// Envelope recipient.
    pub recipient: Option<AddressPattern>,
}

/// One rule. Fields left out fall back to the policy's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Unique name; logs and `straymail check` print it.
    pub name: String,
    /// Which recipients it is for.
    pub scope: Scope,
    /// Observe or enforce.
    pub mode: Option<Mode>,
    /// First score of the note band.
    pub note_at: Option<u8>,
    /// First score of the suspect band.
    pub hold_at: Option<u8>,
    /// First score of the certain band.
    pub reject_at: Option<u8>,
    /// Action of the note band.
    pub note: Option<Action>,
    /// Action of the suspect band.
    pub suspect: Option<Action>,
    /// Action of the certain band.
    pub certain: Option<Action>,
    /// What to do when straymail itself fails.
    pub on_error: Option<OnError>,
    /// Who answers for an exception.
    pub owner: Option<String>,
    /// Why the exception exists.
    pub reason: Option<String>,
    /// From this moment on the rule is ignored.
    pub expires: Option<jiff::Timestamp>,
}

/// The rules of one site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Default mode.
    pub mode: Mode,
    /// Default thresholds.
    pub thresholds: Thresholds,
    /// Default action of each band.
    pub actions: BandActions,
    /// Default for our own faults.
    pub on_error: OnError,
    /// In the order written; of those that fit, the most specific wins, then the first.
    pub rules: Vec<Rule>,
}

/// Who sends to whom, as far as rules ask.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Envelope sender, `local@domain`, empty for the null sender.
    pub sender: &'a str,
    /// SASL login.
    pub login: Option<&'a str>,
    /// Address of the SMTP client.
    pub client: Option<IpAddr>,
    /// Role of the listener.
    pub role: Role,
    /// Envelope recipient, `local@domain` with the domain in A-labels.
    pub recipient: &'a str,
}

/// The name of the verdict's rule when no written rule fits.
pub const DEFAULT_RULE: &str = "default";

/// What the policy says about one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What to do now. In observe mode always [`Action::Accept`].
    pub action: Action,
    /// What the rule asks for: equals `action` in enforce mode, but for a recipient that would be
    /// held and is rejected, because the MTA may not remove it.
    pub intended: Action,
    /// Where the score lies.
    pub band: Band,
    /// Whether the rule enforces.
    pub mode: Mode,
    /// Name of the rule that decided, [`DEFAULT_RULE`] when none fits.
    pub rule: String,
    /// The approval that let the recipient pass, as the store names it.
    pub approval: Option<String>,
    /// What to do when straymail itself fails with this recipient.
    pub on_error: OnError,
}

impl Verdict {
    /// Returns the verdict about a recipient that the MTA may not remove from the message: instead
    /// of being held it is rejected.
    #[must_use]
    pub fn without_removal(mut self) -> Verdict {
        if self.action == Action::Hold {
            self.action = Action::Reject;
        }
        self
    }

    /// Returns whether the recipient is rejected where the rule asks to hold it.
    pub fn is_stricter(&self) -> bool {
        self.action == Action::Reject && self.intended == Action::Hold
    }
}

/// What holds for those one rule is for, or everybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Where the bands begin.
    pub thresholds: Thresholds,
    /// What is done in each.
    pub actions: BandActions,
    /// Whether it is done.
    pub mode: Mode,
}

impl Terms {
    /// Returns what is asked for at each score that is not clean, whatever the mode.
    fn asked(&self) -> impl Iterator<Item = Action> {
        (1..=100).map(|score| self.actions.action(self.thresholds.band(score)))
    }

    /// Returns whether some score passes under these terms that `others` stop, or is not even
    /// tagged where they tag; whatever the mode.
    pub fn let_more_through_than(&self, others: &Terms) -> bool {
        (self.asked().zip(others.asked()))
            .any(|(here, there)| here.strictness() < there.strictness())
    }
}

impl Action {
    /// Returns how much is stopped: nothing, nothing but with a mark, the recipient.
    fn strictness(self) -> u8 {
        match self {
            Action::Accept => 0,
            Action::Tag => 1,
            Action::Hold | Action::HoldMessage | Action::Reject | Action::Tempfail => 2,
        }
    }
}

impl Thresholds {
    /// Returns the band `score` (0 to 100) lies in.
    pub fn band(&self, score: u8) -> Band {
        if score >= self.reject_at {
            Band::Certain
        } else if score >= self.hold_at {
            Band::Suspect
        } else if score >= self.note_at {
            Band::Note
        } else {
            Band::Clean
        }
    }
}

impl BandActions {
    /// Returns the action for `band`; a clean recipient is accepted whatever the policy.
    pub fn action(&self, band: Band) -> Action {
        match band {
            Band::Clean => Action::Accept,
            Band::Note => self.note,
            Band::Suspect => self.suspect,
            Band::Certain => self.certain,
        }
    }
}

impl AddressPattern {
    /// Returns whether `address` (`local@domain`, domain in A-labels) fits.
    ///
    /// A domain fits on a label boundary only: `army.ml` fits `a@hq.army.ml`, not `a@xarmy.ml`.
    pub fn fits(&self, address: &str) -> bool {
        let host = address.rsplit_once('@').map_or("", |(_, host)| host);
        match self {
            AddressPattern::Address(wanted) => wanted.eq_ignore_ascii_case(address),
            AddressPattern::Domain(wanted) => {
                host.eq_ignore_ascii_case(wanted) || is_below(host, wanted)
            }
            AddressPattern::Suffix(wanted) => is_below(host, wanted.trim_start_matches('.')),
        }
    }

    /// Returns how narrow the pattern is: an address, then a longer name before a shorter one.
    fn specificity(&self) -> u32 {
        match self {
            AddressPattern::Address(_) => 1000,
            AddressPattern::Domain(name) => 200 + labels(name),
            AddressPattern::Suffix(name) => 100 + labels(name.trim_start_matches('.')),
        }
    }
}

fn labels(name: &str) -> u32 {
    // At most 127 labels: RFC 1035, 2.3.4.
    name.split('.').take(127).map(|_| 1).sum()
}

fn is_below(host: &str, parent: &str) -> bool {
    let (host, parent) = (host.as_bytes(), parent.as_bytes());
    let Some(cut) = host.len().checked_sub(parent.len() + 1) else {
        return false;
    };
    let (_, tail) = host.split_at(cut);
    tail.split_first()
        .is_some_and(|(dot, rest)| *dot == b'.' && rest.eq_ignore_ascii_case(parent))
}

impl Scope {
    /// Returns whether the rule is for `subject`.
    pub fn fits(&self, subject: &Subject<'_>) -> bool {
        let fits_pattern = |pattern: &Option<AddressPattern>, address: &str| {
            pattern.as_ref().is_none_or(|p| p.fits(address))
        };
        fits_pattern(&self.sender, subject.sender)
            && fits_pattern(&self.recipient, subject.recipient)
            && self.role.is_none_or(|role| role == subject.role)
            && (self.login.as_deref()).is_none_or(|login| subject.login == Some(login))
            && (self.client).is_none_or(|net| subject.client.is_some_and(|ip| net.contains(&ip)))
    }

    /// Returns how narrow the scope is; of the rules that fit, the highest wins.
    ///
    /// The recipient weighs most, because exceptions are made for recipients; then the sender,
    /// the login, the client's network by its prefix length, the role.
    fn specificity(&self) -> (u32, u32, u32, u32, u32) {
        let pattern = |p: &Option<AddressPattern>| p.as_ref().map_or(0, |p| p.specificity());
        (
            pattern(&self.recipient),
            pattern(&self.sender),
            self.login.is_some().into(),
            (self.client).map_or(0, |net| 1 + u32::from(net.prefix_len())),
            self.role.is_some().into(),
        )
    }
}

impl Policy {
    /// Returns the rule for `subject` at `now`: the most specific that fits and has not expired,
    /// the first of several equally specific ones, `None` when only the defaults apply.
    pub fn rule_for(&self, subject: &Subject<'_>, now: jiff::Timestamp) -> Option<&Rule> {
        (self.rules.iter())
            .filter(|rule| rule.expires.is_none_or(|end| now < end))
            .filter(|rule| rule.scope.fits(subject))
            // `max_by_key` returns the last of equals, so look from the end.
            .rev()
            .max_by_key(|rule| rule.scope.specificity())
    }

    /// Returns what holds for those `rule` is for, `None` for those of no rule.
    pub fn terms(&self, rule: Option<&Rule>) -> Terms {
        let (thresholds, actions) = (self.thresholds, self.actions);
        Terms {
            thresholds: Thresholds {
                note_at: (rule.and_then(|r| r.note_at)).unwrap_or(thresholds.note_at),
                hold_at: (rule.and_then(|r| r.hold_at)).unwrap_or(thresholds.hold_at),
                reject_at: (rule.and_then(|r| r.reject_at)).unwrap_or(thresholds.reject_at),
            },
            actions: BandActions {
                note: rule.and_then(|r| r.note).unwrap_or(actions.note),
                suspect: rule.and_then(|r| r.suspect).unwrap_or(actions.suspect),
                certain: rule.and_then(|r| r.certain).unwrap_or(actions.certain),
            },
            mode: rule.and_then(|r| r.mode).unwrap_or(self.mode),
        }
    }

    /// Returns everything that is done to some score, by the defaults or a rule, but accepting;
    /// what is only observed is not done.
    pub fn deeds(&self) -> impl Iterator<Item = Action> {
        let rules = self.rules.iter().map(Some);
        (std::iter::once(None).chain(rules))
            .map(|rule| self.terms(rule))
            .filter(|terms| terms.mode == Mode::Enforce)
            .flat_map(|terms| terms.asked().collect::<Vec<_>>())
            .filter(|action| *action != Action::Accept)
    }

    /// Returns whether mail may come to be held: by itself, or in place of a rejection where there
    /// is a listener for local mail.
    pub fn may_hold(&self, mut roles: impl Iterator<Item = Role>) -> bool {
        let local = roles.any(|role| role == Role::Local);
        (self.deeds()).any(|deed| deed == Action::Hold || local && deed == Action::Reject)
    }

    /// Returns what to do when straymail itself fails with `subject`.
    pub fn on_error_for(&self, subject: &Subject<'_>, now: jiff::Timestamp) -> OnError {
        (self.rule_for(subject, now))
            .and_then(|rule| rule.on_error)
            .unwrap_or(self.on_error)
    }

    /// Returns what to do about `assessment`.
    ///
    /// `approval` names the approval for exactly this sender and recipient, when the store has
    /// one: an approved recipient is accepted whatever its score. On a [`Role::Local`] listener
    /// a rejection becomes a hold: Postfix leaves a rejected sendmail(1) message in its queue
    /// for ever and tells nobody.
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        assessment: &Assessment,
        approval: Option<&str>,
        now: jiff::Timestamp,
    ) -> Verdict {
        let rule = self.rule_for(subject, now);
        let Terms {
            thresholds,
            actions,
            mode,
        } = self.terms(rule);
        let band = match assessment.finding {
            Finding::Trusted { .. } | Finding::Unrelated => Band::Clean,
            Finding::Resembles { .. } | Finding::Undecodable { .. } => {
                thresholds.band(assessment.score)
            }
        };
        let wanted = match actions.action(band) {
            Action::Reject | Action::Tempfail if subject.role == Role::Local => Action::Hold,
            action => action,
        };
        let intended = if approval.is_some() {
            Action::Accept
        } else {
            wanted
        };
        Verdict {
            action: match mode {
                Mode::Enforce => intended,
                Mode::Observe => Action::Accept,
            },
            intended,
            band,
            mode,
            rule: rule.map_or(DEFAULT_RULE, |r| r.name.as_str()).to_owned(),
            approval: approval.map(str::to_owned),
            on_error: rule.and_then(|r| r.on_error).unwrap_or(self.on_error),
        }
    }
}

impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnError::Tempfail => "tempfail",
            OnError::HoldMessage => "hold-message",
            OnError::Accept => "accept",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Accept => "accept",
            Action::Tag => "tag",
            Action::Hold => "hold",
            Action::HoldMessage => "hold-message",
            Action::Reject => "reject",
            Action::Tempfail => "tempfail",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{Candidate, Edit};

    fn suspicious(score: u8) -> Assessment {
        Assessment {
            score,
            finding: Finding::Resembles {
                candidates: vec![Candidate {
                    trusted: "army.mil".into(),
                    hosts: String::new(),
                    score,
                    evidence: vec![],
                    edit: Edit::default(),
                }],
            },
        }
    }

    fn subject(recipient: &str) -> Subject<'_> {
        Subject {
            sender: "alice@site.example",
            login: Some("alice"),
            client: Some(IpAddr::from([10, 1, 2, 3])),
            role: Role::Submission,
            recipient,
        }
    }

    fn domain(name: &str) -> Option<AddressPattern> {
        Some(AddressPattern::Domain(name.into()))
    }

    fn rule(name: &str, scope: Scope, suspect: Action) -> Rule {
        Rule {
            name: name.into(),
            scope,
            suspect: Some(suspect),
            ..Rule::default()
        }
    }

    const NOW: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

    fn action(policy: &Policy, subject: &Subject<'_>, score: u8) -> Action {
        policy.decide(subject, &suspicious(score), None, NOW).action
    }

    #[test]
    fn bands_begin_at_their_thresholds() {
        let policy = Policy::default();
        let to = subject("carl@army.ml");
        let verdicts: Vec<(Band, Action)> = [39, 40, 49, 50, 89, 90, 100]
            .iter()
            .map(|&score| policy.decide(&to, &suspicious(score), None, NOW))
            .map(|v| (v.band, v.action))
            .collect();
        assert_eq!(
            verdicts,
            [
                (Band::Clean, Action::Accept),
                (Band::Note, Action::Accept),
                (Band::Note, Action::Accept),
                (Band::Suspect, Action::Hold),
                (Band::Suspect, Action::Hold),
                (Band::Certain, Action::Reject),
                (Band::Certain, Action::Reject),
            ]
        );
    }

    #[test]
    fn most_specific_rule_wins_whatever_the_order() {
        let wide = Scope {
            recipient: domain("ml"),
            ..Scope::default()
        };
        let narrow = Scope {
            recipient: domain("army.ml"),
            ..Scope::default()
        };
        let exact = Scope {
            recipient: Some(AddressPattern::Address("Carl@army.ml".into())),
            ..Scope::default()
        };
        let mut rules = vec![
            rule("wide", wide, Action::Tag),
            rule("narrow", narrow, Action::Reject),
            rule("exact", exact, Action::Accept),
        ];
        for _ in 0..3 {
            rules.rotate_left(1);
            let policy = Policy {
                rules: rules.clone(),
                ..Policy::default()
            };
            assert_eq!(
                action(&policy, &subject("carl@army.ml"), 60),
                Action::Accept
            );
            assert_eq!(
                action(&policy, &subject("x@hq.army.ml"), 60),
                Action::Reject
            );
            assert_eq!(action(&policy, &subject("x@navy.ml"), 60), Action::Tag);
            assert_eq!(action(&policy, &subject("x@navy.nl"), 60), Action::Hold);
        }
    }

    #[test]
    fn first_of_equally_specific_rules_wins() {
        let scope = Scope {
            login: Some("alice".into()),
            ..Scope::default()
        };
        let policy = Policy {
            rules: vec![
                rule("first", scope.clone(), Action::Tag),
                rule("second", scope, Action::Reject),
            ],
            ..Policy::default()
        };
        assert_eq!(
            policy
                .decide(&subject("c@army.ml"), &suspicious(60), None, NOW)
                .rule,
            "first"
        );
    }

    #[test]
    fn expired_rule_is_ignored() {
        let mut exception = rule("until-1970", Scope::default(), Action::Accept);
        exception.expires = Some(NOW);
        let policy = Policy {
            rules: vec![exception],
            ..Policy::default()
        };
        let verdict = policy.decide(&subject("c@army.ml"), &suspicious(60), None, NOW);
        assert_eq!(
            (verdict.action, verdict.rule.as_str()),
            (Action::Hold, DEFAULT_RULE)
        );
    }

    #[test]
    fn local_listener_holds_what_another_would_reject() {
        let policy = Policy::default();
        let local = Subject {
            role: Role::Local,
            ..subject("c@army.ml")
        };
        assert_eq!(action(&policy, &local, 100), Action::Hold);
    }

    #[test]
    fn observe_accepts_and_says_what_it_would_have_done() {
        let policy = Policy {
            mode: Mode::Observe,
            ..Policy::default()
        };
        let verdict = policy.decide(&subject("c@army.ml"), &suspicious(95), None, NOW);
        assert_eq!(
            (verdict.action, verdict.intended),
            (Action::Accept, Action::Reject)
        );
    }

    #[test]
    fn approved_recipient_is_accepted_whatever_its_score() {
        let policy = Policy::default();
        let verdict = policy.decide(&subject("c@army.ml"), &suspicious(100), Some("A1"), NOW);
        assert_eq!(
            (verdict.action, verdict.approval.as_deref()),
            (Action::Accept, Some("A1"))
        );
    }

    #[test]
    fn trusted_name_is_clean_even_with_thresholds_at_zero() {
        let zero = Thresholds {
            note_at: 0,
            hold_at: 0,
            reject_at: 0,
        };
        let policy = Policy {
            thresholds: zero,
            ..Policy::default()
        };
        let verdict = policy.decide(&subject("b@x.example"), &Assessment::unrelated(), None, NOW);
        assert_eq!(
            (verdict.band, verdict.action),
            (Band::Clean, Action::Accept)
        );
    }

    #[test]
    fn patterns_match_on_label_boundaries_only() {
        let fits = |pattern: AddressPattern, address: &str| pattern.fits(address);
        assert!(fits(
            AddressPattern::Domain("army.ml".into()),
            "a@HQ.Army.ml"
        ));
        assert!(!fits(
            AddressPattern::Domain("army.ml".into()),
            "a@xarmy.ml"
        ));
        assert!(fits(AddressPattern::Suffix(".ml".into()), "a@army.ml"));
        assert!(!fits(AddressPattern::Suffix(".ml".into()), "a@ml"));
        assert!(!fits(AddressPattern::Domain("é.ml".into()), "a@\u{430}.ml"));
    }
}
