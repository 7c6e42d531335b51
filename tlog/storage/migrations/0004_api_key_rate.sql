-- How many events an API key may append in a second, on average; null for the service's own limit.
ALTER TABLE tlog.api_key ADD COLUMN rate integer CHECK (rate > 0);
