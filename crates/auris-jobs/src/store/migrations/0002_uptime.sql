-- Jobs are kept for some time after their end, counted while the server runs: a change of the
-- system's clock does not touch it.

CREATE TABLE uptime (ms INTEGER NOT NULL) STRICT; -- one row: how long servers have run on this file

INSERT INTO uptime VALUES (0);

ALTER TABLE jobs ADD COLUMN ended_uptime INTEGER; -- the uptime at which the job ended

UPDATE jobs SET ended_uptime = 0 WHERE ended_at IS NOT NULL;
