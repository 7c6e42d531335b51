"""Answers, and what proves them: pages of events, evidence bundles, proof files, exports.

A *question* names an actor, a resource, an action, a time and more (`tlog.core.question`). An *answer* is complete as of a
position of the log: what is indexed is found in the segments, what is younger by the index keys that the entries carry. About a
resource it has what happened to it, and what names it beside something else. An answer tells; *evidence* proves, to people who
were not there, that these events and no others answer the question.

    `query`  answers a page at a time, newest first
    `withholding`  what of an answer is somebody else's, where one person's answers are asked for
    `lookup`  the entries that have an index key, from the segments, in either order
    `evidence`  an evidence bundle for a question
    `pages`  what such a bundle shows of the segments
    `sets`  as many bundles as a large answer takes
    `manifest`  which file of such a set is which part
    `prove`  inclusion and consistency proofs, and event files
    `export`  all events of an answer as NDJSON or CSV; the sealed log as static files
    `bulk`  what takes long as tasks: evidence, exports, and searches without an index key, each answered in pieces
    `worker`  a process beside the one that serves, which carries such tasks out

Everything that convinces is verified with the verifier's own code before it is handed out. If a stored tile or page is
wrong, the receiver gets an error that names `tlog fsck`, never a proof that fails in front of a judge:

    question = Question(userId="nurse-17", logged_from=…)
    answer = await Searcher(reader, bucket_keys.key).ask(question, limit=100)
    bundle = await make_evidence(reader, verifier, bucket_keys, question)   # DamagedLogError rather than a wrong bundle
    Path("answer.json").write_bytes(format_evidence(bundle))                # python3 verify.py evidence … checks it

Proofs are made in the same three steps everywhere: plan which hashes are needed, read them at once, compute.

Left out: the journal of who asked (`tlog.lifecycle.journal`), which every caller writes before an answer leaves; the right
to ask (`tlog.server.guard`); verification, which is `tlog.core`.
"""

from __future__ import annotations

from typing import Final

MAX_LIMIT: Final = 1_000  # events in one page of an answer
