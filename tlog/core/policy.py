"""Policies: which logs are known, which witnesses, and how many of them have to have cosigned a checkpoint.

Implements c2sp.org/tlog-policy. A policy is a text of lines; names in it mean nothing outside of it. Every name is a member of
one group at most, so the quorum is a tree in which each witness stands once, and a verdict is one pass over its groups.

Stricter than the specification in two points: no witness may have the name of a log's key (THREATS A37), and no key may be a
log's and a witness's; a log would vouch for itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from tlog.core.checkpoint import Checkpoint, parse_checkpoint
from tlog.core.cosignature import ML_DSA_44, Cosigner, parse_cosigner
from tlog.core.note import Verifier, open_note, parse_vkey, split_vkey
from tlog.core.strict import parse_decimal
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

# Whether a log publishes what meets its policy and nothing else, or publishes at once and collects cosignatures.
Mode = Literal["required", "collect"]
MAX_POLICY_SIZE: Final = 64 << 10
# Allowed "octet values are 0x09 (tab), 0x0A (newline), 0x20-0x7E, and 0x80-0xFF".
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_SPACE: Final = re.compile(rb"[ \t]+")
_NONE: Final = b"none"
_KEYED: Final = (2, 3)  # fields after the keyword of a witness: name, vkey, perhaps a URL
_GROUP: Final = 3  # at least: name, threshold, member


class PolicyLog(NamedTuple):
    """A log that the policy knows: its key, of type 0x01, or 0x06 as a cosigner of its own checkpoints, and its URL if given."""

    key: Verifier | Cosigner
    url: str | None


class Witness(NamedTuple):
    """A witness under its name in the policy, with its key, and its URL if given."""

    name: bytes
    key: Cosigner
    url: str | None


class Group(NamedTuple):
    """A group under its name: `threshold` of its members have to have witnessed, each a witness or a group."""

    name: bytes
    threshold: int
    members: tuple[bytes, ...]


class Policy(NamedTuple):
    """What a policy file says, in its order; `quorum` is None where no cosignature is asked for."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: bytes | None

    def is_met(self, cosigners: Collection[Cosigner]) -> bool:
        """Tell whether cosignatures of these keys meet the quorum."""
        if self.quorum is None:
            return True
        met = {witness.name for witness in self.witnesses if witness.key in cosigners}
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum in met

    def has_disjoint_quorums(self) -> bool:
        """Tell whether two sets of witnesses that have none in common each meet the quorum.

        No quorum at all is met by two empty sets. Of a group, two sets of members are needed, of `threshold` each; a member that
        has two disjoint sets itself can be in both.
        """
        twice: set[bytes] = set()
        for group in self.groups:
            shared = sum(member in twice for member in group.members)
            if 2 * group.threshold - min(shared, group.threshold) <= len(group.members):
                twice.add(group.name)
        return self.quorum is None or self.quorum in twice

    def log_keys(self, origin: str) -> list[Verifier | Cosigner]:
        """Return the keys of the log of this name."""
        return [log.key for log in self.logs if log.key.name == origin]


def open_witnessed(note: bytes, policy: Policy, origin: str) -> Checkpoint:
    """Return the checkpoint of a note that the policy accepts for the log `origin`.

    1. A key that the policy lists for this log has signed the note.
    2. No line of a key that the policy lists fails.
    3. The text is a checkpoint of this log.
    4. The witnesses who cosigned the note meet the quorum.

    Raises:
        MalformedInputError: the note or its text does not have the form of a checkpoint.
        VerificationError: the policy does not accept it; the message says why.

    """
    logs = policy.log_keys(origin)
    opened = open_note(note, [*logs, *(witness.key for witness in policy.witnesses)])
    if not any(log in opened.verified for log in logs):
        message = f"no key that the policy lists for {origin} has signed the checkpoint"
        raise VerificationError(message)
    checkpoint = parse_checkpoint(opened.text)
    if checkpoint.origin != origin:
        message = "the checkpoint's origin is not the name of the log's key"
        raise VerificationError(message)
    cosigners = [witness.key for witness in policy.witnesses if witness.key in opened.verified]
    if not policy.is_met(cosigners):
        message = f"the cosignatures of {len(cosigners)} of the policy's {len(policy.witnesses)} witnesses do not meet its quorum"
        raise VerificationError(message)
    return checkpoint


