-- Every statement tlog sends, by name. Names are schema-qualified: no search_path decides what is read.

-- name: initialise_state
INSERT INTO tlog.log_state (origin, size, chain_hash, last_logged_at)
VALUES (%(origin)s, 0, %(chain_hash)s, 0)
ON CONFLICT DO NOTHING;

-- name: lock_state
-- One round trip: take the lock, and make sure that this commit waits for the disk whatever the role's settings say.
SELECT size, chain_hash, last_logged_at, pg_catalog.set_config('synchronous_commit', 'on', true)
FROM tlog.log_state
FOR UPDATE;

-- name: read_state
SELECT origin, size, chain_hash, last_logged_at FROM tlog.log_state;

-- name: advance_state
UPDATE tlog.log_state
SET size = %(size)s, chain_hash = %(chain_hash)s, last_logged_at = %(last_logged_at)s;

-- name: copy_leaves
COPY tlog.leaf (index, event_id, entry, leaf_hash, chain_hash) FROM STDIN (FORMAT BINARY);

-- name: copy_disclosures
COPY tlog.disclosure (index, actor, resource) FROM STDIN (FORMAT BINARY);

-- name: ensure_disclosure_partition
SELECT tlog.ensure_disclosure_partition(%(index)s);

-- name: find_events
-- One after the other by the index: of thousands that are asked at once, as by a client that repeats a batch, the planner
-- would rather read the whole table.
SELECT found.*
FROM unnest(%(event_ids)s::uuid[]) AS asked (event_id)
CROSS JOIN LATERAL (
    SELECT leaf.index, leaf.event_id::text, leaf.entry, leaf.leaf_hash, leaf.chain_hash, disclosure.actor, disclosure.resource
    FROM tlog.leaf
    LEFT JOIN tlog.disclosure ON disclosure.index = leaf.index
    WHERE leaf.event_id = asked.event_id
    LIMIT 1
) AS found;

-- name: read_leaf
SELECT index, event_id::text, entry, leaf_hash, chain_hash FROM tlog.leaf WHERE index = %(index)s;

-- name: read_position
-- Where the log is: all of it, what is sealed, what is indexed (%(sealed)s: by an epoch that is sealed itself).
SELECT
    log_state.size,
    checkpoint.size, checkpoint.root_hash, checkpoint.chain_hash, checkpoint.note, checkpoint.sealed_at,
    epoch.size, epoch.entry_index, epoch.segment_table, epoch.segment_ids
FROM tlog.log_state
LEFT JOIN LATERAL (SELECT * FROM tlog.checkpoint ORDER BY checkpoint.size DESC LIMIT 1) AS checkpoint ON true
LEFT JOIN LATERAL (
    SELECT * FROM tlog.index_epoch
    WHERE NOT %(sealed)s OR index_epoch.entry_index < checkpoint.size
    ORDER BY index_epoch.size DESC LIMIT 1
) AS epoch ON true;

-- name: find_logged_at
-- The first entry logged at %(logged_at)s or later: loggedAt never decreases, so halving finds it.
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, %(size)s::bigint
    UNION ALL
    SELECT
        CASE WHEN probe.before THEN probe.middle + 1 ELSE search.low END,
        CASE WHEN probe.before THEN search.high ELSE probe.middle END
    FROM search
    CROSS JOIN LATERAL (
        SELECT
            leaf.index AS middle,
            substring(leaf.entry FROM position('"loggedAt":"'::bytea IN leaf.entry) + 12 FOR 27) < %(logged_at)s AS before
        FROM tlog.leaf
        WHERE leaf.index = (search.low + search.high) / 2
    ) AS probe
    WHERE search.low < search.high
)
SELECT low FROM search WHERE low = high;

-- name: prefer_bitmaps
SET LOCAL enable_indexscan = off;

-- name: prefer_nothing
SET LOCAL enable_indexscan = on;

-- name: read_leaves_at
SELECT index, event_id::text, entry, leaf_hash, chain_hash FROM tlog.leaf WHERE index = ANY (%(indexes)s::bigint[]);

-- name: read_disclosures_at
SELECT index, actor, resource FROM tlog.disclosure WHERE index = ANY (%(indexes)s::bigint[]);

-- name: read_entries_at
SELECT leaf.index, leaf.entry FROM tlog.leaf WHERE leaf.index = ANY (%(indexes)s::bigint[]) ORDER BY leaf.index;

-- name: read_rows
SELECT index, entry, leaf_hash, chain_hash
FROM tlog.leaf
WHERE index >= %(start)s AND index < %(end)s
ORDER BY index;

