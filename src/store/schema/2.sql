-- Version 2: what becomes of a held entry after its grace period.

CREATE TABLE notice (                  -- a row exists once the notice was tried
    entry      TEXT PRIMARY KEY REFERENCES entry (id),
    outcome    TEXT,                   -- 'sent', or why there is none; NULL: still to be sent
    addressee  TEXT NOT NULL,          -- local@domain
    tries      INTEGER NOT NULL,
    next_try   INTEGER NOT NULL,       -- when sent: the time of sending
    last_error TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX notice_addressee ON notice (addressee, next_try);

CREATE TABLE decision (                -- what the sender decided and the worker has yet to do
    entry      TEXT PRIMARY KEY REFERENCES entry (id),
    corrected  TEXT,                   -- local@domain to send to instead; NULL: as addressed
    actor      TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    next_try   INTEGER NOT NULL,
    last_error TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX decision_due ON decision (next_try);
