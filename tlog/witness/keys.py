"""The directory of a witness: its keys, its memory, and what it refused.

    <data>/keys/ed25519.skey   the key of type 0x04, mode 0400    <data>/witness.sqlite3   what was cosigned (`state`)
    <data>/keys/mldsa44.skey   the key of type 0x06, mode 0400    <data>/rejected/         well-signed requests, refused
    <data>/lock                held by the one process that serves

Key files are written once, complete or not at all, and never replaced.
"""

from __future__ import annotations

import fcntl
import secrets
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from tlog.core.cosignature import ED25519, ML_DSA_44, SEED_SIZE, CosigningKey, parse_cosigning_key
from tlog.errors import KeyMismatchError, MalformedInputError, OperatorError
from tlog.files.durable import write_once
from tlog.location import read_secret
from tlog.witness.state import WitnessState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILES: Final = {ED25519: "ed25519.skey", ML_DSA_44: "mldsa44.skey"}
_MAX_REJECTED: Final = 1_000


class WitnessDirectory:
    """The files of one witness below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def create(self, name: str) -> None:
        """Make a new witness under `name`, or what is missing of one that was begun; a witness that is there stays.

        Its memory comes first: keys without a memory are those of a witness that forgot what it cosigned.

        Raises:
            MalformedInputError: `name` cannot be a key name.

        """
        made = {kind: CosigningKey(name, secrets.token_bytes(SEED_SIZE), kind) for kind in _FILES}
        self._keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(self._keys.iterdir()) and not self._memory.exists():
            WitnessState.create(self._memory)
        for kind, file in _FILES.items():
            if not (self._keys / file).exists():
                write_once(self._keys / file, f"{made[kind].skey()}\n".encode(), 0o400)

    def exists(self) -> bool:
        """Tell whether there is a witness, complete."""
        return all((self._keys / file).exists() for file in _FILES.values())

    def read_keys(self) -> list[CosigningKey]:
        """Return the witness's keys, that of type 0x04 first.

        Raises:
            OperatorError: one is missing, malformed, or open to others; or they have different names.

        """
        found = []
        for file in _FILES.values():
            path = self._keys / file
            try:
                found.append(parse_cosigning_key(read_secret(path).decode().removesuffix("\n")))
            except (MalformedInputError, UnicodeDecodeError) as error:
                message = f"{path} is no key of a witness; bring back this witness's key"
                raise KeyMismatchError(message) from error
        if len({key.cosigner.name for key in found}) > 1:
            message = f"the keys in {self._keys} have different names; bring back this witness's own"
            raise KeyMismatchError(message)
        return found

    def state(self) -> WitnessState:
        """Open what the witness remembers.

        Raises:
            RollbackError: it is gone.

        """
        return WitnessState(self._memory)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be the one process that serves.

        Raises:
            OperatorError: another one is.

        """
        with (self._root / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                message = f"another process serves the witness in {self._root}; a witness is one process"
                raise OperatorError(message) from None
            yield

    def reject(self, body: bytes) -> None:
        """Keep a well-signed request that was refused, the newest thousand of them, each once."""
        directory = self._root / "rejected"
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / f"{sha256(body).hexdigest()}.request"
        if path.exists():
            path.touch()
            return
        path.write_bytes(body)
        kept = sorted(directory.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        for old in kept[:-_MAX_REJECTED]:
            old.unlink(missing_ok=True)

    @property
    def _keys(self) -> Path:
        return self._root / "keys"

    @property
    def _memory(self) -> Path:
        return self._root / "witness.sqlite3"
