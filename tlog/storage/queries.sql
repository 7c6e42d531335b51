-- Every statement tlog sends, by name. Names are schema-qualified: no search_path decides what is read.

-- name: initialise_state
-- Adds the state of an empty log, for who makes one; a state that is there stays.
INSERT INTO tlog.log_state (origin, size, chain_hash, last_logged_at)
VALUES (%(origin)s, 0, %(chain_hash)s, 0)
ON CONFLICT DO NOTHING;

-- name: lock_state
-- Takes the lock under which the log grows, and returns the state that the appender continues.
-- One round trip does both, and makes sure that this commit waits for the disk whatever the role's settings say.
SELECT size, chain_hash, last_logged_at, pg_catalog.set_config('synchronous_commit', 'on', true)
FROM tlog.log_state
FOR UPDATE;

-- name: read_state
-- Returns whose log this is, its size, and what its next entry continues, for everyone.
SELECT origin, size, chain_hash, last_logged_at FROM tlog.log_state;

-- name: read_primary
-- Returns which PostgreSQL this is: its system identifier, its timeline, and whether commits wait for standbys, for who opens a
-- log, appends or seals. The name of the WAL's file has a new timeline at once, pg_control_checkpoint() after a checkpoint only.
SELECT
    control.system_identifier::text,
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint,
    CASE WHEN current_setting('synchronous_standby_names') = '' THEN 0 ELSE 1 END
FROM pg_control_system() AS control;

-- name: count_standbys
-- Returns how many standbys this server has, as far as the role may see, and which of them commits wait for, for who serves.
-- A standby keeps a physical slot; who may see more sees one without a slot too. Base backups and WAL archives are no standbys.
SELECT
    (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary)
    + (
        SELECT count(*) FROM pg_stat_replication
        WHERE state = 'streaming' AND application_name NOT IN ('pg_basebackup', 'pg_receivewal')
    ),
    current_setting('synchronous_standby_names');

-- name: find_controls
-- Returns the indexes of the control entries of [start, end), in order, for who looks for some among them.
SELECT index FROM tlog.leaf WHERE index >= %(start)s AND index < %(end)s AND event_id IS NULL ORDER BY index;

-- name: advance_state
-- Replaces the state by the one after the appended rows, for the appender, which holds the lock.
UPDATE tlog.log_state
SET size = %(size)s, chain_hash = %(chain_hash)s, last_logged_at = %(last_logged_at)s;

-- name: copy_leaves
-- Adds rows to the log, for the appender.
COPY tlog.leaf (index, event_id, leaf_hash, chain_hash) FROM STDIN (FORMAT BINARY);

-- name: copy_entry_runs
-- Adds runs of entries, for the appender.
COPY tlog.entry_run (first, logged_at, part, count, data) FROM STDIN (FORMAT BINARY);

-- name: copy_disclosure_runs
-- Adds runs of disclosures, for the appender.
COPY tlog.disclosure_run (first, part, count, data) FROM STDIN (FORMAT BINARY);

-- name: ensure_partitions
-- Makes the partitions that the runs of an index belong to, for the appender; returns the index after their last one, and
-- whether they were not there yet.
SELECT following, made FROM tlog.ensure_partitions(%(index)s);

-- name: find_events
-- Returns the rows of eventIds, for the appender and for who asks for single events.
-- One after the other through the database index: of thousands that are asked at once, as by a client that repeats a batch,
-- the planner would rather read the whole table.
SELECT found.*
FROM unnest(%(event_ids)s::uuid[]) AS asked (event_id)
CROSS JOIN LATERAL (
    SELECT leaf.index, leaf.event_id::text, leaf.leaf_hash, leaf.chain_hash
    FROM tlog.leaf
    WHERE leaf.event_id = asked.event_id
    LIMIT 1
) AS found;

-- name: read_leaf
-- Returns one row, for the sealer and for who opens a log.
SELECT index, event_id::text, leaf_hash, chain_hash FROM tlog.leaf WHERE index = %(index)s;

-- name: find_runs
-- Returns the runs that hold some indexes, from the highest down, each once and its parts together, as many rows as are asked
-- for; for answers. With both bounds on `first` the database index is read where the run is and not from there on to the end of a page.
SELECT run.first, run.part, run.count, run.data
FROM (
    SELECT index, lag(index, 1, 9223372036854775807) OVER (ORDER BY index DESC) AS above
    FROM unnest(%(indexes)s::bigint[]) AS index
) AS asked
CROSS JOIN LATERAL (
    SELECT near.first, near.part, near.count, near.data FROM {runs} AS near
    WHERE near.first > asked.index - %(longest)s AND near.first <= asked.index
    OFFSET 0
) AS run
WHERE asked.index < run.first + run.count AND asked.above >= run.first + run.count
ORDER BY asked.index DESC
LIMIT %(rows)s;

