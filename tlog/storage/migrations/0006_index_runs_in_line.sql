-- A run of the index is 16 pages instead of 64: a row that PostgreSQL keeps whole, where it cut one of 64 into a dozen pieces. And
-- tiles of the lowest level are stored no more, because they follow from the runs.
-- The index follows from the entries; the indexer makes it again when it starts.
TRUNCATE tlog.index_epoch, tlog.index_segment, tlog.index_run, tlog.index_tile;
ALTER TABLE tlog.index_run DROP CONSTRAINT index_run_pages_check;
ALTER TABLE tlog.index_run
    ADD CONSTRAINT index_run_pages_check CHECK (octet_length(pages) BETWEEN 12 AND 6144),
    ALTER COLUMN pages SET STORAGE PLAIN,
    SET (autovacuum_vacuum_threshold = 2000),
    RESET (toast.autovacuum_vacuum_scale_factor, toast.autovacuum_vacuum_threshold);
