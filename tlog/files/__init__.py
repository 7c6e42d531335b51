"""Files that appear whole: the one room that gives a file or a directory its name.

A program may be killed between any two of its lines, the disk may be full, and the power may fail. Whoever reads a file must
not meet half of one afterwards. So a file is made under another name beside its own, and gets its own when it is complete.

    `durable`  the writing: whole, durable, once; and making a file or a directory beside its name
    `destination`  where a result goes that a user named: a new file, an old one, a link, a device, a pipe

Words:

- *whole*: a reader finds the old file or the new one, never half of one. Enough for what can be made again.
- *durable*: whole, and the file and its name are on disk when the call returns; a power failure afterwards loses neither.
  One flush costs about 0.35 ms on a good disk, so a thousand static tiles are not written durably.
- *once*: durable, and an existing name is refused. For keys and for the anchor, which nothing may replace.
- *partial*: the file under its other name, `<name>.new-<16 hex digits>`, which no other writer has. A failed write removes its
  partial; a killed one leaves the partial, which nobody reads and no later write meets.

    from tlog.files import durable

    durable.write_whole(Path("tile/0/000"), tile)                 # a reader never meets half a tile
    durable.write_durable(Path("backup/tlog-backup.json"), text)  # the backup is complete even after a power failure
    durable.write_once(Path("keys/log.skey"), key, mode=0o400)    # FileExistsError if there is a key
    with durable.making(Path("answer.ndjson")) as partial, partial.open("wb") as file:
        file.writelines(lines)                                    # a stream; `answer.ndjson` appears at its end

Left out: locks between writers, of whom the last one to finish wins (except *once*, where the first wins); appending to a file
(only PostgreSQL and SQLite do that here); a change of several files at once; and systems without POSIX's rename and link.
"""