-- name: range_runs
-- Returns the runs that begin in [start, end), their parts together, in order, for the sealer, bundles, the indexer and fsck.
SELECT first, part, count, data FROM {runs} WHERE first >= %(start)s AND first < %(end)s ORDER BY first;

-- name: read_position
-- Returns how far the log is, for a question: its size, its newest checkpoint, and its newest index epoch; with `sealed` the
-- newest epoch whose entry is sealed.
SELECT
    log_state.size,
    checkpoint.size, checkpoint.root_hash, checkpoint.chain_hash, checkpoint.note, checkpoint.sealed_at,
    tlog.cosignature_lines(checkpoint.size),
    epoch.size, epoch.entry_index, epoch.segment_table, epoch.segment_ids
FROM tlog.log_state
LEFT JOIN LATERAL (SELECT * FROM tlog.checkpoint ORDER BY checkpoint.size DESC LIMIT 1) AS checkpoint ON true
LEFT JOIN LATERAL (
    SELECT * FROM tlog.index_epoch
    WHERE NOT %(sealed)s OR index_epoch.entry_index < checkpoint.size
    ORDER BY index_epoch.size DESC LIMIT 1
) AS epoch ON true;

-- name: read_progress
-- Returns how far the log is, for who watches it: its size, size and time of its newest checkpoint, and the size of its newest
-- index epoch.
SELECT
    log_state.size,
    checkpoint.size,
    checkpoint.sealed_at,
    (SELECT index_epoch.size FROM tlog.index_epoch ORDER BY index_epoch.size DESC LIMIT 1)
FROM tlog.log_state
LEFT JOIN LATERAL (
    SELECT checkpoint.size, checkpoint.sealed_at FROM tlog.checkpoint ORDER BY checkpoint.size DESC LIMIT 1
) AS checkpoint ON true;

-- name: find_run_logged_at
-- Returns, of the runs of [start, end), where the first one begins whose first entry is logged at `logged_at` or later, for a
-- question with a time; `end` if there is none. loggedAt never decreases, so halving finds it; no row if a run is missing.
WITH RECURSIVE search (low, high) AS (
    SELECT %(start)s::bigint, %(end)s::bigint
    UNION ALL
    SELECT
        CASE WHEN probe.before THEN least(probe.first + probe.count, search.high) ELSE search.low END,
        CASE WHEN probe.before THEN search.high ELSE greatest(probe.first, search.low) END
    FROM search
    CROSS JOIN LATERAL (
        SELECT run.first, run.count, run.logged_at < %(logged_at)s AS before
        FROM {runs} AS run
        WHERE run.first <= (search.low + search.high) / 2
        ORDER BY run.first DESC
        LIMIT 1
    ) AS probe
    WHERE search.low < search.high AND probe.first + probe.count > (search.low + search.high) / 2
)
SELECT low FROM search WHERE low = high;

-- name: begin_of_partition
-- Returns when the first entry of a partition was logged, for a question with a time.
SELECT logged_at FROM {runs} WHERE first = %(first)s LIMIT 1;

-- name: prefer_bitmaps
-- Makes the planner read scattered rows in the order of their pages, for the answer to a question.
SET LOCAL enable_indexscan = off;

-- name: prefer_nothing
-- Undoes `prefer_bitmaps`, for what the same transaction asks next.
SET LOCAL enable_indexscan = on;

-- name: read_leaves_at
-- Returns the rows of some indexes, in any order, for the answer to a question.
SELECT index, event_id::text, leaf_hash, chain_hash FROM tlog.leaf WHERE index = ANY (%(indexes)s::bigint[]);

-- name: read_leaves
-- Returns the rows [start, end) without their eventIds, in order, for the sealer, which checks them.
SELECT index, leaf_hash, chain_hash
FROM tlog.leaf
WHERE index >= %(start)s AND index < %(end)s
ORDER BY index;

-- name: read_tiles
-- Returns some tiles of the tree, as many as there are, for the sealer, proofs and exports.
SELECT tile.level, tile.tile_index, tile.hashes
FROM tlog.tile
JOIN ROWS FROM (unnest(%(levels)s::smallint[]), unnest(%(indexes)s::bigint[])) AS wanted (level, tile_index)
    ON wanted.level = tile.level AND wanted.tile_index = tile.tile_index;

-- name: write_tile
-- Writes a tile of the tree, for the sealer; a tile that is there only grows.
INSERT INTO tlog.tile (level, tile_index, hashes)
VALUES (%(level)s, %(tile_index)s, %(hashes)s)
ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes
WHERE tile.hashes IS DISTINCT FROM excluded.hashes AND octet_length(tile.hashes) <= octet_length(excluded.hashes);

