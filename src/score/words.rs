//! Small tables of words that names are made of.

/// Host names that are commonly put in front of a domain; a lost dot glues them to it:
/// `wwwexample.com`.
pub(super) const HOSTS: &[&str] = &[
    "ww",
    "www",
    "www1",
    "www2",
    "wwww",
    "mail",
    "webmail",
    "email",
    "smtp",
    "imap",
    "pop",
    "pop3",
    "mx",
    "mx1",
    "mx2",
    "mta",
    "relay",
    "owa",
    "autodiscover",
    "ftp",
    "vpn",
    "ns1",
    "corp",
    "hq",
    "us",
    "eu",
    "lists",
    "newsletter",
];

/// More of them, which are parts of words too often; a hyphen must stand for the dot:
/// `news-example.com`.
pub(super) const HOSTS_BY_HYPHEN: &[&str] = &[
    "uk", "de", "fr", "ca", "cn", "jp", "au", "asia", "emea", "apac", "na", "int", "intra", "ns",
    "list", "news", "portal", "my", "web", "app", "mobile", "m", "exchange",
];

/// Who may register below a suffix, where strangers may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registry {
    /// Universities and schools: thousands of them, most with an acronym of three or four letters.
    Academic,
    /// Authorities and treaty organisations: fewer short names, more of them words.
    Authority,
}

const ACADEMIC: &[&str] = &["edu", "ac", "sch", "k12"];
const AUTHORITY: &[&str] = &[
    "gov", "go", "gouv", "gob", "govt", "gub", "mil", "int", "nhs",
];

/// Returns what kind of closed registry a suffix is; `None` when strangers can register a name
/// below it. A typo in a closed one reaches another institution or nobody.
pub(super) fn closed_registry(suffix: &str) -> Option<Registry> {
    let (first, country) = match suffix.split_once('.') {
        Some((first, _)) => (first, true),
        None => (suffix, false),
    };
    if AUTHORITY.contains(&first) {
        Some(Registry::Authority)
    } else if ACADEMIC.contains(&first) && (country || first != "ac") {
        Some(Registry::Academic)
    } else {
        None
    }
}

/// Words that somebody adds to a known name to make it look official or like a service of it.
pub(super) const BUSINESS: &[&str] = &[
    "account",
    "accounts",
    "admin",
    "auth",
    "billing",
    "client",
    "confirm",
    "contact",
    "corp",
    "customer",
    "customers",
    "email",
    "group",
    "help",
    "helpdesk",
    "hq",
    "inc",
    "invoice",
    "llc",
    "login",
    "logon",
    "ltd",
    "mail",
    "mailer",
    "mails",
    "member",
    "members",
    "notice",
    "office",
    "official",
    "online",
    "pay",
    "payment",
    "payments",
    "portal",
    "secure",
    "security",
    "service",
    "services",
    "signin",
    "sso",
    "support",
    "team",
    "update",
    "user",
    "verify",
    "webmail",
    "www",
];

/// Names of mail providers that are words, or brands in many countries: there is no `gmail.fr`, but
/// `orange.fr` is one of several. Those below [`super::weights::FREQUENT_FROM`] letters need not be
/// here.
pub(super) const SHARED: &[&str] = &[
    "alice",
    "charter",
    "frontier",
    "gazeta",
    "globo",
    "libero",
    "mailbox",
    "online",
    "orange",
    "passport",
    "planet",
    "pobox",
    "proton",
    "rambler",
    "rogers",
    "roadrunner",
    "skynet",
    "softbank",
    "speedy",
    "tele2",
    "telefonica",
    "telenet",
    "telia",
    "virgin",
];

/// The labels of the largest providers below `.com`: there, two slips away from a smaller one with a
/// short name, somebody else is most of the time.
pub(super) const LARGEST: &[&str] = &[
    "gmail",
    "googlemail",
    "hotmail",
    "yahoo",
    "outlook",
    "icloud",
    "comcast",
    "yandex",
];

/// Those of [`BUSINESS`] that ask for a password or for money, and that few companies are called.
pub(super) const DEMANDING: &[&str] = &[
    "account", "accounts", "auth", "billing", "confirm", "helpdesk", "invoice", "login", "logon",
    "payment", "payments", "signin", "sso", "verify", "webmail",
];

/// Second-level labels that mean the same in different countries: `co.uk` and `com.au` are both
/// companies. The first of a group is the generic top-level domain of that kind.
const SECOND_LEVELS: [&[&str]; 6] = [
    &["com", "co"],
    &["edu", "ac"],
    &["gov", "go", "gouv", "gob", "govt", "gub"],
    &["org", "or"],
    &["net", "ne"],
    &["mil"],
];

/// Second-level labels that are worth a second reading when they are mistyped.
pub(super) const SECOND_LEVEL_NAMES: [&str; 9] =
    ["com", "co", "edu", "ac", "gov", "org", "net", "ne", "govt"];

/// Returns the kind of registry a second-level label stands for.
pub(super) fn second_level(label: &str) -> Option<usize> {
    SECOND_LEVELS
        .iter()
        .position(|group| group.contains(&label))
}

/// Postal codes of the states and territories of the USA. Local authorities put theirs at the
/// end of the name: `salisburync.gov` and `salisburyma.gov` are two towns.
const STATES: &[u8] =
    b"alakazarcacoctdcdeflgahiidiliniakskylamemdmamimnmsmomtnenvnhnjnmnyncndohokorparisc\
    sdtntxutvtvawawvwiwypr";

/// Returns whether two bytes are a postal code of the USA.
pub(super) fn is_state(code: &[u8]) -> bool {
    code.len() == 2 && STATES.chunks(2).any(|state| state == code)
}
