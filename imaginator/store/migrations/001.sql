-- Images, what they are made of, and builds. Times are seconds since 1970; records are MessagePack.

CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order of the catalogue
    name TEXT NOT NULL UNIQUE,
    stream TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    branch TEXT NOT NULL,
    expires_at REAL,                        -- NULL: never
    gone_at REAL,                           -- deleted or expired; kept for builds that stand on it
    root BLOB NOT NULL,                     -- the node of its top directory; empty where that is empty
    record BLOB NOT NULL
);
CREATE INDEX images_by_stream ON images (stream, id);

CREATE TABLE tags (
    image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (image, key)
) WITHOUT ROWID;

CREATE TABLE layers (
    image INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    place INTEGER NOT NULL,                 -- 0 is the bottom
    layer TEXT NOT NULL,
    PRIMARY KEY (image, place)
) WITHOUT ROWID;

CREATE TABLE nodes (
    id BLOB PRIMARY KEY,
    used_at REAL NOT NULL,                  -- when an image brought it along
    data BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE builds (
    id TEXT PRIMARY KEY,                    -- a ULID, so that ids sort by time
    stream TEXT NOT NULL,
    state TEXT NOT NULL,
    requester TEXT NOT NULL,
    submitted_at REAL NOT NULL,
    image_name TEXT NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX builds_by_stream ON builds (stream, id);
CREATE INDEX builds_by_state ON builds (state, id);
CREATE INDEX builds_by_image ON builds (image_name);