-- name: read_entries
SELECT entry FROM tlog.leaf WHERE index >= %(start)s AND index < %(end)s ORDER BY index;

-- name: read_tiles
SELECT tile.level, tile.tile_index, tile.hashes
FROM tlog.tile
JOIN ROWS FROM (unnest(%(levels)s::smallint[]), unnest(%(indexes)s::bigint[])) AS wanted (level, tile_index)
    ON wanted.level = tile.level AND wanted.tile_index = tile.tile_index;

-- name: write_tile
INSERT INTO tlog.tile (level, tile_index, hashes)
VALUES (%(level)s, %(tile_index)s, %(hashes)s)
ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes
WHERE tile.hashes IS DISTINCT FROM excluded.hashes AND octet_length(tile.hashes) <= octet_length(excluded.hashes);

-- name: publish_checkpoint
INSERT INTO tlog.checkpoint (size, root_hash, chain_hash, note, sealed_at)
VALUES (%(size)s, %(root_hash)s, %(chain_hash)s, %(note)s, %(sealed_at)s)
ON CONFLICT DO NOTHING;

-- name: read_latest_checkpoint
SELECT size, root_hash, chain_hash, note, sealed_at FROM tlog.checkpoint ORDER BY size DESC LIMIT 1;

-- name: read_sealed_leaf
-- A checkpoint, the latest if no size is given, and with it a leaf if it covers that.
SELECT
    checkpoint.size, checkpoint.root_hash, checkpoint.chain_hash, checkpoint.note, checkpoint.sealed_at,
    leaf.index, leaf.event_id::text, leaf.entry, leaf.leaf_hash, leaf.chain_hash
FROM tlog.checkpoint
LEFT JOIN tlog.leaf ON leaf.index = %(index)s AND leaf.index < checkpoint.size
WHERE checkpoint.size = coalesce(%(size)s::bigint, (SELECT max(latest.size) FROM tlog.checkpoint AS latest));

-- name: read_checkpoint
SELECT size, root_hash, chain_hash, note, sealed_at FROM tlog.checkpoint WHERE size = %(size)s;

-- name: list_checkpoints
SELECT size, root_hash, chain_hash, note, sealed_at
FROM tlog.checkpoint
WHERE size < %(below)s
ORDER BY size DESC
LIMIT %(limit)s;

-- name: read_checkpoints_after
SELECT size, root_hash, chain_hash, note, sealed_at FROM tlog.checkpoint WHERE size > %(size)s ORDER BY size;

-- name: lead
-- A courtesy between sealers; what decides is the anchor.
SELECT pg_catalog.pg_try_advisory_lock(%(lock)s);

-- name: add_api_key
INSERT INTO tlog.api_key (key_id, digest, principal, scopes, created_at, expires_at, rate)
VALUES (%(key_id)s, %(digest)s, %(principal)s, %(scopes)s, %(created_at)s, %(expires_at)s, %(rate)s);

-- name: read_api_key
SELECT key_id, digest, principal, scopes, created_at, expires_at, revoked_at, rate
FROM tlog.api_key
WHERE key_id = %(key_id)s;

-- name: list_api_keys
SELECT key_id, digest, principal, scopes, created_at, expires_at, revoked_at, rate FROM tlog.api_key ORDER BY created_at;

-- name: revoke_api_key
UPDATE tlog.api_key SET revoked_at = %(now)s WHERE key_id = %(key_id)s AND revoked_at IS NULL;

-- name: snapshot_settings
-- What a full check must not be lied to by: other indexes, row filters, shadowed names (see docs/explanation/security.md).
SELECT
    pg_catalog.set_config('search_path', '', true),
    pg_catalog.set_config('row_security', 'off', true),
    pg_catalog.set_config('enable_indexscan', %(index_scans)s, true),
    pg_catalog.set_config('enable_indexonlyscan', %(index_scans)s, true),
    pg_catalog.set_config('enable_bitmapscan', %(index_scans)s, true);

-- name: scan_leaves
SELECT index, event_id::text, entry, leaf_hash, chain_hash FROM tlog.leaf WHERE index >= %(start)s ORDER BY index;

-- name: scan_upper_tiles
-- Of each level above 0 the tile in which the tree of `start` entries ends, and those behind it.
SELECT level, tile_index, hashes FROM tlog.tile
WHERE level > 0 AND tile_index >= %(start)s::bigint >> (8 * (level + 1))
ORDER BY level, tile_index;

