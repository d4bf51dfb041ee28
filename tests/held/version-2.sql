-- A database as straymail 0.1 wrote it (schema version 2). Never changed: later versions must open it.
-- One entry whose sender was told and decided, one approval, one audit row.
PRAGMA foreign_keys = OFF;
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
INSERT INTO "approval" VALUES('N7DAE9H8','example.org','navy.ml',NULL,1800000000000,'J. Doe','a real office',NULL);
CREATE TABLE audit (
    seq      INTEGER PRIMARY KEY,      -- 1, 2, 3 … without gaps
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    entry    TEXT,
    event    TEXT NOT NULL,            -- JSON, exactly the text that was hashed
    previous TEXT NOT NULL,            -- hash of row seq - 1
    hash     TEXT NOT NULL
) STRICT;
INSERT INTO "audit" VALUES(1,1800000000000,'held','YYGV7R7MX5','{"kind":"held","actor":"milter","entry":"YYGV7R7MX5","session":"s1","queue_id":"4XyZ","sender":"<Anna@example.org>","recipient":"<carl@army.ml>","login":"anna","score":0,"suggestion":"army.mil","rule":"default","detail":"spool file 49bda32692cb304e33afcc6a5e3f6be934dee200874c3271ecd53b26ae8ac863 sha256 454a44fef8a8bbbf15cf890770e81f9e7a4401857cd4275b3220b172fc6678c5"}','0000000000000000000000000000000000000000000000000000000000000000','1d905ed6c256b0f28356281d2190f81188a1cc250a70188085d20f3eeb35653f');
CREATE TABLE decision (                -- what the sender decided and the worker has yet to do
    entry      TEXT PRIMARY KEY REFERENCES entry (id),
    corrected  TEXT,                   -- local@domain to send to instead; NULL: as addressed
    actor      TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    next_try   INTEGER NOT NULL,
    last_error TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO "decision" VALUES('YYGV7R7MX5','carl@army.mil','sender anna@example.org (login anna)',1800000100000,2,1800000400000,'connection refused');
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
INSERT INTO "entry" VALUES('YYGV7R7MX5','49bda32692cb304e33afcc6a5e3f6be934dee200874c3271ecd53b26ae8ac863',X'3C6361726C4061726D792E6D6C3E','carl@army.ml','army.ml',0,'army.mil','default','{"score":0,"finding":"unrelated"}','pending',1,1800000000000,1800000000000,1800000060000,NULL,NULL,NULL);
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
INSERT INTO "message" VALUES('49bda32692cb304e33afcc6a5e3f6be934dee200874c3271ecd53b26ae8ac863','454a44fef8a8bbbf15cf890770e81f9e7a4401857cd4275b3220b172fc6678c5',66,X'3C416E6E61406578616D706C652E6F72673E','anna@example.org',X'706C616E','s1','4XyZ',1800000000000);
CREATE TABLE notice (                  -- a row exists once the notice was tried
    entry      TEXT PRIMARY KEY REFERENCES entry (id),
    outcome    TEXT,                   -- 'sent', or why there is none; NULL: still to be sent
    addressee  TEXT NOT NULL,          -- local@domain
    tries      INTEGER NOT NULL,
    next_try   INTEGER NOT NULL,       -- when sent: the time of sending
    last_error TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO "notice" VALUES('YYGV7R7MX5','sent','anna@example.org',1,1800000060000,NULL);
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
PRAGMA user_version = 2;
COMMIT;
