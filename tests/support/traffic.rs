//! A site's mail of some weeks, as Postfix or Sendmail logs it, with planted typos.
//!
//! A model with a seed: the same seed gives the same bytes. Some hundred people write to
//! partners (Zipf), to strangers, and receive mail; weekends are quiet; some mail is deferred,
//! bounced or refused. Into that are planted typos of partners, written by one person once or a
//! few times, and real neighbours: domains one letter beside a partner, which many people write
//! to and which write back. The ground truth comes with it.

#![allow(dead_code, reason = "each user takes another part")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Own domain of the site.
pub(crate) const OWN: &str = "example.org";

/// Who writes the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Postfix with classic syslog times, short queue ids.
    Postfix,
    /// Postfix behind a content filter, RFC 3339 times, long queue ids.
    PostfixFiltered,
    /// Sendmail.
    Sendmail,
}

/// What to generate.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) seed: u64,
    pub(crate) format: Format,
    /// Begin of the first day, UTC.
    pub(crate) begin: Timestamp,
    pub(crate) days: u32,
    /// Mails on a working day, both directions.
    pub(crate) mails_a_day: u32,
    /// Trusted partners.
    pub(crate) partners: usize,
    /// Planted typos, and real neighbours.
    pub(crate) typos: usize,
    pub(crate) neighbours: usize,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            seed: 1,
            format: Format::Postfix,
            begin: Timestamp::from_second(1_792_972_800).unwrap_or_default(),
            days: 30,
            mails_a_day: 400,
            partners: 60,
            typos: 25,
            neighbours: 4,
        }
    }
}

/// What is in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// Trusted partners.
    pub(crate) partners: Vec<String>,
    /// Typo, what was meant, how many were delivered.
    pub(crate) typos: BTreeMap<String, (String, u64)>,
    /// Neighbour and the partner beside it.
    pub(crate) neighbours: BTreeMap<String, String>,
    /// Mails of the site's people.
    pub(crate) outbound: u64,
    /// Mails of others.
    pub(crate) inbound: u64,
    pub(crate) lines: u64,
}

/// SplitMix64: small, and good enough for mail.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// The lower, the more often.
    fn zipf(&mut self, bound: usize) -> usize {
        let uniform = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let at = ((bound as f64 + 1.0).powf(uniform) - 1.0) as usize;
        at.min(bound - 1)
    }
}

const CONSONANTS: &[u8] = b"bdfgklmnprstvz";
const VOWELS: &[u8] = b"aeiou";
const ENDINGS: &[&str] = &[
    "com", "com", "com", "org", "net", "de", "co.uk", "mil", "gov",
];

/// A name of four or five syllables: far from every other one.
fn name(random: &mut Random) -> String {
    let mut name = String::new();
    for _ in 0..4 + random.below(2) {
        name.push(char::from(CONSONANTS[random.below(CONSONANTS.len())]));
        name.push(char::from(VOWELS[random.below(VOWELS.len())]));
    }
    name
}

/// The people at other domains whom mail goes to and comes from. Most mail is between people who
/// know each other: half a million mails of Enron are of 37,000 addresses (SNAP, email-Enron).
#[derive(Default)]
struct Contacts(BTreeMap<String, Vec<String>>);

impl Contacts {
    /// Returns the address of somebody at `domain`, now and then somebody new.
    fn at(&mut self, random: &mut Random, domain: &str) -> String {
        let known = self.0.entry(domain.to_owned()).or_default();
        if known.is_empty() || random.chance(15) {
            known.push(name(random));
        }
        format!("{}@{domain}", known[random.zipf(known.len())])
    }
}

/// Names that no two slips of a letter lead from one to the other, so that every resemblance in
/// the log is a planted one.
struct Names(BTreeSet<String>);

impl Names {
    fn domains(&mut self, random: &mut Random, count: usize) -> Vec<String> {
        let mut list = Vec::new();
        while list.len() < count {
            let label = name(random);
            let shortened = shortened(&label);
            if shortened.iter().any(|short| self.0.contains(short)) {
                continue;
            }
            self.0.extend(shortened);
            list.push(format!("{label}.{}", ENDINGS[random.below(ENDINGS.len())]));
        }
        list
    }
}

