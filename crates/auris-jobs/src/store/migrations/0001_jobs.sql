-- Times are milliseconds since 1970 (UTC). Columns that end in _json are the caller's business.

CREATE TABLE jobs (
    id TEXT PRIMARY KEY, -- a UUID of version 7: later jobs have greater ids
    owner TEXT NOT NULL, -- the name of an API key; empty without keys
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'failed', 'cancelled')),
    request_json TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    audio_seconds REAL NOT NULL,
    route_json TEXT,
    decoded_json TEXT, -- null until the whole file is decoded
    error_json TEXT,
    idempotency_key TEXT,
    fingerprint TEXT NOT NULL,
    webhook_url TEXT,
    webhook_host TEXT,
    webhook_port INTEGER,
    UNIQUE (owner, idempotency_key),
    CHECK ((webhook_url IS NULL) = (webhook_host IS NULL)),
    CHECK ((webhook_url IS NULL) = (webhook_port IS NULL))
) STRICT;

CREATE INDEX jobs_of_owner ON jobs (owner, id);
CREATE INDEX jobs_by_state ON jobs (state, id);

CREATE TABLE chunks (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    start_sample INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    result_json TEXT NOT NULL,
    done_at INTEGER NOT NULL,
    PRIMARY KEY (job, position)
) STRICT;

-- Progress is asked for far more often than the text.
CREATE INDEX chunk_lengths ON chunks (job, samples);

-- Outlives its job while it is pending.
CREATE TABLE deliveries (
    job TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    event TEXT NOT NULL, -- the same for every attempt, so that a receiver can tell a repetition
    body TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    last_status INTEGER,
    last_error TEXT
) STRICT;

CREATE INDEX deliveries_due ON deliveries (state, next_at);

CREATE TRIGGER settled_delivery_goes_with_its_job AFTER DELETE ON jobs BEGIN
    DELETE FROM deliveries WHERE job = old.id AND state <> 'pending';
END;

CREATE TRIGGER delivery_without_a_job_goes_when_it_settles AFTER UPDATE ON deliveries
WHEN new.state <> 'pending' AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = new.job) BEGIN
    DELETE FROM deliveries WHERE job = new.job;
END;