def parse_policy(data: bytes) -> Policy:
    """Return the policy in a file.

    Raises:
        MalformedInputError: the file does not have the form of c2sp.org/tlog-policy; the message names the line.

    """
    if len(data) > MAX_POLICY_SIZE:
        message = f"a policy has at most {MAX_POLICY_SIZE} bytes, this one has {len(data)}"
        raise MalformedInputError(message)
    if _FORBIDDEN.search(data):
        message = "a policy has no control characters but tab and newline"
        raise MalformedInputError(message)
    *lines, rest = data.split(b"\n")
    if rest:
        message = "the last line of a policy has to end in a newline"
        raise MalformedInputError(message)
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        fields = _SPACE.split(line.strip(b" \t"))
        if fields[0] and not fields[0].startswith(b"#"):
            try:
                reader.take(fields[0], fields[1:])
            except MalformedInputError as error:
                message = f"line {number} of the policy: {error}"
                raise MalformedInputError(message) from None
    return reader.policy()


class _Reader:
    """Takes the lines of a policy one by one."""

    def __init__(self) -> None:
        self._logs: list[PolicyLog] = []
        self._witnesses: list[Witness] = []
        self._groups: list[Group] = []
        self._quorums: list[bytes] = []
        self._names: dict[bytes, bool] = {}  # whether it is a member of a group
        self._keys: set[bytes] = set()

    def take(self, keyword: bytes, fields: list[bytes]) -> None:
        takers: dict[bytes, Callable[[list[bytes]], None]] = {
            b"log": self._log,
            b"witness": self._witness,
            b"group": self._group,
            b"quorum": self._quorum,
        }
        if keyword not in takers:
            message = "a line begins with 'log', 'witness', 'group', 'quorum' or '#'"
            raise MalformedInputError(message)
        takers[keyword](fields)

    def policy(self) -> Policy:
        if len(self._quorums) != 1:
            message = f"a policy has exactly one line 'quorum', this one has {len(self._quorums)}"
            raise MalformedInputError(message)
        origins = {log.key.name for log in self._logs}
        for witness in self._witnesses:
            if witness.key.name in origins:
                message = f"a witness's key has the name of a log, {witness.key.name}; a witness has a name of its own"
                raise MalformedInputError(message)
        quorum = None if self._quorums[0] == _NONE else self._quorums[0]
        return Policy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), quorum)

    def _log(self, fields: list[bytes]) -> None:
        if len(fields) not in (1, 2):
            message = "a log is given as 'log <vkey> [<URL>]'"
            raise MalformedInputError(message)
        vkey = _text(fields[0])
        # A line of type 0x06 has the form of a cosignature, by the log itself (c2sp.org/tlog-checkpoint).
        is_cosigner = split_vkey(vkey)[2][0] == ML_DSA_44
        key = parse_cosigner(vkey) if is_cosigner else parse_vkey(vkey)
        self._new_key(key.public_key)
        self._logs.append(PolicyLog(key, _url(fields[1:])))

    def _witness(self, fields: list[bytes]) -> None:
        if len(fields) not in _KEYED:
            message = "a witness is given as 'witness <name> <vkey> [<URL>]'"
            raise MalformedInputError(message)
        self._new_name(fields[0])
        key = parse_cosigner(_text(fields[1]))
        self._new_key(key.public_key)
        self._witnesses.append(Witness(fields[0], key, _url(fields[2:])))

    def _group(self, fields: list[bytes]) -> None:
        if len(fields) < _GROUP:
            message = "a group is given as 'group <name> all|any|<k> <member>…'"
            raise MalformedInputError(message)
        name, threshold, *members = fields
        # "each group member" is defined "on preceding lines", so a group is never its own member.
        for member in members:
            if self._names.get(member) is not False:
                message = "a member is the name of a witness or group on an earlier line, and of one group only"
                raise MalformedInputError(message)
            self._names[member] = True
        self._new_name(name)
        named = {b"all": len(members), b"any": 1}
        needed = named[threshold] if threshold in named else parse_decimal(threshold, "the threshold of a group")
        if not 1 <= needed <= len(members):
            message = f"the threshold of a group is between 1 and the number of its members, {len(members)}"
            raise MalformedInputError(message)
        self._groups.append(Group(name, needed, tuple(members)))

    def _quorum(self, fields: list[bytes]) -> None:
        if len(fields) != 1 or (fields[0] != _NONE and fields[0] not in self._names):
            message = "the quorum is given as 'quorum none', or with the name of a witness or group on an earlier line"
            raise MalformedInputError(message)
        self._quorums.append(fields[0])

    def _new_name(self, name: bytes) -> None:
        if name == _NONE or name in self._names:
            message = "this name stands on an earlier line already, or is 'none', which is reserved"
            raise MalformedInputError(message)
        self._names[name] = False

    def _new_key(self, public_key: bytes) -> None:
        if public_key in self._keys:
            message = "this key stands on an earlier line already"
            raise MalformedInputError(message)
        self._keys.add(public_key)


def _text(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError:
        message = "a vkey is UTF-8"
        raise MalformedInputError(message) from None


def _url(fields: list[bytes]) -> str | None:
    return fields[0].decode(errors="replace") if fields else None