-- name: publish_checkpoint
-- Adds a checkpoint, for the sealer; one that is there stays.
INSERT INTO tlog.checkpoint (size, root_hash, chain_hash, note, sealed_at)
VALUES (%(size)s, %(root_hash)s, %(chain_hash)s, %(note)s, %(sealed_at)s)
ON CONFLICT DO NOTHING;

-- name: read_latest_checkpoint
-- Returns the largest checkpoint, for everyone.
SELECT size, root_hash, chain_hash, note, sealed_at, tlog.cosignature_lines(size)
FROM tlog.checkpoint
WHERE size = (SELECT max(latest.size) FROM tlog.checkpoint AS latest);

-- name: read_sealed_leaf
-- Returns a checkpoint, the largest if no size is given, and with it a leaf if the checkpoint covers that, for proofs.
SELECT
    checkpoint.size, checkpoint.root_hash, checkpoint.chain_hash, checkpoint.note, checkpoint.sealed_at,
    tlog.cosignature_lines(checkpoint.size),
    leaf.index, leaf.event_id::text, leaf.leaf_hash, leaf.chain_hash
FROM tlog.checkpoint
LEFT JOIN tlog.leaf ON leaf.index = %(index)s AND leaf.index < checkpoint.size
WHERE checkpoint.size = coalesce(%(size)s::bigint, (SELECT max(latest.size) FROM tlog.checkpoint AS latest));

-- name: read_checkpoint
-- Returns the checkpoint of one size, for proofs.
SELECT size, root_hash, chain_hash, note, sealed_at, tlog.cosignature_lines(size)
FROM tlog.checkpoint
WHERE size = %(size)s;

-- name: list_checkpoints
-- Returns the largest checkpoints below a size, largest first, for who pages through them.
SELECT listed.*, tlog.cosignature_lines(listed.size)
FROM (
    SELECT size, root_hash, chain_hash, note, sealed_at
    FROM tlog.checkpoint
    WHERE size < %(below)s
    ORDER BY size DESC
    LIMIT %(limit)s
) AS listed
ORDER BY listed.size DESC;

-- name: add_cosignature
-- Adds a cosignature of a published checkpoint, for the sealer; one that is there stays.
INSERT INTO tlog.cosignature (size, name, key_id, time, signature, received_at)
VALUES (%(size)s, %(name)s, %(key_id)s, %(time)s, %(signature)s, %(received_at)s)
ON CONFLICT DO NOTHING;

-- name: read_witness_policy
-- Returns the policy under which checkpoints are published now, for the sealer and for who opens a log.
SELECT mode, text FROM tlog.witness_policy ORDER BY change DESC LIMIT 1;

-- name: change_witness_policy
-- Adds the policy under which checkpoints are published from a size on, for the sealer.
INSERT INTO tlog.witness_policy (since_size, mode, text) VALUES (%(since_size)s, %(mode)s, %(text)s);

-- name: lead
-- Tries to take the lock of the sealer or of the indexer, and tells whether it was free.
-- A courtesy between sealers; what decides is the anchor.
SELECT pg_catalog.pg_try_advisory_lock(%(lock)s);

-- name: add_api_key
-- Adds an API key, for the administrator.
INSERT INTO tlog.api_key (key_id, digest, principal, scopes, created_at, expires_at, rate, buckets, about)
VALUES (
    %(key_id)s, %(digest)s, %(principal)s, %(scopes)s, %(created_at)s, %(expires_at)s, %(rate)s, %(buckets)s, %(about)s
);

-- name: read_api_key
-- Returns one API key, for the service, which checks each request's.
SELECT key_id, digest, principal, scopes, created_at, expires_at, revoked_at, rate, buckets, about
FROM tlog.api_key
WHERE key_id = %(key_id)s;

-- name: read_principals
-- Returns whose API keys these are, for the appender, which tells who may learn that an event is known.
SELECT key_id, principal FROM tlog.api_key WHERE key_id = ANY(%(key_ids)s);

-- name: list_api_keys
-- Returns all API keys, oldest first, for the administrator.
SELECT key_id, digest, principal, scopes, created_at, expires_at, revoked_at, rate, buckets, about
FROM tlog.api_key
ORDER BY created_at;

-- name: list_standing
-- Returns which API keys there are, what they may do, and whether they are revoked, for the service, which tells of changes.
SELECT key_id, scopes, revoked_at IS NOT NULL FROM tlog.api_key;

-- name: revoke_api_key
-- Marks an API key as revoked, for the administrator; changes no row if there is no such key that is still good.
UPDATE tlog.api_key SET revoked_at = %(now)s WHERE key_id = %(key_id)s AND revoked_at IS NULL;

