"""One connection of each kind of work leads, and its end is noticed by whoever wants to lead next."""

from __future__ import annotations

import asyncio

import pytest

from tlog.errors import OverloadedError
from tlog.storage.database import Database
from tlog.storage.index import IndexStore
from tlog.storage.sealing import SealStore

pytestmark = pytest.mark.anyio


async def test_one_connection_leads_until_it_ends(database):
    place = Database(database.service)
    one, two = await SealStore.open(place), await SealStore.open(place)
    assert (await one.lead(), await two.lead()) == (True, False)
    assert await one.lead(), "who leads, leads"
    await one.close()
    async with asyncio.timeout(5):
        while not await two.lead():  # noqa: ASYNC110 - the server ends the session in its own time
            await asyncio.sleep(0.01)
    await two.close()


async def test_sealing_and_indexing_are_led_apart(database):
    place = Database(database.service)
    sealing, indexing = await SealStore.open(place), await IndexStore.open(place)
    assert (await sealing.lead(), await indexing.lead()) == (True, True)
    await sealing.close()
    await indexing.close()


async def test_logs_of_one_cluster_are_led_apart(database, template, postgres):
    one = await SealStore.open(Database(database.service))
    with database.connect_admin() as admin:
        admin.execute(f"CREATE DATABASE {admin.info.dbname}_other TEMPLATE {template}")
        name = f"{admin.info.dbname}_other"
    other = await SealStore.open(Database(postgres.conninfo(user="tlog", dbname=name)))
    assert (await one.lead(), await other.lead()) == (True, True)
    await one.close()
    await other.close()
    with database.connect_admin() as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_connection_that_the_server_ended_is_an_overload(database):
    store = await SealStore.open(Database(database.service))
    assert await store.lead()
    with database.connect_admin() as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (store._connection.info.backend_pid,))
    with pytest.raises(OverloadedError):
        await store.lead()
    await store.close()
