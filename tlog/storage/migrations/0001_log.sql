-- The log: entries, their tiles and checkpoints, disclosures, API keys, sessions, the index over the entries, and how far streams are taken.
-- Runs once, as a role that may create roles, inside one transaction with lock and statement timeouts.

-- Roles belong to the whole cluster, so another log of it may have made them already.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'tlog_owner', 'tlog_appender', 'tlog_sealer', 'tlog_indexer', 'tlog_reader', 'tlog_eraser', 'tlog_authenticator'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', name);
        END IF;
    END LOOP;
    -- Who is no superuser has to be a member of the owner to hand things over to it.
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        EXECUTE pg_catalog.format('GRANT tlog_owner TO %I', current_user);
    END IF;
END
$$;

CREATE SCHEMA tlog AUTHORIZATION tlog_owner;

-- One row: the lock every append takes, and what the next append continues.
CREATE TABLE tlog.log_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    origin text NOT NULL,
    size bigint NOT NULL CHECK (size >= 0),
    chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
    last_logged_at bigint NOT NULL -- microseconds since 1970, UTC
);

-- The log itself, without its entries' bytes: what orders them, and what those bytes hash to.
CREATE TABLE tlog.leaf (
    index bigint PRIMARY KEY CHECK (index >= 0),
    event_id uuid UNIQUE,
    leaf_hash bytea NOT NULL,
    chain_hash bytea NOT NULL
);

-- The entries' bytes: up to 8 neighbouring entries in one zstd frame (tlog.core.run, tlog.storage.frames), cut into parts where
-- it is too long for a row that PostgreSQL keeps whole. What is hashed is what the frame holds. Ranges of 2^22 indexes, so that
-- erasure and retention can replace whole tables.
CREATE TABLE tlog.entry_run (
    first bigint NOT NULL CHECK (first >= 0),
    logged_at bigint NOT NULL, -- of the first entry, microseconds since 1970, UTC
    part smallint NOT NULL CHECK (part >= 0),
    count smallint NOT NULL CHECK (count BETWEEN 1 AND 8),
    data bytea NOT NULL CHECK (octet_length(data) BETWEEN 1 AND 7900)
) PARTITION BY RANGE (first);

-- Personal data, which can be erased without touching any hash: of every entry the groups, empty where they were erased. Each run
-- has the same first and count as the one of its entries. After an erasure a run has as many parts as before, some of them empty.
CREATE TABLE tlog.disclosure_run (
    first bigint NOT NULL CHECK (first >= 0),
    part smallint NOT NULL CHECK (part >= 0),
    count smallint NOT NULL CHECK (count BETWEEN 1 AND 8),
    data bytea NOT NULL CHECK (octet_length(data) <= 7900)
) PARTITION BY RANGE (first);

-- A frame does not compress, and elsewhere than in its row it would take two more readings.
ALTER TABLE tlog.entry_run ALTER COLUMN data SET STORAGE PLAIN;
ALTER TABLE tlog.disclosure_run ALTER COLUMN data SET STORAGE PLAIN;
-- Runs are written ahead of the lock that orders entries (docs/adr/0011-ahead-of-the-lock.md). Of two processes that foresee the
-- same index, one will undo; with a unique index it would hold up the other instead, while it waits for the other's lock
-- itself. That an entry is in one run follows from the primary key of the leaves, which are written in the same transaction.
CREATE INDEX entry_run_first ON tlog.entry_run (first);
CREATE INDEX disclosure_run_first ON tlog.disclosure_run (first);

-- Tree hashes, 32 bytes each. Random bytes do not compress.
CREATE TABLE tlog.tile (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 63),
    tile_index bigint NOT NULL CHECK (tile_index >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0),
    PRIMARY KEY (level, tile_index)
);
ALTER TABLE tlog.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE tlog.checkpoint (
    size bigint PRIMARY KEY,
    root_hash bytea NOT NULL CHECK (octet_length(root_hash) = 32),
    chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
    note bytea NOT NULL,
    sealed_at bigint NOT NULL -- microseconds since 1970, UTC
);