-- name: add_session
-- Adds a session, for the service: somebody signed in.
INSERT INTO tlog.session (lookup, digest, principal, scopes, key_id, created_at, expires_at, seen_at)
VALUES (
    %(lookup)s, %(digest)s, %(principal)s, %(scopes)s, %(key_id)s, %(created_at)s, %(expires_at)s, %(seen_at)s
);

-- name: read_session
-- Returns one session, for the service, which checks each request's.
SELECT lookup, digest, principal, scopes, key_id, created_at, expires_at, seen_at
FROM tlog.session
WHERE lookup = %(lookup)s;

-- name: list_sessions
-- Returns the sessions that are not over, oldest first, for the administrator.
SELECT lookup, digest, principal, scopes, key_id, created_at, expires_at, seen_at
FROM tlog.session
WHERE expires_at > %(now)s AND seen_at > %(idle)s
ORDER BY created_at;

-- name: touch_session
-- Notes that a session was used, for the service.
UPDATE tlog.session SET seen_at = %(now)s WHERE lookup = %(lookup)s;

-- name: end_session
-- Ends a session, for the service: somebody signed out.
DELETE FROM tlog.session WHERE lookup = %(lookup)s;

-- name: end_old_sessions
-- Deletes the sessions that are over by themselves, for the service.
DELETE FROM tlog.session WHERE expires_at <= %(now)s OR seen_at <= %(idle)s;

-- name: snapshot_settings
-- Sets what a full check must not be lied to by: database indexes, row filters, shadowed names
-- (docs/explanation/security.md); and gives each statement the time it needs, because a full check sorts the whole log.
SELECT
    pg_catalog.set_config('statement_timeout', '0', true),
    pg_catalog.set_config('search_path', '', true),
    pg_catalog.set_config('row_security', 'off', true),
    pg_catalog.set_config('enable_indexscan', %(index_scans)s, true),
    pg_catalog.set_config('enable_indexonlyscan', %(index_scans)s, true),
    pg_catalog.set_config('enable_bitmapscan', %(index_scans)s, true);

-- name: scan_upper_tiles
-- Returns of each level above 0 the tile in which the tree of `start` entries ends and those after it, for fsck.
SELECT level, tile_index, hashes FROM tlog.tile
WHERE level > 0 AND tile_index >= %(start)s::bigint >> (8 * (level + 1))
ORDER BY level, tile_index;

-- name: scan_lowest_tiles
-- Returns which tiles of level 0 there are, from the one in which the tree of `start` entries ends, for fsck.
SELECT tile_index FROM tlog.tile WHERE level = 0 AND tile_index >= %(start)s::bigint >> 8 ORDER BY tile_index;

-- name: count_leaves
-- Returns how many rows there are from an index on, and the largest index, for fsck.
SELECT count(*), max(index) FROM tlog.leaf WHERE index >= %(start)s;

-- name: count_runs
-- Returns how many rows of runs there are from `start` on, and how many of them hold entries that are not below `end`, for fsck.
SELECT count(*), count(*) FILTER (WHERE first + count > %(end)s) FROM {runs} WHERE first >= %(start)s;

-- name: find_stray_leaves
-- Returns the rows that no check of the entries [start, end) has met exactly once, for fsck: indexes that several rows have,
-- or that are not below `end`.
SELECT index, count(*) FROM tlog.leaf WHERE index >= %(start)s GROUP BY index
HAVING count(*) > 1 OR index >= %(end)s ORDER BY index LIMIT 1000;

-- name: export_snapshot
-- Gives this transaction's snapshot a name, for fsck, whose other processes read from it.
-- They may as long as this transaction is open, however long that takes.
SELECT pg_catalog.pg_export_snapshot(), pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true);

-- name: range_scans
-- Sets whether ranges are read through the primary key or by sequential scans, for a process of fsck.
SELECT
    pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true),
    pg_catalog.set_config('enable_indexscan', %(index_scans)s, true),
    pg_catalog.set_config('enable_indexonlyscan', 'off', true),
    pg_catalog.set_config('enable_bitmapscan', 'off', true),
    pg_catalog.set_config('enable_seqscan', %(sequential)s, true);

-- name: range_leaves
-- Returns the rows [start, end) in order, for a process of fsck.
SELECT index, pg_catalog.uuid_send(event_id), leaf_hash, chain_hash FROM tlog.leaf
WHERE index >= %(start)s AND index < %(end)s ORDER BY index;

-- name: range_dated_runs
-- Returns the runs of entries that begin in [start, end) as `range_runs` does, with the loggedAt of each one's first entry, for
-- a process of fsck.
SELECT first, part, count, data, logged_at FROM {runs} WHERE first >= %(start)s AND first < %(end)s ORDER BY first;

