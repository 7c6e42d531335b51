"""The watermark: how far this process has seen the log be durable, so that a database that went back is noticed at once.

An older copy of the database, or a replica that lagged when it was promoted, continues the log as if nothing had been there:
the indexes that were acknowledged would be given a second time. Whoever appends therefore compares, under the lock and before
anything is written, what the log continues now with what this process saw committed last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlog.errors import RollbackError

if TYPE_CHECKING:
    from tlog.storage.appending import Append
    from tlog.storage.rows import State


class Watermark:
    """Size and chain hash after the last commit that this process saw succeed; at the start, what is anchored.

    A state that is read under the lock does not raise the watermark: another process may have made it, and it may be visible
    without being durable. No error takes the watermark back. `risen` says whether this process saw a commit succeed at all.
    """

    def __init__(self, size: int, chain_hash: bytes) -> None:
        self._size = size
        self._chain_hash = chain_hash
        self.risen = False

    def rise(self, end: State) -> None:
        """Note that everything up to a state is committed."""
        if end.size > self._size:
            self._size, self._chain_hash, self.risen = end.size, end.chain_hash, True

    async def check(self, append: Append) -> None:
        """Check that an open transaction continues what this process saw committed; nothing has been written in it.

        Raises:
            RollbackError: it does not.

        """
        state = append.state
        if state.size < self._size:
            message = (
                f"ROLLBACK db={state.size} acknowledged={self._size}: the database went back, so acknowledged entries are "
                "missing. An older copy or a replica that lagged has taken its place. Bring back the newest copy of the "
                "database; never continue from the older one"
            )
            raise RollbackError(message)
        chain_hash: bytes | None = state.chain_hash
        if state.size > self._size:
            # Others have appended. Whether they continued the same log is asked where another server may answer: once for each
            # connection.
            if not append.new_connection or not self._size:
                return
            chain_hash = await append.chain_hash_after(self._size)
        if chain_hash != self._chain_hash:
            message = (
                f"ROLLBACK: the database holds other entries below {self._size} than this process has acknowledged or signed; a "
                "replica that lagged has taken its place. Bring back the database that was in use before"
            )
            raise RollbackError(message)