/// The label and what is left of it without one or two of its letters: two names with one of
/// these in common are at most two slips apart.
fn shortened(label: &str) -> Vec<String> {
    let without = |text: &str, at: usize| -> String {
        (text.chars().enumerate())
            .filter(|(n, _)| *n != at)
            .map(|(_, c)| c)
            .collect()
    };
    let mut all = vec![label.to_owned()];
    for first in 0..label.len() {
        let once = without(label, first);
        all.extend((0..first).map(|second| without(&once, second)));
        all.push(once);
    }
    all
}

/// A slip of the kinds that incidents tell of.
fn slip(random: &mut Random, domain: &str) -> String {
    let (label, ending) = domain.split_once('.').unwrap_or((domain, "com"));
    let mut letters: Vec<char> = label.chars().collect();
    let at = 2 + random.below(letters.len() - 4);
    match (random.below(5), ending) {
        (0, "mil") => return format!("{label}.ml"),
        (0, "com") => return format!("{label}.cm"),
        (0 | 1, _) => letters.swap(at, at + 1),
        (2, _) => {
            letters.remove(at);
        }
        (3, _) => letters.insert(at, letters[at]),
        _ => letters[at] = if letters[at] == 'a' { 's' } else { 'a' },
    }
    let slipped: String = letters.into_iter().collect();
    if slipped == label {
        // Two equal letters changed places.
        return format!(
            "{label}{}.{ending}",
            label.chars().next_back().unwrap_or('x')
        );
    }
    format!("{slipped}.{ending}")
}

/// A mail to be logged.
struct Posted<'a> {
    sender: &'a str,
    recipients: &'a [String],
    /// A person of the site sends it.
    own: bool,
    outcome: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Sent,
    DeferredFirst,
    Bounced,
    Refused,
}

struct Log<W> {
    out: W,
    format: Format,
    random: Random,
    /// Lines to come, by time and by the order in which they arose.
    waiting: BinaryHeap<Reverse<(i64, u64, String)>>,
    order: u64,
    mails: u64,
    lines: u64,
    /// The second whose time is written, and how.
    stamp: (i64, String),
}

