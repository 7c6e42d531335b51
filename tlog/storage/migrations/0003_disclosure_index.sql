-- Disclosures are written ahead of the lock that orders entries (docs/adr/0011-ahead-of-the-lock.md). Of two
-- processes that foresee the same index, one will undo; with a unique index it would hold up the other instead, while it
-- waits for the other's lock itself. That an entry has one disclosure follows from the primary key of the entries, which
-- are written in the same transaction.
ALTER TABLE tlog.disclosure DROP CONSTRAINT disclosure_pkey;
CREATE INDEX disclosure_index ON tlog.disclosure (index);
