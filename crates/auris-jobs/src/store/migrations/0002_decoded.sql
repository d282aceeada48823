-- What decoding found out about the whole file; null until the job ends.
ALTER TABLE jobs ADD COLUMN decoded_json TEXT;
