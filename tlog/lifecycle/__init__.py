"""The life of a log: making it, opening it, running it, closing it, in the only safe order.

A log is three things that belong together: its keys, its anchor and its database. If one of them is missing while another
is there, something was lost, and a silently made new one would hide the loss. So only `create_log` makes anything, and
`open_log` refuses and says what to bring back.

    `making`  makes a log, or completes one whose making was interrupted
    `opening`  opens a log, after its keys, anchor and database were compared
    `life`  what a log says of itself: started, restored, stood still, checked, stopped
    `running`  appender, sealing, indexing and the watch over the database, while a log is open
    `waiting`  one watcher, for everyone who waits for a seal or for an index epoch
    `journal`  who asked what, logged as an event before the answer leaves

Everything else takes the open log and asks for nothing that was not checked:

    location = Location(DataDirectory(Path("data")))
    await create_log(location, "example.com/our-log")
    async with open_log(location) as log, running(log):
        receipts = await log.appender.append(draft_events(parse_batch(texts), log.bucket_keys, LOCAL))
        await log.wait_sealed(receipts[-1].index, 30)

Errors say who has to act. `RollbackError`: the database holds less than what was signed. `AnchorMissingError`: nobody knows
what was signed. `KeyMismatchError`: a key of another log. Each has an exit code of its own, so that a supervisor does not
simply try again.

Left out: where the things of a log are (`tlog.location`), what an append does (`tlog.writing`), and HTTP (`tlog.server`).
"""