/// Writes the log to `out` and returns what is in it.
pub(crate) fn write(model: &Model, out: impl Write) -> io::Result<Truth> {
    let mut random = Random(model.seed);
    let mut names = Names(BTreeSet::new());
    let partners = names.domains(&mut random, model.partners);
    let strangers = names.domains(&mut random, 2000);
    let people: Vec<String> = (0..200)
        .map(|n| format!("{}{n}@{OWN}", name(&mut random)))
        .collect();
    let mut truth = Truth {
        partners: partners.clone(),
        ..Truth::default()
    };
    let taken: BTreeSet<&String> = partners.iter().chain(&strangers).collect();
    for n in 0..model.neighbours {
        let partner = &partners[n % partners.len()];
        let neighbour = slip(&mut random, partner);
        if !taken.contains(&neighbour) {
            truth.neighbours.insert(neighbour, partner.clone());
        }
    }
    let mut plan: Vec<(u32, String)> = Vec::new();
    while truth.typos.len() < model.typos.min(partners.len() * 3) {
        let meant = &partners[random.below(partners.len())];
        let typo = slip(&mut random, meant);
        if taken.contains(&typo)
            || truth.neighbours.contains_key(&typo)
            || truth.typos.contains_key(&typo)
        {
            continue;
        }
        let times = 1 + random.zipf(4) as u64;
        for _ in 0..times {
            plan.push((random.below(model.days as usize) as u32, typo.clone()));
        }
        truth.typos.insert(typo, (meant.clone(), times));
    }
    let neighbours: Vec<String> = truth.neighbours.keys().cloned().collect();
    let mut log = Log {
        out,
        format: model.format,
        random: Random(random.next()),
        waiting: BinaryHeap::new(),
        order: 0,
        mails: 0,
        lines: 0,
        stamp: (i64::MIN, String::new()),
    };
    let mut contacts = Contacts::default();
    let begin = model.begin.as_second();
    for day in 0..model.days {
        let midnight = begin + i64::from(day) * 86_400;
        let weekend = matches!((midnight / 86_400 + 4) % 7, 0 | 6);
        let count = if weekend {
            model.mails_a_day / 6
        } else {
            model.mails_a_day
        };
        let mut slips: Vec<&String> = (plan.iter())
            .filter(|(on, _)| *on == day)
            .map(|(_, typo)| typo)
            .collect();
        let spacing = (count / (slips.len() as u32 + 1)).max(1);
        // From seven to nineteen o'clock.
        let step = 43_200.0 / f64::from(count.max(1));
        for n in 0..count {
            let time = midnight + 25_200 + (f64::from(n) * step) as i64;
            log.flush(time)?;
            if n > 0
                && n % spacing == 0
                && let Some(typo) = slips.pop()
            {
                let sender = &people[random.zipf(people.len())];
                let mut recipients = vec![format!("{}@{typo}", name(&mut random))];
                if random.chance(3) {
                    recipients.push(contacts.at(&mut random, &partners[0]));
                }
                truth.outbound += 1;
                log.post(
                    time,
                    &Posted {
                        sender,
                        recipients: &recipients,
                        own: true,
                        outcome: Fate::Sent,
                    },
                );
                continue;
            }
            if random.chance(2) {
                let domain = match random.below(10) {
                    0 if !neighbours.is_empty() && !weekend => {
                        &neighbours[random.below(neighbours.len())]
                    }
                    0..7 => &partners[random.zipf(partners.len())],
                    _ => &strangers[random.zipf(strangers.len())],
                };
                let sender = contacts.at(&mut random, domain);
                let recipients = [people[random.zipf(people.len())].clone()];
                let outcome = if random.chance(40) {
                    Fate::Refused
                } else {
                    Fate::Sent
                };
                truth.inbound += u64::from(outcome == Fate::Sent);
                log.post(
                    time,
                    &Posted {
                        sender: &sender,
                        recipients: &recipients,
                        own: false,
                        outcome,
                    },
                );
            } else {
                let sender = &people[random.zipf(people.len())];
                let mut recipients = Vec::new();
                for _ in 0..1 + random.zipf(4) {
                    let domain = match random.below(20) {
                        0 if !neighbours.is_empty() && !weekend => {
                            &neighbours[random.below(neighbours.len())]
                        }
                        0..14 => &partners[random.zipf(partners.len())],
                        _ => &strangers[random.zipf(strangers.len())],
                    };
                    recipients.push(contacts.at(&mut random, domain));
                }
                let outcome = match random.below(60) {
                    0 | 1 => Fate::DeferredFirst,
                    2 => Fate::Bounced,
                    _ => Fate::Sent,
                };
                truth.outbound += 1;
                log.post(
                    time,
                    &Posted {
                        sender,
                        recipients: &recipients,
                        own: true,
                        outcome,
                    },
                );
            }
        }
    }
    log.flush(i64::MAX)?;
    truth.lines = log.lines;
    log.out.flush()?;
    Ok(truth)
}

impl<W: Write> Log<W> {
    fn flush(&mut self, until: i64) -> io::Result<()> {
        while let Some(Reverse((time, _, _))) = self.waiting.peek()
            && *time <= until
        {
            let Some(Reverse((time, _, line))) = self.waiting.pop() else {
                break;
            };
            if time != self.stamp.0 {
                let zoned = Timestamp::from_second(time)
                    .unwrap_or_default()
                    .to_zoned(TimeZone::UTC);
                let form = match self.format {
                    Format::PostfixFiltered => "%Y-%m-%dT%H:%M:%S.123456+00:00",
                    Format::Postfix | Format::Sendmail => "%b %e %H:%M:%S",
                };
                self.stamp = (time, zoned.strftime(form).to_string());
            }
            writeln!(self.out, "{} mx {line}", self.stamp.1)?;
            self.lines += 1;
        }
        Ok(())
    }

    fn line(&mut self, time: i64, line: String) {
        self.order += 1;
        self.waiting.push(Reverse((time, self.order, line)));
    }

    fn post(&mut self, time: i64, mail: &Posted<'_>) {
        self.mails += 1;
        match self.format {
            Format::Sendmail => self.sendmail(time, mail),
            Format::Postfix | Format::PostfixFiltered => self.postfix(time, mail),
        }
    }

