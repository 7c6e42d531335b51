"""All that a verifier has to trust: the log's mathematics and formats, pure.

Nothing here reads, writes, asks a clock or logs. Each parser parses, formats again, and compares.
Left out: where bytes are kept; and whom to believe, which no code decides. Below, a proof is planned and computed.
    `strict`  numbers and base64 in exactly one form
    `canonical`  JSON, taken strictly and written canonically (RFC 8785)
    `merkle`  leaves, nodes, and the root of a growing tree (RFC 6962)
    `chain`  the hash chain, which fixes the order of pending entries
    `note`  signed notes and their keys
    `checkpoint`  the signed statement of a log's size and root hash
    `cosignature`  what witnesses add to it
    `policy`  which logs and witnesses count, and how many
    `tile`  where the hashes of a tree are stored
    `bundle`  files of up to 256 entries
    `run`  up to 8 entries, or what is disclosed of them, as the database holds them
    `proof`  inclusion and consistency: plan, prove, verify
    `tlogproof`  proof files
    `commitment`  personal data, in the log without being in it
    `pseudonym`  index keys, under which entries are found
    `event`  what producers send
    `logged_at`  the log's own time, as entries have it
    `entry`  what the tree holds of an event
    `outcome`  what the log says that it did
    `intake`  what the log says that it took of a stream
    `eventfile`  an entry, with what was disclosed of it
    `question`  what an auditor asks
    `segment`  the verifiable index, and proofs of what it holds
    `disclosed`  what is disclosed of an entry, and to which key it leads
    `evidence`  complete answers, proved
    `evidence_set`  the same in many parts
    `fraud`  what convicts a log
    `fork`  what convicts a key of two histories
    `verify`  verification as numbered steps
    `making`  what a log needs besides, and a verifier does not
    >>> from tlog.core import merkle, proof
    >>> leaves = [merkle.leaf_hash(entry) for entry in (b"a", b"b", b"c")]
    >>> (tree := merkle.Frontier()).extend(leaves)
    >>> [(part.start, part.end) for part in proof.plan_inclusion(2, 3)]  # of two leaves the hash is all that it takes
    [(0, 2)]
    >>> proof.verify_inclusion(2, 3, leaves[2], [tree.subtrees[0]], tree.root())
"""
