"""Make the test vectors in tests/vectors: one file for each kind, one defect for each case, named for it.

    python -m tools.make_vectors            write them
    python -m tools.make_vectors --check    exit 1 if the files differ from what would be written

Every run makes the same bytes. A case is an object with "name", the members its kind needs, and "error": null if a
verifier has to accept it, "malformed" if it has to refuse the form (exit code 2), "verification" if the form is good
but the evidence does not hold (exit code 1), "not checked" if something is there that it cannot check (exit code 3). Hashes
are base64. What is not UTF-8 is carried in a member whose name ends in "Base64". Any verifier of these formats may use
them; tests/core/test_vectors.py runs them against tlog.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tlog.core.checkpoint import Checkpoint, sign_checkpoint
from tlog.core.entry import EventEntry, OtherEntry, parse_entry
from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.making.drafts import DraftEntry, draft_entries, draft_index, draft_index_keys, salt_size
from tlog.core.making.parsing import parse_batch
from tlog.core.merkle import EMPTY_ROOT, Frontier, leaf_hash
from tlog.core.note import Signer, sign_note
from tlog.core.proof import Node, Subtree, plan_consistency, plan_inclusion, plan_joint, prove
from tlog.core.pseudonym import actor_ident, public_text, related_ident, resource_ident
from tlog.core.question import Matcher, parse_question
from tlog.core.segment import POSTING_SIZE, Segment, format_table, offset_of, posting, split_postings, table_hash
from tlog.core.tlogproof import ConsistencyProof, InclusionProof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tlog.core.question import Question

Case = dict[str, object]

DIRECTORY: Final = Path(__file__).parents[1] / "tests" / "vectors"
ORIGIN: Final = "example.com/tlog-vectors"
LOG: Final = Signer(ORIGIN, sha256(b"tlog vectors: the log").digest())
NAMESAKE: Final = Signer(ORIGIN, sha256(b"tlog vectors: another key of the log's name").digest())
WITNESS: Final = Signer("witness.example", sha256(b"tlog vectors: a witness").digest())
LOGGED_AT: Final = b"2026-11-24T05:12:00.123456Z"
MALFORMED: Final = "malformed"
VERIFICATION: Final = "verification"
NOT_CHECKED: Final = "not checked"
OTHER_QUESTION: Final = "other question"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _flip(data: bytes, bit: int = 0) -> bytes:
    """Return `data` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _carried(member: str, data: bytes) -> Case:
    """Return `data` as a member of a case: text where it is text."""
    try:
        return {member: data.decode()}
    except UnicodeDecodeError:
        return {f"{member}Base64": _b64(data)}


# --- A tree -----------------------------------------------------------------------------------------------------------


