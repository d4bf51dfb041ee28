//! Small tables of words that names are made of.

/// Host names that are commonly put in front of a domain; a lost dot glues them to it
/// (`wwwexample.com`, `mail-example.com`).
pub(super) const HOSTS: &[&str] = &[
    "www",
    "www2",
    "www1",
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
    "exchange",
    "autodiscover",
    "ftp",
    "vpn",
    "ns",
    "ns1",
    "corp",
    "hq",
    "us",
    "eu",
    "uk",
    "de",
    "fr",
    "ca",
    "cn",
    "jp",
    "au",
    "in",
    "asia",
    "emea",
    "apac",
    "na",
    "int",
    "intra",
    "lists",
    "list",
    "newsletter",
    "news",
    "portal",
    "my",
    "web",
    "app",
    "mobile",
    "m",
];

/// Words that somebody adds to a known name to make it look official or like a service of it.
pub(super) const BUSINESS: &[&str] = &[
    "account",
    "accounts",
    "admin",
    "app",
    "auth",
    "billing",
    "bank",
    "card",
    "care",
    "center",
    "client",
    "cloud",
    "co",
    "confirm",
    "contact",
    "corp",
    "customer",
    "customers",
    "direct",
    "email",
    "group",
    "help",
    "helpdesk",
    "hq",
    "id",
    "inc",
    "info",
    "invoice",
    "it",
    "jp",
    "live",
    "llc",
    "log",
    "login",
    "ltd",
    "mail",
    "mailer",
    "mails",
    "member",
    "members",
    "my",
    "net",
    "notice",
    "office",
    "official",
    "online",
    "pay",
    "payment",
    "payments",
    "portal",
    "safe",
    "secure",
    "security",
    "server",
    "service",
    "services",
    "shop",
    "signin",
    "site",
    "sso",
    "store",
    "support",
    "team",
    "update",
    "user",
    "verify",
    "vip",
    "web",
    "webmail",
    "www",
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