    fn id(&mut self) -> String {
        match self.format {
            Format::Postfix => format!("{:010X}", self.random.next() & 0xff_ffff_ffff),
            Format::PostfixFiltered => {
                const LONG: &[u8] = b"0123456789BCDFGHJKLMNPQRSTVWXYbcdfghjklmnpqrstvwxy";
                let mut id = String::from("4g");
                for _ in 0..9 {
                    id.push(char::from(LONG[self.random.below(LONG.len())]));
                }
                id + "z8z2Rt"
            }
            Format::Sendmail => format!(
                "4AP{:05X}{:06}",
                self.mails & 0xf_ffff,
                100_000 + self.random.below(899_999)
            ),
        }
    }

    fn client(&mut self, mail: &Posted<'_>) -> (String, String) {
        if mail.own {
            let n = self.random.below(200);
            (format!("pc{n}.{OWN}"), format!("192.0.2.{n}"))
        } else {
            (
                format!(
                    "out.{}",
                    mail.sender.split('@').next_back().unwrap_or_default()
                ),
                format!("203.0.113.{}", self.random.below(250)),
            )
        }
    }

    fn postfix(&mut self, time: i64, mail: &Posted<'_>) {
        let (name, ip) = self.client(mail);
        let smtpd = if mail.own {
            "postfix/submission/smtpd[101]"
        } else {
            "postfix/smtpd[102]"
        };
        self.line(time, format!("{smtpd}: connect from {name}[{ip}]"));
        if mail.outcome == Fate::Refused {
            let recipient = &mail.recipients[0];
            self.line(time, format!("{smtpd}: NOQUEUE: reject: RCPT from {name}[{ip}]: 554 5.7.1 <{recipient}>: Recipient address rejected: Access denied; from=<{}> to=<{recipient}> proto=ESMTP helo=<{name}>", mail.sender));
            self.line(time, format!("{smtpd}: disconnect from {name}[{ip}] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"));
            return;
        }
        let id = self.id();
        let login = if mail.own {
            format!(", sasl_method=PLAIN, sasl_username={}", mail.sender)
        } else {
            String::new()
        };
        self.line(time, format!("{smtpd}: {id}: client={name}[{ip}]{login}"));
        let message_id = format!("<{}.{}@{name}>", self.mails, time);
        self.line(
            time,
            format!("postfix/cleanup[103]: {id}: message-id={message_id}"),
        );
        let active = format!(
            "from=<{}>, size={}, nrcpt={} (queue active)",
            mail.sender,
            900 + self.random.below(90_000),
            mail.recipients.len()
        );
        self.line(time, format!("postfix/qmgr[104]: {id}: {active}"));
        self.line(time, format!("{smtpd}: disconnect from {name}[{ip}] ehlo=2 starttls=1 auth=1 mail=1 rcpt={} data=1 quit=1 commands=8", mail.recipients.len()));
        let id = if self.format == Format::PostfixFiltered {
            let next = self.id();
            let smtpd = "postfix/reinject/smtpd[110]";
            self.line(
                time + 1,
                format!("{smtpd}: {next}: client=localhost[127.0.0.1]"),
            );
            self.line(
                time + 1,
                format!("postfix/cleanup[103]: {next}: message-id={message_id}"),
            );
            self.line(time + 1, format!("postfix/qmgr[104]: {next}: {active}"));
            for recipient in mail.recipients {
                self.line(time + 1, format!("postfix/amavis/smtp[111]: {id}: to=<{recipient}>, relay=127.0.0.1[127.0.0.1]:10024, delay=1.1, delays=0.1/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {next})"));
            }
            self.line(time + 1, format!("postfix/qmgr[104]: {id}: removed"));
            next
        } else {
            id
        };
        let mut end = time + 1 + self.random.below(3) as i64;
        for recipient in mail.recipients {
            let domain = recipient.split('@').next_back().unwrap_or_default();
            let host = format!("mx.{domain}[198.51.100.{}]:25", 1 + domain.len() * 7 % 250);
            let tail = "delay=1.2, delays=0.1/0.01/0.5/0.6";
            if !mail.own {
                self.line(end, format!("postfix/lmtp[105]: {id}: to=<{recipient}>, relay=mx[private/dovecot-lmtp], {tail}, dsn=2.0.0, status=sent (250 2.0.0 <{recipient}> Saved)"));
                continue;
            }
            match mail.outcome {
                Fate::Bounced => self.line(end, format!("postfix/smtp[106]: {id}: to=<{recipient}>, relay={host}, {tail}, dsn=5.1.1, status=bounced (host {host} said: 550 5.1.1 User unknown (in reply to RCPT TO command))")),
                Fate::DeferredFirst => {
                    self.line(end, format!("postfix/smtp[106]: {id}: to=<{recipient}>, relay=none, {tail}, dsn=4.4.1, status=deferred (connect to {host}: Connection timed out)"));
                    end += 3600;
                    self.line(end, format!("postfix/smtp[106]: {id}: to=<{recipient}>, relay={host}, {tail}, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F2)"));
                }
                Fate::Sent | Fate::Refused => self.line(end, format!("postfix/smtp[106]: {id}: to=<{recipient}>, relay={host}, {tail}, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F2)")),
            }
        }
        self.line(end, format!("postfix/qmgr[104]: {id}: removed"));
    }

