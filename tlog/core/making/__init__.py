"""What only a log needs of the formats, and no verifier: from a JSON text to an entry, from entries to tiles and segments.

The formats are those of `tlog.core`, and just as pure; only this half may use numpy, because three postings belong to every
event and a log has millions of them. A verifier that had a mistake in here would not be wrong, and is spared 45 MB.

Words:

- *draft*: an entry that lacks only its loggedAt, because the log's clock is read last, under the lock that orders entries.
- *bucket key*: one of 2^16 secret keys from which index keys are made. Entry 0 commits to all of them.
- *posting*: the first half of an index key, and the place of an entry that has it. Sorted postings make a *segment*.

    `parsing`  a batch of JSON texts to events, quickly where that is certain
    `faults`  everything that is wrong in one event, for the person who has to mend it
    `bucket_keys`  index keys made from bucket keys, and one of them proved
    `drafts`  events to drafts of entries
    `outcome`  drafts of what the log says that it did
    `intake`  drafts of what the log says that it took of a stream
    `integrate`  leaf hashes to the tiles that change
    `run`  entries and disclosures to the runs that the database holds
    `posting`  index keys to sorted postings, merged ones, and pages under a root hash
    `tiling`  into which segments a log is cut, and which are merged
    `matching`  facts of many stored entries at once, for those who check millions

Two entries are added to a tree of none, then a third; a tile only ever grows:

    >>> from tlog.core.making.integrate import integrate
    >>> from tlog.core.merkle import leaf_hash
    >>> leaves = [leaf_hash(entry) for entry in (b"a", b"b", b"c")]
    >>> edge = integrate(0, {}, leaves[:2])
    >>> integrate(2, edge, leaves[2:]) == {(0, 0): b"".join(leaves)}  # level 0, tile 0
    True

Left out: the clock, random salts, the lock and the database, which are `tlog.writing`'s; and every check of somebody else's
proof.
"""
