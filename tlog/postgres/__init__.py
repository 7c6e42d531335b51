"""The embedded PostgreSQL as a process: a real server from the binaries of a wheel, run so that a log may rest on it.

A first try must not begin with the installation of a database, and must not end with one that nobody would run in
production. So tlog brings PostgreSQL 18 along and runs it below the data directory (docs/adr/0003-embedded-postgresql.md).
No port is opened, no password is set: the kernel tells the server who asks at its socket.

Words:

- *cluster*: the directory with all of the server's data. It is made once and never replaced, because a silent new one hides
  a loss.
- *postmaster*: the server's first process. It belongs to no single tlog: whoever comes first starts it, whoever leaves last
  stops it.
- *ballast*: a file of no use that holds space on the disk, to be thrown away when the server cannot run for want of space.
- *base backup*: a copy of the cluster that PostgreSQL made while it ran, with a manifest of every file.

    `server`  the server's life: made, started or joined, started again, left, backed up, restored
    `installation`  its programs, where their user reaches them
    `user`  who runs the server where tlog runs as root, and how files become that user's
    `releases`  when minor releases of PostgreSQL came out
    `space`  how much disk must stay free, and the ballast
    `watch`  looks once a second: is there space, does the server run
    `basebackup`  checks a base backup against its manifest

One process or ten may do this at the same time, on one server:

    postgres = EmbeddedPostgres(Path("data/postgres"))
    if not postgres.exists():
        postgres.create()                     # about 0.6 s
    with postgres:                            # 0.1 s to start it, less to join
        Database(postgres.conninfo())         # tlog.storage: roles, tables, statements

Left out: tables and statements, which are `tlog.storage`'s; a server of one's own (`--database`), which its owner runs;
systems without /proc.
"""