class _Tree:
    """A small tree held in memory, with its proofs."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = entries
        self.leaves = [leaf_hash(entry) for entry in entries]

    def root(self, size: int, start: int = 0) -> bytes:
        frontier = Frontier()
        frontier.extend(self.leaves[start:size])
        return frontier.root()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return self._prove(plan_inclusion(index, size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        return self._prove(plan_consistency(old, new))

    def joint(self, indexes: Sequence[int]) -> list[bytes]:
        return self._prove(plan_joint(indexes, len(self.leaves)))

    def _prove(self, plan: Sequence[Subtree]) -> list[bytes]:
        nodes: Iterable[Node] = (node for subtree in plan for node in subtree.nodes())
        return prove(
            plan, {node: self.root((node.index + 1) << node.level, node.index << node.level) for node in nodes}
        )


TREE: Final = _Tree([b"entry %d" % number for number in range(20)])


def _damaged_proofs(proof: list[bytes], root: bytes) -> dict[str, list[bytes]]:
    """Return a proof of at least two hashes in every damaged form, named for the damage."""
    return {
        "empty proof": [],
        "first hash missing": proof[1:],
        "last hash missing": proof[:-1],
        "hash in front": [bytes(32), *proof],
        "hash behind": [*proof, bytes(32)],
        "root in front": [root, *proof],
        "root behind": [*proof, root],
        "first hash twice": [proof[0], *proof],
        "two hashes swapped": [proof[1], proof[0], *proof[2:]],
        "proof reversed": proof[::-1],
        "first hash with one bit changed": [_flip(proof[0]), *proof[1:]],
        "last hash with one bit changed": [*proof[:-1], _flip(proof[-1], 255)],
        "first hash of 31 bytes": [proof[0][:-1], *proof[1:]],
        "last hash of 33 bytes": [*proof[:-1], proof[-1] + b"\x00"],
        "empty hash": [*proof[:-1], b""],
        "64 hashes": [bytes(32)] * 64,
    }


def make_inclusion() -> list[Case]:
    """Return inclusion proofs: index, size, leafHash, proof, root."""
    index, size = 5, 13
    leaf, proof, root = TREE.leaves[index], TREE.inclusion(index, size), TREE.root(size)

    def case(
        name: str,
        *,
        at: tuple[int, int] = (index, size),
        leaf: bytes = leaf,
        proof: Sequence[bytes] = proof,
        root: bytes = root,
        error: str | None = VERIFICATION,
    ) -> Case:
        where: Case = {"name": name, "index": at[0], "size": at[1]}
        hashes: Case = {"leafHash": _b64(leaf), "proof": list(map(_b64, proof)), "root": _b64(root)}
        return where | hashes | {"error": error}

    good = [(0, 1), (0, 2), (1, 2), (2, 3), (0, 7), (6, 7), (7, 8), (8, 9), (5, 13), (12, 13), (15, 16), (19, 20)]
    return [
        *(
            case(
                f"good {i} of {n}",
                at=(i, n),
                leaf=TREE.leaves[i],
                proof=TREE.inclusion(i, n),
                root=TREE.root(n),
                error=None,
            )
            for i, n in good
        ),
        *(case(name, proof=wrong) for name, wrong in _damaged_proofs(proof, root).items()),
        case("index minus one", at=(index - 1, size)),
        case("index plus one", at=(index + 1, size)),
        case("index with another bit", at=(index ^ 8, size)),
        case("index negative", at=(-1, size)),
        case("index equal to size", at=(size, size)),
        case("index above size", at=(size + 1, size)),
        case("index 2^64 - 1", at=(2**64 - 1, size)),
        case("size half", at=(index, size // 2)),
        case("size double", at=(index, size * 2)),
        case("size zero", at=(0, 0), proof=[], root=EMPTY_ROOT),
        case("size negative", at=(index, -size)),
        case("size 2^63", at=(index, 2**63)),
        case("other leaf", leaf=TREE.leaves[index + 1]),
        case("leaf with one bit changed", leaf=_flip(leaf)),
        case("leaf not hashed", leaf=TREE.entries[index]),
        case("leaf of 31 bytes", leaf=leaf[:-1]),
        case("empty leaf", leaf=b""),
        case("node for leaf", at=(0, 1), leaf=proof[-1], proof=[], root=root),
        case("root of another size", root=TREE.root(size + 1)),
        case("root with one bit changed", root=_flip(root)),
        case("root of the empty tree", root=EMPTY_ROOT),
        case("root of 31 bytes", root=root[:-1]),
        case("empty root", root=b""),
        case("one leaf with a proof", at=(0, 1), leaf=TREE.leaves[0], proof=[bytes(32)], root=TREE.root(1)),
        case("one leaf that is not the root", at=(0, 1), leaf=TREE.leaves[0], proof=[], root=TREE.leaves[1]),
    ]


def make_consistency() -> list[Case]:
    """Return consistency proofs: oldSize, newSize, oldRoot, newRoot, proof."""
    old, new = 6, 13
    proof, roots = TREE.consistency(old, new), (TREE.root(old), TREE.root(new))

    def case(
        name: str,
        *,
        sizes: tuple[int, int] = (old, new),
        roots: tuple[bytes, bytes] = roots,
        proof: Sequence[bytes] = proof,
        error: str | None = VERIFICATION,
    ) -> Case:
        between: Case = {"name": name, "oldSize": sizes[0], "newSize": sizes[1]}
        hashes: Case = {"oldRoot": _b64(roots[0]), "newRoot": _b64(roots[1]), "proof": list(map(_b64, proof))}
        return between | hashes | {"error": error}

    pairs = [(0, 0), (0, 5), (1, 1), (1, 2), (1, 8), (2, 3), (3, 7), (4, 7), (6, 8), (6, 13), (8, 16), (9, 20)]
    old_root, new_root = roots
    power = TREE.root(8)
    return [
        *(
            case(
                f"good {m} to {n}",
                sizes=(m, n),
                roots=(TREE.root(m), TREE.root(n)),
                proof=TREE.consistency(m, n),
                error=None,
            )
            for m, n in pairs
        ),
        *(case(name, proof=wrong) for name, wrong in _damaged_proofs(proof, new_root).items()),
        case("sizes exchanged", sizes=(new, old)),
        case("sizes and roots exchanged", sizes=(new, old), roots=(new_root, old_root)),
        case("old size minus one", sizes=(old - 1, new)),
        case("old size plus one", sizes=(old + 1, new)),
        case("old size negative", sizes=(-1, new)),
        case("old size zero with its root", sizes=(0, new)),
        case("old size zero with another root", sizes=(0, new), proof=[]),
        case("old size zero with a proof", sizes=(0, new), roots=(EMPTY_ROOT, new_root)),
        case("new size double", sizes=(old, new * 2)),
        case("new size 2^63", sizes=(old, 2**63)),
        case("both sizes zero with another root", sizes=(0, 0), roots=(old_root, old_root), proof=[]),
        case("equal sizes with two roots", sizes=(new, new), roots=roots, proof=[]),
        case("equal sizes with a proof", sizes=(new, new), roots=(new_root, new_root)),
        case("power of two with its root in front", sizes=(8, new), roots=(power, new_root), proof=[power]),
        case("old root of another size", roots=(TREE.root(old + 1), new_root)),
        case("new root of another size", roots=(old_root, TREE.root(new + 1))),
        case("roots exchanged", roots=(new_root, old_root)),
        case("old root with one bit changed", roots=(_flip(old_root), new_root)),
        case("new root with one bit changed", roots=(old_root, _flip(new_root))),
        case("old root of 31 bytes", roots=(old_root[:-1], new_root)),
        case("empty new root", roots=(old_root, b"")),
    ]


# --- Notes and checkpoints --------------------------------------------------------------------------------------------

TEXT: Final = b"This is the text of a note.\n\nIt has an empty line.\n"


def _line(name: str, key_id: bytes, signature: bytes) -> bytes:
    return f"— {name} {_b64(key_id + signature)}\n".encode()


# An unknown key's signature of one byte.
SHORTEST_LINE: Final = _line("x", bytes(4), b"\x00")


def _signed_by(signer: Signer, text: bytes) -> bytes:
    """Return just the signature line."""
    return _line(signer.verifier.name, signer.verifier.key_id, signer.sign(text))


def _text_defects(text: bytes) -> dict[str, bytes]:
    """Return texts that no note may have, though signed correctly; `text` ends in a newline."""
    return {
        "NUL": b"\x00" + text,
        "tab": text[:4] + b"\t" + text[4:],
        "carriage return": text[:-1] + b"\r\n",
        "escape character": b"\x1b[2J" + text,
        "invalid UTF-8": b"\xff" + text,
        "overlong UTF-8": b"\xc0\xaf" + text,
        "surrogate in UTF-8": b"\xed\xa0\x80" + text,
    }


def _line_defects(signer: Signer, text: bytes) -> dict[str, bytes]:
    """Return signature lines of no form, named for the defect."""
    good, name = _signed_by(signer, text), signer.verifier.name
    key_id, signature = signer.verifier.key_id, signer.sign(text)
    start = "— ".encode()
    return {
        "no signature line": b"",
        "no newline at the end": good[:-1],
        "empty line at the end": good + b"\n",
        "text behind the signatures": good + b"text\n",
        "text before the signatures": b"text\n" + good,
        "hyphen for the dash": b"- " + good.removeprefix(start),
        "no space behind the dash": "—".encode() + good.removeprefix(start),
        "space before the dash": b" " + good,
        "no-break space behind the dash": "—\u00a0".encode() + good.removeprefix(start),
        "no name": _line("", key_id, signature),
        "space in the name": _line("a b", key_id, signature) + good,
        "ideographic space in the name": _line("a\u3000b", key_id, signature) + good,
        "line separator in the name": _line("a\u2028b", key_id, signature) + good,
        "plus in the name": _line("a+b", key_id, signature) + good,
        "name only": start + name.encode() + b"\n",
        "base64 without padding": good.replace(b"=", b""),
        "base64 with padding bits": good[:-3] + bytes([good[-3] + 1]) + good[-2:],
        "base64 with a space": good[:-10] + b" " + good[-10:],
        "base64url": _line("unknown", b"\xff\xff\xff\xff", b"\xff").replace(b"/", b"_") + good,
        "key ID only": _line("unknown", key_id, b"") + good,
        "three bytes": _line("unknown", key_id[:3], b"") + good,
        "carriage return behind the signature": good[:-1] + b"\r\n",
        "101 signatures": SHORTEST_LINE * 100 + good,
    }


def _signature_defects(signer: Signer, text: bytes) -> dict[str, bytes]:
    """Return signature lines of good form that do not verify."""
    good, name = _signed_by(signer, text), signer.verifier.name
    key_id, signature = signer.verifier.key_id, signer.sign(text)
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    return {
        "signature with one bit changed": _line(name, key_id, _flip(signature, 300)),
        "signature of another text": _line(name, key_id, signer.sign(text + b"\n")),
        "signature without the last newline": _line(name, key_id, signer.sign(text[:-1])),
        "signature of 63 bytes": _line(name, key_id, signature[:-1]),
        "signature of 65 bytes": _line(name, key_id, signature + b"\x00"),
        "signature of zeroes": _line(name, key_id, bytes(64)),
        "scalar plus the group order": _line(name, key_id, signature[:32] + scalar.to_bytes(32, "little")),
        "wrong signature behind a good one of the same key": good + _line(name, key_id, _flip(signature)),
        "wrong signature before a good one of the same key": _line(name, key_id, _flip(signature)) + good,
        "other key of the same name": _signed_by(NAMESAKE, text),
        "other name with the same key ID": _line("example.com/other", key_id, signature),
        "other key ID of the same name": _line(name, _flip(key_id), signature),
        "only unknown signatures": SHORTEST_LINE,
    }


def make_notes() -> list[Case]:
    """Return notes: vkeys, note."""

    def case(name: str, note: bytes, error: str | None, *signers: Signer) -> Case:
        known = [signer.verifier.vkey() for signer in signers or (LOG,)]
        return {"name": name, "vkeys": known, **_carried("note", note), "error": error}

    good, by_witness = sign_note(TEXT, [LOG]), _signed_by(WITNESS, TEXT)
    wrong_witness = _signed_by(WITNESS, b"another text\n")
    unknown = _line("unknown", b"\x00\x01\x02\x03", bytes(200))
    return [
        case("good", good, None),
        case("good with two known keys", good + by_witness, None, LOG, WITNESS),
        case("good with one key not needed", good, None, LOG, WITNESS),
        case("good with an unknown signature", good + by_witness, None),
        case("good with an unknown signature of another length", TEXT + b"\n" + unknown + _signed_by(LOG, TEXT), None),
        case("good with a wrong signature of an unknown key", good + wrong_witness, None),
        case("good with a signature twice", good + _signed_by(LOG, TEXT), None),
        case("good with another key of the same name", sign_note(TEXT, [NAMESAKE, LOG]), None),
        case("good with 100 signatures", TEXT + b"\n" + SHORTEST_LINE * 99 + _signed_by(LOG, TEXT), None),
        case("good with an empty text", sign_note(b"\n", [LOG]), None),
        case("wrong signature of a second known key", good + wrong_witness, VERIFICATION, LOG, WITNESS),
        case("text with one bit changed", _flip(good, 3), VERIFICATION),
        case("text with a newline more", TEXT + b"\n\n" + _signed_by(LOG, TEXT), VERIFICATION),
        case("empty", b"", MALFORMED),
        case("text only", TEXT, MALFORMED),
        case("no empty line", b"text\n" + _signed_by(LOG, b"text\n"), MALFORMED),
        case("UTF-16", good.decode().encode("utf-16-le"), MALFORMED),
        *(case(f"text with {name}", _sign_raw(text), MALFORMED) for name, text in _text_defects(TEXT).items()),
        *(case(name, TEXT + b"\n" + lines, MALFORMED) for name, lines in _line_defects(LOG, TEXT).items()),
        *(case(name, TEXT + b"\n" + lines, VERIFICATION) for name, lines in _signature_defects(LOG, TEXT).items()),
    ]


def _sign_raw(text: bytes, signer: Signer = LOG) -> bytes:
    """Return `text` signed whatever it is, which `sign_note` refuses to do."""
    return text + b"\n" + _signed_by(signer, text)


def _checkpoint_defects(root: bytes) -> dict[str, bytes]:
    """Return texts that are no checkpoint of this log's form."""
    name, text = ORIGIN.encode(), base64.b64encode(root)
    sizes = {
        "leading zero": "013",
        "plus": "+13",
        "minus": "-13",
        "underscore": "1_3",
        "space before": " 13",
        "space behind": "13 ",
        "fullwidth digits": "\uff11\uff13",
        "Arabic digits": "\u0661\u0663",
        "hexadecimal": "0xd",
        "fraction": "13.0",
        "2^63": "9223372036854775808",
        "2^64": "18446744073709551616",
        "nothing": "",
    }
    return {
        **{f"size with {defect}": b"%b\n%b\n%b\n" % (name, size.encode(), text) for defect, size in sizes.items()},
        "extension line": b"%b\n13\n%b\nextension\n" % (name, text),
        "empty line behind the root": b"%b\n13\n%b\n\n" % (name, text),
        "no root": b"%b\n13\n" % name,
        "no size": b"%b\n%b\n" % (name, text),
        "no origin": b"\n13\n%b\n" % text,
        "line before the origin": b"first\n%b\n13\n%b\n" % (name, text),
        "line separator for a newline": f"{ORIGIN}\u202813\n{text.decode()}\n".encode(),
        "root of 31 bytes": b"%b\n13\n%b\n" % (name, base64.b64encode(root[:-1])),
        "root of 33 bytes": b"%b\n13\n%b\n" % (name, base64.b64encode(root + b"\x00")),
        "root without padding": b"%b\n13\n%b\n" % (name, text.rstrip(b"=")),
        "root with padding bits": b"%b\n13\n%b%c=\n" % (name, text[:-2], text[-2] + 1),
        "root in hexadecimal": b"%b\n13\n%b\n" % (name, root.hex().encode()),
        "size zero with another root": b"%b\n0\n%b\n" % (name, text),
    }