-- name: scan_lowest_tiles
SELECT tile_index FROM tlog.tile WHERE level = 0 AND tile_index >= %(start)s::bigint >> 8 ORDER BY tile_index;

-- name: count_leaves
SELECT count(*), max(index) FROM tlog.leaf WHERE index >= %(start)s;

-- name: count_disclosures
SELECT count(*), count(*) FILTER (WHERE index >= %(end)s) FROM tlog.disclosure WHERE index >= %(start)s;

-- name: find_stray_leaves
-- Rows that no check of the entries [start, end) has met once: of an index that stands twice, below or behind it.
SELECT index, count(*) FROM tlog.leaf WHERE index >= %(start)s GROUP BY index
HAVING count(*) > 1 OR index >= %(end)s ORDER BY index LIMIT 1000;

-- name: export_snapshot
-- Others may read from it as long as this transaction is open, however long that takes.
SELECT pg_catalog.pg_export_snapshot(), pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true);

-- name: range_scans
SELECT
    pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true),
    pg_catalog.set_config('enable_indexscan', %(index_scans)s, true),
    pg_catalog.set_config('enable_indexonlyscan', 'off', true),
    pg_catalog.set_config('enable_bitmapscan', 'off', true),
    pg_catalog.set_config('enable_seqscan', %(sequential)s, true);

-- name: range_leaves
SELECT index, pg_catalog.uuid_send(event_id), entry, leaf_hash, chain_hash FROM tlog.leaf
WHERE index >= %(start)s AND index < %(end)s ORDER BY index;

-- name: range_disclosures
SELECT index, actor, resource FROM tlog.disclosure WHERE index >= %(start)s AND index < %(end)s ORDER BY index;

-- name: range_tiles
SELECT tile_index, hashes FROM tlog.tile
WHERE level = 0 AND tile_index >= %(start)s AND tile_index < %(end)s ORDER BY tile_index;

-- name: scan_checkpoints
SELECT size, root_hash, chain_hash, note, sealed_at FROM tlog.checkpoint WHERE size > %(start)s ORDER BY size;

-- name: scan_epochs
SELECT size, entry_index, segment_table, segment_ids FROM tlog.index_epoch ORDER BY size;

-- name: scan_segments
SELECT segment_id, start_index, end_index, postings, root_hash FROM tlog.index_segment
WHERE root_hash IS NOT NULL
ORDER BY segment_id;

-- name: scan_runs
SELECT segment_id, run, first_posting, pages FROM tlog.index_run ORDER BY segment_id, run;

-- name: scan_index_tiles
SELECT segment_id, level, tile_index, hashes FROM tlog.index_tile ORDER BY segment_id, level, tile_index;

-- name: check_relations
SELECT
    relation.relname, relation.relkind::text, relation.relrowsecurity, relation.relhasrules,
    EXISTS (SELECT FROM pg_catalog.pg_policy AS policy WHERE policy.polrelid = relation.oid),
    relation.relkind <> 'p'
        AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS child WHERE child.inhparent = relation.oid)
FROM pg_catalog.pg_class AS relation
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
WHERE namespace.nspname = 'tlog' AND relation.relkind IN ('r', 'p', 'v', 'm', 'f');

-- name: check_triggers
SELECT
    relation.relname, trigger.tgname, trigger.tgenabled::text, place.nspname || '.' || routine.proname,
    trigger.tgtype::int, trigger.tgqual IS NOT NULL,
    pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(routine.prosrc, 'UTF8')), 'hex')
FROM pg_catalog.pg_trigger AS trigger
JOIN pg_catalog.pg_class AS relation ON relation.oid = trigger.tgrelid
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
JOIN pg_catalog.pg_proc AS routine ON routine.oid = trigger.tgfoid
JOIN pg_catalog.pg_namespace AS place ON place.oid = routine.pronamespace
WHERE namespace.nspname = 'tlog' AND NOT trigger.tgisinternal
ORDER BY relation.relname, trigger.tgname;

-- name: check_settings
SELECT name, setting FROM pg_catalog.pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums');

-- name: check_session
SELECT current_user::text, pg_catalog.current_setting('search_path');

-- name: may_read_access_rules
SELECT
    pg_catalog.has_table_privilege('pg_catalog.pg_hba_file_rules', 'SELECT')
    AND pg_catalog.has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE');

