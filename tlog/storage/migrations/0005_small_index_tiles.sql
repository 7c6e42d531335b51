-- The trees over the index's pages are kept in tiles of 16 hashes instead of 256: a proof then folds a sixteenth of the hashes.
-- The index follows from the entries; the indexer makes it again when it starts.
TRUNCATE tlog.index_epoch, tlog.index_segment, tlog.index_run, tlog.index_tile;
ALTER TABLE tlog.index_tile DROP CONSTRAINT index_tile_hashes_check;
ALTER TABLE tlog.index_tile
    ADD CONSTRAINT index_tile_hashes_check CHECK (octet_length(hashes) BETWEEN 32 AND 512 AND octet_length(hashes) % 32 = 0),
    ALTER COLUMN hashes SET STORAGE PLAIN;
