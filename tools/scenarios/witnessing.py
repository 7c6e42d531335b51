"""A log to be witnessed without a database, and witnesses without a network: what tests of both sides start from."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import httpx2

from tlog.core.checkpoint import Checkpoint
from tlog.core.making.integrate import integrate
from tlog.core.merkle import Frontier, leaf_hash
from tlog.core.note import Signer, sign_note
from tlog.core.proof import plan_consistency
from tlog.core.strict import encode_base64
from tlog.core.tile import Tile, tile_width
from tlog.signing.outside import Answer, OutsideError
from tlog.witness.app import WitnessService, witness_app
from tlog.witness.keys import WitnessDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tlog.core.proof import Subtree
    from tlog.witness.state import WitnessState

FORK_SEED = b"other "
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 root hash over leaf hashes."""
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier.root()


class LeafLog:
    """A log of numbered entries in memory; `other` makes another history."""

    def __init__(self, origin: str = "log.example/witnessed", other: bytes = b"") -> None:
        self.signer = Signer(origin, bytes(32))
        self._leaves = [leaf_hash(other + b"%d" % number) for number in range(300)]

    def leaf(self, index: int) -> bytes:
        """Return the leaf hash of an entry."""
        return self._leaves[index]

    def root(self, size: int) -> bytes:
        """Return the root hash of the first `size` entries."""
        return tree_hash(self._leaves[:size])

    def note(self, size: int) -> bytes:
        """Return the signed checkpoint of `size` entries."""
        return sign_note(Checkpoint(self.signer.verifier.name, size, self.root(size)).text(), [self.signer])

    def proof(self, old: int, size: int) -> list[bytes]:
        """Return the consistency proof from `old` to `size`."""
        return [self._hash(subtree) for subtree in plan_consistency(old, size)]

    def request(self, old: int, size: int, *, proof: Sequence[bytes] | None = None, note: bytes | None = None) -> bytes:
        """Return a body of `add-checkpoint`."""
        lines = self.proof(old, size) if proof is None else proof
        head = b"old %d\n%b\n" % (old, b"".join(b"%b\n" % encode_base64(each) for each in lines))
        return head + (self.note(size) if note is None else note)

    def write_tiles(self, directory: Path, size: int) -> None:
        """Write the tiles of the tree of `size` as `tlog export --static` does."""
        for (level, index), data in integrate(0, {}, self._leaves[:size]).items():
            path = directory / Tile(level, index, tile_width(level, index, size)).path()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def _hash(self, subtree: Subtree) -> bytes:
        return tree_hash(self._leaves[subtree.start : subtree.end])


class OneWitness(NamedTuple):
    """A witness: its files, what it remembers, and its service."""

    directory: WitnessDirectory
    state: WitnessState
    service: WitnessService

    @property
    def vkeys(self) -> list[str]:
        """Its public keys."""
        return [key.cosigner.vkey() for key in self.directory.read_keys()]


@contextmanager
def witness(root: Path, *vkeys: str, name: str = "witness.example/w1") -> Iterator[OneWitness]:
    """Make a witness in `root`, or open it, that knows the logs of `vkeys`."""
    directory = WitnessDirectory(root)
    if not directory.exists():
        directory.create(name)
    state = directory.state()
    known = {vkey for log in state.logs() for vkey in log.vkeys}
    for vkey in vkeys:
        if vkey not in known:
            state.add_log(vkey)
    service = WitnessService(directory, state, directory.read_keys(), lambda: NOW)
    try:
        yield OneWitness(directory, state, service)
    finally:
        service.close()
        state.close()


class Streets:
    """Instead of a network: addresses, and the witnesses that live there. A test may cut one off, or speak for it."""

    def __init__(self) -> None:
        self.services: dict[str, WitnessService] = {}
        self.away: set[str] = set()
        self.says: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str, bytes | None]] = []

    async def close(self) -> None:
        """Close nothing."""

    async def ask(self, method: str, url: str, content: bytes | None = None) -> Answer:
        """Answer as `tlog.signing.outside.Outside` would have it answered."""
        host = str(urlsplit(url).hostname)
        self.asked.append((method, url, content))
        if host in self.away:
            message = "cut off"
            raise OutsideError(message)
        if (method, host) in self.says:
            return self.says[method, host]
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(witness_app(self.services[host]))) as client:
            response = await client.request(method, url, content=content)
        return Answer(response.status_code, response.headers["content-type"].partition(";")[0], response.content)