-- name: check_access_rules
-- The name of the file is new in PostgreSQL 16.
SELECT coalesce(pg_catalog.to_jsonb(rules) ->> 'file_name', 'pg_hba.conf'), rules.line_number
FROM pg_catalog.pg_hba_file_rules AS rules
WHERE rules.auth_method = 'trust'
ORDER BY rules.line_number;

-- name: check_roles
-- The login role of this session and the roles that tlog acts as, where they are more than they should be.
SELECT role.rolname, role.rolname = session_user, CASE
    WHEN role.rolsuper THEN 'is a superuser'
    WHEN role.rolbypassrls THEN 'has BYPASSRLS'
    ELSE 'can log in'
END
FROM pg_catalog.pg_roles AS role
WHERE
    (role.rolname = session_user AND (role.rolsuper OR role.rolbypassrls))
    OR (
        role.rolname IN ('tlog_owner', 'tlog_appender', 'tlog_sealer', 'tlog_indexer', 'tlog_reader', 'tlog_eraser')
        AND (role.rolsuper OR role.rolbypassrls OR role.rolcanlogin)
    )
ORDER BY role.rolname;

-- name: check_privileges
-- Whatever the way a privilege comes by: granted to the role, to PUBLIC, to a role it is a member of, or on a column.
SELECT role.rolname, protected.name, privilege.name
FROM pg_catalog.pg_roles AS role
CROSS JOIN (VALUES ('leaf'), ('checkpoint')) AS protected (name)
CROSS JOIN (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS privilege (name)
WHERE
    (role.rolname = session_user
        OR role.rolname IN ('tlog_appender', 'tlog_sealer', 'tlog_indexer', 'tlog_reader', 'tlog_eraser'))
    AND (
        pg_catalog.has_table_privilege(role.oid, 'tlog.' || protected.name, privilege.name)
        OR (
            privilege.name = 'UPDATE'
            AND pg_catalog.has_any_column_privilege(role.oid, 'tlog.' || protected.name, 'UPDATE')
        )
    )
ORDER BY role.rolname = session_user, 1, 2, 3;

-- name: read_keys
-- The keys of entries [start, end) as they stand in the entries, 72 characters each; spaces for control entries.
SELECT string_agg(keys.text, ''::bytea), count(*)
FROM (
    SELECT CASE
        WHEN leaf.event_id IS NULL THEN %(none)s::bytea
        ELSE substring(leaf.entry FROM position('"keys":["'::bytea IN leaf.entry) + 9 FOR 72)
    END AS text
    FROM tlog.leaf
    WHERE leaf.index >= %(start)s AND leaf.index < %(end)s
    ORDER BY leaf.index
) AS keys;

-- name: write_segment
WITH written AS (
    INSERT INTO tlog.index_segment (start_index, end_index, postings, root_hash)
    VALUES (%(start)s, %(end)s, %(postings)s, %(root_hash)s)
    RETURNING segment_id
), tiles AS (
    INSERT INTO tlog.index_tile (segment_id, level, tile_index, hashes)
    SELECT written.segment_id, tile.level, tile.tile_index, tile.hashes
    FROM written, ROWS FROM (unnest(%(levels)s::smallint[]), unnest(%(indexes)s::bigint[]), unnest(%(tiles)b::bytea[]))
        AS tile (level, tile_index, hashes)
)
SELECT segment_id FROM written;

-- name: begin_segment
INSERT INTO tlog.index_segment (start_index, end_index) VALUES (%(start)s, %(end)s) RETURNING segment_id;

-- name: finish_segment
UPDATE tlog.index_segment SET postings = %(postings)s, root_hash = %(root_hash)s WHERE segment_id = %(segment_id)s;

-- name: list_segments
SELECT segment_id, start_index, end_index, postings, root_hash FROM tlog.index_segment
WHERE segment_id = ANY (%(segment_ids)s);

-- name: copy_runs
COPY tlog.index_run (segment_id, run, first_posting, pages) FROM STDIN (FORMAT BINARY);

-- name: copy_index_tiles
COPY tlog.index_tile (segment_id, level, tile_index, hashes) FROM STDIN (FORMAT BINARY);

-- name: copy_segment_runs
COPY (
    SELECT pages FROM tlog.index_run
    WHERE segment_id = %(segment_id)s AND run >= %(first)s AND run < %(end)s
    ORDER BY run
) TO STDOUT (FORMAT BINARY);

-- name: find_edge_runs
-- Of each asked segment the runs in which the places of `low` and of `high` are: the last ones that begin before them.
SELECT asked.number, index_run.run, index_run.pages
FROM ROWS FROM (unnest(%(segment_ids)s::bigint[]), unnest(%(lows)s::bytea[]), unnest(%(highs)s::bytea[]))
    WITH ORDINALITY AS asked (segment_id, low, high, number)
CROSS JOIN LATERAL (
    SELECT
        coalesce((
            SELECT edge.run FROM tlog.index_run AS edge
            WHERE edge.segment_id = asked.segment_id AND edge.first_posting < asked.low
            ORDER BY edge.first_posting DESC LIMIT 1
        ), 0) AS first,
        coalesce((
            SELECT edge.run FROM tlog.index_run AS edge
            WHERE edge.segment_id = asked.segment_id AND edge.first_posting < asked.high
            ORDER BY edge.first_posting DESC LIMIT 1
        ), 0) AS last
) AS edges
JOIN tlog.index_run
    ON index_run.segment_id = asked.segment_id AND index_run.run IN (edges.first, edges.last);

-- name: read_runs
SELECT asked.number, index_run.run, index_run.pages
FROM ROWS FROM (unnest(%(segment_ids)s::bigint[]), unnest(%(runs)s::bigint[]))
    WITH ORDINALITY AS asked (segment_id, run, number)
JOIN tlog.index_run ON index_run.segment_id = asked.segment_id AND index_run.run = asked.run;

-- name: find_last_runs
-- Of each asked segment the run in which its largest posting below `high` lies, and the runs before it, `count` in all.
SELECT asked.number, found.run, found.pages
FROM ROWS FROM (unnest(%(segment_ids)s::bigint[]), unnest(%(highs)s::bytea[]))
    WITH ORDINALITY AS asked (segment_id, high, number)
CROSS JOIN LATERAL (
    SELECT index_run.run, index_run.pages FROM tlog.index_run
    WHERE index_run.segment_id = asked.segment_id AND index_run.first_posting < asked.high
    ORDER BY index_run.first_posting DESC LIMIT %(count)s
) AS found;

-- name: read_index_tiles
SELECT index_tile.segment_id, index_tile.level, index_tile.tile_index, index_tile.hashes
FROM tlog.index_tile
JOIN ROWS FROM (unnest(%(segment_ids)s::bigint[]), unnest(%(levels)s::smallint[]), unnest(%(indexes)s::bigint[]))
    AS wanted (segment_id, level, tile_index)
    ON wanted.segment_id = index_tile.segment_id
    AND wanted.level = index_tile.level
    AND wanted.tile_index = index_tile.tile_index;

-- name: publish_epoch
INSERT INTO tlog.index_epoch (size, entry_index, segment_table, segment_ids)
VALUES (%(size)s, %(entry_index)s, %(segment_table)s, %(segment_ids)s);

-- name: read_epoch
SELECT size, entry_index, segment_table, segment_ids FROM tlog.index_epoch ORDER BY size DESC LIMIT 1;

-- name: read_sealed_epoch
SELECT size, entry_index, segment_table, segment_ids
FROM tlog.index_epoch
WHERE entry_index < (SELECT max(checkpoint.size) FROM tlog.checkpoint)
ORDER BY size DESC
LIMIT 1;

-- name: has_events
SELECT EXISTS (
    SELECT FROM tlog.leaf WHERE index >= %(start)s AND index < %(end)s AND event_id IS NOT NULL
);

-- name: read_indexed_size
SELECT coalesce(max(end_index), 0) FROM tlog.index_segment WHERE root_hash IS NOT NULL;

-- name: delete_old_epochs
-- Older than the newest one that is sealed: nobody is answered from them any more.
DELETE FROM tlog.index_epoch
WHERE size < (
    SELECT max(epoch.size) FROM tlog.index_epoch AS epoch
    WHERE epoch.entry_index < (SELECT max(checkpoint.size) FROM tlog.checkpoint)
);

-- name: delete_all_epochs
DELETE FROM tlog.index_epoch;

-- name: find_unused_segments
SELECT segment_id FROM tlog.index_segment
WHERE segment_id <> ALL (%(kept)s::bigint[])
EXCEPT
SELECT unnest(segment_ids) FROM tlog.index_epoch;

-- name: delete_runs
DELETE FROM tlog.index_run WHERE segment_id = ANY (%(segment_ids)s);

-- name: delete_index_tiles
DELETE FROM tlog.index_tile WHERE segment_id = ANY (%(segment_ids)s);

-- name: delete_segments
DELETE FROM tlog.index_segment WHERE segment_id = ANY (%(segment_ids)s);
