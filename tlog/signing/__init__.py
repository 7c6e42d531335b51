r"""Signing checkpoints: everything that decides whether the log signs, and no database.

A log that signs two trees of one size has forked, and nothing mends that. So the key is used in one place, which trusts
nobody who asks: a proposal has to prove that it continues what was signed last, and what was signed is on disk before
anybody sees it.

Words:

- *anchor*: a small file outside PostgreSQL and outside its backups, with the last checkpoint that was signed.
- *proposal*: what a sealer wants signed, with the consistency proof from the last signed tree.
- *signer*: who owns key and anchor, a part of this process or a process of its own. A *key* is bytes.

    `signer`  the rules: what is signed, and what is refused
    `anchor`  compare-and-set on disk; of two sealers exactly one wins
    `clock`  the refusal to believe a clock that leaps ahead
    `witnesses`  other people, who are shown what was signed and cosign that
    `outside`  requests to addresses of an operator's file
    `socket`  a signer in a process of its own, asked over a UNIX socket

The first proposal is signed. A second tree of the same size is not:

    >>> from datetime import UTC, datetime
    >>> from pathlib import Path
    >>> from tlog.core.merkle import EMPTY_ROOT
    >>> from tlog.core.note import Signer
    >>> from tlog.signing.anchor import Anchor, Anchored
    >>> from tlog.signing.signer import CheckpointSigner, Proposal
    >>> anchor = Anchor(Path("anchor.sqlite3"))
    >>> anchor.create(Anchored("example.com/log", 0, EMPTY_ROOT, bytes(32), b"", 0))
    >>> signer = CheckpointSigner(anchor, Signer("example.com/log", bytes(32)), lambda: datetime.now(UTC))
    >>> signer.sign(Proposal("example.com/log", 0, 7, bytes(32), bytes(32), 0, [])).size
    7
    >>> signer.sign(Proposal("example.com/log", 7, 7, b"\1" * 32, bytes(32), 0, []))
    Traceback (most recent call last):
    tlog.errors.ForkError: a checkpoint of 7 entries is signed; another one of 7 would be a second history

Left out: the entries, which a signer never sees; when to seal (`tlog.writing.sealer`); being a witness (`tlog.witness`).
"""
