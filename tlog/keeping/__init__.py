"""Keeping a log over the years: backups, recovery of what a backup lacks, and going on on another server.

A log that is restored from last night's backup has lost the entries since, and has promised them: receipts are out,
checkpoints are signed. Signing on top would fork the log. So the way back has two steps, and the log refuses to start
before the second:

    $ tlog backup /backup/monday --data data    # PostgreSQL's own tools; verified before it counts
    $ tlog restore /backup/monday --data data   # the database, as it was then
    $ tlog recover --mirror MIRROR --data data  # the entries since, up to what was signed

Words:

- *backup*: a base backup of the database, and a line that says whose log it is and how far it goes. Neither keys nor anchor
  are in it: an anchor that went back with the database would say that an older copy is the newest.
- *anchored*: how far the anchor says that the log was signed. The mirror needs no trust, because the anchor knows the root
  hash.

    `backup`  makes a backup, and restores one
    `failover`  says for ever that the log goes on on another server
    `recover`  brings signed entries back from a mirror, after comparing every one

What stays lost is told: personal data that was in no backup, and entries that were acknowledged but not yet sealed.

Left out: backups of one's own PostgreSQL, which has its own; archiving of WAL; and copying the keys, once, to where they
are safe (docs/how-to/back-up-and-restore.md).
"""
