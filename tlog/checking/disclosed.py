"""Checking the disclosures of a range: against the commitments of their entries, and against the index keys at their places.

Whole ranges are compared at once; only where a comparison fails is looked at group by group, to name what is wrong. An entry of
which nothing is disclosed is noted: whether an outcome explains that, the whole log shows (`tlog.checking.absent`). A group that
is absent while another one of its entry is there is MISSING. A group that is disclosed has to be what the entry commits to, and
has to lead to the key that stands at its place (docs/reference/formats.md, "Disclosure"), or questions about somebody would not
find the entry.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from tlog.checking.absent import ABSENT, UNEXPLAINED, pack_groups
from tlog.checking.facts import ACTION, ACTOR, KEYS, MORE_KEYS, RELATED, RESOURCE, RESOURCE_TYPE
from tlog.checking.report import Place
from tlog.core.commitment import SALT_SIZE, check_disclosure, commit_all, group_names
from tlog.core.making.matching import BETWEEN, split_texts
from tlog.core.making.posting import KEY_ROW_SIZE
from tlog.core.merkle import HASH_SIZE
from tlog.core.pseudonym import check_assigned
from tlog.core.strict import encode_hashes_base64url, parse_base64url
from tlog.errors import NotCheckedError, TlogError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tlog.checking.facts import RangeFacts, Said
    from tlog.checking.runs import DisclosureRow, Opened
    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.matching import EventFacts

_UNKNOWN_ACTOR: Final = "unknown"
# Two keys of 22 characters with '","' between them; after them each key has these three before it.
_PERSONAL: Final = slice(22 + 3 + 22)


class _Who(msgspec.Struct, gc=False):
    userId: str = ""  # noqa: N815 - the format's name
    type: str = ""


class _What(msgspec.Struct, gc=False):
    type: str
    id: str


class _Touched(msgspec.Struct, gc=False):
    resource: _What


_WHO: Final = msgspec.json.Decoder(_Who).decode
_WHAT: Final = msgspec.json.Decoder(_What).decode
_TOUCHED: Final = msgspec.json.Decoder(_Touched).decode
_NOT_A_BODY: Final = (msgspec.MsgspecError, ValueError)


class DisclosureCheck:
    """The check of a range's disclosures; what is found goes to the facts of the range."""

    def __init__(self, facts: RangeFacts, bucket_keys: BucketKeys | None) -> None:
        self._facts = facts
        self._bucket_keys = bucket_keys
        self._absent: list[tuple[int, int]] = []

    def finish(self) -> None:
        """Give the facts of the range what is known at its end only."""
        self._facts.absent = np.array(self._absent, ABSENT)

    def take(self, first: int, said: Sequence[EventFacts | None], opened: Opened) -> None:
        """Check the disclosures of consecutive entries.

        Args:
            first: index of the first entry.
            said: the facts of each entry, None of one that is malformed.
            opened: what is disclosed of these entries, and maybe of others.

        """
        holders = [
            (first + n, each)
            for n, each in enumerate(said)
            if each is not None and (each[ACTOR] or each[RESOURCE] or each[RELATED])
        ]
        rows: Sequence[DisclosureRow] = opened.disclosures
        if opened.undisclosed:
            holders = [holder for holder in holders if holder[0] not in opened.undisclosed]
        if [index for index, _ in holders] != [row[0] for row in rows]:
            rows = self._rows_of(first, said, holders, rows)
        present = [index for index, _ in holders]
        if not self._all_disclosed(holders, rows):
            present = [row[0] for row in rows if _is_something_there(row)]
            rows = [self._disclosed(*pair) for pair in zip(holders, rows, strict=True)]
        self._note_present(first, present)
        if self._bucket_keys is None:
            return
        events = holders
        if not all(each[ACTION] for _, each in holders):
            # Which key stands at which place is known of events only.
            known = [pair for pair in zip(holders, rows, strict=True) if pair[0][1][ACTION]]
            events, rows = [event for event, _ in known], [row for _, row in known]
        if not self._all_keys(self._bucket_keys, events, rows):
            for event, row in zip(events, rows, strict=True):
                self._keys(self._bucket_keys, event, row)

    def _rows_of(
        self, first: int, said: Sequence[EventFacts | None], holders: Sequence[Said], rows: Sequence[DisclosureRow]
    ) -> list[DisclosureRow]:
        """Return for each entry that commits to anything what is disclosed of it, if only nothing; name what is of others."""
        by_index = {row[0]: row for row in rows}
        found = [by_index.pop(index, (index, None, None, None)) for index, _ in holders]
        for n, each in enumerate(said):
            if each is not None and first + n in by_index:
                self._add(first + n, "a control entry has a disclosure")
        return found

    def _note_present(self, first: int, present: Sequence[int]) -> None:
        """Note for the outcomes from entry `first` on what is disclosed before each, and at the end what is so at all."""
        facts = self._facts
        for number, said in enumerate(facts.lost):
            if said.own >= first:
                before = present[: bisect_left(present, said.own)]
                facts.lost[number] = said._replace(last_present=max((facts.last_present, *before[-1:])))
        facts.last_present = max((facts.last_present, *present[-1:]))

    # --- Commitments -------------------------------------------------------------------------------------------------

    def _all_disclosed(self, holders: Sequence[Said], rows: Sequence[DisclosureRow]) -> bool:
        """Tell whether every group of every entry is disclosed, and is what the entry commits to."""
        given = [row[1] for row in rows] + [row[2] for row in rows]
        logged = [said[ACTOR] for _, said in holders] + [said[RESOURCE] for _, said in holders]
        for (_, said), row in zip(holders, rows, strict=True):
            if said[RELATED] is not None or row[3] is not None:
                texts, related = split_texts(said[RELATED]), row[3] or []
                if len(texts) != len(related):
                    return False
                given += related
                logged += texts
        try:
            commitments = encode_hashes_base64url(commit_all(given))  # type: ignore[arg-type]  # None is a TypeError
            short = any(len(each) < SALT_SIZE for each in given)  # type: ignore[arg-type]
        except TypeError:
            return False
        if short or "".join(commitments).encode() != b"".join(logged):
            return False
        self._facts.checked["disclosures"] += len(given)
        return True

    def _disclosed(self, holder: Said, row: DisclosureRow) -> DisclosureRow:
        """Return what of a row is what the entry commits to; note what is absent, name what is wrong."""
        index, said = holder
        texts, related = split_texts(said[RELATED]), row[3] or []
        there = _is_something_there(row)
        if len(related) != len(texts) and (there or related):
            what = f"the entry commits to {len(texts)} related resources, {len(related)} are there"
            self._add(index, what)
        if not there:
            has = pack_groups(actor=bool(said[ACTOR]), resource=bool(said[RESOURCE]), related=len(texts))
            self._absent.append((index, has))
            return index, None, None, None
        if len(related) != len(texts):
            texts, related = [], []
        good: list[bytes | None] = []
        missing: list[str] = []
        groups = zip(group_names(len(texts)), (said[ACTOR], said[RESOURCE], *texts), (*row[1:3], *related), strict=True)
        for group, logged, data in groups:
            if data is None and logged:
                missing.append(group)
            good.append(data if self._is_disclosed(index, group, logged, data) else None)
        if missing:
            self._facts.checked["missing"] += len(missing)
            self._facts.add("MISSING", Place("entry", index), f"{', '.join(missing)}: {UNEXPLAINED}")
        return index, good[0], good[1], good[2:]

    def _is_disclosed(self, index: int, group: str, logged: bytes, data: bytes | None) -> bool:
        if data is None:
            return False
        if not logged:
            self._add(index, f"the entry commits to no {group}, and one is there")
            return False
        try:
            check_disclosure(parse_base64url(logged, "a commitment", HASH_SIZE), data, group)
        except TlogError as error:
            self._add(index, str(error))
            return False
        self._facts.checked["disclosures"] += 1
        return True

    # --- Index keys --------------------------------------------------------------------------------------------------

    def _all_keys(self, keys: BucketKeys, events: Sequence[Said], rows: Sequence[DisclosureRow]) -> bool:
        """Tell whether every group of every event is disclosed, and leads to the key at its place."""
        actor_text, resource_text = keys.actor_text, keys.resource_text
        count = 2 * len(events)
        try:
            actors = [_WHO(row[1][SALT_SIZE:]) for row in rows]  # type: ignore[index]  # None is a TypeError
            resources = [_TOUCHED(row[2][SALT_SIZE:]).resource for row in rows]  # type: ignore[index]
            odd = _UNKNOWN_ACTOR in [who.type for who in actors] or "" in [who.userId for who in actors]
            if odd and not all(map(_is_somebody, actors)):
                return False
            expected = [
                (f'{actor_text(who.userId)}","{resource_text(what.type, what.id)}'.encode(), what.type.encode())
                for who, what in zip(actors, resources, strict=True)
            ]
            for (_, said), row in zip(events, rows, strict=True):
                if row[3]:
                    count += len(row[3])
                    if _related_keys(keys, row[3]) != said[MORE_KEYS][-KEY_ROW_SIZE * len(row[3]) :]:
                        return False
        except (*_NOT_A_BODY, TypeError):
            return False
        if expected != [(said[KEYS][_PERSONAL], said[RESOURCE_TYPE]) for _, said in events]:
            return False
        self._facts.checked["index keys"] += count
        return True

    def _keys(self, keys: BucketKeys, event: Said, row: DisclosureRow) -> None:
        """Compare the key of each group of an event that is there with the one at its place."""
        index, said = event
        texts = said[KEYS].split(BETWEEN)
        related = row[3] or []
        found = (texts[0], texts[1], *texts[len(texts) - len(related) :])
        given = (row[1], row[2], *related)
        wrong = []
        for group, text, data in zip(group_names(len(related)), found, given, strict=True):
            if data is None:
                continue
            try:
                name, expected = _READERS.get(group, _related)(keys, data)
                if expected.encode() != text:
                    check_assigned(name, group)
            except _NOT_A_BODY:
                self._add(index, f"the {group} disclosure does not say who or what it is about")
                continue
            except NotCheckedError:
                # A newer table may give the id another normal form, and then the key may be the right one.
                self._facts.unknown_ids += 1
                continue
            self._facts.checked["index keys"] += 1
            if expected.encode() != text:
                wrong.append(group)
            elif group == "resource" and _TOUCHED(data[SALT_SIZE:]).resource.type.encode() != said[RESOURCE_TYPE]:
                self._add(index, "the type of the resource that is disclosed is not the entry's resourceType")
        if wrong:
            what = f"the index keys in the places of {', '.join(wrong)} are not those of what is disclosed"
            self._facts.add("index keys wrong", Place("entry", index), what)

    def _add(self, index: int, what: str) -> None:
        self._facts.add("disclosure mismatch", Place("entry", index), what)


