"""What pages are made of: files of our own, a policy that lets in nothing else, and no way around escaping."""

from __future__ import annotations

import re

import jinja2
import pytest
from support import ROOT
from visitor import make_key, visiting

from tlog.server.pages import assets
from tlog.server.pages.assets import STATIC

pytestmark = pytest.mark.anyio
ROOM = ROOT / "tlog" / "server" / "pages"


async def test_pages_have_a_policy_of_their_own_and_everything_else_has_the_general_one(opened):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        for path in ("/ui", "/ui/sign-in", "/ui/nothing", "/ui?userId=x"):
            headers = (await visitor.get(path)).headers
            (policy,) = headers.get_list("content-security-policy")
            assert "script-src 'self'; style-src 'self'" in policy
            assert "trusted-types 'none'" in policy
            assert "unsafe" not in policy
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers.get_list("referrer-policy") == ["same-origin"]
            assert "access-control-allow-origin" not in headers
        (general,) = (await visitor.get("/v1/log")).headers.get_list("content-security-policy")
        assert "script-src" not in general


async def test_static_files_are_kept_for_ever_under_their_hash(opened):
    async with opened() as log, visiting(log) as visitor:
        for name, kind in (("verify.js", "text/javascript"), ("page.js", "text/javascript"), ("tlog.css", "text/css")):
            answer = await visitor.client.get(f"{STATIC}/{name}")
            assert answer.content == (ROOM / "static" / name).read_bytes()
            assert answer.headers["content-type"].startswith(kind)
            assert "immutable" in answer.headers["cache-control"]
        for path in (
            f"{STATIC}/nothing.js",
            "/ui/static/000000000000/verify.js",
            f"{STATIC}/..%2f__init__.py",
            f"{STATIC}/",
        ):
            assert (await visitor.client.get(path)).status_code == 404


def test_what_a_template_lacks_is_an_error_and_no_empty_text():
    with pytest.raises(jinja2.UndefinedError):
        assets.page("problem.html", title="x")


def test_no_template_goes_around_escaping_or_holds_a_script_or_style():
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOM / "templates").iterdir()}
    assert len(texts) > 5
    for name, text in texts.items():
        assert not re.search(r"\|\s*safe|autoescape|<style|style=|\son\w+=|Markup", text), name
        assert all(re.search(r' src="{{ static }}/', tag) for tag in re.findall(r"<script[^>]*>", text)), name
        assert not re.search(r"=\{\{|= \{\{", text), f"{name}: an attribute without quotes"
    script = (ROOM / "static" / "page.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", script)