-- What witnesses said of published checkpoints: all of it was verified before. A checkpoint's own note stays what the log signed.
CREATE TABLE tlog.cosignature (
    size bigint NOT NULL,
    name text NOT NULL,
    key_id bytea NOT NULL CHECK (octet_length(key_id) = 4),
    time bigint NOT NULL CHECK (time > 0), -- seconds since 1970, of the witness's clock
    signature bytea NOT NULL,
    received_at bigint NOT NULL, -- microseconds since 1970, UTC
    PRIMARY KEY (size, name, key_id, time)
);

-- Under which policy checkpoints are published from a size on; an empty text: under none.
CREATE TABLE tlog.witness_policy (
    change bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since_size bigint NOT NULL,
    mode text NOT NULL CHECK (mode IN ('none', 'required', 'collect')),
    text text NOT NULL
);

-- The lines that witnesses add to a checkpoint as it is served: of each key the newest, in the order of the policy, which has
-- every key as name, plus sign, hexadecimal ID, plus sign, and the rest.
CREATE FUNCTION tlog.cosignature_lines(checkpoint_size bigint) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
    SELECT coalesce(string_agg(newest.line, ''::bytea ORDER BY nullif(newest.place, 0), newest.name, newest.key_id), ''::bytea)
    FROM (
        SELECT DISTINCT ON (cosignature.name, cosignature.key_id)
            cosignature.name,
            cosignature.key_id,
            strpos(policy.text, cosignature.name || '+' || encode(cosignature.key_id, 'hex') || '+') AS place,
            convert_to(
                '— ' || cosignature.name || ' ' || translate(
                    encode(cosignature.key_id || int8send(cosignature.time) || cosignature.signature, 'base64'), E'\n', ''
                ) || E'\n',
                'UTF8'
            ) AS line
        FROM tlog.cosignature
        LEFT JOIN (SELECT witness_policy.text FROM tlog.witness_policy ORDER BY change DESC LIMIT 1) AS policy ON true
        WHERE cosignature.size = checkpoint_size
        ORDER BY cosignature.name, cosignature.key_id, cosignature.time DESC
    ) AS newest
$$;

CREATE TABLE tlog.api_key (
    key_id text PRIMARY KEY,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32), -- HMAC-SHA256(pepper, secret and the other members)
    principal text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    rate integer CHECK (rate > 0), -- events in a second, on average; null for the service's own limit
    buckets integer CHECK (buckets > 0), -- different index buckets opened in a day; null for the service's own limit
    about text[] CHECK (cardinality(about) IN (1, 2)) -- the userId, or type and ID, that it may ask about; null for all
);

-- Who is signed in on the pages. A cookie follows from none of it.
CREATE TABLE tlog.session (
    lookup bytea PRIMARY KEY CHECK (octet_length(lookup) = 32), -- SHA-256 of the session's ID
    digest bytea NOT NULL CHECK (octet_length(digest) = 32), -- HMAC-SHA256(pepper, ID and what is below, seen_at excepted)
    principal text NOT NULL,
    scopes text[] NOT NULL,
    key_id text NOT NULL, -- the API key that it was begun with
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL -- to the minute
);

-- The verifiable index: segments as runs of pages, the trees over the pages, and the epochs that use them.
-- All of it follows from the entries and can be made again, so it may be deleted; what was logged of it may not.
CREATE TABLE tlog.index_segment (
    segment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    start_index bigint NOT NULL CHECK (start_index >= 0),
    end_index bigint NOT NULL CHECK (end_index > start_index),
    -- Null until it is written whole: a merge takes many transactions.
    postings bigint CHECK (postings >= 0),
    root_hash bytea CHECK (octet_length(root_hash) = 32)
);

