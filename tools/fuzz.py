"""Attack the parsers with damaged input: two readers of one format must agree, and nothing but documented errors comes out.

    python -m tools.fuzz --list
    python -m tools.fuzz note --seconds 60 --seed 7      damage valid samples, the same way for the same seed
    python -m tools.fuzz note --guided --seconds 600     let atheris search for inputs that reach new code (extra `fuzz`)

Each target reads one format with everything that reads it: the core, the quick and the slow way of the event parser, and
tools/verify.py, which was written independently. What is taken has to come out the same again when it is formatted. An
input is a finding if the readers disagree, if an error is raised that no docstring promises, or if it takes longer than a
second of CPU time. Exit codes: 0 nothing found; 1 a finding, whose input is printed; 2 usage.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import importlib
import importlib.util
import io
import json
import random
import re
import signal
import struct
import sys
import tempfile
import time
import traceback
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).with_name("scenarios")))

import bundles

from tlog.core import bundle as entry_bundle
from tlog.core import canonical, checkpoint, entry, evidence, note, proof, question, strict, tile, tlogproof
from tlog.core import run as stored_run
from tlog.core.eventfile import EventFile, format_event_file, parse_event_file
from tlog.core.making import parsing
from tlog.core.merkle import EMPTY_ROOT, Frontier, leaf_hash
from tlog.core.verify import verify_event
from tlog.errors import InvalidEventError, MalformedInputError, NotCheckedError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT: Final = Path(__file__).parents[1]
SLOWEST: Final = 1.0
LARGEST: Final = 512 << 20
_LOG: Final = note.Signer("example.com/fuzz", sha256(b"tlog fuzz: the log").digest())
_REFUSALS: Final = (MalformedInputError, NotCheckedError, VerificationError)


@cache
def verifier() -> Any:  # noqa: ANN401 - a module that is loaded from its file, as strangers do
    """Return tools/verify.py as a module."""
    spec = importlib.util.spec_from_file_location("fuzzed_verifier", ROOT / "tools" / "verify.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FindingError(Exception):
    """Two readers disagree, or an input costs too much."""


class Verdict(NamedTuple):
    """What a reader made of an input: a value, or a refusal."""

    taken: bool
    value: Any = None


def read_with(reader: Callable[[], Any], refusals: tuple[type[Exception], ...] = _REFUSALS) -> Verdict:
    """Return the verdict of a reader; any error but its documented refusals is passed on."""
    try:
        return Verdict(True, reader())
    except refusals:
        return Verdict(False)


def offline(reader: Callable[[], Any]) -> Verdict:
    """Return the verdict of a function of tools/verify.py."""
    return read_with(reader, (verifier().MalformedError, verifier().IncompleteError, verifier().VerificationError))


def agree(what: str, one: object, other: object) -> None:
    """Check that two readers came to the same."""
    if one != other:
        message = f"{what}: {one!r:.300} or {other!r:.300}"
        raise FindingError(message)


# --- Damage -----------------------------------------------------------------------------------------------------------

_BYTES: Final = [
    b"\n", b"\n\n", b"\r\n", b" ", b"\t", b"\0", b"\x7f", b"\xff", b"\xed\xa0\x80", b"\xc2\xa0", "\u2028".encode(),
    b"0", b"00", b"+1", b"-0", b"1_0", "\u0663".encode(), b"9223372036854775807", b"9223372036854775808", b"=", b"==", b"A",
    b"/", b"+", b"-", b"_", b"x000/", b".p/0", b".p/256", b"..", b"%2e", b"\xe2\x80\x94 ", b"{", b"}", b"[", b"]", b'"', b",",
    b":", b"\xef\xbb\xbf", b"\\u003a", b"\\ud800", b"NaN", b"1e400", b"1e1", b"-", b"true", b"null",
]  # fmt: skip
_VALUES: Final[list[Any]] = [
    None, True, False, 0, 1, -1, -0.0, 1.5, 1e21, 2**53, -(2**53), 2**63 - 1, 2**63, 10**30, "", "a", ":", "\0", "\x7f", "\u0301",
    "\ue000\U0001f600", "2026-02-30T00:00:00Z", "2026-03-01T00:00:00+01:00", "2026-03-01", "24", "9" * 40, "=" * 3, [], {}, [[]],
    {"a": {"b": [1e20]}}, "read", "unknown", "\ud800",
]  # fmt: skip


def damage_bytes(rng: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    """Return data with one to four changes: bytes flipped, pieces moved, cut, doubled, put in, lines moved."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((0, 1, 1, 2, 8, 40)))
        match rng.randrange(7):
            case 0 if start < len(changed):
                changed[start] ^= 1 << rng.randrange(8)
            case 1:
                changed[start:end] = rng.choice(_BYTES)
            case 2:
                del changed[start:end]
            case 3:
                changed[start:start] = changed[start:end] * rng.choice((1, 1, 3, 70))
            case 4:
                lines = changed.split(b"\n")
                one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[one] = lines[other]
                changed[:] = b"\n".join(lines)
            case 5:
                sample = rng.choice(samples)
                changed[start:] = sample[rng.randrange(len(sample) + 1) :]
            case 6:
                changed[start:end] = bytes([rng.randrange(256)])
    return bytes(changed[: 1 << 17])


