"""Evidence sets: an answer too large for one bundle, in parts whose windows lie one after the other.

Own format (docs/reference/formats.md, "Evidence set"): bundles of the mode `part`, all of them of one checkpoint, epoch, table
and question. Each one proves its own window; together they have no gap, and only at the outer ends the question decides where
the window lies. Where the files come from, and their manifest, is for whoever reads them: nothing in a verdict comes from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from msgspec import UNSET

from tlog.core.evidence import losses, own_question, require, verify_part
from tlog.core.question import check_asked
from tlog.errors import NotCheckedError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tlog.core.entry import Entry
    from tlog.core.evidence import Evidence, Proved
    from tlog.core.note import Verifier
    from tlog.core.question import Question

_SAME: Final = ("checkpoint", "epoch", "table", "question", "disclosure")


def verify_evidence_set(log: Verifier, question: Question, bundles: Iterable[Evidence]) -> Proved:
    """Verify that the parts of a set together answer a question completely.

    0. (caller) `log` and `question` as in `tlog.core.evidence.verify_evidence`; `bundles` in the order of their parts, taken one
       by one, so that only one of them has to be in memory.
    1. Each part proves what it has to prove by itself, for its own window.
    2. All have the same checkpoint, epoch, table, question and disclosure, and are parts of as many.
    3. All parts are there, and each window begins where the one before ends.
    4. `loggedAt` does not fall from one part to the next.
    5. What all parts show does not contradict an outcome that explains something in one of them.
    6. Their question is the caller's.

    Raises:
        MalformedInputError: a member has not the form it must have.
        NotCheckedError: a part is missing, or an id shown has characters that this program does not know.
        OtherQuestionError: everything else is right, and the set answers another question.
        VerificationError: a step failed.

    """
    first, latest = None, ""
    parts: list[Proved] = []
    shown: dict[int, Entry] = {}
    for bundle in bundles:
        first = first or bundle
        _check_place(bundle, first, parts)
        proved, entries = verify_part(log, own_question(question, first), bundle)
        logged = logged_of(bundle, entries)
        rises = not logged or latest <= logged[0]
        require(
            rises, "the log's clock went back from one part to the next, which convicts the log: see 'verify.py fraud'"
        )
        latest = logged[-1] if logged else latest
        parts.append(proved)
        shown |= entries
    if first is None or len(parts) < _place(first)[1]:
        _refuse_without(len(parts) + 1)
    whole = _join(parts)
    losses((by for _, _, by in whole.absent), shown, whole.bodies)
    check_asked(question, first.question)
    if whole.doubt:
        raise NotCheckedError(whole.doubt)
    return whole


def logged_of(bundle: Evidence, entries: Mapping[int, Entry]) -> list[str]:
    """Return the `loggedAt` of a part's entries, by index, that lie between those of the parts around it.

    Entry 0 and the epoch's entry are in every part, and outcomes that explain something may lie anywhere.
    """
    outside = {by for _, _, by in bundle.absent if not bundle.start <= by < bundle.end}
    return [entries[index].loggedAt for index in sorted(entries.keys() - {0, bundle.epoch} - outside)]


def _check_place(bundle: Evidence, first: Evidence, before: Sequence[Proved]) -> None:
    """Check that a bundle is the part that has to come next."""
    (number, of), (_, all_of_them) = _place(bundle), _place(first)
    same = of == all_of_them and all(getattr(bundle, name) == getattr(first, name) for name in _SAME)
    require(same and number <= of, "the files are not parts of one set")
    if number > len(before) + 1:
        _refuse_without(len(before) + 1)
    require(number == len(before) + 1, f"part {number} of the set is there twice")
    gapless = not before or bundle.start == before[-1].end
    require(gapless, f"part {number} of the set does not begin where the one before ends")


def _place(bundle: Evidence) -> tuple[int, int]:
    if bundle.part is UNSET:
        message = "a bundle that is no part of a set is among the files"
        raise VerificationError(message)
    return bundle.part


def _refuse_without(number: int) -> NoReturn:
    message = f"part {number} of the set is missing: all of them are needed"
    raise NotCheckedError(message)


def _join(parts: Sequence[Proved]) -> Proved:
    """Return what parts prove together."""
    return parts[0]._replace(
        end=parts[-1].end,
        count=sum(part.count for part in parts),
        answers=[answer for part in parts for answer in part.answers or ()],
        matched={index: group for part in parts for index, group in part.matched.items()},
        bodies={index: bodies for part in parts for index, bodies in part.bodies.items()},
        absent=[each for part in parts for each in part.absent],
        apart=[each for part in parts for each in part.apart],
        alike=[index for part in parts for index in part.alike],
        doubt=next((part.doubt for part in parts if part.doubt), ""),
    )
