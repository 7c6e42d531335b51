"""What needs no key: `--public checkpoint|proofs|all`."""

from __future__ import annotations

import httpx2
import pytest
from support import fill

from tlog.server.app import create_app
from tlog.server.guard.auth import Authenticator, new_token
from tlog.server.guard.public import is_public

pytestmark = pytest.mark.anyio
PATHS = {
    "/checkpoint": "checkpoint",
    "/chain": "checkpoint",
    "/v1/log": "checkpoint",
    "/v1/checkpoints": "checkpoint",
    "/tile/0/000.p/1": "proofs",
    "/v1/proof/inclusion?index=1": "proofs",
    "/v1/proof/consistency?from=1": "proofs",
    "/tile/entries/000.p/1": "all",
}
LEVELS = ["checkpoint", "proofs", "all"]


@pytest.mark.parametrize("level", LEVELS)
async def test_s1_what_is_not_public_is_for_readers(opened, level):
    async with opened() as log:
        await fill(log, 10)
        tokens = {}
        keys = {}
        for scope in ("append", "read"):
            tokens[scope], key = new_token(log.directory.pepper(), scope, [scope], log.clock())
            keys[key.key_id] = key

        async def find(key_id):
            return keys.get(key_id)

        authenticator = Authenticator(find, log.directory.pepper(), log.clock)
        app = create_app(log, authenticator, cors_origin="*", public=level)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://log") as client:
            assert (await client.get("/v1/log")).json()["public"] == level
            for path, needed in PATHS.items():
                private = LEVELS.index(needed) > LEVELS.index(level)
                answers = {
                    name: await client.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})
                    for name, token in {"nobody": None, **tokens}.items()
                }
                statuses = {name: answer.status_code for name, answer in answers.items()}
                assert (
                    statuses == {"nobody": 401, "append": 403, "read": 200}
                    if private
                    else set(statuses.values()) == {200}
                )
                cache = answers["read"].headers["cache-control"]
                assert (cache == "no-store") == private
                assert ("access-control-allow-origin" in answers["read"].headers) == (
                    not private and path != "/v1/checkpoints"
                )


def test_levels():
    for path, needed in PATHS.items():
        assert [is_public(level, path) for level in LEVELS] == [
            LEVELS.index(level) >= LEVELS.index(needed) for level in LEVELS
        ]
