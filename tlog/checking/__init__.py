"""Checking a whole log without trusting it: what an independent auditor runs.

`tlog fsck` computes all that a database or a mirror holds again from the entries' bytes, names what is wrong, and goes on after
the first problem. Nothing is taken on faith, the database's own indexes included: a superuser can hide a row from those.

Words:

- *check*: to compare everything stored with what was signed. *Verifying* is what one does with a single proof.
- *mirror*: the public files of a log, as somebody else holds or serves them.
- *replay*: to derive the verifiable index again from the entries, as an honest index must be.

    `fsck`  the check of a database, from its first row to its verdict
    `ranges`  a range of entries by itself: all that needs no other range
    `runs`  the runs of a range, opened
    `absent`  which disclosures are missing, and which an outcome explains
    `disclosed`  the disclosures of a range, against commitments and index keys
    `facts`  what of a range is told to who joins the ranges
    `workers`  ranges in several processes, on one snapshot
    `join`  ranges put together: tree, signed roots, index
    `intake`  what was taken of streams has no gap and no overlap
    `topic`  what logs took of a topic, against the topic
    `event_ids`  an eventId that was logged twice, found in little memory
    `replay`  every segment derived again
    `stored_index`  what the database stores of the index, against what was logged
    `opinion`  a second opinion: the root hash, computed by code that is not ours
    `mirror`  reads a mirror, from a directory or over HTTP
    `exchange`  bounds of time and size for what a mirror's owner sends over HTTP
    `mirrored`  the same check, of a mirror
    `follow`  the index of a log that grows, derived again
    `promised`  what receipts promise
    `monitor`  what a log shows from outside, held against what was seen before
    `report`  what was found: problems by class and place

Every problem has a place, which is written the same everywhere:

    >>> from tlog.checking.report import Place
    >>> [str(place) for place in (Place("entry", 7), Place("entries", 256, 512), Place("anchor"))]
    ['entry 7', 'entries 256 to 511', 'anchor']

Left out: repair, which would destroy evidence. What was lost and signed comes back by `tlog.keeping.recover`.
"""