-- name: range_tiles
-- Returns the tiles [start, end) of level 0 in order, for a process of fsck.
SELECT tile_index, hashes FROM tlog.tile
WHERE level = 0 AND tile_index >= %(start)s AND tile_index < %(end)s ORDER BY tile_index;

-- name: scan_checkpoints
-- Returns the checkpoints above a size, smallest first, for fsck.
SELECT size, root_hash, chain_hash, note, sealed_at FROM tlog.checkpoint WHERE size > %(start)s ORDER BY size;

-- name: sealed_size
-- Returns how many entries the newest checkpoint covers, for a check that begins after it.
SELECT coalesce(max(size), 0) FROM tlog.checkpoint;

-- name: scan_epochs
-- Returns all stored index epochs, smallest first, for fsck.
SELECT size, entry_index, segment_table, segment_ids FROM tlog.index_epoch ORDER BY size;

-- name: scan_segments
-- Returns all segments that are written whole, for fsck.
SELECT segment_id, start_index, end_index, postings, root_hash FROM tlog.index_segment
WHERE root_hash IS NOT NULL
ORDER BY segment_id;

-- name: scan_runs
-- Returns all runs of all segments' pages in order, for fsck.
SELECT segment_id, run, first_posting, pages FROM tlog.index_run ORDER BY segment_id, run;

-- name: scan_index_tiles
-- Returns all tiles over segments' pages in order, for fsck.
SELECT segment_id, level, tile_index, hashes FROM tlog.index_tile ORDER BY segment_id, level, tile_index;

-- name: check_relations
-- Returns of each of the log's tables its kind, and whether row security, rules, policies or child tables hide or add rows,
-- for the check at the start and for fsck.
SELECT
    relation.relname, relation.relkind::text, relation.relrowsecurity, relation.relhasrules,
    EXISTS (SELECT FROM pg_catalog.pg_policy AS policy WHERE policy.polrelid = relation.oid),
    relation.relkind <> 'p'
        AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS child WHERE child.inhparent = relation.oid)
FROM pg_catalog.pg_class AS relation
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
WHERE namespace.nspname = 'tlog' AND relation.relkind IN ('r', 'p', 'v', 'm', 'f');

-- name: list_partitions
-- Returns which partitions the tables of runs have, and of which ranges, for the check at the start and for fsck.
SELECT parent.relname, child.relname, pg_catalog.pg_get_expr(child.relpartbound, child.oid)
FROM pg_catalog.pg_inherits AS link
JOIN pg_catalog.pg_class AS child ON child.oid = link.inhrelid
JOIN pg_catalog.pg_class AS parent ON parent.oid = link.inhparent
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = parent.relnamespace
JOIN pg_catalog.pg_namespace AS place ON place.oid = child.relnamespace
WHERE namespace.nspname = 'tlog' AND parent.relname IN ('entry_run', 'disclosure_run') AND place.nspname = 'tlog'
    AND NOT link.inhdetachpending;

-- name: check_triggers
-- Returns the triggers on the log's tables and the digests of their functions' sources, for the check at the start and for
-- fsck.
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
-- Returns the settings that durability rests on, for the check at the start.
SELECT name, setting FROM pg_catalog.pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums');

-- name: check_session
-- Returns which role a connection acts as and where it looks up names, for the check at the start.
SELECT current_user::text, pg_catalog.current_setting('search_path');

-- name: may_read_access_rules
-- Tells whether this role may read who is let in, for the check at the start.
SELECT
    pg_catalog.has_table_privilege('pg_catalog.pg_hba_file_rules', 'SELECT')
    AND pg_catalog.has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE');

-- name: check_access_rules
-- Returns the lines of pg_hba.conf that let users in without a password, for the check at the start.
-- The name of the file is new in PostgreSQL 16.
SELECT coalesce(pg_catalog.to_jsonb(rules) ->> 'file_name', 'pg_hba.conf'), rules.line_number
FROM pg_catalog.pg_hba_file_rules AS rules
WHERE rules.auth_method = 'trust'
ORDER BY rules.line_number;

-- name: check_roles
-- Returns the login role of this session and the roles that tlog acts as, where they may more than they should, for the
-- check at the start.
SELECT role.rolname, role.rolname = session_user, CASE
    WHEN role.rolsuper THEN 'is a superuser'
    WHEN role.rolbypassrls THEN 'has BYPASSRLS'
    ELSE 'can log in'
