"""What of an answering event is somebody else's: what whoever may ask about one resource or actor alone is not shown.

Who acted is shown, and what it was asked for: the resource that was acted on, or the related one. Any other related resource
may be another person, and is withheld. A main resource is shown where the asked one is only named beside it if nobody else
is named, and if it is of another type: the lab result of one patient, but neither another patient nor a list of several.
What the log says of questions to itself is shown but for whom else they were about (ADR 35).

What a group holds decides nothing here: only the entry does, which whoever asks is shown anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import UNSET, Struct

from tlog.core.event import RESERVED_TYPES

if TYPE_CHECKING:
    from tlog.core.entry import Commitments

_RELATED: Final = "related/"


class Own(Struct, frozen=True):
    """What is whoever's who asks: the type of the resource that may be asked for, "" of an actor; keys of related resources.

    The keys are index keys as entries have them, base64url.
    """

    type: str
    keys: list[str]


class NamesOthers(Protocol):
    """An event's entry, or as much of it as this needs."""

    @property
    def commitments(self) -> Commitments:
        """Of its groups."""

    @property
    def keys(self) -> list[str]:
        """Its index keys, those of related resources last."""

    @property
    def resourceType(self) -> str:  # noqa: N802 - the format's name
        """The type of what was acted on."""


def withheld(entry: NamesOthers, matched: str | None, own: Own) -> list[str]:
    """Return the groups of an answering event that are somebody else's, in their order.

    Args:
        entry: the event's entry.
        matched: the group in which the resource is that was asked for, None where an actor was.
        own: whose answers these are.

    """
    related = [] if entry.commitments.related is UNSET else entry.commitments.related
    named = entry.keys[len(entry.keys) - len(related) :]
    others = [f"{_RELATED}{place}" for place, key in enumerate(named) if key not in own.keys]
    beside = matched is not None and matched.startswith(_RELATED)
    shown = (
        matched == "resource"
        or entry.resourceType in RESERVED_TYPES  # the log itself
        or (beside and not others and entry.resourceType != own.type)
    )
    return others if shown else ["resource", *others]
