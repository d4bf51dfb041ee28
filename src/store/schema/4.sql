-- Version 4: whom the site writes to, and how much mail there was each day.
-- Days are counted from 1970-01-01 UTC. A pseudonym is a keyed hash of a name (learn.key).

CREATE TABLE contact (                 -- a domain the site writes to
    domain   BLOB PRIMARY KEY,         -- pseudonym of the registrable domain
    name     TEXT,                     -- in plain where the name is trusted, doubtful, or names are kept
    standing TEXT NOT NULL CHECK (standing IN ('trusted', 'doubtful', 'other')),
    mails    INTEGER NOT NULL,
    days     BLOB NOT NULL,            -- the last days with mail to it, two octets each
    answers  BLOB NOT NULL,            -- the last days with mail from it, after the first to it
    first_on INTEGER NOT NULL,
    last_on  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX contact_standing ON contact (standing, mails);
CREATE INDEX contact_age ON contact (last_on);

CREATE TABLE contact_sender (          -- who of the site writes there
    domain   BLOB NOT NULL,
    sender   BLOB NOT NULL,            -- pseudonym of the address
    mails    INTEGER NOT NULL,
    days     BLOB NOT NULL,
    first_on INTEGER NOT NULL,
    last_on  INTEGER NOT NULL,
    PRIMARY KEY (domain, sender)
) STRICT, WITHOUT ROWID;

CREATE INDEX contact_sender_sender ON contact_sender (sender);
CREATE INDEX contact_sender_age ON contact_sender (last_on);

CREATE TABLE mailbox (                 -- an address at a trusted domain that mail went to
    address BLOB PRIMARY KEY,          -- pseudonym
    domain  BLOB NOT NULL,
    last_on INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX mailbox_domain ON mailbox (domain);
CREATE INDEX mailbox_age ON mailbox (last_on);

CREATE TABLE learned_log (             -- a log that was read, wherever it lies by now
    beginning  BLOB PRIMARY KEY,       -- SHA-256 of its first octets, unpacked
    read_until INTEGER NOT NULL,       -- time of the last mail counted
    mails      INTEGER NOT NULL,
    read_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE day_total (               -- what passed the milter on that day
    day         INTEGER PRIMARY KEY,
    judged      INTEGER NOT NULL,
    inbound     INTEGER NOT NULL,
    null_sender INTEGER NOT NULL,
    clean       INTEGER NOT NULL,
    suspicious  INTEGER NOT NULL,
    faults      INTEGER NOT NULL
) STRICT;

CREATE INDEX audit_at ON audit (at);
