"""Steps of streams in a group of requests: contracted to one for each partition, or made request by request.

An UPDATE changes a row once, so of two steps of one partition the second would look as if another process had come first.
Therefore steps of one group that continue each other are one step. Where the group's steps together are refused, each request
makes its own in a savepoint: only the requests that another process came before are refused, and nobody else's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlog.errors import IntakeFencedError
from tlog.storage.intake import Advance, FencedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tlog.storage.appending import Append


def contract(steps: Iterable[Advance]) -> list[Advance]:
    """Return one step for each partition that leads where all of its steps lead.

    Raises:
        FencedError: a step does not begin where the one before it ends.

    """
    contracted: dict[tuple[str, int], Advance] = {}
    for step in steps:
        place = step.stream, step.partition
        before = contracted.get(place)
        if before is None:
            contracted[place] = step
        elif before.end != step.start or before.releases or step.opens:
            raise FencedError
        else:
            refused = (*before.refused, *step.refused)
            contracted[place] = before._replace(end=step.end, refused=refused, releases=step.releases)
    return list(contracted.values())


async def advance_alone(append: Append, steps: Sequence[Advance]) -> IntakeFencedError | None:
    """Make the steps of one request, or none of them; return what it is refused with, None if it is not."""
    try:
        async with append.savepoint():
            await append.advance(contract(steps))
    except FencedError:
        message = "another process has taken from this stream; read how far it is taken, and go on from there"
        return IntakeFencedError(message)
    return None