def make_checkpoints() -> list[Case]:
    """Return checkpoints: vkey, note, and what a good one says (size, root)."""
    root = TREE.root(13)
    text, other_text = Checkpoint(ORIGIN, 13, root).text(), Checkpoint(ORIGIN, 13, TREE.root(12)).text()

    def case(name: str, note: bytes, error: str | None, checkpoint: Checkpoint | None = None) -> Case:
        says: Case = {} if checkpoint is None else {"size": checkpoint.size, "root": _b64(checkpoint.root)}
        return {"name": name, "vkey": LOG.verifier.vkey(), **_carried("note", note), **says, "error": error}

    def good(name: str, size: int, *others: Signer) -> Case:
        checkpoint = Checkpoint(ORIGIN, size, TREE.root(size))
        return case(name, sign_note(checkpoint.text(), [LOG, *others]), None, checkpoint)

    def claiming(origin: str) -> bytes:
        return _sign_raw(Checkpoint(origin, 13, root).text())

    largest = Checkpoint(ORIGIN, 2**63 - 1, root)
    return [
        good("good", 13),
        good("good of one entry", 1),
        good("good of no entries", 0),
        case("good of the largest size", sign_checkpoint(largest, LOG), None, largest),
        good("good with an unknown cosignature", 13, WITNESS),
        case("other origin signed by this log", claiming("example.com/other"), VERIFICATION),
        case("origin with one character more", claiming(ORIGIN + "2"), VERIFICATION),
        case("size changed after signing", _sign_raw(text).replace(b"\n13\n", b"\n12\n"), VERIFICATION),
        case("root changed after signing", _sign_raw(text).replace(text, other_text), VERIFICATION),
        case("signed by a witness only", sign_note(text, [WITNESS]), VERIFICATION),
        *(case(name, _sign_raw(wrong), MALFORMED) for name, wrong in _checkpoint_defects(root).items()),
        *(case(f"text with {name}", _sign_raw(wrong), MALFORMED) for name, wrong in _text_defects(text).items()),
        *(case(name, text + b"\n" + lines, VERIFICATION) for name, lines in _signature_defects(LOG, text).items()),
    ]


# --- Proof files ------------------------------------------------------------------------------------------------------


def _proof_text_defects(good: bytes, label: bytes, note: bytes) -> dict[str, bytes]:
    """Return proof files of no form; `label` is the line that holds the number."""
    number = label.split(b" ")[1]
    head, hashes = good.removesuffix(b"\n\n" + note).split(label + b"\n")
    first = hashes.split(b"\n")[0]

    def with_number(text: str) -> bytes:
        return good.replace(label, label.removesuffix(number) + text.encode())

    return {
        "empty": b"",
        "no checkpoint": good.removesuffix(note),
        "no empty line": good.replace(b"\n\n" + note, b"\n" + note),
        "carriage returns": good.replace(b"\n", b"\r\n"),
        "line in front": b"\n" + good,
        "no number line": good.replace(label + b"\n", b""),
        "number line twice": good.replace(label, label + b"\n" + label),
        "number line behind the hashes": head + hashes + b"\n" + label + b"\n\n" + note,
        "number without a space": with_number("").replace(label.removesuffix(number), label.replace(b" ", b"")),
        "no number": with_number(""),
        "leading zero": with_number("0" + number.decode()),
        "plus": with_number("+" + number.decode()),
        "minus": with_number("-" + number.decode()),
        "underscore": with_number("1_" + number.decode()),
        "Arabic digit": with_number("\u0665"),
        "number 2^63": with_number("9223372036854775808"),
        "space behind the number": with_number(number.decode() + " "),
        "hash of 31 bytes": good.replace(first, base64.b64encode(bytes(31))),
        "hash of 33 bytes": good.replace(first, base64.b64encode(bytes(33))),
        "hash without padding": good.replace(first, first.rstrip(b"=")),
        "hash with padding bits": good.replace(first, first[:-2] + bytes([first[-2] + 1]) + b"="),
        "hash in hexadecimal": good.replace(first, b"00" * 32),
        "space behind a hash": good.replace(first, first + b" "),
        "two hashes on a line": good.replace(first + b"\n", first + b" "),
        "64 hashes": head + label + b"\n" + (first + b"\n") * 64 + b"\n" + note,
        "invalid UTF-8 behind the checkpoint": good + b"\xff",
        "text behind the checkpoint": good + b"text\n",
    }


def make_tlog_proofs() -> list[Case]:
    """Return tlog-proofs: vkey, entry, proof."""
    note = sign_checkpoint(Checkpoint(ORIGIN, 13, TREE.root(13)), LOG)
    proof = InclusionProof(5, tuple(TREE.inclusion(5, 13)), note)
    good, entry = proof.text(), TREE.entries[5]
    flipped = (_flip(proof.hashes[0]), *proof.hashes[1:])
    header, rest = good.split(b"\n", 1)

    def case(name: str, data: bytes, error: str | None, entry: bytes = entry) -> Case:
        return {
            "name": name,
            "vkey": LOG.verifier.vkey(),
            **_carried("entry", entry),
            **_carried("proof", data),
            "error": error,
        }

    one = InclusionProof(0, (), sign_checkpoint(Checkpoint(ORIGIN, 1, TREE.root(1)), LOG))
    other_note = sign_checkpoint(Checkpoint(ORIGIN, 12, TREE.root(12)), LOG)
    extension = _sign_raw(Checkpoint(ORIGIN, 13, TREE.root(13)).text() + b"extension\n")
    return [
        case("good", good, None),
        case("good with extra data", proof._replace(extra=b"\x00\xff").text(), None),
        case("good with empty extra data", proof._replace(extra=b"").text(), None),
        case("good without hashes", one.text(), None, TREE.entries[0]),
        case("other entry", good, VERIFICATION, TREE.entries[4]),
        case("empty entry", good, VERIFICATION, b""),
        case("entry with a newline more", good, VERIFICATION, entry + b"\n"),
        case("other index", proof._replace(index=4).text(), VERIFICATION),
        case("index equal to the size", proof._replace(index=13).text(), VERIFICATION),
        case("checkpoint of another size", proof._replace(checkpoint=other_note).text(), VERIFICATION),
        case("checkpoint of another key", proof._replace(checkpoint=_resign(note, NAMESAKE)).text(), VERIFICATION),
        case("checkpoint of another log", proof._replace(checkpoint=_other_log(13)).text(), VERIFICATION),
        case("hash missing", proof._replace(hashes=proof.hashes[1:]).text(), VERIFICATION),
        case("hash more", proof._replace(hashes=(*proof.hashes, bytes(32))).text(), VERIFICATION),
        case("hash with one bit changed", proof._replace(hashes=flipped).text(), VERIFICATION),
        case("no hashes", proof._replace(hashes=()).text(), VERIFICATION),
        case("63 hashes", proof._replace(hashes=(bytes(32),) * 63).text(), VERIFICATION),
        case("no header", rest, MALFORMED),
        case("other version", b"c2sp.org/tlog-proof@v2\n" + rest, MALFORMED),
        case("space behind the header", header + b" \n" + rest, MALFORMED),
        case("extra twice", header + b"\nextra QQ==\nextra QQ==\n" + rest, MALFORMED),
        case("extra behind the index", good.replace(b"index 5\n", b"index 5\nextra QQ==\n"), MALFORMED),
        case("extra without padding", header + b"\nextra QQ\n" + rest, MALFORMED),
        case("extra with padding bits", header + b"\nextra QR==\n" + rest, MALFORMED),
        case("extra without a space", header + b"\nextra\n" + rest, MALFORMED),
        case("two empty lines", good.replace(b"\n\n" + note, b"\n\n\n" + note), VERIFICATION),
        case("checkpoint with an extension line", proof._replace(checkpoint=extension).text(), MALFORMED),
        *(case(name, wrong, MALFORMED) for name, wrong in _proof_text_defects(good, b"index 5", note).items()),
    ]


def make_consistency_proofs() -> list[Case]:
    """Return consistency proof files: vkey, oldRoot, proof."""
    note = sign_checkpoint(Checkpoint(ORIGIN, 13, TREE.root(13)), LOG)
    proof = ConsistencyProof(6, tuple(TREE.consistency(6, 13)), note)
    good, flipped = proof.text(), (_flip(proof.hashes[0]), *proof.hashes[1:])

    def case(name: str, data: bytes, error: str | None, old_root: bytes = TREE.root(6)) -> Case:
        vkey = LOG.verifier.vkey()
        return {"name": name, "vkey": vkey, "oldRoot": _b64(old_root), **_carried("proof", data), "error": error}

    return [
        case("good", good, None),
        case("good from nothing", ConsistencyProof(0, (), note).text(), None, EMPTY_ROOT),
        case("good of equal sizes", ConsistencyProof(13, (), note).text(), None, TREE.root(13)),
        case("other old root", good, VERIFICATION, TREE.root(7)),
        case("other old size", proof._replace(old_size=5).text(), VERIFICATION),
        case("old size above the new one", proof._replace(old_size=14).text(), VERIFICATION),
        case("equal sizes with two roots", ConsistencyProof(13, (), note).text(), VERIFICATION, TREE.root(12)),
        case("checkpoint of another key", proof._replace(checkpoint=_resign(note, NAMESAKE)).text(), VERIFICATION),
        case("checkpoint of another log", proof._replace(checkpoint=_other_log(13)).text(), VERIFICATION),
        case("hash missing", proof._replace(hashes=proof.hashes[:-1]).text(), VERIFICATION),
        case("hash with one bit changed", proof._replace(hashes=flipped).text(), VERIFICATION),
        *(case(name, wrong, MALFORMED) for name, wrong in _proof_text_defects(good, b"old 6", note).items()),
    ]