    fn sendmail(&mut self, time: i64, mail: &Posted<'_>) {
        let (name, ip) = self.client(mail);
        let id = self.id();
        // A queue id ends with the process that gave it.
        let process = id
            .get(8..)
            .unwrap_or_default()
            .trim_start_matches('0')
            .to_owned();
        if mail.outcome == Fate::Refused {
            self.line(time, format!("sm-mta[{process}]: {id}: ruleset=check_rcpt, arg1=<{}>, relay={name} [{ip}], reject=550 5.7.1 Access denied", mail.recipients[0]));
            self.line(time, format!("sm-mta[{process}]: {id}: from=<{}>, size=0, class=0, nrcpts=0, proto=ESMTP, daemon=MTA, relay={name} [{ip}]", mail.sender));
            return;
        }
        if mail.own {
            self.line(time, format!("sm-mta[{process}]: AUTH=server, relay={name} [{ip}], authid={}, mech=PLAIN, bits=0", mail.sender));
        }
        let size = 900 + self.random.below(90_000);
        let mails = self.mails;
        self.line(time, format!("sm-mta[{process}]: {id}: from=<{}>, size={}, class=0, nrcpts={}, msgid=<{}@{name}>, proto={}, daemon={}, relay={name} [{ip}]", mail.sender, size, mail.recipients.len(), mails, if mail.own { "ESMTPA" } else { "ESMTP" }, if mail.own { "MSA" } else { "MTA" }));
        let mut end = time + 1;
        for recipient in mail.recipients {
            let domain = recipient.split('@').next_back().unwrap_or_default();
            let head =
                format!("sm-mta[202]: {id}: to=<{recipient}>, delay=00:00:01, xdelay=00:00:01");
            if !mail.own {
                self.line(
                    end,
                    format!("{head}, mailer=local, pri=31000, dsn=2.0.0, stat=Sent"),
                );
                continue;
            }
            let relay = format!("mailer=esmtp, pri=120000, relay=mx.{domain}. [198.51.100.7]");
            match mail.outcome {
                Fate::Bounced => self.line(
                    end,
                    format!("{head}, {relay}, dsn=5.1.1, stat=User unknown"),
                ),
                Fate::DeferredFirst => {
                    self.line(end, format!("{head}, {relay}, dsn=4.0.0, stat=Deferred: Connection timed out with mx.{domain}."));
                    end += 3600;
                    self.line(
                        end,
                        format!("{head}, {relay}, dsn=2.0.0, stat=Sent (Ok: queued as 4F2)"),
                    );
                }
                Fate::Sent | Fate::Refused => self.line(
                    end,
                    format!("{head}, {relay}, dsn=2.0.0, stat=Sent (Ok: queued as 4F2)"),
                ),
            }
        }
    }
}

/// Returns a configuration that trusts the partners.
pub(crate) fn configuration(truth: &Truth) -> String {
    format!(
        "trusted:\n  own: [{OWN}]\n  domains:\n{}gate:\n  networks: [127.0.0.0/8, 192.0.2.0/24]\n",
        (truth.partners.iter())
            .map(|partner| format!("    - {partner}\n"))
            .collect::<String>()
    )
}