def _is_something_there(row: DisclosureRow) -> bool:
    return any(data is not None for data in (*row[1:3], *(row[3] or ())))


def _user_id(disclosure: bytes) -> str:
    """Return who a disclosure names, the empty userId for an actor who is unknown.

    Raises:
        ValueError: nobody, and it does not say that the actor is unknown.

    """
    who = _WHO(disclosure[SALT_SIZE:])
    if not _is_somebody(who):
        message = "the actor has a userId, or is unknown"
        raise ValueError(message)
    return who.userId


def _is_somebody(who: _Who) -> bool:
    """Tell whether an actor has a name, or says that nobody is known, and not both."""
    return (who.userId == "") == (who.type == _UNKNOWN_ACTOR)


def _related_keys(keys: BucketKeys, related: Sequence[bytes | None]) -> bytes:
    """Return the keys of related resources as they stand in the entry."""
    named = [_WHAT(each[SALT_SIZE:]) for each in related]  # type: ignore[index]  # None is a TypeError
    return b"".join([f'","{keys.related_text(each.type, each.id)}'.encode() for each in named])


def _actor(keys: BucketKeys, disclosure: bytes) -> tuple[str, str]:
    user_id = _user_id(disclosure)
    return user_id, keys.actor_text(user_id)


def _resource(keys: BucketKeys, disclosure: bytes) -> tuple[str, str]:
    what = _TOUCHED(disclosure[SALT_SIZE:]).resource
    return what.id, keys.resource_text(what.type, what.id)


def _related(keys: BucketKeys, disclosure: bytes) -> tuple[str, str]:
    what = _WHAT(disclosure[SALT_SIZE:])
    return what.id, keys.related_text(what.type, what.id)


_READERS: Final[dict[str, Callable[[BucketKeys, bytes], tuple[str, str]]]] = {"actor": _actor, "resource": _resource}
