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
SELECT leaf.index, leaf.event_id, leaf.entry, leaf.leaf_hash, leaf.chain_hash, disclosure.actor, disclosure.resource
FROM tlog.leaf
LEFT JOIN tlog.disclosure ON disclosure.index = leaf.index
WHERE leaf.event_id = ANY(%(event_ids)s);

-- name: read_leaf
SELECT index, event_id, entry, leaf_hash, chain_hash FROM tlog.leaf WHERE index = %(index)s;

-- name: read_leaves
SELECT index, event_id, entry, leaf_hash, chain_hash
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
INSERT INTO tlog.api_key (key_id, digest, principal, scopes, created_at, expires_at)
VALUES (%(key_id)s, %(digest)s, %(principal)s, %(scopes)s, %(created_at)s, %(expires_at)s);

-- name: read_api_key
SELECT key_id, digest, principal, scopes, created_at, expires_at, revoked_at
FROM tlog.api_key
WHERE key_id = %(key_id)s;

-- name: list_api_keys
SELECT key_id, digest, principal, scopes, created_at, expires_at, revoked_at FROM tlog.api_key ORDER BY created_at;

-- name: revoke_api_key
UPDATE tlog.api_key SET revoked_at = %(now)s WHERE key_id = %(key_id)s AND revoked_at IS NULL;

-- name: snapshot_settings
-- What a full check must not be lied to by: other indexes, row filters, shadowed names (see docs/explanation/security.md).
SELECT
    pg_catalog.set_config('search_path', '', true),
    pg_catalog.set_config('row_security', 'off', true),
    pg_catalog.set_config('enable_indexscan', 'off', true),
    pg_catalog.set_config('enable_indexonlyscan', 'off', true),
    pg_catalog.set_config('enable_bitmapscan', 'off', true);

-- name: scan_leaves
SELECT index, event_id, entry, leaf_hash, chain_hash FROM tlog.leaf ORDER BY index;

-- name: scan_disclosures
SELECT index, actor, resource FROM tlog.disclosure ORDER BY index;

-- name: scan_tiles
SELECT level, tile_index, hashes FROM tlog.tile ORDER BY level, tile_index;

-- name: scan_checkpoints
SELECT size, root_hash, chain_hash, note, sealed_at FROM tlog.checkpoint ORDER BY size;

-- name: check_relations
SELECT relation.relname, relation.relkind, relation.relrowsecurity, relation.relhasrules
FROM pg_catalog.pg_class AS relation
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
WHERE namespace.nspname = 'tlog' AND relation.relkind IN ('r', 'p', 'v', 'm', 'f');

-- name: check_triggers
SELECT relation.relname, trigger.tgname, trigger.tgenabled, routine.proname
FROM pg_catalog.pg_trigger AS trigger
JOIN pg_catalog.pg_class AS relation ON relation.oid = trigger.tgrelid
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
JOIN pg_catalog.pg_proc AS routine ON routine.oid = trigger.tgfoid
WHERE namespace.nspname = 'tlog' AND NOT trigger.tgisinternal
ORDER BY relation.relname, trigger.tgname;

-- name: check_settings
SELECT name, setting FROM pg_catalog.pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums', 'server_version_num');
