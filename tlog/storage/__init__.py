"""All SQL: PostgreSQL is the only database, and this is the room that speaks to it.

A *store* is a connection, or a pool of them, in the one role that its work needs. Stores move bytes and decide nothing; the
rules of a log are in `tlog.writing` and `tlog.checking`. Statements are in `queries.sql` by name, the schema is in
`migrations/`, numbered.

    `connection`  a connection; the driver's errors become those of `tlog.errors`
    `database`  connections in the right role, and the check of what promises rest on
    `selfcheck`  that check: settings, access, privileges, tables and triggers
    `migrate`  the schema brought up to this version, in order, never changed afterwards
    `queries`  loads `queries.sql`
    `statements`  statements that several stores share
    `rows`  rows of the log as values, and as the bytes that are copied in
    `frames`  zstd, by which runs are kept small
    `runs`  runs read and opened, in the partitions that indexes name
    `binary_copy`  PostgreSQL's binary COPY, both ways
    `appending`  `AppendStore`: rows appended under the lock that orders the log
    `intake`  how far streams are taken, and what of them is no event
    `leading`  the connection of work that one process at a time does
    `cosignatures`  what witnesses said, and the policy that is in force
    `sealing`  `SealStore`: rows read back, tiles and checkpoints written
    `index`  `IndexStore`: segments and epochs written and read
    `explanations`  what outcomes explain of absent disclosures
    `reading`  `ReadStore`: what answers are made of, and `View`, one snapshot
    `scan`  all rows read without trust in the database's own indexes
    `keys`  API keys at rest
    `sessions`  sessions of the pages at rest

Who asks more than one question takes a view, so that all answers are of one moment:

    reader = ReadStore(Database("postgresql://tlog@db/tlog"))
    await reader.open()
    entry = await reader.entry(7)
    async with reader.view() as view:
        position = await view.position(sealed=True)
        entries = await view.entries([0, position.epoch.entry_index])

What goes wrong on the way is an error of `tlog.errors`: `OverloadedError` for a database that is away, an `OperatorError`
for one that nothing may be built on. Left out: running a server (`tlog.postgres`), and judging what was read.
"""