-- 16 pages of 384 bytes in a row, which PostgreSQL keeps whole; the last run of a segment may be shorter. Hashed keys do not
-- compress.
CREATE TABLE tlog.index_run (
    segment_id bigint NOT NULL,
    run bigint NOT NULL CHECK (run >= 0),
    first_posting bytea NOT NULL CHECK (octet_length(first_posting) = 12),
    pages bytea NOT NULL CHECK (octet_length(pages) BETWEEN 12 AND 6144),
    PRIMARY KEY (segment_id, run)
);
CREATE UNIQUE INDEX index_run_first_posting ON tlog.index_run (segment_id, first_posting) INCLUDE (run);
ALTER TABLE tlog.index_run ALTER COLUMN pages SET STORAGE PLAIN;
-- The young end of the index is written anew every second; the space of the old one should be used again soon.
ALTER TABLE tlog.index_run SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Tiles of 16 hashes: a proof folds a sixteenth of what tiles of 256 would make it fold. Those of the lowest level that are full
-- follow from the runs and are not stored.
CREATE TABLE tlog.index_tile (
    segment_id bigint NOT NULL,
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 63),
    tile_index bigint NOT NULL CHECK (tile_index >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 512 AND octet_length(hashes) % 32 = 0),
    PRIMARY KEY (segment_id, level, tile_index)
);
ALTER TABLE tlog.index_tile ALTER COLUMN hashes SET STORAGE PLAIN;

CREATE TABLE tlog.index_epoch (
    size bigint PRIMARY KEY CHECK (size > 0),
    entry_index bigint NOT NULL UNIQUE,
    segment_table bytea NOT NULL,
    segment_ids bigint[] NOT NULL
);

-- What outcomes explain of absent disclosures, as the sealed entries say: for answers, so that none of them reads the log for it.
-- It can be made again, as the index can.
CREATE TABLE tlog.explanation (
    entry_index bigint PRIMARY KEY,
    kind text NOT NULL,
    start_index bigint NOT NULL CHECK (start_index >= 0),
    end_index bigint NOT NULL CHECK (end_index > start_index)
);

-- How far streams are taken: a copy of what the log says, which an append compares and sets.
CREATE TABLE tlog.intake (
    stream text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    released boolean NOT NULL DEFAULT false,
    PRIMARY KEY (stream, partition)
);

-- Messages of streams that are no events. Salt and message are null once they are discarded; of a large one only the digest is kept.
CREATE TABLE tlog.dead_letter (
    stream text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    message_offset bigint NOT NULL CHECK (message_offset >= 0),
    refused_at bigint NOT NULL, -- microseconds since 1970, UTC
    reason text NOT NULL,
    pointer text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    salt bytea CHECK (octet_length(salt) = 16),
    raw bytea,
    forwarded boolean NOT NULL DEFAULT false,
    PRIMARY KEY (stream, partition, message_offset)
);

-- Append-only means for everyone, the owner and replication mode included.
CREATE FUNCTION tlog.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'tlog.% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tlog.leaf
FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();
ALTER TABLE tlog.leaf ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tlog.entry_run
FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();
ALTER TABLE tlog.entry_run ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON tlog.disclosure_run
FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();
ALTER TABLE tlog.disclosure_run ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tlog.checkpoint
FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();
ALTER TABLE tlog.checkpoint ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tlog.cosignature
FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();
ALTER TABLE tlog.cosignature ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tlog.witness_policy
FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();
ALTER TABLE tlog.witness_policy ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON tlog.tile
FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();
ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER append_only;

-- A tile only grows: what it held stays its beginning.
CREATE FUNCTION tlog.refuse_rewrite() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF (NEW.level, NEW.tile_index) IS DISTINCT FROM (OLD.level, OLD.tile_index)
        OR substr(NEW.hashes, 1, octet_length(OLD.hashes)) IS DISTINCT FROM OLD.hashes
    THEN
        RAISE EXCEPTION 'tlog.tile only grows: rewriting level % tile % refused', OLD.level, OLD.tile_index
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER grow_only BEFORE UPDATE ON tlog.tile
FOR EACH ROW EXECUTE FUNCTION tlog.refuse_rewrite();
ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER grow_only;