def _resign(note: bytes, signer: Signer) -> bytes:
    return _sign_raw(note.rpartition(b"\n\n")[0] + b"\n", signer)


def _other_log(size: int) -> bytes:
    other = Signer("example.com/other", LOG.sign(b"seed")[:32])
    return sign_checkpoint(Checkpoint("example.com/other", size, TREE.root(size)), other)


# --- Tile paths -------------------------------------------------------------------------------------------------------


def make_tile_paths() -> list[Case]:
    """Return tile paths: path, and what a good one says (level, -1 for entry bundles; index; width)."""
    good = [
        ("tile/0/000", 0, 0, 256),
        ("tile/0/000.p/1", 0, 0, 1),
        ("tile/63/999.p/255", 63, 999, 255),
        ("tile/1/x001/000", 1, 1000, 256),
        ("tile/0/x001/x234/067", 0, 1_234_067, 256),
        ("tile/entries/x001/234.p/7", -1, 1234, 7),
        ("tile/0/x036/x028/x797/x018/x963/967", 0, 2**55 - 1, 256),
    ]
    wrong = {
        "empty": "",
        "leading slash": "/tile/0/000",
        "slash at the end": "tile/0/000/",
        "no index": "tile/0/",
        "no level": "tile/000",
        "level with leading zero": "tile/00/000",
        "level negative": "tile/-1/000",
        "level 64": "tile/64/000",
        "level of three digits": "tile/100/000",
        "level in capitals": "tile/ENTRIES/000",
        "level and entries": "tile/0/entries/000",
        "height before the level": "tile/8/0/000",
        "index of two digits": "tile/0/00",
        "index of four digits": "tile/0/0000",
        "index with a leading x000": "tile/0/x000/001",
        "index without x": "tile/0/001/000",
        "index with X": "tile/0/X001/000",
        "index with x in the last element": "tile/0/x001/x000",
        "index with an empty element": "tile/0/x001//000",
        "index of seven elements": "tile/0/x001/x000/x000/x000/x000/x000/000",
        "index in hexadecimal": "tile/0/00a",
        "index in fullwidth digits": "tile/0/\uff10\uff10\uff10",
        "index in Arabic digits": "tile/0/\u0660\u0660\u0660",
        "index with a sign": "tile/0/+01",
        "width 0": "tile/0/000.p/0",
        "width 256": "tile/0/000.p/256",
        "width 999": "tile/0/000.p/999",
        "width with leading zero": "tile/0/000.p/01",
        "width with a sign": "tile/0/000.p/+1",
        "width missing": "tile/0/000.p/",
        "width twice": "tile/0/000.p/1.p/1",
        "dots": "tile/0/../../000",
        "dots at the end": "tile/0/..",
        "encoded dots": "tile/0/%2e%2e%2f000",
        "encoded slash": "tile%2F0%2F000",
        "backslash": "tile\\0\\000",
        "newline at the end": "tile/0/000\n",
        "NUL at the end": "tile/0/000\x00",
        "query": "tile/0/000?x=1",
        "white space": " tile/0/000",
        "other resource": "checkpoint",
    }
    cases: list[Case] = [
        {"name": f"good {path}", "path": path, "level": level, "index": index, "width": width, "error": None}
        for path, level, index, width in good
    ]
    return cases + [{"name": name, "path": path, "error": MALFORMED} for name, path in wrong.items()]


# --- Entries ----------------------------------------------------------------------------------------------------------

EVENT: Final = b"""{
  "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", "timestamp": "2026-11-24T06:11:59.998+01:00",
  "actor": {"userId": "u-1"}, "action": "read", "resource": {"type": "patient_record", "id": "p-1"},
  "outcome": "success", "source": {"id": "ehr-api-7", "seq": 1042}, "operation": "GetObject",
  "relatedResources": [{"type": "patient", "id": "p-1", "role": "patient"}, {"type": "user", "id": "u-2"}]
}"""
PLAIN: Final = b"""{
  "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", "timestamp": "2026-11-24T05:11:59.123456789Z",
  "actor": {"type": "unknown"}, "action": "read", "resource": {"type": "patient_record", "id": "p-1"}
}"""


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _entry_member_defects(key: str) -> dict[str, dict[str, object]]:
    """Return members that no entry of a plain event has, named for the defect; `...` stands for none at all."""
    hash_text = _b64url(bytes(32))
    return {
        "unknown member": {"extra": 1},
        "unknown type without its key": {"type": "erasure"},
        "version as text": {"v": "1"},
        "version that is true": {"v": True},
        "action missing": {"action": ...},
        "action unknown": {"action": "look"},
        "action of another key": {"action": "delete"},
        "outcome missing": {"outcome": ...},
        "outcome unknown": {"outcome": "ok"},
        "outcome null": {"outcome": None},
        "eventId missing": {"eventId": ...},
        "eventId in capitals": {"eventId": "0190F3C2-5F6E-7D3A-9B1C-2F4E6A8C0D1E"},
        "eventId that is no UUID": {"eventId": "1"},
        "resourceType with a space": {"resourceType": "patient record"},
        "resourceType with non-ASCII": {"resourceType": "\u00e9"},
        "operation without its key": {"operation": "GetObject"},
        "source without its key": {"source": {"id": "ehr-api-7", "seq": 1042}},
        "timestamp with offset": {"timestamp": "2026-11-24T06:11:59.998+01:00"},
        "timestamp with ten digits": {"timestamp": "2026-11-24T05:11:59.9980000000Z"},
        "timestamp in small letters": {"timestamp": "2026-11-24t05:11:59z"},
        "timestamp that does not exist": {"timestamp": "2026-02-30T05:11:59Z"},
        "timestamp in hour 24": {"timestamp": "2026-02-28T24:00:00Z"},
        "loggedAt without fraction": {"loggedAt": "2026-11-24T05:12:00Z"},
        "loggedAt with three digits": {"loggedAt": "2026-11-24T05:12:00.123Z"},
        "loggedAt with nine digits": {"loggedAt": "2026-11-24T05:12:00.123456789Z"},
        "loggedAt with offset": {"loggedAt": "2026-11-24T05:12:00.123456+00:00"},
        "loggedAt that does not exist": {"loggedAt": "2026-02-30T05:12:00.123456Z"},
        "commitment missing": {"commitments": {"actor": hash_text}},
        "commitment of another group": {"commitments": {"actor": hash_text, "case": hash_text, "resource": hash_text}},
        "related commitment without a key": {
            "commitments": {"actor": hash_text, "related": [hash_text], "resource": hash_text}
        },
        "no related commitments": {"commitments": {"actor": hash_text, "related": [], "resource": hash_text}},
        "commitment of 31 bytes": {"commitments": {"actor": _b64url(bytes(31)), "resource": hash_text}},
        "commitment with padding": {"commitments": {"actor": hash_text + "=", "resource": hash_text}},
        "commitment with padding bits": {"commitments": {"actor": hash_text[:-1] + "B", "resource": hash_text}},
        "commitment in standard base64": {"commitments": {"actor": "+" + hash_text[1:], "resource": hash_text}},
        "no keys": {"keys": []},
        "two keys": {"keys": [_b64url(bytes(16)), key]},
        "four keys": {"keys": [_b64url(bytes(16)), _b64url(b"\x01" * 16), key, _b64url(b"\x02" * 16)]},
        "key of 15 bytes": {"keys": [_b64url(bytes(15)), _b64url(b"\x01" * 16), key]},
        "keys that begin alike": {"keys": [_b64url(bytes(16)), _b64url(bytes(8) + b"\x01" * 8), key]},
        "key with padding bits": {
            "keys": [_b64url(bytes(16)), _b64url(b"\x01" * 16), key[:-1] + chr(ord(key[-1]) + 1)]
        },
        "keys in another order": {"keys": [key, _b64url(bytes(16)), _b64url(b"\x01" * 16)]},
    }


def _full_entry_defects(keys: list[str], commitments: dict[str, Any]) -> dict[str, dict[str, object]]:
    """Return members that no entry of an event has which has an operation, a source and two related resources."""
    return {
        "operation of another key": {"operation": "PutObject"},
        "operation with a space and its key": {
            "operation": "Get Object", "keys": [*keys[:3], public_text("operation", "Get Object"), *keys[4:]],
        },
        "key of the source before that of the operation": {"keys": [*keys[:3], keys[4], keys[3], *keys[5:]]},
        "source of another key": {"source": {"id": "ehr-api-8", "seq": 1042}},
        "source null": {"source": None},
        "source without seq": {"source": {"id": "ehr-api-7"}},
        "source with negative seq": {"source": {"id": "ehr-api-7", "seq": -1}},
        "source with seq 2^53": {"source": {"id": "ehr-api-7", "seq": 2**53}},
        "key of a related resource missing": {"keys": keys[:-1]},
        "key of a related resource twice": {"keys": [*keys[:-1], keys[-2]]},
        "related commitment missing": {"commitments": commitments | {"related": commitments["related"][:1]}},
        "33 related commitments": {"commitments": commitments | {"related": commitments["related"][:1] * 33}},
    }  # fmt: skip


