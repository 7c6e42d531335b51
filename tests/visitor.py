"""Somebody in front of a browser, without the browser: asks the pages of a log in this process as Chromium would."""

from __future__ import annotations

import html
import json
import re
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2

from tlog.core.question import parse_question
from tlog.server.app import create_app
from tlog.server.guard.auth import Authenticator, new_token
from tlog.server.pages.address import Address
from tlog.server.pages.zones import zone_of
from tlog.storage.keys import ApiKeyStore

HERE = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
LINK = {**HERE, "Sec-Fetch-Site": "cross-site"}


async def make_key(log, principal="auditor", scopes=("read",), **options):
    """Store an API key; return its token and the key."""
    expires = log.clock() + timedelta(days=1)
    token, key = new_token(log.directory.pepper(), principal, scopes, log.clock(), expires, **options)
    await ApiKeyStore(log.database).add(key)
    return token, key


class Visitor:
    """Sends what a browser sends, keeps the cookie, and follows no redirect."""

    def __init__(self, log, app, url):
        self.log, self.app, self.url = log, app, url
        peer = ("127.0.0.1", 50_000)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, client=peer), base_url=url)

    async def get(self, path, headers=HERE, **parameters):
        return await self.client.get(path, params=parameters or None, headers=headers)

    async def post(self, path, headers=HERE, **fields):
        return await self.client.post(path, data=fields, headers={"Origin": self.url, **headers})

    async def sign_in(self, token, **fields):
        return await self.post("/ui/sign-in", key=token, **fields)

    async def journal(self, action=None):
        """Return (actor, action, query) of what the journal has, oldest first."""
        question = parse_question({"resourceType": "log", **({"action": action} if action else {})})
        answer = await self.log.searcher.ask(question, limit=1000)
        bodies = [
            {group: json.loads(each[16:]) for group, each in event.disclosures().items()} for event in answer.events
        ]
        told = [
            (body["actor"].get("userId"), entry.action, json.loads(body["resource"]["details"]["query"]))
            for body, entry in zip(bodies, answer.entries, strict=True)
        ]
        return told[::-1]


@asynccontextmanager
async def visiting(log, *, zone="UTC", public_url=None, url="http://127.0.0.1:8080"):
    authenticator = Authenticator(log.reader.api_key, log.directory.pepper(), log.clock)
    app = create_app(log, authenticator, pages_at=(Address(public_url), zone_of(zone)))
    visitor = Visitor(log, app, url)
    async with visitor.client:
        yield visitor
    await app.state.site.failures.close()


def rows_of(page, table="rows"):
    """Return the cells of each row of a table of a page."""
    body = re.search(rf'<table id="{table}".*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr.*?>(.*?)</tr>", body, re.DOTALL)
    return [[html.unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<td>(.*?)</td>", row)] for row in rows]
