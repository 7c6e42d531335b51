"""What changes a log: events are appended, sealed and indexed, each step by rules that a crash cannot break.

An event is *pending* when its entry is on disk and acknowledged, *sealed* when a signed checkpoint covers the entry,
*indexed* when an epoch of the verifiable index does. Any number of processes append at once, ordered by one row lock; one
process at a time leads the sealing and one the indexing, and another takes over when it ends.

    `drafting`  JSON texts to drafts: all that can be done without the lock
    `watermark`  notices a database that went back, before anything is appended to it
    `failover`  another server in the place of the one before: who may say that the log goes on there
    `appender`  drafts to entries: one transaction for all requests that wait
    `grouping`  the requests of one transaction, and the rows that they become
    `advancing`  what is taken of streams, moved on by an append
    `duplicates`  events that were sent again: which are new, which say the same
    `receipts`  the unsigned answers to appends
    `packing`  rows to runs, as the database takes them
    `sealer`  reads back, computes the root twice, has it signed, publishes
    `indexer`  segments over sealed entries, merged in the background
    `segments`  a segment on its way into the database
    `leader`  work that exactly one process of a log does
    `background`  sealing and indexing in this process or in a child

From a request to its receipts, and to a checkpoint that covers them:

    drafts = draft_events([b'{"action":"read", …}'], bucket_keys)   # parsed, committed to, not yet in the log
    receipts = await appender.append(drafts)                        # after the commit is on disk
    receipts[0].index, receipts[0].leaf_hash, receipts[0].chain_hash
    await log.wait_sealed(receipts[0].index, 30)                    # a sealer, here or elsewhere, has published

What is doubtful ends the process with an `OperatorError`: a log that stops can be mended, a log that forked cannot. Left
out: who may append (`tlog.server.guard`), the decision to sign (`tlog.signing`), SQL (`tlog.storage`).
"""