def _unknown_entries() -> dict[str, tuple[bytes, str | None]]:
    """Return entries of types and versions that no program knows yet, each with its error."""
    control, key = public_text("control", "order"), _b64url(bytes(16))
    good: dict[str, object] = {
        "keys": [control, key], "loggedAt": LOGGED_AT.decode(), "note": [{"n": 1.5}], "type": "order", "v": 1,
    }  # fmt: skip

    def other(error: str | None = MALFORMED, **members: object) -> tuple[bytes, str | None]:
        kept = {name: value for name, value in (good | members).items() if value is not ...}
        return _json(kept), error

    return {
        "good of an unknown type": other(None),
        "good of an unknown type without keys": other(None, keys=...),
        "good of an unknown version": other(None, v=2),
        "good of an unknown type with 40 keys": other(
            None, keys=[control, *(_b64url(bytes([n]) * 16) for n in range(39))]
        ),
        "good of an unknown type with a group": other(None, commitments={"resource": _b64url(bytes(32))}),
        "unknown type with the key of another one": other(keys=[public_text("control", "outcome"), key]),
        "unknown type with its key in another place": other(keys=[key, control]),
        "unknown type with no keys in the list": other(keys=[]),
        "unknown type with 41 keys": other(keys=[control, *(_b64url(bytes([n]) * 16) for n in range(40))]),
        "unknown type with keys that begin alike": other(keys=[control, key, _b64url(bytes(8) + b"\x01" * 8)]),
        "unknown type with keys inside": other(note=[{"keys": []}]),
        "unknown type without loggedAt": other(loggedAt=...),
        "unknown type with another group": other(commitments={"case": _b64url(bytes(32))}),
        "unknown type with a version that is true": other(v=True),
        "unknown type with a number in another form": (other()[0].replace(b"1.5", b"1.50"), MALFORMED),
    }


def _intakes() -> dict[str, tuple[bytes, str | None]]:
    """Return entries that say what of a stream was taken, each with its error."""
    stream = "kafka:MkU3OEVBNTcwNTJENDM2Qk/audit-events/kMmA52xpQdqgxkoNCCjoTw"
    root, none = _b64url(bytes(range(32))), _b64url(EMPTY_ROOT)
    part: dict[str, object] = {"from": 49500, "logged": 498, "partition": 0, "refused": 2, "to": 50000}
    empty = part | {"logged": 0, "refused": 0}
    good: dict[str, object] = {
        "format": "tlog", "keys": [public_text("control", "intake"), public_text("stream", stream)],
        "loggedAt": LOGGED_AT.decode(), "partitions": [part], "root": root, "stream": stream, "type": "intake", "v": 1,
    }  # fmt: skip

    def intake(error: str | None = MALFORMED, **members: object) -> tuple[bytes, str | None]:
        kept = {name: value for name, value in (good | members).items() if value is not ...}
        return _json(kept), error

    def of(*parts: dict[str, object], error: str | None = MALFORMED, root: str = root) -> tuple[bytes, str | None]:
        return intake(error, partitions=list(parts), root=root)

    def named(stream: str) -> tuple[bytes, str | None]:
        return intake(stream=stream, keys=[public_text("control", "intake"), public_text("stream", stream)])

    return {
        "good intake": intake(None),
        "good intake of four partitions": of(*(part | {"partition": 2**number} for number in range(4)), error=None),
        "good intake that opens": of(empty | {"to": 49500}, error=None, root=none),
        "good intake of offsets without messages": of(empty, error=None, root=none),
        "good intake of a lost range": of(empty | {"lost": True}, error=None, root=none),
        "good intake that releases": of(empty | {"released": True, "to": 49500}, error=None, root=none),
        "good intake of a newer version": intake(None, v=2, more=[]),
        "intake without a root": intake(root=...),
        "intake with another member": intake(more=1),
        "intake with a format in upper case": intake(format="TLOG"),
        "intake with a format that is a number": intake(format=1),
        "intake with the key of another stream": intake(keys=[public_text("control", "intake"), public_text("stream", "x")]),
        "intake without the key of its stream": intake(keys=[public_text("control", "intake")]),
        "intake with a key too many": intake(keys=[*good["keys"], _b64url(bytes(16))]),  # type: ignore[misc]
        "intake with a key that has padding bits": intake(keys=[public_text("control", "intake"), "x" * 22]),
        "intake of a stream of something else": named(stream.replace("kafka:", "pulsar:")),
        "intake of a stream without a topic id": named(stream.rpartition("/")[0]),
        "intake of a topic with a space": named(stream.replace("audit-", "audit ")),
        "intake of no partition": of(root=none),
        "intake of partitions that fall": of(part | {"partition": 1}, part),
        "intake of a partition twice": of(part, part),
        "intake of a partition beyond 2^31 - 1": of(part | {"partition": 2**31}),
        "intake of a partition below 0": of(part | {"partition": -1}),
        "intake of an offset beyond 2^53 - 1": of(part | {"to": 2**53}),
        "intake of a partition with another member": of(part | {"more": 1}),
        "intake of a partition without its end": of({name: value for name, value in part.items() if name != "to"}),
        "intake that ends before it begins": of(part | {"to": 49499}),
        "intake that ends before it begins, of nothing": of(empty | {"to": 49499}, root=none),
        "intake of more messages than offsets": of(part | {"refused": 3}),
        "intake of a lost range with messages": of(part | {"lost": True}),
        "intake of a lost range of no offset": of(empty | {"lost": True, "to": 49500}, root=none),
        "intake of a lost range that is released": of(empty | {"lost": True, "released": True}, root=none),
        "intake that releases and takes": of(part | {"released": True}),
        "intake that releases a range": of(empty | {"released": True}, root=none),
        "intake that releases and has lost": of(empty | {"lost": True, "released": True, "to": 49500}, root=none),
        "intake with lost false": of(empty | {"lost": False}, root=none),
        "intake with released false": of(empty | {"released": False, "to": 49500}, root=none),
        "intake of nothing with the root of something": of(empty),
        "intake of something with the root of nothing": of(part, root=none),
        "intake with a root of 31 bytes": of(part, root=_b64url(bytes(31))),
        "intake with a loggedAt that does not exist": intake(loggedAt="2026-02-30T05:12:00.123456Z"),
    }  # fmt: skip


def _entry_text_defects(good: bytes) -> dict[str, bytes]:
    """Return texts that mean the same as `good`, or nothing, and are not its canonical form."""
    fields = json.loads(good)
    return {
        "empty": b"",
        "null": b"null",
        "array": b"[" + good + b"]",
        "white space": json.dumps(fields).encode(),
        "newline at the end": good + b"\n",
        "members in another order": json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode(),
        "escaped letter": good.replace(b'"read"', b'"\\u0072ead"'),
        "escaped slash": good.replace(b"ehr-api-7", b"ehr\\/api"),
        "member twice": good.replace(b'"action":', b'"action":"read","action":'),
        "member twice inside": good.replace(b'"seq":', b'"seq":1042,"seq":'),
        "number with fraction": good.replace(b'"v":1', b'"v":1.0'),
        "number with exponent": good.replace(b'"seq":1042', b'"seq":1042e0'),
        "byte order mark": b"\xef\xbb\xbf" + good,
        "UTF-16": good.decode().encode("utf-16-le"),
        "invalid UTF-8": good.replace(b"patient", b"p\xfftient"),
        "cut off": good[:-1],
    }


