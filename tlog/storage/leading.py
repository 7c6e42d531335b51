"""The connection for work that one process of a log does at a time: sealing, indexing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from tlog.storage.connection import translated
from tlog.storage.queries import QUERIES

if TYPE_CHECKING:
    from tlog.storage.connection import Connection, Role
    from tlog.storage.database import Database


class LeadingStore:
    """A store over one connection of its own, which may lead by holding an advisory lock."""

    role: ClassVar[Role]
    lock: ClassVar[int]

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, database: Database) -> Self:
        """Return a store with a new connection.

        Raises:
            OverloadedError: the database cannot be reached.

        """
        return cls(await database.connect(cls.role))

    async def close(self) -> None:
        """Close the connection, and with it give up leading."""
        await self._connection.close()

    async def lead(self) -> bool:
        """Try to become the leader of this kind of work; tell whether this connection leads."""
        with translated():
            cursor = await self._connection.execute(QUERIES["lead"], {"lock": self.lock})
            row = await cursor.fetchone()
            return row is not None and bool(row[0])
