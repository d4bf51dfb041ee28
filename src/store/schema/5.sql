-- Version 5: a log is known again by what stands in it, and what was forgotten stays forgotten.

CREATE TABLE log_mark (                -- up to where a log was counted; its earlier marks stay
    beginning BLOB NOT NULL,           -- SHA-256 of its first line
    length    INTEGER NOT NULL,        -- octets from its beginning on, unpacked
    head      BLOB NOT NULL,           -- SHA-256 of the first of these octets
    ending    BLOB NOT NULL,           -- SHA-256 of the last of these octets
    log       INTEGER NOT NULL,        -- the same for all marks of one log
    mails     INTEGER NOT NULL,        -- new ones, when it was read up to here
    read_at   INTEGER NOT NULL,
    PRIMARY KEY (beginning, length, head, ending)
) STRICT, WITHOUT ROWID;

CREATE INDEX log_mark_log ON log_mark (log, length);

-- learned_log keeps what version 4 wrote, for each log until it is read again.

CREATE TABLE forgotten (               -- of mail until then nothing is learned from a log
    whom BLOB PRIMARY KEY,             -- pseudonym of a domain or an address
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE learning_begin (          -- when everything was forgotten last; at most one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
