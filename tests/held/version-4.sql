-- A database as straymail 0.1 wrote it (schema version 4). Never changed: later versions must open it.
-- The same, and a log was learned from: one mail to army.mil, one to partner.example.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE approval (
    id         TEXT PRIMARY KEY,
    sender     TEXT,                   -- address, domain, .suffix; NULL for any sender
    recipient  TEXT NOT NULL,          -- address, domain, .suffix
    expires_at INTEGER,                -- NULL: does not expire
    created_at INTEGER NOT NULL,
    owner      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    entry      TEXT                    -- set when a release made it
) STRICT, WITHOUT ROWID;
INSERT INTO approval VALUES('N7DAE9H8','example.org','navy.ml',NULL,1800000000000,'J. Doe','a real office',NULL);
CREATE TABLE audit (
    seq      INTEGER PRIMARY KEY,      -- 1, 2, 3 … without gaps
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    entry    TEXT,
    event    TEXT NOT NULL,            -- JSON, exactly the text that was hashed
    previous TEXT NOT NULL,            -- hash of row seq - 1
    hash     TEXT NOT NULL
) STRICT;
INSERT INTO audit VALUES(1,1800000000000,'held','YYGV7R7MX5','{"kind":"held","actor":"milter","entry":"YYGV7R7MX5","session":"s1","queue_id":"4XyZ","sender":"<Anna@example.org>","recipient":"<carl@army.ml>","login":"anna","score":0,"suggestion":"army.mil","rule":"default","detail":"spool file 49bda32692cb304e33afcc6a5e3f6be934dee200874c3271ecd53b26ae8ac863 sha256 454a44fef8a8bbbf15cf890770e81f9e7a4401857cd4275b3220b172fc6678c5"}','0000000000000000000000000000000000000000000000000000000000000000','1d905ed6c256b0f28356281d2190f81188a1cc250a70188085d20f3eeb35653f');
INSERT INTO audit VALUES(2,1795847593955,'learned',NULL,'{"kind":"learned","actor":"cli unknown (uid 0)","detail":"2 mails of 1 logs, 0 of them counted before"}','1d905ed6c256b0f28356281d2190f81188a1cc250a70188085d20f3eeb35653f','d6613f3f94cc644f092eb44396d7ff9d4990ba06361e876714fd57b99a8abbec');
INSERT INTO audit VALUES(3,1795847593977,'learned',NULL,'{"kind":"learned","actor":"cli unknown (uid 0)","detail":"2 mails of 1 logs, 2 of them counted before"}','d6613f3f94cc644f092eb44396d7ff9d4990ba06361e876714fd57b99a8abbec','9aa4adfc9d48ec9e6200887297618bf654124d77b8aeffacb4c086d8c3ccd293');
CREATE TABLE decision (                -- what the sender decided and the worker has yet to do
    entry      TEXT PRIMARY KEY REFERENCES entry (id),
    corrected  TEXT,                   -- local@domain to send to instead; NULL: as addressed
    actor      TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    next_try   INTEGER NOT NULL,
    last_error TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO decision VALUES('YYGV7R7MX5','carl@army.mil','sender anna@example.org (login anna)',1800000100000,2,1800000400000,'connection refused');
CREATE TABLE entry (
    id          TEXT PRIMARY KEY,
    message     TEXT NOT NULL REFERENCES message (key),
    path        BLOB NOT NULL,         -- as received
    address     TEXT NOT NULL,         -- local@domain
    domain      TEXT NOT NULL,
    score       INTEGER NOT NULL,
    suggestion  TEXT,
    rule        TEXT NOT NULL,
    assessment  TEXT NOT NULL,         -- JSON; the explanation outlives the spool file
    state       TEXT NOT NULL
        CHECK (state IN ('pending', 'held', 'releasing', 'released', 'dropped', 'expired')),
    attempts    INTEGER NOT NULL,      -- how often the client handed the message in
    held_at     INTEGER NOT NULL,      -- first time
    changed_at  INTEGER NOT NULL,      -- last change of state
    grace_until INTEGER NOT NULL,
    lease_until INTEGER,
    claim       TEXT,
    last_error  TEXT,
    CHECK ((state = 'releasing') = (claim IS NOT NULL)),
    CHECK ((claim IS NULL) = (lease_until IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO entry VALUES('YYGV7R7MX5','49bda32692cb304e33afcc6a5e3f6be934dee200874c3271ecd53b26ae8ac863',X'3c6361726c4061726d792e6d6c3e','carl@army.ml','army.ml',0,'army.mil','default','{"score":0,"finding":"unrelated"}','pending',1,1800000000000,1800000000000,1800000060000,NULL,NULL,NULL);
CREATE TABLE letter (                  -- a mail of our own that the MTA has yet to take
    id         INTEGER PRIMARY KEY,
    entry      TEXT NOT NULL REFERENCES entry (id),
    addressee  TEXT NOT NULL,          -- local@domain
    message    BLOB NOT NULL,
    tries      INTEGER NOT NULL,
    next_try   INTEGER NOT NULL,
    last_error TEXT
) STRICT;
INSERT INTO letter VALUES(7,'YYGV7R7MX5','anna@example.org',X'5375626a6563743a20656e6465640d0a0d0a',1,1800000200000,NULL);
CREATE TABLE message (
    key            TEXT PRIMARY KEY,   -- name of the spool file
    digest         TEXT NOT NULL,      -- of the spool file this row was made from
    size           INTEGER NOT NULL,
    sender         BLOB NOT NULL,      -- as received
    sender_address TEXT NOT NULL,
    subject        BLOB,
    session        TEXT NOT NULL,
    queue_id       TEXT,
    received_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO message VALUES('49bda32692cb304e33afcc6a5e3f6be934dee200874c3271ecd53b26ae8ac863','454a44fef8a8bbbf15cf890770e81f9e7a4401857cd4275b3220b172fc6678c5',66,X'3c416e6e61406578616d706c652e6f72673e','anna@example.org',X'706c616e','s1','4XyZ',1800000000000);
CREATE TABLE notice (                  -- a row exists once the notice was tried
    entry      TEXT PRIMARY KEY REFERENCES entry (id),
    outcome    TEXT,                   -- 'sent', or why there is none; NULL: still to be sent
    addressee  TEXT NOT NULL,          -- local@domain
    tries      INTEGER NOT NULL,
    next_try   INTEGER NOT NULL,       -- when sent: the time of sending
    last_error TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO notice VALUES('YYGV7R7MX5','sent','anna@example.org',1,1800000060000,NULL);
CREATE TABLE worker (                  -- at most one row
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    seen_at      INTEGER NOT NULL,     -- by the wall clock, at most a minute ago while it works
    ends_nothing_before INTEGER NOT NULL
) STRICT;
INSERT INTO worker VALUES(1,1800000300000,1800000300000);
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
INSERT INTO contact VALUES(X'36669eaacfc0db57aa8a4f23e24e1b73',NULL,'other',1,X'512c',X'',20780,20780);
INSERT INTO contact VALUES(X'862629bb8eb74dcf0b099425fe9bf45c','army.mil','trusted',1,X'512c',X'',20780,20780);
CREATE TABLE contact_sender (          -- who of the site writes there
    domain   BLOB NOT NULL,
    sender   BLOB NOT NULL,            -- pseudonym of the address
    mails    INTEGER NOT NULL,
    days     BLOB NOT NULL,
    first_on INTEGER NOT NULL,
    last_on  INTEGER NOT NULL,
    PRIMARY KEY (domain, sender)
) STRICT, WITHOUT ROWID;
INSERT INTO contact_sender VALUES(X'36669eaacfc0db57aa8a4f23e24e1b73',X'4c8c479180021b2bf868b5f79ed2253c',1,X'512c',20780,20780);
INSERT INTO contact_sender VALUES(X'862629bb8eb74dcf0b099425fe9bf45c',X'4c8c479180021b2bf868b5f79ed2253c',1,X'512c',20780,20780);
CREATE TABLE mailbox (                 -- an address at a trusted domain that mail went to
    address BLOB PRIMARY KEY,          -- pseudonym
    domain  BLOB NOT NULL,
    last_on INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO mailbox VALUES(X'53fb48ebee3b0a3f9cc5abc4d4281bcd',X'862629bb8eb74dcf0b099425fe9bf45c',20780);
CREATE TABLE learned_log (             -- a log that was read, wherever it lies by now
    beginning  BLOB PRIMARY KEY,       -- SHA-256 of its first octets, unpacked
    read_until INTEGER NOT NULL,       -- time of the last mail counted
    mails      INTEGER NOT NULL,
    read_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO learned_log VALUES(X'4f77fffa58d317ab2baee27c830973530e0aa6370a7fcfc2ec0c92c414eb9e72',1795428002000,2,1795847593977);
CREATE TABLE day_total (               -- what passed the milter on that day
    day         INTEGER PRIMARY KEY,
    judged      INTEGER NOT NULL,
    inbound     INTEGER NOT NULL,
    null_sender INTEGER NOT NULL,
    clean       INTEGER NOT NULL,
    suspicious  INTEGER NOT NULL,
    faults      INTEGER NOT NULL
) STRICT;
CREATE INDEX entry_message ON entry (message);
CREATE INDEX entry_state ON entry (state, held_at);
CREATE INDEX entry_time ON entry (held_at);
CREATE INDEX approval_recipient ON approval (recipient);
CREATE INDEX audit_entry ON audit (entry, seq);
CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'audit rows are never deleted'); END;
CREATE INDEX notice_addressee ON notice (addressee, next_try);
CREATE INDEX decision_due ON decision (next_try);
CREATE INDEX letter_due ON letter (next_try);
CREATE INDEX contact_standing ON contact (standing, mails);
CREATE INDEX contact_age ON contact (last_on);
CREATE INDEX contact_sender_sender ON contact_sender (sender);
CREATE INDEX contact_sender_age ON contact_sender (last_on);
CREATE INDEX mailbox_domain ON mailbox (domain);
CREATE INDEX mailbox_age ON mailbox (last_on);
CREATE INDEX audit_at ON audit (at);
PRAGMA user_version = 4;
COMMIT;