_MEMBER: Final = re.compile(rb'"[A-Za-z:]+" ?: ?(?:"[^"\\\\]*"|[0-9.]+|null|\\{\\})')


def damage_lines(rng: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    """Return JSON texts with one member written a second time somewhere; or damaged as bytes."""
    members = list(_MEMBER.finditer(data))
    if not members or rng.random() < 0.7:  # noqa: PLR2004 - most of them
        return damage_bytes(rng, data, samples)
    place = rng.choice(members).start()
    return data[:place] + rng.choice(members)[0] + b"," + data[place:]


def damage_json(rng: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    """Return a JSON text with one to three members changed, written canonically most of the time; or damaged as bytes."""
    if rng.random() < 0.25:  # noqa: PLR2004 - a quarter
        return damage_lines(rng, data, samples)
    end = data[len(data.rstrip(b"\n")) :]
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holders = [(holder, key) for holder, key in _members(value)]
        if holders:
            holder, key = rng.choice(holders)
            _change(rng, holder, key, json.loads(rng.choice(samples)))
    plain = rng.random() < 0.8  # noqa: PLR2004 - mostly
    separators = (",", ":") if plain else rng.choice(((", ", ": "), (",\n", ":\t"), (",", " :")))
    ascii_only = not plain and rng.random() < 0.5  # noqa: PLR2004 - half of them
    text = json.dumps(value, ensure_ascii=ascii_only, sort_keys=plain, separators=separators)
    return text.encode(errors="surrogatepass") + end


def _members(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a JSON value that holds another, as container and key."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(inner):
        yield value, key
        yield from _members(child)


def _change(rng: random.Random, holder: Any, key: Any, other: object) -> None:  # noqa: ANN401, C901 - a table of damage
    old = holder[key]
    match rng.randrange(8):
        case 0:
            del holder[key]
        case 1:
            holder[key] = deepcopy(rng.choice(_VALUES))
        case 2 if isinstance(old, str) and old:
            holder[key] = damage_bytes(rng, old.encode(errors="replace"), [b""]).decode(errors="replace")
        case 3 if type(old) is int:
            holder[key] = old + rng.choice((-1, 1, 2**32, -old))
        case 4 if isinstance(holder, list):
            holder.insert(rng.randrange(len(holder) + 1), old)
        case 5 if isinstance(holder, dict):
            holder[rng.choice(("a", "type", "id", "v", "\u00e9", "userId", "actor"))] = old
        case 6:
            places = [place for place in _members(other) if type(place[0][place[1]]) is type(old)]
            if places:
                inner, at = rng.choice(places)
                holder[key] = inner[at]
        case 7 if isinstance(old, str) and len(old) % 4 == 0:
            with contextlib.suppress(ValueError):
                raw = bytearray(base64.b64decode(old, validate=True))
                if raw:
                    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
                    holder[key] = base64.b64encode(raw[: rng.choice((None, 12, 32, 384))]).decode()


# --- Targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A format: valid samples, how they are damaged, and what all readers must agree on."""

    what: str
    samples: Callable[[], list[bytes]]
    check: Callable[[bytes], None]
    damage: Callable[[random.Random, bytes, Sequence[bytes]], bytes] = damage_bytes


def _vectors(name: str, member: str) -> list[bytes]:
    cases = json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_bytes())
    return [case[member].encode() for case in cases if member in case]


@cache
def _key() -> Any:  # noqa: ANN401 - of an untyped module
    return verifier().parse_vkey(_LOG.verifier.vkey())


def _sign(text: bytes) -> bytes:
    """Return a note of any text, well-formed or not, signed: damage of a signed text would only break the signature."""
    signature = base64.b64encode(_LOG.verifier.key_id + _LOG.sign(text))
    return text + b"\n\xe2\x80\x94 " + _LOG.verifier.name.encode() + b" " + signature + b"\n"


def check_note(data: bytes) -> None:
    """Both readers split a note alike; its parts put together again are the note."""
    core = read_with(lambda: note.split_note(data))
    agree("a note", core, offline(lambda: verifier().split_note(data)))
    if core.taken:
        text, signatures = core.value
        lines = [f"— {name} ".encode() + base64.b64encode(key_id + rest) + b"\n" for name, key_id, rest in signatures]
        agree("a note formatted again", text + b"\n" + b"".join(lines), data)


def check_checkpoint(data: bytes) -> None:
    """Both readers take the same checkpoints, signed by the log."""
    signed = _sign(data)
    core = read_with(lambda: checkpoint.open_checkpoint(signed, _LOG.verifier))
    other = offline(lambda: verifier().open_checkpoint(signed, _key()))
    agree("a checkpoint", core.value and tuple(core.value), other.value and tuple(other.value))
    if core.taken:
        agree("a checkpoint formatted again", core.value.text(), data)


def check_proof(data: bytes) -> None:
    """Both readers read proof files alike, and formatting them again gives the file."""
    readers = ((b"index ", tlogproof.parse_inclusion_proof), (b"old ", tlogproof.parse_consistency_proof))
    for label, reader in readers:
        core = read_with(lambda reader=reader: reader(data))  # type: ignore[misc]
        other = offline(lambda label=label: verifier().parse_proof(data, label))  # type: ignore[misc]
        parts = (core.value[0], list(core.value.hashes), core.value.checkpoint) if core.taken else None
        agree("a proof file", parts, other.value)
        if core.taken:
            agree("a proof file formatted again", core.value.text(), data)


_TREE: Final = [leaf_hash(b"entry %d" % number) for number in range(40)]


def _root(size: int) -> bytes:
    frontier = Frontier()
    frontier.extend(_TREE[:size])
    return frontier.root()


@cache
def _nodes() -> dict[proof.Node, bytes]:
    return {
        proof.Node(level, index): _root_of(index << level, (index + 1) << level)
        for level in range(6)
        for index in range(len(_TREE) >> level)
    }


def _root_of(start: int, end: int) -> bytes:
    frontier = Frontier()
    frontier.extend(_TREE[start:end])
    return frontier.root()


def _merkle_samples() -> list[bytes]:
    samples = []
    for first, second in [(0, 1), (0, 7), (6, 7), (3, 8), (11, 21), (31, 32), (16, 40), (0, 0), (5, 5), (39, 40)]:
        for mode in b"ic":
            if mode == ord("i") and first >= second:
                continue
            plan = (proof.plan_inclusion if mode == ord("i") else proof.plan_consistency)(first, second)
            head = struct.pack(">BqqBB", mode, first, second, first, second)
            samples.append(head + b"".join(proof.prove(plan, _nodes())))
    return samples


def damage_merkle(rng: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    """Return facts with one number changed, or a proof with hashes moved; or damaged as bytes."""
    if len(data) < 19 or rng.random() < 0.4:  # noqa: PLR2004 - of the head; some are damaged without sense
        return damage_bytes(rng, data, samples)
    head, hashes = list(struct.unpack(">BqqBB", data[:19])), [data[at : at + 32] for at in range(19, len(data), 32)]
    if rng.random() < 0.5 and hashes:  # noqa: PLR2004 - half of the rest
        place = rng.randrange(len(hashes))
        hashes[place : place + rng.randrange(2)] = rng.choice(([], [rng.choice(hashes)], [rng.choice(_TREE)]))
    else:
        field = rng.randrange(5)
        head[field] = rng.randrange(42) if field > 2 else max(0, head[field] + rng.choice((-1, 1)))  # noqa: PLR2004
    return struct.pack(">BqqBB", *head) + b"".join(hashes)


def check_merkle(data: bytes) -> None:
    """Both readers come to one verdict on inclusion and consistency, whatever sizes and hashes say."""
    if len(data) < 19:  # noqa: PLR2004 - of the head
        return
    mode, first, second, one, two = struct.unpack(">BqqBB", data[:19])
    hashes = [data[at : at + 32] for at in range(19, len(data), 32)]
    if mode == ord("i"):
        facts: tuple[Any, ...] = (first, second, _TREE[one % 40], hashes, _root(two % 41))
        name = "verify_inclusion"
    else:
        facts = (first, second, _root(one % 41), _root(two % 41), hashes)
        name = "verify_consistency"
    agree(name, read_with(lambda: getattr(proof, name)(*facts)), offline(lambda: getattr(verifier(), name)(*facts)))


def check_tile_path(data: bytes) -> None:
    """A path that is taken is the path of its tile, for both."""
    path = data.decode("utf-8", "surrogateescape")
    core = read_with(lambda: tile.parse_tile_path(path))
    if core.taken:
        agree("a tile path formatted again", core.value.path(), path)
        bounds = -1 <= core.value.level <= 63 and core.value.index < 2**55 and 0 < core.value.width <= 256  # noqa: PLR2004
        agree("whether a tile can be", bounds, True)
        level = "entries" if core.value.level == tile.ENTRIES else str(core.value.level)
        agree("a tile path", verifier().tile_path(level, core.value.index, core.value.width), path)


def check_bundle(data: bytes) -> None:
    """Both readers cut an entry bundle alike; put together again it is the same. The first byte says how wide it is."""
    width, rest = data[:1][0] if data else 0, data[1:]
    core = read_with(lambda: entry_bundle.parse_bundle(rest, width))
    agree("an entry bundle", core, offline(lambda: verifier().parse_bundle(rest, width)))
    if core.taken:
        agree("an entry bundle formatted again", entry_bundle.format_bundle(core.value), rest)


def check_run(data: bytes) -> None:
    """A run has one form, and some of it is what all of it has there. The first byte says how many entries it is of."""
    count, rest = data[:1][0] if data else 0, data[1:]
    for parse, pick, form in (
        (stored_run.parse_entry_run, stored_run.pick_entries, entry_bundle.format_bundle),
        (stored_run.parse_disclosure_run, stored_run.pick_disclosures, stored_run.format_disclosure_run),
    ):
        whole = read_with(lambda parse=parse: parse(rest, count))  # type: ignore[misc]
        picked = [read_with(lambda pick=pick, each=each: pick(rest, [each])) for each in range(count)]  # type: ignore[misc]
        if whole.taken:
            agree("a run formatted again", form(whole.value), rest)
            agree("one by one", [each.value for each in picked], [[each] for each in whole.value])
            agree("every other one", pick(rest, range(0, count, 2)), whole.value[::2])


def _run_samples() -> list[bytes]:
    groups = [b"", b"x" * 60, b"\0\1", b"y" * 300]
    disclosed = [
        stored_run.Disclosed(groups[n % 4], groups[n % 3], tuple(groups[: n % 5]) * (n % 2)) for n in range(16)
    ]
    runs = [disclosed[:1], disclosed[1:4], disclosed]
    made = [bytes([len(run)]) + stored_run.format_disclosure_run(run) for run in runs]
    return [*made, *(bytes([len(run)]) + entry_bundle.format_bundle([each.actor for each in run]) for run in runs)]


def _stored(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value that was written canonically: a large double has no exponent, and is a double all the same."""
    return json.loads(data, parse_int=lambda text: int(text) if len(text) < 17 else float(text))  # noqa: PLR2004


def check_event(data: bytes) -> None:
    """The quick way and the slow way come to the same event, or to the same member and rule; what is kept is canonical."""
    outcomes: list[Any] = []
    for way in (parsing.parse_event, parsing.parse_event_slowly):
        try:
            outcomes.append(way(data))
        except InvalidEventError as error:
            outcomes.append((str(error), error.pointer))
    agree("an event", *outcomes)
    if isinstance(outcomes[0], parsing.ParsedEvent):
        for body in (outcomes[0].actor_body, outcomes[0].resource_body):
            agree("a body written again", canonical.canonical(_stored(body)), body)


def check_lines(data: bytes) -> None:
    """Lines that the quick way is certain about are what the slow way makes of each."""
    lines = data.split(b"\n")
    certain = parsing.parse_certain(lines)
    if certain is not None:
        slowly = [read_with(lambda line=line: parsing.parse_event_slowly(line)).value for line in lines]  # type: ignore[misc]
        agree("lines of events", certain, slowly)


def _intakes() -> list[bytes]:
    intakes = [each for each in _vectors("entries", "entry") if b'"type":"intake"' in each]
    return [each for each in intakes if read_with(lambda each=each: entry.parse_entry(each)).taken]  # type: ignore[misc]


def check_entry(data: bytes) -> None:
    """An entry is its members formatted again; both readers take the same ones, with the same members."""
    core = read_with(lambda: entry.parse_entry(data))
    other = offline(lambda: verifier().parse_entry(data))
    agree("whether an entry is one", core.taken, other.taken)
    if not core.taken:
        return
    members = _stored(data)
    agree("an entry written again", canonical.canonical(members), data)
    for name in ("type", "v", "loggedAt"):
        agree(f"an entry's {name}", other.value[name], members[name])
    for name in ("eventId", "action", "operation", "outcome", "resourceType", "timestamp"):
        agree(f"an event's {name}", other.value.get(name), members.get(name) if other.value["known"] else None)
    keys = [] if isinstance(core.value, entry.IndexKeysEntry | entry.IndexEntry) else core.value.index_keys()
    agree("an entry's keys", [*other.value["keys"].values()], keys)


def _absent(event: EventFile) -> dict[str, int]:
    """Return of each group that is not there the outcome that is to explain it, 0 for none."""
    return {**dict(event.absent), **dict.fromkeys(event.missing, 0)}


def check_event_file(data: bytes) -> None:
    """Both readers take the same event files, with the same contents."""
    core = read_with(lambda: parse_event_file(data))
    other = offline(lambda: verifier().parse_event_file(data))
    disclosures = {group: salt + body.encode() for group, (salt, body) in other.value[1].items()} if other.taken else {}
    seen = core.value and (core.value.entry, core.value.disclosures, _absent(core.value))
    agree("an event file", seen, other.value and (other.value[0], disclosures, other.value[2]))
    if core.taken:
        agree("an event file formatted again", format_event_file(core.value), data)


@cache
def _bundles() -> list[tuple[dict[str, str], bytes]]:
    """Return questions and evidence bundles that answer them, of a naive log that shares no code with tlog."""
    log = bundles.sample_log(40, [16, 30, 31, 41])
    questions: list[dict[str, str]] = [
        {"userId": "user-3"},
        {"resourceType": "record", "resourceId": "R:4"},
        {"action": "export"},
        {"userId": "nobody"},
        {"action": "read", "outcome": "success", "userId": "user-1", "from": "2026-03-01T00:10:00Z"},
        {"resourceType": "patient", "resourceId": "P:3"},
        {"actorType": "unknown"},
        {"operation": "Do:4", "loggedTo": "2026-03-01T00:30:00.123456789Z"},
        {"sourceId": "app-6"},
        {"control": "order", "resourceType": "patient", "resourceId": "P:0"},
    ]
    made = [(each, bundles.file_of(log.bundle(each, disclose=True))) for each in questions]
    made += [(each, bundles.file_of(log.bundle(each, mode="count"))) for each in (questions[0], questions[5])]
    made += [(questions[0], bundles.file_of(each)) for each in log.parts(questions[0], [20], disclose=True)]
    return made


def check_evidence(data: bytes) -> None:
    """Both verifiers accept the same bundles, for the question the bundle says it answers."""
    vkey = bundles.vkey()
    parsed = read_with(lambda: evidence.parse_evidence(data))
    if parsed.taken:
        agree("a bundle formatted again", evidence.format_evidence(parsed.value), data)
    try:
        value = json.loads(data)
        asked, mode = value["question"], value["mode"]
        core_question = question.parse_question(asked)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, MalformedInputError, NotCheckedError):
        asked, mode, core_question = {"userId": "user-3"}, "answer", question.parse_question({"userId": "user-3"})
    log = note.parse_vkey(vkey)
    core = (
        Verdict(False)
        if not parsed.taken
        else read_with(lambda: evidence.verify_evidence(log, core_question, parsed.value))
    )
    asks = _asks(core_question.document())
    if asks is None or mode not in ("answer", "count"):
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        code = _main(["evidence", "--vkey", vkey, *asks, *(["--count"] if mode == "count" else []), file.name])
    agree(f"whether a bundle answers {asked}", core.taken and not core.value.unknown(), code == 0)


_MEMBERS: Final = set(question.Question.__struct_encode_fields__)


def _asks(document: dict[str, str]) -> list[str] | None:
    """Return a question as options of tools/verify.py, None where the index has nothing of it."""
    indexed = {"resourceId", "userId", "actorType", "sourceId", "operation", "control", "action"}
    return [f"--ask={name}={value}" for name, value in document.items()] if document.keys() & indexed else None


def _main(arguments: list[str]) -> int:
    """Run tools/verify.py as its command line would; return its exit code, which must be a documented one."""
    # Its output is a terminal's or a file's, which has an encoding.
    with io.TextIOWrapper(io.BytesIO(), encoding="utf-8") as said, contextlib.redirect_stdout(said):
        code: int = verifier().main(arguments)
    if code not in (0, 1, 2, 3):
        message = f"the offline verifier ended with {code}"
        raise FindingError(message)
    return code


def check_question(data: bytes) -> None:
    """A question parses again to itself, and the offline verifier's command line means the same by it."""
    try:
        members = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(members, dict):
        return
    core = read_with(lambda: question.parse_question(members))
    if core.taken:
        agree("a question asked again", question.parse_question(core.value.document()), core.value)
    elif not all(isinstance(value, str) and name in _MEMBERS for name, value in members.items()):
        return  # which a command line cannot say
    document = core.value.document() if core.taken else members
    asks = _asks(document)
    if asks is not None:
        options = {"ask": [each.removeprefix("--ask=") for each in asks]}
        arguments = SimpleNamespace(**options, **dict.fromkeys(("since", "to", "logged_from", "logged_to")))
        agree(
            "a question",
            offline(lambda: verifier().parse_question(arguments)[0]),
            Verdict(core.taken, document if core.taken else None),
        )


def check_key(data: bytes) -> None:
    """Both readers take the same vkeys, written in one way only; an skey's error never repeats it."""
    text = data.decode("utf-8", "surrogateescape")
    core = read_with(lambda: note.parse_vkey(text))
    if core.taken:
        agree("a vkey formatted again", core.value.vkey(), text)
    if not text.startswith("@"):
        other = offline(lambda: verifier().parse_vkey(text))
        # Whether a key is a point at all costs arithmetic; under one that is none the core verifies nothing.
        if other.taken or not core.taken or _is_point(core.value.public_key):
            parts = core.value and (core.value.name, core.value.key_id, core.value.public_key)
            agree("a vkey", parts, other.value)
    try:
        agree("an skey formatted again", note.parse_skey(text).skey(), text)
    except MalformedInputError as error:
        secret = text.rpartition("+")[2]
        agree("whether an error repeats a key", len(secret) > 8 and secret in str(error), False)  # noqa: PLR2004 - a key


def _is_point(key: bytes) -> bool:
    return offline(lambda: verifier().decode_point(key)).taken


def damage_key(rng: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    """Return a key with another name or other bytes, most of the time with the key ID that belongs to them."""
    changed = damage_bytes(rng, data, samples)
    name, _, rest = changed.partition(b"+")
    if rng.random() < 0.3 or b"+" not in rest:  # noqa: PLR2004 - some are left with a wrong ID
        return changed
    encoded = rest.partition(b"+")[2]
    with contextlib.suppress(ValueError):
        key_id = sha256(name + b"\n" + binascii.a2b_base64(encoded)).hexdigest()[:8]
        return name + b"+" + key_id.encode() + b"+" + encoded
    return changed


def check_number(data: bytes) -> None:
    """Both readers take a decimal number, base64 and base64url in one form only."""
    text = data.decode("utf-8", "replace")
    for name, encode in (
        ("parse_decimal", lambda value: b"%d" % value),
        ("parse_base64", base64.b64encode),
    ):
        core = read_with(lambda name=name: getattr(strict, name)(data, "it"))  # type: ignore[misc]
        agree(name, core, offline(lambda name=name: getattr(verifier(), name)(data, "it")))  # type: ignore[misc]
        if core.taken:
            agree(f"{name} formatted again", encode(core.value), data)
    core = read_with(lambda: strict.parse_base64url(data, "it", 16))
    if "\ufffd" not in text:
        agree("parse_base64url", core, offline(lambda: verifier().parse_base64url(text, "it", 16)))


def check_files(data: bytes) -> None:
    """What the offline verifier verifies, the installed one verifies, and neither ends in any other way.

    The input is a proof file, a line of tildes, and an event file.
    """
    proof_data, _, event_data = data.partition(b"\n~~~\n")
    log = note.parse_vkey(bundles.vkey())
    core = read_with(lambda: verify_event(log, event_data, proof_data))
    with tempfile.NamedTemporaryFile() as proof_file, tempfile.NamedTemporaryFile() as event_file:
        proof_file.write(proof_data)
        event_file.write(event_data)
        proof_file.flush()
        event_file.flush()
        code = _main(["proof", "--vkey", bundles.vkey(), "--event", event_file.name, proof_file.name])
    if not (
        core.taken and not isinstance(core.value.entry, entry.EventEntry)
    ):  # which the offline one does not say are proved
        agree("whether an event is proved", core.taken, code == 0)


def _file_samples() -> list[bytes]:
    log = bundles.sample_log(40, [16, 30, 31, 41])
    pairs = [log.event_proof(index) for index in (1, 17, 40)]
    made = [one + b"\n~~~\n" + other for one, other in pairs]
    return made + [b"\n~~~\n".join(log.event_proof(index, disclose=True)) for index in (3, 8, 36)]


def _events() -> list[bytes]:
    hospital = importlib.import_module("tlog.demo.hospital")
    made = [json.dumps(each, ensure_ascii=False, separators=(",", ":")).encode() for each in hospital.hospital_day(12)]
    special = json.loads(made[0])
    special |= {"metadata": {"a:b": [1e20, 0.1, "\u00e9\n"], "n": {"m": 1}}, "source": {"id": "a:b/c", "seq": 7}}
    special["actor"] |= {"ipAddress": "2001:db8::1", "email": "a@example.com", "role": "x:y"}
    special["details"] = {"oldValues": {"x": None}, "newValues": {"x": "\U0001f600"}, "fieldsAccessed": ["a", "b"]}
    return [*made, json.dumps(special).encode(), json.dumps(special, indent=1, ensure_ascii=False).encode()]


TARGETS: Final = {
    "number": Target(
        "decimal numbers, base64, base64url",
        lambda: [
            b"0",
            b"7",
            b"9223372036854775807",
            b"",
            b"YQ==",
            base64.b64encode(bytes(range(32))),
            b"AAAAAAAAAAAAAAAAAAAAAA",
        ],
        check_number,
    ),
    "note": Target("signed notes", lambda: _vectors("notes", "note"), check_note),
    "checkpoint": Target(
        "checkpoints, signed",
        lambda: [
            checkpoint.Checkpoint(_LOG.verifier.name, size, EMPTY_ROOT if size == 0 else _root(size % 41)).text()
            for size in (0, 1, 40, 2**63 - 1)
        ],
        check_checkpoint,
    ),
    "proof": Target(
        "proof files",
        lambda: _vectors("tlog-proofs", "proof") + _vectors("consistency-proofs", "proof"),
        check_proof,
    ),
    "merkle": Target("inclusion and consistency proofs", _merkle_samples, check_merkle, damage_merkle),
    "tile-path": Target("tile paths", lambda: _vectors("tile-paths", "path"), check_tile_path),
    "bundle": Target(
        "entry bundles",
        lambda: [
            bytes([len(entries)]) + entry_bundle.format_bundle(entries)
            for entries in ([], [b""], [b"a", b"bc"], [b"x" * 300] * 3, [b"y"] * 255)
        ],
        check_bundle,
    ),
    "run": Target("runs of entries and of disclosures", _run_samples, check_run),
    "event": Target("events", _events, check_event, damage_json),
    "lines": Target(
        "NDJSON lines",
        lambda: [b"\n".join(_events()[start : start + 4]) for start in range(0, 12, 3)] + _events()[:2],
        check_lines,
        damage_lines,
    ),
    "entry": Target(
        "entries",
        lambda: [
            *(each.encode() for each in bundles.sample_log(40, [16, 30, 31, 41]).entries),
            *_intakes(),
        ],
        check_entry,
        damage_json,
    ),
    "event-file": Target(
        "event files",
        lambda: [sample.partition(b"\n~~~\n")[2] for sample in _file_samples()],
        check_event_file,
        damage_json,
    ),
    "evidence": Target("evidence bundles", lambda: [data for _, data in _bundles()], check_evidence, damage_json),
    "question": Target(
        "questions",
        lambda: [
            json.dumps({**asked, "to": "2026-03-02", "loggedFrom": "2026-03-01T01:00:00.5+01:00"}).encode()
            for asked, _ in _bundles()
        ],
        check_question,
        damage_json,
    ),
    "key": Target(
        "vkeys and skeys",
        lambda: [
            _LOG.verifier.vkey().encode(),
            note.Signer("a", bytes(32)).verifier.vkey().encode(),
            _LOG.skey().encode(),
        ],
        check_key,
        damage_key,
    ),
    "files": Target("a proof file with its event file, verified", _file_samples, check_files),
}


# --- Running ----------------------------------------------------------------------------------------------------------


def check_one(target: Target, data: bytes) -> None:
    """Check one input, and how long it takes.

    Raises:
        FindingError: it took more than a second of CPU time.
        Exception: whatever a reader raises that it should not.

    """

    def stop(*_: object) -> None:
        message = f"{len(data)} bytes took more than {SLOWEST} s"
        raise FindingError(message)

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST)
    try:
        target.check(data)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def fuzz(
    target: Target, *, seed: int, count: int | None = None, seconds: float | None = None
) -> tuple[int, bytes | None]:
    """Check samples, then damaged ones, until the count or the time is up; return how many, and the first finding."""
    rng = random.Random(seed)  # noqa: S311 - repeatable damage, no secrets
    samples = target.samples()
    target.check(samples[0])  # what is loaded on first use is not the first input's fault
    end = None if seconds is None else time.monotonic() + seconds
    done = 0
    data = b""
    while (count is None or done < count) and (end is None or time.monotonic() < end):
        data = samples[done] if done < len(samples) else target.damage(rng, rng.choice(samples), samples)
        try:
            check_one(target, data)
        except Exception:  # noqa: BLE001 - any error that comes this far is a finding
            traceback.print_exc()
            return done, data
        done += 1
    return done, None


def _guide(target: Target, seconds: float, seed: int) -> int:
    """Let atheris search; it ends the process itself, with another code than 0 if it found something."""
    atheris = importlib.import_module("atheris")
    samples = target.samples()

    def mutate(data: bytes, largest: int, number: int) -> bytes:
        rng = random.Random(number)  # noqa: S311 - repeatable damage, no secrets
        with contextlib.suppress(ValueError, RecursionError):  # no JSON, or too deep for the one who damages it
            return target.damage(rng, data, samples)[:largest]
        return damage_bytes(rng, data, samples)[:largest]

    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as corpus:
        for number, sample in enumerate(samples):
            (Path(corpus) / str(number)).write_bytes(sample)
        options = [
            f"-max_total_time={seconds:.0f}",
            f"-seed={seed}",
            "-max_len=131072",
            "-timeout=10",
            f"-rss_limit_mb={LARGEST >> 20}",
        ]
        atheris.Setup([sys.argv[0], *options, corpus], lambda data: check_one(target, data), custom_mutator=mutate)
        atheris.Fuzz()
    return 0


def peak_memory() -> int:
    """Return how many bytes of memory this program had at most.

    The system's ru_maxrss would begin with what the process that started this one had at the time.
    """
    found = re.search(r"^VmHWM:\s*([0-9]+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        message = "the system does not say how much memory a process had at most"
        raise OSError(message)
    return int(found[1]) << 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("target", nargs="?", choices=sorted(TARGETS), help="what to attack")
    parser.add_argument("--list", action="store_true", help="list the targets")
    parser.add_argument("--seconds", type=float, help="how long; 60 if no count is given")
    parser.add_argument("--count", type=int, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs")
    parser.add_argument("--guided", action="store_true", help="search with atheris instead")
    options = parser.parse_args(arguments)
    if options.list or options.target is None:
        for name, target in TARGETS.items():
            print(f"{name:12} {target.what}")
        return 0 if options.list else 2
    seconds = options.seconds if options.seconds or options.count else 60.0
    target = TARGETS[options.target]
    if options.guided:
        return _guide(target, seconds or 60.0, options.seed)
    started = time.monotonic()
    done, found = fuzz(target, seed=options.seed, count=options.count, seconds=seconds)
    if found is not None:
        print(
            f"{options.target}: FOUND after {done} inputs with seed {options.seed}, in these {len(found)} bytes:\n{found!r}"
        )
        return 1
    largest = peak_memory()
    print(
        f"{options.target}: {done} inputs in {time.monotonic() - started:.0f} s, nothing found, at most {largest >> 20} MiB"
    )
    return 1 if largest > LARGEST else 0


if __name__ == "__main__":
    sys.exit(main())
