r"""Being a witness: cosigning the checkpoints of other people's logs, for as long as each only grows.

Implements c2sp.org/tlog-witness, the push half: a log sends its new checkpoint and a proof that it continues the one that the
witness saw last. Whoever holds a cosigned checkpoint knows that everybody who asks this witness sees the same history.

Words:

- *head*: size and root hash of the largest checkpoint of a log that this witness cosigned.
- *log*: somebody else's, known by its origin and the keys that may sign for it. A log is never removed.
- *refusal*: an answer other than 200. What is well-signed and refused may convict a log, so it is kept.

    `decide`  what is answered to a request, from the head: pure
    `state`  heads and keys of logs in a SQLite file; of two requests that race exactly one moves the head
    `keys`  the directory of a witness, and its own keys
    `app`  the HTTP service

A first start makes the keys, and prints what a policy needs of them:

    $ tlog witness --data w1 --name auditor.example/w1 &
    witness w1 auditor.example/w1+e1cdbd03+BN1… http://127.0.0.1:7380
    $ tlog witness add-log --data w1 "$(cat log.vkey)"

Left out: reading a log by itself (pull), and replaying its index, which are for auditors who want to know more than that a log
only grew; subtrees.
"""
