"""Who is signed in on the pages, listed and signed out on the command line."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from support import tlog
from visitor import make_key, visiting

pytestmark = pytest.mark.anyio


async def test_sessions_are_listed_and_revoked(opened, location):
    environment = os.environ | {
        "TLOG_DATABASE": location.database,
        "TLOG_ADMIN_DATABASE": location.admin,
        "COLUMNS": "200",
    }

    async def run(*arguments, **options):
        data = ("--data", location.directory.root)
        return await asyncio.to_thread(tlog, "session", *arguments, *data, env=environment, **options)

    async with opened() as log, visiting(log) as visitor:
        token, key = await make_key(log, "auditor:b.kiss")
        await visitor.sign_in(token)
        secret = visitor.client.cookies["tlog"]
        listed = (await run("list", "--json")).stdout
        (session,) = json.loads(listed)
        assert (session["principal"], session["keyId"]) == ("auditor:b.kiss", key.key_id)
        assert secret not in listed
        assert session["session"] in (await run("list")).stdout
        assert (await visitor.get("/ui")).status_code == 200
        assert (await run("revoke", session["session"])).stdout == f"revoked {session['session']}\n"
        assert (await visitor.get("/ui")).status_code == 303
        again = await run("revoke", session["session"], check=False)
        assert (again.returncode, "there is no session" in again.stderr) == (2, True)
        await visitor.sign_in(token)
        assert (await visitor.get("/ui")).status_code == 200, "the key stays good"
