-- What the store held, and what was free, at one time: one row a sample, fewer the older they are. Sizes are bytes.

CREATE TABLE usage (
    at REAL PRIMARY KEY,                    -- seconds since 1970
    images INTEGER NOT NULL,
    objects INTEGER NOT NULL,
    object_bytes INTEGER NOT NULL,
    free INTEGER NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID;
