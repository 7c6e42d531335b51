"""The file of what is set aside: one line for each, as it stood, for nobody else to read."""

from __future__ import annotations

import base64
import json
import stat

import pytest

from tlog.errors import MalformedInputError
from tlog.ingest.aside import AsideFile, Problem, set_aside_content


def line(content, **members):
    problem = Problem("x, line 1", "/Records/1", "/a", "a rule", lambda: content, **members)
    return json.loads(problem.line()), problem.line()


def test_a_record_stands_as_it_was_in_one_line():
    value, text = line(b'{"a":\r\n 1.50,\n"b":"\\n\xc3\xa9"}')
    assert value == {"place": "x, line 1", "pointer": "/a", "record": {"a": 1.5, "b": "\n\u00e9"}, "rule": "a rule"}
    assert list(value) == ["place", "pointer", "record", "rule"]
    assert b'"record":{"a":   1.50, "b":"\\n\xc3\xa9"}' in text
    assert text.count(b"\n") == 1


def test_what_is_no_json_stands_as_text_and_what_is_no_utf_8_as_base64():
    assert line(b"a,b\r\n\x00", is_json=False)[0]["text"] == "a,b\r\n\x00"
    assert base64.b64decode(line(b"\xff\x00", is_json=False)[0]["base64"]) == b"\xff\x00"


def test_names_of_files_that_are_no_utf_8():
    problem = Problem("\udcff.json", "", "", "r", lambda: b"{}")
    assert json.loads(problem.line())["place"] == "\udcff.json"


def test_a_problem_in_one_line():
    assert str(Problem("x", "/Records/1", "/a", "a rule", lambda: b"")) == "x: a rule (at /Records/1/a)"
    assert str(Problem("x", "", "", "a rule", lambda: b"")) == "x: a rule"


@pytest.mark.parametrize(
    "value, content",
    [
        ({"place": "p", "pointer": "", "rule": "r", "record": 1}, "record"),
        ({"place": "p", "pointer": "", "rule": "r", "text": "t"}, "text"),
        ({"place": "p", "pointer": "", "rule": "r", "base64": "AA=="}, "base64"),
        ({"place": "p", "pointer": "", "rule": "r", "base64": 1}, None),
        ({"place": "p", "pointer": "", "rule": "r", "other": "t"}, None),
        ({"place": "p", "pointer": "", "rule": "r"}, None),
        ({"place": "p", "pointer": "", "record": 1, "text": "t"}, None),
        (["place", "pointer", "rule", "record"], None),
        (None, None),
    ],
)
def test_lines_are_known_by_their_members(value, content):
    assert set_aside_content(value) == content


def test_the_file_is_new_and_closed_to_others(tmp_path):
    path = tmp_path / "aside"
    file = AsideFile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    problem = Problem("x", "", "", "r", lambda: b"{}")
    file.write(problem)
    size = file.tell()
    file.write(problem)
    file.cut(size)
    file.close(keep=True)
    assert path.read_bytes() == problem.line()
    with pytest.raises(MalformedInputError, match="exists already"):
        AsideFile(path)
    assert path.read_bytes() == problem.line()


def test_the_file_is_gone_if_it_is_not_needed(tmp_path):
    AsideFile(tmp_path / "aside").close(keep=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="No such file"):
        AsideFile(tmp_path / "nowhere" / "aside")
