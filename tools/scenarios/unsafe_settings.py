"""Settings of a database with which a log cannot keep its promises: how each is made, and what the refusal says."""

from __future__ import annotations

from typing import Final

# What is wrong: statements of a hostile or careless administrator, and what the refusal says.
IN_THE_DATABASE: Final = {
    "a20 row security": ("ALTER TABLE tlog.leaf ENABLE ROW LEVEL SECURITY", r"tlog\.leaf is missing, not a plain table"),
    "a20 a policy": ("CREATE POLICY few ON tlog.checkpoint USING (size < 100)", r"tlog\.checkpoint .* policies"),
    "a20 a view in place": ("ALTER TABLE tlog.leaf RENAME TO real_leaf; CREATE VIEW tlog.leaf AS SELECT * FROM tlog.real_leaf WHERE index <> 7;"
                            "GRANT SELECT ON tlog.leaf TO tlog_reader", r"tlog\.leaf is missing, not a plain table"),
    "a20 a child table": ("CREATE TABLE tlog.more () INHERITS (tlog.leaf)", r"tlog\.leaf .* child tables"),
    "a20 a table that is gone": ("DROP TABLE tlog.index_epoch", r"tlog\.index_epoch is missing"),
    "a21 a rule": ("CREATE RULE no AS ON INSERT TO tlog.disclosure_run DO INSTEAD NOTHING", r"tlog\.disclosure_run .* rules"),
    "a21 another trigger": ("CREATE FUNCTION tlog.alter_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.leaf_hash = ''x''; RETURN NEW; END';"
                            "CREATE TRIGGER alter_it BEFORE INSERT ON tlog.leaf FOR EACH ROW EXECUTE FUNCTION tlog.alter_it()", r"trigger alter_it on tlog\.leaf"),
    "a24 a disabled trigger": ("ALTER TABLE tlog.leaf DISABLE TRIGGER append_only", r"trigger append_only on tlog\.leaf"),
    "a24 a trigger that replication mode skips": ("ALTER TABLE tlog.leaf ENABLE TRIGGER append_only", r"trigger append_only on tlog\.leaf"),
    "a24 a dropped trigger": ("DROP TRIGGER grow_only ON tlog.tile", r"trigger grow_only on tlog\.tile"),
    "a24 a trigger on less": ("DROP TRIGGER append_only ON tlog.leaf; CREATE TRIGGER append_only BEFORE TRUNCATE ON tlog.leaf FOR EACH STATEMENT "
                              "EXECUTE FUNCTION tlog.refuse_change(); ALTER TABLE tlog.leaf ENABLE ALWAYS TRIGGER append_only", r"trigger append_only on tlog\.leaf"),
    "a24 a trigger that does nothing": ("CREATE OR REPLACE FUNCTION tlog.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
                                        r"trigger append_only on tlog\.checkpoint"),
    "UPDATE granted": ("GRANT UPDATE ON tlog.leaf TO tlog_appender", r"role tlog_appender, which tlog uses, has UPDATE on tlog\.leaf"),
    "UPDATE of a column granted": ("GRANT UPDATE (leaf_hash) ON tlog.leaf TO tlog_sealer", r"tlog_sealer, which tlog uses, has UPDATE"),
    "DELETE granted to all": ("GRANT DELETE ON tlog.leaf TO PUBLIC", r"has DELETE on tlog\.leaf"),
    "TRUNCATE granted to the login role": ("GRANT TRUNCATE ON tlog.checkpoint TO tlog", r"the role tlog, .* TRUNCATE on tlog\.checkpoint"),
    "a25 commits that do not wait": ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$", "synchronous_commit = off"),
    "a25 commits that wait for here only": ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = local', current_database()); END $$", "synchronous_commit = local"),
    "a25 commits that wait for no disk there": ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = remote_write', current_database()); END $$", "synchronous_commit = remote_write"),
}  # fmt: skip
# The same about the whole server, with what undoes it.
IN_THE_SERVER: Final = {
    "fsync": ("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM RESET fsync", "fsync = off: .*; set fsync = on"),
    "full_page_writes": ("ALTER SYSTEM SET full_page_writes = off", "ALTER SYSTEM RESET full_page_writes", "full_page_writes = off"),
    "a25 commits of the role": ("ALTER ROLE tlog SET synchronous_commit = off", "ALTER ROLE tlog RESET synchronous_commit", "synchronous_commit = off"),
    "a superuser": ("ALTER ROLE tlog SUPERUSER", "ALTER ROLE tlog NOSUPERUSER", "the role tlog, which tlog uses, is a superuser"),
    "BYPASSRLS": ("ALTER ROLE tlog_reader BYPASSRLS", "ALTER ROLE tlog_reader NOBYPASSRLS", "tlog_reader, which tlog uses, has BYPASSRLS"),
    "a role that can log in": ("ALTER ROLE tlog_owner LOGIN", "ALTER ROLE tlog_owner NOLOGIN", "tlog_owner, which tlog uses, can log in"),
    "a member of the owner": ("GRANT tlog_owner TO tlog", "REVOKE tlog_owner FROM tlog", r"the role tlog, which tlog uses, has DELETE on tlog\.checkpoint"),
}  # fmt: skip