-- Of a disclosure run only the data changes, when something in it is erased.
CREATE FUNCTION tlog.refuse_move() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF (NEW.first, NEW.part, NEW.count) IS DISTINCT FROM (OLD.first, OLD.part, OLD.count) THEN
        RAISE EXCEPTION 'tlog.% keeps its runs where they are: moving run % refused', TG_TABLE_NAME, OLD.first
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

-- The appender may ask for the partitions it is about to fill, and for no other change of the schema. Statements name
-- partitions, so each has its rights and its triggers, as its parent has. They are attached to the parent when they are made:
-- nobody who writes into another partition waits for that.
CREATE FUNCTION tlog.ensure_partitions(wanted bigint, OUT following bigint, OUT made boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    width CONSTANT bigint := 4194304;
    number CONSTANT bigint := wanted / width;
    entries CONSTANT text := format('tlog.%I', format('entry_run_%s', number));
    disclosures CONSTANT text := format('tlog.%I', format('disclosure_run_%s', number));
    range text;
BEGIN
    made := to_regclass(entries) IS NULL;
    IF made THEN
        -- What is appended next lies in the range of the log's size or in the one after it.
        IF wanted IS NULL OR NOT number - coalesce((SELECT size FROM tlog.log_state), 0) / width BETWEEN 0 AND 1 THEN
            RAISE EXCEPTION 'the log gets no partitions so far from its end: refused' USING ERRCODE = 'insufficient_privilege';
        END IF;
        PERFORM pg_advisory_xact_lock(x'746c6f6770617274'::bigint); -- "tlogpart"
        made := to_regclass(entries) IS NULL;
    END IF;
    following := (number + 1) * width;
    IF made THEN
        range := format('FOR VALUES FROM (%s) TO (%s)', number * width, following);
        EXECUTE format('CREATE TABLE %s (LIKE tlog.entry_run INCLUDING CONSTRAINTS INCLUDING STORAGE)', entries);
        EXECUTE format('CREATE TABLE %s (LIKE tlog.disclosure_run INCLUDING CONSTRAINTS INCLUDING STORAGE)', disclosures);
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
            'FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change()', entries);
        EXECUTE format('CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON %s '
            'FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change()', disclosures);
        EXECUTE format('CREATE TRIGGER keep_place BEFORE UPDATE ON %s '
            'FOR EACH ROW EXECUTE FUNCTION tlog.refuse_move()', disclosures);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', entries);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', disclosures);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER keep_place', disclosures);
        EXECUTE format('GRANT SELECT ON %s TO tlog_appender, tlog_sealer, tlog_indexer, tlog_reader', entries);
        EXECUTE format('GRANT SELECT ON %s TO tlog_appender, tlog_reader, tlog_eraser', disclosures);
        EXECUTE format('GRANT UPDATE (data) ON %s TO tlog_eraser', disclosures);
        EXECUTE format('ALTER TABLE tlog.entry_run ATTACH PARTITION %s %s', entries, range);
        EXECUTE format('ALTER TABLE tlog.disclosure_run ATTACH PARTITION %s %s', disclosures, range);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tlog.ensure_partitions(bigint) FROM PUBLIC;

GRANT USAGE ON SCHEMA tlog 
    TO tlog_appender, tlog_sealer, tlog_indexer, tlog_reader, tlog_eraser, tlog_authenticator;

GRANT SELECT, UPDATE ON tlog.log_state TO tlog_appender;
GRANT SELECT, INSERT ON tlog.leaf, tlog.entry_run, tlog.disclosure_run TO tlog_appender;
GRANT SELECT (key_id, principal) ON tlog.api_key TO tlog_appender;
GRANT SELECT, INSERT, UPDATE (next_offset, released) ON tlog.intake TO tlog_appender;
GRANT SELECT (stream, partition, message_offset, refused_at, reason, pointer, digest, forwarded), INSERT, UPDATE (forwarded) ON tlog.dead_letter TO tlog_appender;
GRANT EXECUTE ON FUNCTION tlog.ensure_partitions(bigint) TO tlog_appender;

