-- Version 3: letters on their way, and when the worker was last seen.

CREATE TABLE letter (                  -- a mail of our own that the MTA has yet to take
    id         INTEGER PRIMARY KEY,
    entry      TEXT NOT NULL REFERENCES entry (id),
    addressee  TEXT NOT NULL,          -- local@domain
    message    BLOB NOT NULL,
    tries      INTEGER NOT NULL,
    next_try   INTEGER NOT NULL,
    last_error TEXT
) STRICT;

CREATE INDEX letter_due ON letter (next_try);

CREATE TABLE worker (                  -- at most one row
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    seen_at      INTEGER NOT NULL,     -- by the wall clock, at most a minute ago while it works
    ends_nothing_before INTEGER NOT NULL
) STRICT;
