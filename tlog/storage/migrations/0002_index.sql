-- The verifiable index: segments as runs of pages, the trees over the pages, and the epochs that use them.
-- Everything here follows from the entries and can be made again, so it may be deleted; what was logged of it may not.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'tlog_indexer') THEN
        CREATE ROLE tlog_indexer NOLOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;
END
$$;

CREATE TABLE tlog.index_segment (
    segment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    start_index bigint NOT NULL CHECK (start_index >= 0),
    end_index bigint NOT NULL CHECK (end_index > start_index),
    -- Null until it is written whole: a merge takes many transactions.
    postings bigint CHECK (postings >= 0),
    root_hash bytea CHECK (octet_length(root_hash) = 32)
);

-- 64 pages of 384 bytes in a row; the last run of a segment may be shorter. Hashed keys do not compress.
CREATE TABLE tlog.index_run (
    segment_id bigint NOT NULL,
    run bigint NOT NULL CHECK (run >= 0),
    first_posting bytea NOT NULL CHECK (octet_length(first_posting) = 12),
    pages bytea NOT NULL CHECK (octet_length(pages) BETWEEN 12 AND 24576),
    PRIMARY KEY (segment_id, run)
);
CREATE UNIQUE INDEX index_run_first_posting ON tlog.index_run (segment_id, first_posting) INCLUDE (run);
ALTER TABLE tlog.index_run ALTER COLUMN pages SET STORAGE EXTERNAL;
-- The young end of the index is written anew every second; the space of the old one should be used again soon.
ALTER TABLE tlog.index_run SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 5000
);

CREATE TABLE tlog.index_tile (
    segment_id bigint NOT NULL,
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 63),
    tile_index bigint NOT NULL CHECK (tile_index >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0),
    PRIMARY KEY (segment_id, level, tile_index)
);
ALTER TABLE tlog.index_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE tlog.index_epoch (
    size bigint PRIMARY KEY CHECK (size > 0),
    entry_index bigint NOT NULL UNIQUE,
    segment_table bytea NOT NULL,
    segment_ids bigint[] NOT NULL
);

GRANT USAGE ON SCHEMA tlog TO tlog_indexer;
GRANT SELECT ON tlog.log_state, tlog.leaf, tlog.checkpoint TO tlog_indexer;
GRANT SELECT, INSERT, DELETE ON tlog.index_segment, tlog.index_run, tlog.index_tile, tlog.index_epoch TO tlog_indexer;
GRANT UPDATE (postings, root_hash) ON tlog.index_segment TO tlog_indexer;
GRANT SELECT ON tlog.index_segment, tlog.index_run, tlog.index_tile, tlog.index_epoch TO tlog_reader;

ALTER TABLE tlog.index_segment OWNER TO tlog_owner;
ALTER TABLE tlog.index_run OWNER TO tlog_owner;
ALTER TABLE tlog.index_tile OWNER TO tlog_owner;
ALTER TABLE tlog.index_epoch OWNER TO tlog_owner;