GRANT SELECT ON tlog.log_state, tlog.leaf, tlog.entry_run TO tlog_sealer;
GRANT SELECT, INSERT, UPDATE ON tlog.tile TO tlog_sealer;
GRANT SELECT, INSERT ON tlog.checkpoint, tlog.cosignature, tlog.witness_policy TO tlog_sealer;

GRANT SELECT ON tlog.log_state, tlog.leaf, tlog.entry_run, tlog.checkpoint TO tlog_indexer;
GRANT SELECT, INSERT, DELETE ON tlog.index_segment, tlog.index_run, tlog.index_tile, tlog.index_epoch, tlog.explanation TO tlog_indexer;
GRANT UPDATE (postings, root_hash) ON tlog.index_segment TO tlog_indexer;

GRANT SELECT ON tlog.log_state, tlog.leaf, tlog.entry_run, tlog.disclosure_run, tlog.tile, tlog.checkpoint, tlog.api_key, tlog.session TO tlog_reader;
GRANT SELECT ON tlog.cosignature, tlog.witness_policy TO tlog_reader, tlog_indexer;
GRANT SELECT ON tlog.index_segment, tlog.index_run, tlog.index_tile, tlog.index_epoch, tlog.explanation TO tlog_reader;
GRANT SELECT ON tlog.intake, tlog.dead_letter TO tlog_reader;

GRANT SELECT, UPDATE (data) ON tlog.disclosure_run TO tlog_eraser;
GRANT SELECT, UPDATE (salt, raw) ON tlog.dead_letter TO tlog_eraser;

GRANT SELECT, INSERT, DELETE, UPDATE (seen_at) ON tlog.session TO tlog_authenticator;

-- The owner owns; nobody can log in as it.
ALTER TABLE tlog.log_state OWNER TO tlog_owner;
ALTER TABLE tlog.leaf OWNER TO tlog_owner;
ALTER TABLE tlog.entry_run OWNER TO tlog_owner;
ALTER TABLE tlog.disclosure_run OWNER TO tlog_owner;
ALTER TABLE tlog.tile OWNER TO tlog_owner;
ALTER TABLE tlog.checkpoint OWNER TO tlog_owner;
ALTER TABLE tlog.cosignature OWNER TO tlog_owner;
ALTER TABLE tlog.witness_policy OWNER TO tlog_owner;
ALTER TABLE tlog.api_key OWNER TO tlog_owner;
ALTER TABLE tlog.session OWNER TO tlog_owner;
ALTER TABLE tlog.index_segment OWNER TO tlog_owner;
ALTER TABLE tlog.index_run OWNER TO tlog_owner;
ALTER TABLE tlog.index_tile OWNER TO tlog_owner;
ALTER TABLE tlog.index_epoch OWNER TO tlog_owner;
ALTER TABLE tlog.explanation OWNER TO tlog_owner;
ALTER TABLE tlog.intake OWNER TO tlog_owner;
ALTER TABLE tlog.dead_letter OWNER TO tlog_owner;
ALTER FUNCTION tlog.refuse_change() OWNER TO tlog_owner;
ALTER FUNCTION tlog.refuse_rewrite() OWNER TO tlog_owner;
ALTER FUNCTION tlog.refuse_move() OWNER TO tlog_owner;
ALTER FUNCTION tlog.ensure_partitions(bigint) OWNER TO tlog_owner;
ALTER FUNCTION tlog.cosignature_lines(bigint) OWNER TO tlog_owner;

-- The first partitions: whoever reads finds them before anything is appended.
SELECT tlog.ensure_partitions(0);
