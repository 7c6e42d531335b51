-- What the migrations of this version make, as pg_dump prints it. Made by tests/storage/test_schema.py, checked by it too.

CREATE SCHEMA tlog;

ALTER SCHEMA tlog OWNER TO tlog_owner;

CREATE FUNCTION tlog.cosignature_lines(checkpoint_size bigint) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION tlog.cosignature_lines(checkpoint_size bigint) OWNER TO tlog_owner;

CREATE FUNCTION tlog.ensure_partitions(wanted bigint, OUT following bigint, OUT made boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION tlog.ensure_partitions(wanted bigint, OUT following bigint, OUT made boolean) OWNER TO tlog_owner;

CREATE FUNCTION tlog.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    RAISE EXCEPTION 'tlog.% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

ALTER FUNCTION tlog.refuse_change() OWNER TO tlog_owner;

CREATE FUNCTION tlog.refuse_move() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
BEGIN
    IF (NEW.first, NEW.part, NEW.count) IS DISTINCT FROM (OLD.first, OLD.part, OLD.count) THEN
        RAISE EXCEPTION 'tlog.% keeps its runs where they are: moving run % refused', TG_TABLE_NAME, OLD.first
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

ALTER FUNCTION tlog.refuse_move() OWNER TO tlog_owner;

CREATE FUNCTION tlog.refuse_rewrite() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION tlog.refuse_rewrite() OWNER TO tlog_owner;

CREATE TABLE public.tlog_migration (
    number integer NOT NULL,
    name text NOT NULL,
    digest bytea NOT NULL,
    applied_at timestamp with time zone NOT NULL
);

ALTER TABLE public.tlog_migration OWNER TO postgres;

CREATE TABLE tlog.api_key (
    key_id text NOT NULL,
    digest bytea NOT NULL,
    principal text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    rate integer,
    buckets integer,
    about text[],
    CONSTRAINT api_key_about_check CHECK ((cardinality(about) = ANY (ARRAY[1, 2]))),
    CONSTRAINT api_key_buckets_check CHECK ((buckets > 0)),
    CONSTRAINT api_key_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT api_key_rate_check CHECK ((rate > 0))
);

ALTER TABLE tlog.api_key OWNER TO tlog_owner;

CREATE TABLE tlog.checkpoint (
    size bigint NOT NULL,
    root_hash bytea NOT NULL,
    chain_hash bytea NOT NULL,
    note bytea NOT NULL,
    sealed_at bigint NOT NULL,
    CONSTRAINT checkpoint_chain_hash_check CHECK ((octet_length(chain_hash) = 32)),
    CONSTRAINT checkpoint_root_hash_check CHECK ((octet_length(root_hash) = 32))
);

ALTER TABLE tlog.checkpoint OWNER TO tlog_owner;

CREATE TABLE tlog.cosignature (
    size bigint NOT NULL,
    name text NOT NULL,
    key_id bytea NOT NULL,
    "time" bigint NOT NULL,
    signature bytea NOT NULL,
    received_at bigint NOT NULL,
    CONSTRAINT cosignature_key_id_check CHECK ((octet_length(key_id) = 4)),
    CONSTRAINT cosignature_time_check CHECK (("time" > 0))
);

ALTER TABLE tlog.cosignature OWNER TO tlog_owner;

CREATE TABLE tlog.dead_letter (
    stream text NOT NULL,
    partition integer NOT NULL,
    message_offset bigint NOT NULL,
    refused_at bigint NOT NULL,
    reason text NOT NULL,
    pointer text NOT NULL,
    digest bytea NOT NULL,
    salt bytea,
    raw bytea,
    forwarded boolean DEFAULT false NOT NULL,
    CONSTRAINT dead_letter_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT dead_letter_message_offset_check CHECK ((message_offset >= 0)),
    CONSTRAINT dead_letter_partition_check CHECK ((partition >= 0)),
    CONSTRAINT dead_letter_salt_check CHECK ((octet_length(salt) = 16))
);

ALTER TABLE tlog.dead_letter OWNER TO tlog_owner;

CREATE TABLE tlog.disclosure_run (
    first bigint NOT NULL,
    part smallint NOT NULL,
    count smallint NOT NULL,
    data bytea NOT NULL,
    CONSTRAINT disclosure_run_count_check CHECK (((count >= 1) AND (count <= 8))),
    CONSTRAINT disclosure_run_data_check CHECK ((octet_length(data) <= 7900)),
    CONSTRAINT disclosure_run_first_check CHECK ((first >= 0)),
    CONSTRAINT disclosure_run_part_check CHECK ((part >= 0))
)
PARTITION BY RANGE (first);
ALTER TABLE ONLY tlog.disclosure_run ALTER COLUMN data SET STORAGE PLAIN;

ALTER TABLE tlog.disclosure_run OWNER TO tlog_owner;

CREATE TABLE tlog.disclosure_run_0 (
    first bigint CONSTRAINT disclosure_run_first_not_null NOT NULL,
    part smallint CONSTRAINT disclosure_run_part_not_null NOT NULL,
    count smallint CONSTRAINT disclosure_run_count_not_null NOT NULL,
    data bytea CONSTRAINT disclosure_run_data_not_null NOT NULL,
    CONSTRAINT disclosure_run_count_check CHECK (((count >= 1) AND (count <= 8))),
    CONSTRAINT disclosure_run_data_check CHECK ((octet_length(data) <= 7900)),
    CONSTRAINT disclosure_run_first_check CHECK ((first >= 0)),
    CONSTRAINT disclosure_run_part_check CHECK ((part >= 0))
);
ALTER TABLE ONLY tlog.disclosure_run_0 ALTER COLUMN data SET STORAGE PLAIN;

ALTER TABLE tlog.disclosure_run_0 OWNER TO tlog_owner;

CREATE TABLE tlog.entry_run (
    first bigint NOT NULL,
    logged_at bigint NOT NULL,
    part smallint NOT NULL,
    count smallint NOT NULL,
    data bytea NOT NULL,
    CONSTRAINT entry_run_count_check CHECK (((count >= 1) AND (count <= 8))),
    CONSTRAINT entry_run_data_check CHECK (((octet_length(data) >= 1) AND (octet_length(data) <= 7900))),
    CONSTRAINT entry_run_first_check CHECK ((first >= 0)),
    CONSTRAINT entry_run_part_check CHECK ((part >= 0))
)
PARTITION BY RANGE (first);
ALTER TABLE ONLY tlog.entry_run ALTER COLUMN data SET STORAGE PLAIN;

ALTER TABLE tlog.entry_run OWNER TO tlog_owner;

CREATE TABLE tlog.entry_run_0 (
    first bigint CONSTRAINT entry_run_first_not_null NOT NULL,
    logged_at bigint CONSTRAINT entry_run_logged_at_not_null NOT NULL,
    part smallint CONSTRAINT entry_run_part_not_null NOT NULL,
    count smallint CONSTRAINT entry_run_count_not_null NOT NULL,
    data bytea CONSTRAINT entry_run_data_not_null NOT NULL,
    CONSTRAINT entry_run_count_check CHECK (((count >= 1) AND (count <= 8))),
    CONSTRAINT entry_run_data_check CHECK (((octet_length(data) >= 1) AND (octet_length(data) <= 7900))),
    CONSTRAINT entry_run_first_check CHECK ((first >= 0)),
    CONSTRAINT entry_run_part_check CHECK ((part >= 0))
);
ALTER TABLE ONLY tlog.entry_run_0 ALTER COLUMN data SET STORAGE PLAIN;

ALTER TABLE tlog.entry_run_0 OWNER TO tlog_owner;

CREATE TABLE tlog.explanation (
    entry_index bigint NOT NULL,
    kind text NOT NULL,
    start_index bigint NOT NULL,
    end_index bigint NOT NULL,
    CONSTRAINT explanation_check CHECK ((end_index > start_index)),
    CONSTRAINT explanation_start_index_check CHECK ((start_index >= 0))
);

ALTER TABLE tlog.explanation OWNER TO tlog_owner;

CREATE TABLE tlog.index_epoch (
    size bigint NOT NULL,
    entry_index bigint NOT NULL,
    segment_table bytea NOT NULL,
    segment_ids bigint[] NOT NULL,
    CONSTRAINT index_epoch_size_check CHECK ((size > 0))
);

ALTER TABLE tlog.index_epoch OWNER TO tlog_owner;

CREATE TABLE tlog.index_run (
    segment_id bigint NOT NULL,
    run bigint NOT NULL,
    first_posting bytea NOT NULL,
    pages bytea NOT NULL,
    CONSTRAINT index_run_first_posting_check CHECK ((octet_length(first_posting) = 12)),
    CONSTRAINT index_run_pages_check CHECK (((octet_length(pages) >= 12) AND (octet_length(pages) <= 6144))),
    CONSTRAINT index_run_run_check CHECK ((run >= 0))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000');
ALTER TABLE ONLY tlog.index_run ALTER COLUMN pages SET STORAGE PLAIN;

ALTER TABLE tlog.index_run OWNER TO tlog_owner;

CREATE TABLE tlog.index_segment (
    segment_id bigint NOT NULL,
    start_index bigint NOT NULL,
    end_index bigint NOT NULL,
    postings bigint,
    root_hash bytea,
    CONSTRAINT index_segment_check CHECK ((end_index > start_index)),
    CONSTRAINT index_segment_postings_check CHECK ((postings >= 0)),
    CONSTRAINT index_segment_root_hash_check CHECK ((octet_length(root_hash) = 32)),
    CONSTRAINT index_segment_start_index_check CHECK ((start_index >= 0))
);

ALTER TABLE tlog.index_segment OWNER TO tlog_owner;

ALTER TABLE tlog.index_segment ALTER COLUMN segment_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME tlog.index_segment_segment_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE tlog.index_tile (
    segment_id bigint NOT NULL,
    level smallint NOT NULL,
    tile_index bigint NOT NULL,
    hashes bytea NOT NULL,
    CONSTRAINT index_tile_hashes_check CHECK ((((octet_length(hashes) >= 32) AND (octet_length(hashes) <= 512)) AND ((octet_length(hashes) % 32) = 0))),
    CONSTRAINT index_tile_level_check CHECK (((level >= 0) AND (level <= 63))),
    CONSTRAINT index_tile_tile_index_check CHECK ((tile_index >= 0))
);
ALTER TABLE ONLY tlog.index_tile ALTER COLUMN hashes SET STORAGE PLAIN;

ALTER TABLE tlog.index_tile OWNER TO tlog_owner;

CREATE TABLE tlog.intake (
    stream text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    released boolean DEFAULT false NOT NULL,
    CONSTRAINT intake_next_offset_check CHECK ((next_offset >= 0)),
    CONSTRAINT intake_partition_check CHECK ((partition >= 0))
);

ALTER TABLE tlog.intake OWNER TO tlog_owner;

CREATE TABLE tlog.leaf (
    index bigint NOT NULL,
    event_id uuid,
    leaf_hash bytea NOT NULL,
    chain_hash bytea NOT NULL,
    CONSTRAINT leaf_index_check CHECK ((index >= 0))
);

ALTER TABLE tlog.leaf OWNER TO tlog_owner;

CREATE TABLE tlog.log_state (
    only_row boolean DEFAULT true NOT NULL,
    origin text NOT NULL,
    size bigint NOT NULL,
    chain_hash bytea NOT NULL,
    last_logged_at bigint NOT NULL,
    CONSTRAINT log_state_chain_hash_check CHECK ((octet_length(chain_hash) = 32)),
    CONSTRAINT log_state_only_row_check CHECK (only_row),
    CONSTRAINT log_state_size_check CHECK ((size >= 0))
);

ALTER TABLE tlog.log_state OWNER TO tlog_owner;

CREATE TABLE tlog.session (
    lookup bytea NOT NULL,
    digest bytea NOT NULL,
    principal text NOT NULL,
    scopes text[] NOT NULL,
    key_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    CONSTRAINT session_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT session_lookup_check CHECK ((octet_length(lookup) = 32))
);

ALTER TABLE tlog.session OWNER TO tlog_owner;

CREATE TABLE tlog.tile (
    level smallint NOT NULL,
    tile_index bigint NOT NULL,
    hashes bytea NOT NULL,
    CONSTRAINT tile_hashes_check CHECK ((((octet_length(hashes) >= 32) AND (octet_length(hashes) <= 8192)) AND ((octet_length(hashes) % 32) = 0))),
    CONSTRAINT tile_level_check CHECK (((level >= 0) AND (level <= 63))),
    CONSTRAINT tile_tile_index_check CHECK ((tile_index >= 0))
);
ALTER TABLE ONLY tlog.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

ALTER TABLE tlog.tile OWNER TO tlog_owner;

CREATE TABLE tlog.witness_policy (
    change bigint NOT NULL,
    since_size bigint NOT NULL,
    mode text NOT NULL,
    text text NOT NULL,
    CONSTRAINT witness_policy_mode_check CHECK ((mode = ANY (ARRAY['none'::text, 'required'::text, 'collect'::text])))
);

ALTER TABLE tlog.witness_policy OWNER TO tlog_owner;

ALTER TABLE tlog.witness_policy ALTER COLUMN change ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME tlog.witness_policy_change_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY tlog.disclosure_run ATTACH PARTITION tlog.disclosure_run_0 FOR VALUES FROM ('0') TO ('4194304');

ALTER TABLE ONLY tlog.entry_run ATTACH PARTITION tlog.entry_run_0 FOR VALUES FROM ('0') TO ('4194304');

ALTER TABLE ONLY public.tlog_migration
    ADD CONSTRAINT tlog_migration_pkey PRIMARY KEY (number);

ALTER TABLE ONLY tlog.api_key
    ADD CONSTRAINT api_key_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY tlog.checkpoint
    ADD CONSTRAINT checkpoint_pkey PRIMARY KEY (size);

ALTER TABLE ONLY tlog.cosignature
    ADD CONSTRAINT cosignature_pkey PRIMARY KEY (size, name, key_id, "time");

ALTER TABLE ONLY tlog.dead_letter
    ADD CONSTRAINT dead_letter_pkey PRIMARY KEY (stream, partition, message_offset);

ALTER TABLE ONLY tlog.explanation
    ADD CONSTRAINT explanation_pkey PRIMARY KEY (entry_index);

ALTER TABLE ONLY tlog.index_epoch
    ADD CONSTRAINT index_epoch_entry_index_key UNIQUE (entry_index);

ALTER TABLE ONLY tlog.index_epoch
    ADD CONSTRAINT index_epoch_pkey PRIMARY KEY (size);

ALTER TABLE ONLY tlog.index_run
    ADD CONSTRAINT index_run_pkey PRIMARY KEY (segment_id, run);

ALTER TABLE ONLY tlog.index_segment
    ADD CONSTRAINT index_segment_pkey PRIMARY KEY (segment_id);

ALTER TABLE ONLY tlog.index_tile
    ADD CONSTRAINT index_tile_pkey PRIMARY KEY (segment_id, level, tile_index);

ALTER TABLE ONLY tlog.intake
    ADD CONSTRAINT intake_pkey PRIMARY KEY (stream, partition);

ALTER TABLE ONLY tlog.leaf
    ADD CONSTRAINT leaf_event_id_key UNIQUE (event_id);

ALTER TABLE ONLY tlog.leaf
    ADD CONSTRAINT leaf_pkey PRIMARY KEY (index);

ALTER TABLE ONLY tlog.log_state
    ADD CONSTRAINT log_state_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY tlog.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (lookup);

ALTER TABLE ONLY tlog.tile
    ADD CONSTRAINT tile_pkey PRIMARY KEY (level, tile_index);

ALTER TABLE ONLY tlog.witness_policy
    ADD CONSTRAINT witness_policy_pkey PRIMARY KEY (change);

CREATE INDEX disclosure_run_first ON ONLY tlog.disclosure_run USING btree (first);

CREATE INDEX disclosure_run_0_first_idx ON tlog.disclosure_run_0 USING btree (first);

CREATE INDEX entry_run_first ON ONLY tlog.entry_run USING btree (first);

CREATE INDEX entry_run_0_first_idx ON tlog.entry_run_0 USING btree (first);

CREATE UNIQUE INDEX index_run_first_posting ON tlog.index_run USING btree (segment_id, first_posting) INCLUDE (run);

ALTER INDEX tlog.disclosure_run_first ATTACH PARTITION tlog.disclosure_run_0_first_idx;

ALTER INDEX tlog.entry_run_first ATTACH PARTITION tlog.entry_run_0_first_idx;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tlog.checkpoint FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.checkpoint ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tlog.cosignature FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.cosignature ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON tlog.disclosure_run FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.disclosure_run ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON tlog.disclosure_run_0 FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.disclosure_run_0 ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tlog.entry_run FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.entry_run ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tlog.entry_run_0 FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.entry_run_0 ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tlog.leaf FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.leaf ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON tlog.tile FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tlog.witness_policy FOR EACH STATEMENT EXECUTE FUNCTION tlog.refuse_change();

ALTER TABLE tlog.witness_policy ENABLE ALWAYS TRIGGER append_only;

CREATE TRIGGER grow_only BEFORE UPDATE ON tlog.tile FOR EACH ROW EXECUTE FUNCTION tlog.refuse_rewrite();

ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER grow_only;

CREATE TRIGGER keep_place BEFORE UPDATE ON tlog.disclosure_run_0 FOR EACH ROW EXECUTE FUNCTION tlog.refuse_move();

ALTER TABLE tlog.disclosure_run_0 ENABLE ALWAYS TRIGGER keep_place;

GRANT USAGE ON SCHEMA tlog TO tlog_appender;
GRANT USAGE ON SCHEMA tlog TO tlog_sealer;
GRANT USAGE ON SCHEMA tlog TO tlog_indexer;
GRANT USAGE ON SCHEMA tlog TO tlog_reader;
GRANT USAGE ON SCHEMA tlog TO tlog_eraser;
GRANT USAGE ON SCHEMA tlog TO tlog_authenticator;

REVOKE ALL ON FUNCTION tlog.ensure_partitions(wanted bigint, OUT following bigint, OUT made boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION tlog.ensure_partitions(wanted bigint, OUT following bigint, OUT made boolean) TO tlog_appender;

GRANT SELECT ON TABLE public.tlog_migration TO PUBLIC;

GRANT SELECT ON TABLE tlog.api_key TO tlog_reader;

GRANT SELECT(key_id) ON TABLE tlog.api_key TO tlog_appender;

GRANT SELECT(principal) ON TABLE tlog.api_key TO tlog_appender;

GRANT SELECT,INSERT ON TABLE tlog.checkpoint TO tlog_sealer;
GRANT SELECT ON TABLE tlog.checkpoint TO tlog_indexer;
GRANT SELECT ON TABLE tlog.checkpoint TO tlog_reader;

GRANT SELECT,INSERT ON TABLE tlog.cosignature TO tlog_sealer;
GRANT SELECT ON TABLE tlog.cosignature TO tlog_reader;
GRANT SELECT ON TABLE tlog.cosignature TO tlog_indexer;

GRANT INSERT ON TABLE tlog.dead_letter TO tlog_appender;
GRANT SELECT ON TABLE tlog.dead_letter TO tlog_reader;
GRANT SELECT ON TABLE tlog.dead_letter TO tlog_eraser;

GRANT SELECT(stream) ON TABLE tlog.dead_letter TO tlog_appender;

GRANT SELECT(partition) ON TABLE tlog.dead_letter TO tlog_appender;

GRANT SELECT(message_offset) ON TABLE tlog.dead_letter TO tlog_appender;

GRANT SELECT(refused_at) ON TABLE tlog.dead_letter TO tlog_appender;

GRANT SELECT(reason) ON TABLE tlog.dead_letter TO tlog_appender;

GRANT SELECT(pointer) ON TABLE tlog.dead_letter TO tlog_appender;

GRANT SELECT(digest) ON TABLE tlog.dead_letter TO tlog_appender;

GRANT UPDATE(salt) ON TABLE tlog.dead_letter TO tlog_eraser;

GRANT UPDATE(raw) ON TABLE tlog.dead_letter TO tlog_eraser;

GRANT SELECT(forwarded),UPDATE(forwarded) ON TABLE tlog.dead_letter TO tlog_appender;

GRANT SELECT,INSERT ON TABLE tlog.disclosure_run TO tlog_appender;
GRANT SELECT ON TABLE tlog.disclosure_run TO tlog_reader;
GRANT SELECT ON TABLE tlog.disclosure_run TO tlog_eraser;

GRANT UPDATE(data) ON TABLE tlog.disclosure_run TO tlog_eraser;

GRANT SELECT ON TABLE tlog.disclosure_run_0 TO tlog_appender;
GRANT SELECT ON TABLE tlog.disclosure_run_0 TO tlog_reader;
GRANT SELECT ON TABLE tlog.disclosure_run_0 TO tlog_eraser;

GRANT UPDATE(data) ON TABLE tlog.disclosure_run_0 TO tlog_eraser;

GRANT SELECT,INSERT ON TABLE tlog.entry_run TO tlog_appender;
GRANT SELECT ON TABLE tlog.entry_run TO tlog_sealer;
GRANT SELECT ON TABLE tlog.entry_run TO tlog_indexer;
GRANT SELECT ON TABLE tlog.entry_run TO tlog_reader;

GRANT SELECT ON TABLE tlog.entry_run_0 TO tlog_appender;
GRANT SELECT ON TABLE tlog.entry_run_0 TO tlog_sealer;
GRANT SELECT ON TABLE tlog.entry_run_0 TO tlog_indexer;
GRANT SELECT ON TABLE tlog.entry_run_0 TO tlog_reader;

GRANT SELECT,INSERT,DELETE ON TABLE tlog.explanation TO tlog_indexer;
GRANT SELECT ON TABLE tlog.explanation TO tlog_reader;

GRANT SELECT,INSERT,DELETE ON TABLE tlog.index_epoch TO tlog_indexer;
GRANT SELECT ON TABLE tlog.index_epoch TO tlog_reader;

GRANT SELECT,INSERT,DELETE ON TABLE tlog.index_run TO tlog_indexer;
GRANT SELECT ON TABLE tlog.index_run TO tlog_reader;

GRANT SELECT,INSERT,DELETE ON TABLE tlog.index_segment TO tlog_indexer;
GRANT SELECT ON TABLE tlog.index_segment TO tlog_reader;

GRANT UPDATE(postings) ON TABLE tlog.index_segment TO tlog_indexer;

GRANT UPDATE(root_hash) ON TABLE tlog.index_segment TO tlog_indexer;

GRANT SELECT,INSERT,DELETE ON TABLE tlog.index_tile TO tlog_indexer;
GRANT SELECT ON TABLE tlog.index_tile TO tlog_reader;

GRANT SELECT,INSERT ON TABLE tlog.intake TO tlog_appender;
GRANT SELECT ON TABLE tlog.intake TO tlog_reader;

GRANT UPDATE(next_offset) ON TABLE tlog.intake TO tlog_appender;

GRANT UPDATE(released) ON TABLE tlog.intake TO tlog_appender;

GRANT SELECT,INSERT ON TABLE tlog.leaf TO tlog_appender;
GRANT SELECT ON TABLE tlog.leaf TO tlog_sealer;
GRANT SELECT ON TABLE tlog.leaf TO tlog_indexer;
GRANT SELECT ON TABLE tlog.leaf TO tlog_reader;

GRANT SELECT,UPDATE ON TABLE tlog.log_state TO tlog_appender;
GRANT SELECT ON TABLE tlog.log_state TO tlog_sealer;
GRANT SELECT ON TABLE tlog.log_state TO tlog_indexer;
GRANT SELECT ON TABLE tlog.log_state TO tlog_reader;

GRANT SELECT ON TABLE tlog.session TO tlog_reader;
GRANT SELECT,INSERT,DELETE ON TABLE tlog.session TO tlog_authenticator;

GRANT UPDATE(seen_at) ON TABLE tlog.session TO tlog_authenticator;

GRANT SELECT,INSERT,UPDATE ON TABLE tlog.tile TO tlog_sealer;
GRANT SELECT ON TABLE tlog.tile TO tlog_reader;

GRANT SELECT,INSERT ON TABLE tlog.witness_policy TO tlog_sealer;
GRANT SELECT ON TABLE tlog.witness_policy TO tlog_reader;
GRANT SELECT ON TABLE tlog.witness_policy TO tlog_indexer;