END
FROM pg_catalog.pg_roles AS role
WHERE
    (role.rolname = session_user AND (role.rolsuper OR role.rolbypassrls))
    OR (
        role.rolname IN ('tlog_owner', 'tlog_appender', 'tlog_sealer', 'tlog_indexer', 'tlog_reader', 'tlog_eraser', 'tlog_authenticator')
        AND (role.rolsuper OR role.rolbypassrls OR role.rolcanlogin)
    )
ORDER BY role.rolname;

-- name: check_privileges
-- Returns which of tlog's roles may change or delete what is append-only, for the check at the start.
-- However the privilege was given: to the role, to PUBLIC, to a role it is a member of, or on a column.
-- Who erases, or may act as who does, may change the data of disclosures.
SELECT role.rolname, protected.relname, privilege.name
FROM pg_catalog.pg_roles AS role
CROSS JOIN pg_catalog.pg_class AS protected
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = protected.relnamespace
CROSS JOIN (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS privilege (name)
WHERE
    (role.rolname = session_user
        OR role.rolname IN ('tlog_appender', 'tlog_sealer', 'tlog_indexer', 'tlog_reader', 'tlog_eraser', 'tlog_authenticator'))
    AND namespace.nspname = 'tlog' AND protected.relkind IN ('r', 'p')
    AND protected.relname ~ '^(leaf|checkpoint|cosignature|witness_policy|(entry|disclosure)_run(_[0-9]+)?)$'
    AND (
        pg_catalog.has_table_privilege(role.oid, protected.oid, privilege.name)
        OR (
            privilege.name = 'UPDATE'
            AND EXISTS (
                SELECT FROM pg_catalog.pg_attribute AS attribute
                WHERE
                    attribute.attrelid = protected.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
                    AND pg_catalog.has_column_privilege(role.oid, protected.oid, attribute.attnum, 'UPDATE')
                    AND NOT (role.rolname IN ('tlog_eraser', session_user) AND protected.relname ~ '^disclosure' AND attribute.attname = 'data')
            )
        )
    )
ORDER BY role.rolname = session_user, 1, 2, 3;

-- name: write_segment
-- Adds a small segment with the tiles over its pages, for the indexer; returns the segment's ID.
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
-- Adds a segment that is written in pieces, for the indexer, and returns its ID; without a root hash it is not whole.
INSERT INTO tlog.index_segment (start_index, end_index) VALUES (%(start)s, %(end)s) RETURNING segment_id;

-- name: finish_segment
-- Notes that a segment is written whole, for the indexer.
UPDATE tlog.index_segment SET postings = %(postings)s, root_hash = %(root_hash)s WHERE segment_id = %(segment_id)s;

-- name: list_segments
-- Returns some segments, as many as there are, for an indexer that takes up an epoch.
SELECT segment_id, start_index, end_index, postings, root_hash FROM tlog.index_segment
WHERE segment_id = ANY (%(segment_ids)s);

-- name: copy_runs
-- Adds runs of a segment's pages, for the indexer.
COPY tlog.index_run (segment_id, run, first_posting, pages) FROM STDIN (FORMAT BINARY);

-- name: copy_index_tiles
-- Adds tiles over a segment's pages, for the indexer.
COPY tlog.index_tile (segment_id, level, tile_index, hashes) FROM STDIN (FORMAT BINARY);

-- name: copy_segment_runs
-- Returns the pages of the runs [first, end) of a segment in order, for the indexer, which merges them.
COPY (
    SELECT pages FROM tlog.index_run
    WHERE segment_id = %(segment_id)s AND run >= %(first)s AND run < %(end)s
    ORDER BY run
) TO STDOUT (FORMAT BINARY);

-- name: find_edge_runs
-- Returns of each asked segment the runs in which the places of `low` and of `high` are, for evidence: the last ones that
-- begin before them.
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
-- Returns some runs of pages, as many as there are, each with the number under which it was asked for, for evidence.
SELECT asked.number, index_run.run, index_run.pages
FROM ROWS FROM (unnest(%(segment_ids)s::bigint[]), unnest(%(runs)s::bigint[]))
    WITH ORDINALITY AS asked (segment_id, run, number)
JOIN tlog.index_run ON index_run.segment_id = asked.segment_id AND index_run.run = asked.run;

-- name: find_last_runs
-- Returns of each asked segment the run in which its largest posting below `high` is, and the runs before it, `count` in all,
-- for the answer to a question.
SELECT asked.number, found.run, found.pages
FROM ROWS FROM (unnest(%(segment_ids)s::bigint[]), unnest(%(highs)s::bytea[]))
    WITH ORDINALITY AS asked (segment_id, high, number)
CROSS JOIN LATERAL (
    SELECT index_run.run, index_run.pages FROM tlog.index_run
    WHERE index_run.segment_id = asked.segment_id AND index_run.first_posting < asked.high
    ORDER BY index_run.first_posting DESC LIMIT %(count)s
) AS found;

-- name: read_index_tiles
-- Returns some tiles over segments' pages, as many as there are, for evidence.
SELECT index_tile.segment_id, index_tile.level, index_tile.tile_index, index_tile.hashes
FROM tlog.index_tile
JOIN ROWS FROM (unnest(%(segment_ids)s::bigint[]), unnest(%(levels)s::smallint[]), unnest(%(indexes)s::bigint[]))
    AS wanted (segment_id, level, tile_index)
    ON wanted.segment_id = index_tile.segment_id
    AND wanted.level = index_tile.level
    AND wanted.tile_index = index_tile.tile_index;

-- name: publish_epoch
-- Adds an index epoch, for the indexer.
INSERT INTO tlog.index_epoch (size, entry_index, segment_table, segment_ids)
VALUES (%(size)s, %(entry_index)s, %(segment_table)s, %(segment_ids)s);

-- name: read_epoch
-- Returns the newest index epoch, for the indexer, which goes on from there.
SELECT size, entry_index, segment_table, segment_ids FROM tlog.index_epoch ORDER BY size DESC LIMIT 1;

-- name: read_sealed_epoch
-- Returns the newest index epoch whose entry a checkpoint covers, for who waits until events are indexed.
SELECT size, entry_index, segment_table, segment_ids
FROM tlog.index_epoch
WHERE entry_index < (SELECT max(checkpoint.size) FROM tlog.checkpoint)
ORDER BY size DESC
LIMIT 1;

-- name: has_events
-- Tells whether any of the entries [start, end) is an event, for who waits until all are indexed.
SELECT EXISTS (SELECT FROM tlog.leaf WHERE index >= %(start)s AND index < %(end)s AND event_id IS NOT NULL);

-- name: count_events
-- Returns how many of the entries [start, end) are events, for recovery.
SELECT count(*) FROM tlog.leaf WHERE index >= %(start)s AND index < %(end)s AND event_id IS NOT NULL;

-- name: read_explanations
-- Returns what outcomes explain, for answers and for the full check: index of the outcome, its kind, and [start, end).
SELECT entry_index, kind, start_index, end_index FROM tlog.explanation ORDER BY entry_index;

-- name: indexed_end
-- Returns up to which entry explanations are kept, for answers.
SELECT coalesce(max(size), 0), (SELECT size FROM tlog.log_state) FROM tlog.index_epoch;

-- name: find_explanations
-- Returns what outcomes explain, of those that are kept or given, that is about some indexes and not said after later events, for
-- answers; smallest index of the outcome first.
WITH said AS (
    SELECT entry_index, start_index, end_index FROM tlog.explanation
    UNION
    SELECT * FROM unnest(%(entries)s::bigint[], %(starts)s::bigint[], %(ends)s::bigint[])
)
SELECT said.entry_index, said.start_index, said.end_index
FROM said
WHERE
    EXISTS (
        SELECT FROM unnest(%(indexes)s::bigint[]) AS asked (index)
        WHERE asked.index >= said.start_index AND asked.index < said.end_index
    )
    AND said.end_index <= said.entry_index
    AND NOT EXISTS (
        SELECT FROM tlog.leaf WHERE index >= said.end_index AND index < said.entry_index AND event_id IS NOT NULL
    )
ORDER BY said.entry_index;

-- name: publish_explanations
-- Adds what outcomes explain, for the indexer.
INSERT INTO tlog.explanation (entry_index, kind, start_index, end_index)
SELECT * FROM unnest(%(entries)s::bigint[], %(kinds)s::text[], %(starts)s::bigint[], %(ends)s::bigint[]);

-- name: delete_explanations
-- Deletes what outcomes explain, for the indexer, which makes that again from the entries.
DELETE FROM tlog.explanation;

-- name: read_indexed_size
-- Returns up to which entry there are segments that are written whole, for the progress of reindexing.
SELECT coalesce(max(end_index), 0) FROM tlog.index_segment WHERE root_hash IS NOT NULL;

-- name: delete_old_epochs
-- Deletes the epochs older than the newest one that is sealed, for the indexer: nobody is answered from them any more.
DELETE FROM tlog.index_epoch
WHERE size < (
    SELECT max(epoch.size) FROM tlog.index_epoch AS epoch
    WHERE epoch.entry_index < (SELECT max(checkpoint.size) FROM tlog.checkpoint)
);

-- name: delete_all_epochs
-- Deletes all epochs, for the indexer, which makes the index again from the entries.
DELETE FROM tlog.index_epoch;

-- name: find_unused_segments
-- Returns the segments that no epoch has, except those to be kept, for the indexer, which deletes them.
SELECT segment_id FROM tlog.index_segment
WHERE segment_id <> ALL (%(kept)s::bigint[])
EXCEPT
SELECT unnest(segment_ids) FROM tlog.index_epoch;

-- name: delete_runs
-- Deletes the runs of some segments, for the indexer.
DELETE FROM tlog.index_run WHERE segment_id = ANY (%(segment_ids)s);

-- name: delete_index_tiles
-- Deletes the tiles of some segments, for the indexer.
DELETE FROM tlog.index_tile WHERE segment_id = ANY (%(segment_ids)s);

-- name: delete_segments
-- Deletes the rows of some segments, for the indexer, after their runs and tiles.
DELETE FROM tlog.index_segment WHERE segment_id = ANY (%(segment_ids)s);

-- name: open_intakes
-- Begins to take partitions of streams, for the appender; changes fewer rows if one was begun before.
INSERT INTO tlog.intake (stream, partition, next_offset, released)
SELECT begun.stream, begun.partition, begun.to_offset, begun.released
FROM unnest(%(streams)s::text[], %(partitions)s::int[], %(ends)s::bigint[], %(releases)s::boolean[])
    AS begun (stream, partition, to_offset, released)
ON CONFLICT DO NOTHING;

-- name: advance_intakes
-- Moves on what is taken of partitions of streams, for the appender; changes fewer rows if one is not where its step begins.
UPDATE tlog.intake SET next_offset = moved.to_offset, released = moved.released
FROM unnest(%(streams)s::text[], %(partitions)s::int[], %(starts)s::bigint[], %(ends)s::bigint[], %(releases)s::boolean[])
    AS moved (stream, partition, from_offset, to_offset, released)
WHERE
    intake.stream = moved.stream AND intake.partition = moved.partition AND intake.next_offset = moved.from_offset
    AND NOT intake.released;

-- name: read_intakes
-- Returns how far streams are taken, by stream and partition, for whoever takes from them and for the full check.
SELECT stream, partition, next_offset, released FROM tlog.intake ORDER BY stream COLLATE "C", partition;

-- name: write_intakes
-- Says how far streams are taken, as the log says, for a recovery.
INSERT INTO tlog.intake (stream, partition, next_offset, released)
SELECT stream, partition, next_offset, released
FROM unnest(%(streams)s::text[], %(partitions)s::int[], %(offsets)s::bigint[], %(releases)s::boolean[])
    AS taken (stream, partition, next_offset, released)
ON CONFLICT (stream, partition) DO UPDATE SET next_offset = excluded.next_offset, released = excluded.released;

-- name: add_dead_letters
-- Adds messages that are no events, for the appender.
INSERT INTO tlog.dead_letter (stream, partition, message_offset, refused_at, reason, pointer, digest, salt, raw, forwarded)
SELECT stream, partition, message_offset, refused_at, reason, pointer, digest, salt, raw, forwarded
FROM unnest(
    %(streams)s::text[], %(partitions)s::int[], %(offsets)s::bigint[], %(refused_ats)s::bigint[], %(reasons)s::text[], %(pointers)s::text[],
    %(digests)s::bytea[], %(salts)s::bytea[], %(raws)s::bytea[], %(forwardeds)s::boolean[]
) AS refused (stream, partition, message_offset, refused_at, reason, pointer, digest, salt, raw, forwarded);

-- name: one_moment
-- Lets all statements of a transaction see one moment, for a taker.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: find_unforwarded
-- Returns messages that are no events and were not forwarded yet, oldest first, for a taker.
SELECT partition, message_offset, reason, pointer, digest FROM tlog.dead_letter
WHERE stream = %(stream)s AND NOT forwarded
ORDER BY refused_at, partition, message_offset
LIMIT %(most)s;

-- name: note_forwarded
-- Notes that messages that are no events were forwarded, for a taker.
UPDATE tlog.dead_letter SET forwarded = true
FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[]) AS sent (partition, message_offset)
WHERE
    dead_letter.stream = %(stream)s AND dead_letter.partition = sent.partition
    AND dead_letter.message_offset = sent.message_offset;

-- name: list_dead_letters
-- Returns messages that are no events, by stream and place, for whoever looks into them; the message only if it is asked for.
SELECT
    stream, partition, message_offset, refused_at, reason, pointer, digest, salt,
    CASE WHEN %(raw)s THEN raw END, forwarded
FROM tlog.dead_letter
WHERE (%(stream)s::text IS NULL OR stream = %(stream)s) AND (%(partition)s::int IS NULL OR partition = %(partition)s)
    AND (%(offset)s::bigint IS NULL OR message_offset = %(offset)s)
ORDER BY stream COLLATE "C", partition, message_offset;
