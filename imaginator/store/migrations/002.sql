-- What is disabled for a while. Times are seconds since 1970.

CREATE TABLE pauses (
    what TEXT PRIMARY KEY,
    until REAL NOT NULL,
    requester TEXT NOT NULL                 -- who ordered it
) WITHOUT ROWID;