def make_entries() -> list[Case]:
    """Return entries: entry, and of a good one the leafHash."""
    keys = BucketKeys(b"".join(sha256(b"tlog vectors: bucket %d" % bucket).digest() for bucket in range(16)))
    good, plain = (
        draft_entries(parse_batch([event]), keys, bytes(range(64)), "key-1")[0].entry(LOGGED_AT)
        for event in (EVENT, PLAIN)
    )
    control = draft_index_keys(keys.bits, keys.root(), ORIGIN).entry(LOGGED_AT)
    fields, few = json.loads(good), json.loads(plain)

    def case(name: str, data: bytes, error: str | None = MALFORMED) -> Case:
        says: Case = {"leafHash": _b64(leaf_hash(data))} if error is None else {}
        return {"name": name, **_carried("entry", data), **says, "error": error}

    def changed(members: dict[str, object], of: dict[str, object] = few) -> bytes:
        kept = {name: value for name, value in (of | members).items() if value is not ...}
        return json.dumps(kept, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    return [
        case("good", good, None),
        case("good and plain", plain, None),
        case("good with another outcome", changed({"outcome": "success"}), None),
        case("good index-keys", control, None),
        case("good of another version", changed({"v": 2}), None),
        *(case(name, changed(members)) for name, members in _entry_member_defects(few["keys"][2]).items()),
        *(
            case(name, changed(members, fields))
            for name, members in _full_entry_defects(fields["keys"], fields["commitments"]).items()
        ),
        *(case(name, data, error) for name, (data, error) in _unknown_entries().items()),
        *(case(name, data, error) for name, (data, error) in _intakes().items()),
        *(case(name, wrong) for name, wrong in _entry_text_defects(good).items()),
        case("index-keys with 25 bits", draft_index_keys(25, keys.root(), ORIGIN).entry(LOGGED_AT)),
        case("index-keys with negative bits", draft_index_keys(-1, keys.root(), ORIGIN).entry(LOGGED_AT)),
        case("index-keys with a root of 31 bytes", draft_index_keys(4, bytes(31), ORIGIN).entry(LOGGED_AT)),
        case("index-keys without loggedAt", draft_index_keys(4, bytes(32), ORIGIN).entry(b"")),
        case("index-keys without origin", control.replace(f'"origin":"{ORIGIN}",'.encode(), b"")),
        case("index-keys with an unknown member", control.replace(b',"root"', b',"more":1,"root"')),
    ]


# --- Questions, evidence and frauds -----------------------------------------------------------------------------------

BUCKETS: Final = BucketKeys(b"".join(sha256(b"tlog vectors: bucket %d" % bucket).digest() for bucket in range(2)))
Members = dict[str, Any]


def _minute(number: int) -> bytes:
    return b"2026-11-24T05:%02d:00.000000Z" % number


# What the events of the log below have besides, by number.
MORE: Final[dict[int, Members]] = {
    2: {"operation": "GetObject", "relatedResources": [{"type": "patient", "id": "p-1"}]},
    3: {"source": {"id": "app-1", "seq": 7}, "relatedResources": [{"type": "record", "id": "r-1", "role": "before"}]},
    5: {
        "operation": "GetObject",
        "relatedResources": [{"type": "patient", "id": "p-2"}, {"type": "user", "id": "u-0"}],
    },
}
SIZE: Final = 7


def _event(number: int) -> bytes:
    """Return event `number` of the log below: two users, three resources, two actions."""
    event = {
        "eventId": f"0190f3c2-5f6e-7d3a-9b1c-{number:012d}",
        "timestamp": _minute(number).decode(),
        "actor": {"userId": f"u-{number % 2}"},
        "action": "export" if number % 3 else "read",
        "resource": {"type": "record", "id": f"r-{number % 3}"},
        "outcome": "success",
    }
    return _json(event | MORE.get(number, {}))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


class _Log:
    """Entry 0, five events, an order about patient p-1, and an epoch over all seven in two segments of one page each.

    `change` edits what is signed.
    """

    def __init__(self, **change: Callable[[Any], Any]) -> None:
        events = parse_batch([_event(number) for number in range(1, 6)])
        salts = b"".join(
            sha256(b"tlog vectors: salt %d" % number).digest()[:16] for number in range(salt_size(events) // 16)
        )
        self.drafts = draft_entries(events, BUCKETS, salts, "key-1")
        entries = [draft_index_keys(BUCKETS.bits, BUCKETS.root(), ORIGIN).entry(_minute(0))]
        entries += [draft.entry(_minute(number)) for number, draft in enumerate(self.drafts, 1)]
        named = _b64url(BUCKETS.key(related_ident("patient", "p-1")))
        keys = [public_text("control", "order"), named]
        entries.append(_json({"keys": keys, "loggedAt": _minute(6).decode(), "type": "order", "v": 1}))
        entries = change.get("entries", list)(entries)
        self.pages = change.get("pages", list)([_page(entries, 0, 4), _page(entries, 4, SIZE)])
        counts = [len(page) // POSTING_SIZE for page in self.pages]
        rows = [
            Segment(0, 4, counts[0], leaf_hash(self.pages[0])),
            Segment(4, SIZE, counts[1], leaf_hash(self.pages[1])),
        ]
        self.segments = change.get("segments", list)(rows)
        self.table = format_table(self.segments)
        epoch = draft_index([segment.end for segment in self.segments], table_hash(self.table)).entry(_minute(SIZE))
        self.entries = [*entries, change.get("epoch", bytes)(epoch)]
        self.tree = _Tree(self.entries)

    def note(self) -> str:
        size = len(self.entries)
        return sign_checkpoint(Checkpoint(ORIGIN, size, self.tree.root(size)), LOG).decode()

    def shown(self, indexes: Sequence[int]) -> Members:
        """Return the members of a bundle or fraud file that show entries."""
        entries = [[index, self.entries[index].decode()] for index in indexes]
        return {"entries": entries, "hashes": _b64(b"".join(self.tree.joint(sorted(indexes))))}

    def found(self, question: Question, start: int, end: int) -> list[list[int]]:
        """Return for each key that a question is looked up under the indexes to which its postings in a window point."""
        keys, found = question.keys(BUCKETS.key), []
        for kind in question.looked_under():
            indexes = []
            for row, page in zip(self.segments, self.pages, strict=True):
                low, high = row.bounds(keys[kind], start, end)
                indexes += [row.start + offset_of(item) for item in split_postings(page) if low <= item < high]
            found.append(indexes)
        return found

    def bundle(
        self,
        members: Members,
        window: tuple[int, int] = (0, SIZE),
        *,
        mode: str = "answer",
        disclose: bool = False,
        part: tuple[int, int] | None = None,
    ) -> Members:
        """Return a bundle about a question."""
        question = parse_question(members)
        start, end = window
        met = [number for number, row in enumerate(self.segments) if row.start < end and row.end > start]
        by_key = self.found(question, start, end)
        found = sorted(index for indexes in by_key for index in indexes)
        matcher = Matcher(question, question.keys(BUCKETS.key))
        answers = [index for index in found if self.answers(matcher, index)]
        number, of = part or (1, 1)
        edges = {0} | ({start - 1, start} if number == 1 else set()) | ({end - 1, end} if number == of else set())
        needed = sorted({SIZE, *(at for at in edges if 0 <= at < SIZE), *(() if mode == "count" else found)})
        shown = [(index, self.disclosed(index)) for index in (answers if disclose else ())]
        return {
            "absent": [],
            "buckets": [_bucket(ident) for ident in question.idents().values()],
            "checkpoint": self.note(),
            "disclosure": "full" if disclose else "none",
            "disclosures": shown,
            "end": end,
            "epoch": SIZE,
            **self.shown(needed),
            "manifest": {
                "answers": len(by_key[0]) if mode == "count" else len(answers),
                "disclosures": sum(len(groups) for _, groups in shown),
                "postings": len(found),
            },
            "mode": mode,
            **({} if part is None else {"part": list(part)}),
            "question": question.document(),
            "rosters": [],
            "segments": [{"hashes": "", "runs": [[0, _b64(self.pages[number])]]} for number in met],
            "start": start,
            "table": _b64(self.table),
            "type": "tlog-evidence",
            "v": 1,
        }

    def answers(self, matcher: Matcher, index: int) -> bool:
        """Tell whether an entry answers, read without the strictness of a verifier: it may be a defect."""
        if self.entries[index].endswith(b'"type":"event","v":1}'):
            return matcher.matches(msgspec.json.decode(self.entries[index], type=EventEntry))
        entry = parse_entry(self.entries[index])
        return isinstance(entry, OtherEntry) and matcher.matches(entry)

    def parts(self, members: Members, cuts: Sequence[int]) -> list[Members]:
        """Return the set of a question, its window divided at `cuts`."""
        windows = list(pairwise((0, *cuts, SIZE)))
        return [
            self.bundle(members, window, mode="part", part=(number, len(windows)))
            for number, window in enumerate(windows, 1)
        ]

    def disclosed(self, index: int) -> Members:
        draft: DraftEntry = self.drafts[index - 1]
        related = {f"related/{place}": data for place, data in enumerate(draft.related)}
        groups = {"actor": draft.actor, "resource": draft.resource, **related}
        return {group: {"body": data[16:].decode(), "salt": _b64url(data[:16])} for group, data in groups.items()}

    def clock_fraud(self, *indexes: int) -> Members:
        """Return a clock fraud file about entries."""
        return {"checkpoint": self.note(), **self.shown(indexes), "type": "tlog-clock-fraud", "v": 1}


def _page(entries: Sequence[bytes], start: int, end: int) -> bytes:
    keys = {index: json.loads(entries[index]).get("keys", []) for index in range(start, end)}
    texts = [(base64.urlsafe_b64decode(key + "=="), index - start) for index, each in keys.items() for key in each]
    return b"".join(sorted(posting(key, offset) for key, offset in texts))


def _bucket(ident: bytes) -> Members:
    key, hashes = BUCKETS.prove(ident)
    return {"hashes": _b64(b"".join(hashes)), "key": _b64(key)}


def _replace(index: int, old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Return a change of one entry."""

    def change(entries: list[bytes]) -> list[bytes]:
        if old not in entries[index]:
            message = f"entry {index} has no {old!r}"
            raise ValueError(message)
        return [*entries[:index], entries[index].replace(old, new), *entries[index + 1 :]]

    return change


def _kept(text: str) -> str:
    """Return an id that breaks the rules of ids as importers keep it."""
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def make_questions() -> list[Case]:
    """Return questions: question as it is asked, and the document of a good one."""
    full: Members = {
        "action": "read",
        "from": "2026-03-01T00:00:00Z",
        "loggedFrom": "2026-03-02T00:00:00Z",
        "loggedTo": "2026-03-03T00:00:00Z",
        "operation": "GetObject",
        "outcome": "success",
        "resourceId": "P:1",
        "resourceType": "patient_record",
        "sourceId": "ehr-api:7/a",
        "to": "2026-03-04T00:00:00.5Z",
        "userId": "\u00e9",
    }
    good: dict[str, tuple[Members, Members]] = {
        "good": (full, full),
        "good of nothing": ({}, {}),
        "good of a date": ({"to": "2026-03-01"}, {"to": "2026-03-01T00:00:00Z"}),
        "good with an offset": ({"to": "2026-03-01T08:00:00.50+01:00"}, {"to": "2026-03-01T07:00:00.50Z"}),
        "good of an unknown actor": ({"actorType": "unknown"}, {"actorType": "unknown"}),
        "good of control entries": (
            {"control": "order", "resourceType": "user", "resourceId": "u", "loggedFrom": "2026-03-01"},
            {"control": "order", "resourceType": "user", "resourceId": "u", "loggedFrom": "2026-03-01T00:00:00Z"},
        ),
        "good with nine fraction digits": (
            {"to": "2026-03-01T08:00:00.123456789+01:00"},
            {"to": "2026-03-01T07:00:00.123456789Z"},
        ),
        "good in small letters": ({"to": "2026-03-01t08:00:00z"}, {"to": "2026-03-01T08:00:00Z"}),
        "good of an id in another form": ({"userId": "e\u0301"}, {"userId": "\u00e9"}),
        "good of an id that is too long": (
            {"userId": "u" * 257},
            {"userId": _kept("u" * 257)},
        ),
        "good of an id with a newline": (
            {"userId": "a\n"},
            {"userId": _kept("a\n")},
        ),
        "good of a resourceId of 2049 bytes": (
            {"resourceType": "x", "resourceId": "\u4e2d" * 683},
            {"resourceType": "x", "resourceId": _kept("\u4e2d" * 683)},
        ),
        "good with equal bounds": (
            {"from": "2026-03-01", "to": "2026-03-01"},
            {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        ),
    }
    wrong: dict[str, Members] = {
        "unknown member": {"patient": "x"},
        "action in another case": {"action": "Read"},
        "action unknown": {"action": "look"},
        "outcome unknown": {"outcome": "ok"},
        "resourceType with a space": {"resourceType": "patient record"},
        "resourceId without its type": {"resourceId": "x"},
        "empty resourceId": {"resourceType": "x", "resourceId": ""},
        "empty userId": {"userId": ""},
        "operation with a space": {"operation": "Get Object"},
        "empty operation": {"operation": ""},
        "sourceId that begins with a dot": {"sourceId": ".a"},
        "actorType of somebody": {"actorType": "user"},
        "actorType beside userId": {"actorType": "unknown", "userId": "u"},
        "control in capitals": {"control": "Order"},
        "control of 33 letters": {"control": "o" * 33},
        "control of events": {"control": "event"},
        "control of epochs": {"control": "index"},
        "control of entry 0": {"control": "index-keys"},
        "control beside userId": {"control": "order", "userId": "u"},
        "control beside a type alone": {"control": "order", "resourceType": "user"},
        "control beside from": {"control": "order", "from": "2026-03-01"},
        "date that does not exist": {"from": "2026-02-30"},
        "time in hour 24": {"from": "2026-02-28T24:00:00Z"},
        "time without a zone": {"from": "2026-02-28T00:00:00"},
        "time of ten fraction digits": {"from": "2026-02-28T00:00:00.0000000000Z"},
        "leap second": {"from": "2026-12-31T23:59:60Z"},
        "time before the year 1": {"from": "0001-01-01T00:00:00+01:00"},
        "bounds reversed": {"from": "2026-03-02", "to": "2026-03-01"},
        "bounds reversed in the ninth digit": {"from": "2026-03-02T00:00:00.000000001Z", "to": "2026-03-02"},
        "bounds of the log reversed": {"loggedFrom": "2026-03-02", "loggedTo": "2026-03-01"},
        "from more than 24 hours after loggedTo": {"from": "2026-03-02T00:00:00.1Z", "loggedTo": "2026-03-01"},
    }
    cases: list[Case] = [
        {"name": name, "question": asked, "document": document, "error": None}
        for name, (asked, document) in good.items()
    ]
    cases += [{"name": name, "question": asked, "error": MALFORMED} for name, asked in wrong.items()]
    unassigned = {"userId": "a\U0010ffff\u0301"}
    return [*cases, {"name": "id with a character that is not assigned", "question": unassigned, "error": NOT_CHECKED}]


def make_evidence() -> list[Case]:
    """Return bundles: vkey, question, mode, bundle, and what a good one proves (answers, or count)."""
    log = _Log()
    user: Members = {"userId": "u-1"}
    record: Members = {"resourceType": "record", "resourceId": "r-1"}
    timed = user | {"loggedFrom": "2026-11-24T05:03:00Z", "loggedTo": "2026-11-24T05:05:00Z"}
    bundle, count = log.bundle(user), log.bundle(user, mode="count")

    def case(name: str, asked: Members, value: Members | bytes, error: str | None, **says: object) -> Case:
        text = value if isinstance(value, bytes) else _json(value) + b"\n"
        mode = "count" if b'"mode":"count"' in text else "answer"
        about: Case = {"name": name, "vkey": LOG.verifier.vkey(), "question": asked, "mode": mode}
        return about | {"bundle": text.decode(), **says, "error": error}

    def changed(name: str, members: Members, error: str, of: Members = bundle) -> Case:
        return case(name, user, of | members, error)

    def forged(name: str, error: str, asked: Members = user, **change: Callable[[Any], Any]) -> Case:
        return case(name, asked, _Log(**change).bundle(asked), error)

    def rows(*edits: Members) -> Callable[[list[Segment]], list[Segment]]:
        return lambda segments: [row._replace(**edit) for row, edit in zip(segments, edits, strict=True)]

    def key(ident: bytes) -> bytes:
        return _b64url(BUCKETS.key(ident)).encode()

    r0, r1, r2 = (key(resource_ident("record", name)) for name in ("r-0", "r-1", "r-2"))
    p1, p2 = (key(related_ident("patient", name)) for name in ("p-1", "p-2"))
    u1 = key(actor_ident("u-1"))
    read, export = (public_text("action", action).encode() for action in ("read", "export"))
    patient: Members = {"resourceType": "patient", "resourceId": "p-2"}
    ordered: Members = {"resourceType": "patient", "resourceId": "p-1"}
    false_key = _Log(entries=_replace(2, r2, r1)).bundle(record, disclose=True)
    false_name = _Log(entries=_replace(2, p1, p2)).bundle(patient, disclose=True)
    no_edge = [0, 3, 4, 5, SIZE]  # but 2, the last one before the window
    origin, other = f'"origin":"{ORIGIN}"'.encode(), f'"origin":"{ORIGIN}2"'.encode()
    return [
        case("good", user, bundle, None, answers=[1, 3, 5]),
        case("good with disclosures", record, log.bundle(record, disclose=True), None, answers=[1, 3, 4]),
        case("good of what is only named", patient, log.bundle(patient, disclose=True), None, answers=[5]),
        case("good of two keys", user | record, log.bundle(user | record), None, answers=[1, 3]),
        case("good in a window", timed, log.bundle(timed, (3, 5)), None, answers=[3]),
        case("good of nothing", {"userId": "u-9"}, log.bundle({"userId": "u-9"}), None, answers=[]),
        case("good of an action", {"action": "read"}, log.bundle({"action": "read"}), None, answers=[3]),
        case("good of an operation", (asked := {"operation": "GetObject"}), log.bundle(asked), None, answers=[2, 5]),
        case("good of a source", (asked := {"sourceId": "app-1"}), log.bundle(asked), None, answers=[3]),
        case("good of nobody known", (asked := {"actorType": "unknown"}), log.bundle(asked), None, answers=[]),
        case("good of no control entry", (asked := {"control": "outcome"}), log.bundle(asked), None, answers=[]),
        case("good count", user, count, None, count=3),
        case("good count about a resource", record, log.bundle(record, mode="count"), None, count=2, named=1),
        case(
            "good count of control entries",
            (asked := {"control": "order"}),
            log.bundle(asked, mode="count"),
            None,
            count=1,
        ),
        case("good count in a window", timed, log.bundle(timed, (3, 5), mode="count"), None, count=1),
        case("question of another bundle", {"userId": "u-0"}, bundle, OTHER_QUESTION),
        case("question edited", {"userId": "u-0"}, bundle | {"question": {"userId": "u-0"}}, VERIFICATION),
        case("control entry under a key", ordered, log.bundle(ordered), NOT_CHECKED),
        case("control entry asked for", (asked := ordered | {"control": "order"}), log.bundle(asked), NOT_CHECKED),
        forged("event of another version", NOT_CHECKED, entries=_replace(3, b'"v":1}', b'"v":2}')),
        case("part of a set", user, log.bundle(user, mode="part", part=(1, 1)), NOT_CHECKED),
        case("part of a set that is wrong", user, log.bundle(user, (1, 7), mode="part", part=(1, 1)), VERIFICATION),
        case("key of the resource alone", record, log.bundle(record) | _one_bucket(log, record), VERIFICATION),
        case(
            "what names the resource left out",
            record,
            log.bundle(record)
            | log.shown([0, 1, 4, 6, SIZE])
            | {"manifest": {"answers": 2, "disclosures": 0, "postings": 2}},
            VERIFICATION,
        ),
        forged("entry 0 of another log", VERIFICATION, entries=_replace(0, origin, other)),
        forged("key at the place of another kind", VERIFICATION, entries=_replace(2, r2, u1)),
        forged("resource named twice", VERIFICATION, record, entries=_replace(3, r0, r1)),
        case("false key of what is named", patient, false_name, VERIFICATION),
        case("window too wide", timed, log.bundle(timed, (0, SIZE)), VERIFICATION),
        case("window too wide of a count", timed, log.bundle(timed, (0, SIZE), mode="count"), VERIFICATION),
        case("window that begins late", timed, log.bundle(timed, (4, 5)), VERIFICATION),
        case("window that ends early", timed, log.bundle(timed, (3, 4)), VERIFICATION),
        case("window that ends late", timed, log.bundle(timed, (3, 6)), VERIFICATION),
        case("window without a reason", user, log.bundle(user, (0, 6)), VERIFICATION),
        case("edge of the window missing", timed, log.bundle(timed, (3, 5)) | log.shown(no_edge), VERIFICATION),
        forged("clock that went back", VERIFICATION, entries=_replace(3, _minute(3), b"2026-11-24T05:00:59.999999Z")),
        forged("epoch above its own index", VERIFICATION, segments=rows({}, {"end": SIZE + 1})),
        case("false key", record, false_key, VERIFICATION),
        forged("posting of another", VERIFICATION, pages=_stray),
        changed("answers miscounted", {"manifest": bundle["manifest"] | {"answers": 2}}, VERIFICATION),
        changed("answer left out", {"entries": bundle["entries"][1:]}, VERIFICATION),
        changed("bucket key of zeroes", {"buckets": [bundle["buckets"][0] | {"key": _b64(bytes(32))}]}, VERIFICATION),
        changed("no bucket key", {"buckets": []}, VERIFICATION),
        changed("segment left out", {"segments": bundle["segments"][:1]}, VERIFICATION),
        changed("table of nothing", {"table": _b64(format_table(rows({}, {"count": 5})(log.segments)))}, VERIFICATION),
        case("count of two keys", user | record, count | {"question": user | record}, MALFORMED),
        case("count of an outcome", user | {"outcome": "failure"}, count, MALFORMED),
        case("count of when it happened", user | {"to": "2026-11-24T05:02:00Z"}, count, MALFORMED),
        case("question that the index cannot answer", {"outcome": "success"}, bundle, MALFORMED),
        forged("key of another action", MALFORMED, {"action": "read"}, entries=_replace(1, export, read)),
        forged("empty segment under another root", MALFORMED, segments=rows({}, {"count": 0})),
        forged("segments that overlap", MALFORMED, segments=rows({}, {"start": 3})),
        forged("epoch whose ends fall", MALFORMED, epoch=lambda data: data.replace(b"[4,7]", b"[8,7]")),
        changed("version that is true", {"v": True}, MALFORMED),
        changed("number with a fraction", {"start": 0.0}, MALFORMED),
        changed("epoch as text", {"epoch": "7"}, MALFORMED),
        changed("unknown member", {"x": 1}, MALFORMED),
        changed("unknown mode", {"mode": "whole"}, MALFORMED),
        changed("part without its place", {"mode": "part"}, MALFORMED),
        changed("place of a part in an answer", {"part": [1, 1]}, MALFORMED),
        changed("part 0", {"mode": "part", "part": [0, 1]}, MALFORMED),
        changed("part beyond", {"mode": "part", "part": [2, 1]}, MALFORMED),
        changed("unknown disclosure", {"disclosure": "some"}, MALFORMED),
        changed("absent row", {"absent": [[1, "actor", 6]]}, MALFORMED),
        changed("roster", {"rosters": [{"hashes": "", "runs": []}]}, MALFORMED),
        changed(
            "disclosures where it says none", {"disclosures": log.bundle(user, disclose=True)["disclosures"]}, MALFORMED
        ),
        changed("full disclosure of a count", {"disclosure": "full"}, MALFORMED, count),
        case("count of a source", (asked := {"sourceId": "app-1"}), log.bundle(asked, mode="count"), MALFORMED),
        case(
            "count of control entries about a resource",
            (asked := ordered | {"control": "order"}),
            log.bundle(asked, mode="count"),
            MALFORMED,
        ),
        changed("list that is an object", {"disclosures": {}}, MALFORMED),
        changed("manifest that is true", {"manifest": bundle["manifest"] | {"disclosures": False}}, MALFORMED),
        case("white space", user, json.dumps(bundle, sort_keys=True).encode() + b"\n", MALFORMED),
        case("no newline", user, _json(bundle), MALFORMED),
    ]


def _stray(pages: list[bytes]) -> list[bytes]:
    """Return pages of which the second one points from u-1 to event 4, which is by u-0."""
    item = posting(BUCKETS.key(actor_ident("u-1")), 0)
    return [pages[0], b"".join(sorted([*split_postings(pages[1]), item]))]


def _one_bucket(log: _Log, asked: Members) -> Members:
    return {"buckets": log.bundle(asked)["buckets"][:1]}


def make_evidence_sets() -> list[Case]:
    """Return sets: vkey, question, parts (bundles, in the order of their files), and what a good one proves (answers)."""
    log, record = _Log(), {"resourceType": "record", "resourceId": "r-1"}
    whole, other = log.parts(record, (2, 4)), log.parts(record, (3, 4))

    def case(name: str, parts: Sequence[Members], error: str | None, asked: Members = record, **says: object) -> Case:
        texts = [(_json(part) + b"\n").decode() for part in parts]
        about: Case = {"name": name, "vkey": LOG.verifier.vkey(), "question": asked}
        return about | {"parts": texts, **says, "error": error}

    def with_part(place: int, **members: object) -> list[Members]:
        return [part | members if number == place else part for number, part in enumerate(whole)]

    back = _Log(entries=_replace(3, _minute(3), b"2026-11-24T05:00:59.999999Z")).parts(record, (2, 4))
    return [
        case("good", whole, None, answers=[1, 3, 4]),
        case("good in one part", log.parts(record, ()), None, answers=[1, 3, 4]),
        case("good of nothing", log.parts({"userId": "u-9"}, (4,)), None, {"userId": "u-9"}, answers=[]),
        case("last part missing", whole[:-1], NOT_CHECKED),
        case("control entry in a part", log.parts({"control": "order"}, (4,)), NOT_CHECKED, {"control": "order"}),
        case("gap", [whole[0], *other[1:]], VERIFICATION),
        case("overlap", [other[0], *whole[1:]], VERIFICATION),
        case("part of another question", with_part(1, question={"userId": "u-1"}), VERIFICATION),
        case("parts of another question", whole, OTHER_QUESTION, {"userId": "u-1"}),
        case("part of another number of parts", with_part(1, part=[2, 4]), VERIFICATION),
        case("part of another disclosure", with_part(1, disclosure="full"), VERIFICATION),
        case("part of another table", with_part(1, table=_b64(log.table[:56])), VERIFICATION),
        case("empty window", log.parts(record, (2, 2)), VERIFICATION),
        case("entry at an inner edge", with_part(1, **log.shown([0, 2, 3, SIZE])), VERIFICATION),
        case("answer left out of a part", with_part(1, **log.shown([0, SIZE])), VERIFICATION),
        case("clock that went back between parts", back, VERIFICATION),
        case("list that is empty in a part", with_part(1, part=[]), MALFORMED),
    ]


def make_clock_frauds() -> list[Case]:
    """Return clock fraud files: vkey, fraud. A good one convicts."""
    back = _Log(entries=_replace(3, _minute(3), b"2026-11-24T05:01:59.999999Z"))
    good = back.clock_fraud(2, 3)

    def case(name: str, value: Members | bytes, error: str | None) -> Case:
        text = value if isinstance(value, bytes) else _json(value) + b"\n"
        return {"name": name, "vkey": LOG.verifier.vkey(), "fraud": text.decode(), "error": error}

    return [
        case("good", good, None),
        case("in order", _Log().clock_fraud(2, 3), VERIFICATION),
        case("not of these two", back.clock_fraud(1, 3), VERIFICATION),
        case("turned round", good | {"entries": good["entries"][::-1]}, VERIFICATION),
        case("one entry twice", good | {"entries": good["entries"][:1] * 2}, VERIFICATION),
        case("another tree", good | {"checkpoint": _Log().note()}, VERIFICATION),
        case(
            "checkpoint of another key",
            good | {"checkpoint": _resign(good["checkpoint"].encode(), NAMESAKE).decode()},
            VERIFICATION,
        ),
        case("hash missing", good | {"hashes": _b64(base64.b64decode(good["hashes"])[32:])}, VERIFICATION),
        case("half a hash", good | {"hashes": _b64(base64.b64decode(good["hashes"])[16:])}, MALFORMED),
        case("three entries", back.clock_fraud(1, 2, 3), MALFORMED),
        case("one entry", back.clock_fraud(3), MALFORMED),
        case("unknown member", good | {"x": 1}, MALFORMED),
        case("version that is true", good | {"v": True}, MALFORMED),
        case("no newline", _json(good), MALFORMED),
    ]


# --- Files ------------------------------------------------------------------------------------------------------------

KINDS: Final[dict[str, Callable[[], list[Case]]]] = {
    "inclusion": make_inclusion,
    "consistency": make_consistency,
    "notes": make_notes,
    "checkpoints": make_checkpoints,
    "tlog-proofs": make_tlog_proofs,
    "consistency-proofs": make_consistency_proofs,
    "tile-paths": make_tile_paths,
    "entries": make_entries,
    "questions": make_questions,
    "evidence": make_evidence,
    "evidence-sets": make_evidence_sets,
    "clock-frauds": make_clock_frauds,
}


def make_files() -> dict[str, str]:
    """Return every file's name and text: ASCII, one case on each line."""
    files = {}
    for kind, make in KINDS.items():
        cases = make()
        names = [case["name"] for case in cases]
        if len(set(names)) != len(names):
            message = f"two cases of {kind} have one name"
            raise ValueError(message)
        files[f"{kind}.json"] = "[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n"
    return files


def differences(directory: Path) -> list[str]:
    """Return the names of the files in `directory` that are missing, differ, or should not be there."""
    files = make_files()
    there = {path.name: path.read_text("ascii", "replace") for path in directory.glob("*.json")}
    return sorted(name for name in files.keys() | there.keys() if files.get(name) != there.get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the vectors, or with --check compare them; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the test vectors in tests/vectors.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if anything differs")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where the vectors are")
    options = parser.parse_args(arguments)
    if options.check:
        changed = differences(options.directory)
        for name in changed:
            print(f"{options.directory / name} is not what tools/make_vectors.py makes", file=sys.stderr)
        return 1 if changed else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in make_files().items():
        (options.directory / name).write_text(text, "ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
