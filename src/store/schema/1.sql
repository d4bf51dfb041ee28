-- Version 1. Times are milliseconds since 1970-01-01 UTC.

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

CREATE INDEX entry_message ON entry (message);
CREATE INDEX entry_state ON entry (state, held_at);
CREATE INDEX entry_time ON entry (held_at);

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

CREATE INDEX approval_recipient ON approval (recipient);

CREATE TABLE audit (
    seq      INTEGER PRIMARY KEY,      -- 1, 2, 3 … without gaps
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    entry    TEXT,
    event    TEXT NOT NULL,            -- JSON, exactly the text that was hashed
    previous TEXT NOT NULL,            -- hash of row seq - 1
    hash     TEXT NOT NULL
) STRICT;

CREATE INDEX audit_entry ON audit (entry, seq);

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'audit rows are never deleted'); END;
