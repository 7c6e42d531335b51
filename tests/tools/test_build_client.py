"""The wheel of tlog-client stands alone: no module but the standard library's, and text that Python 3.9 parses."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile

import build_client
import pytest
from support import find_python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_client.build(tmp_path_factory.mktemp("wheel"))


def test_it_is_small_and_the_same_each_time(wheel, tmp_path, capsys):
    assert wheel.stat().st_size <= 100_000
    assert build_client.main([str(tmp_path / "again")]) == 0
    (again,) = (tmp_path / "again").iterdir()
    assert capsys.readouterr().out == f"{again}\n"
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_it_can_be_installed(wheel, tmp_path):
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*command, "--target", tmp_path, wheel], check=True, capture_output=True, timeout=120)
    assert (tmp_path / "tlog_client" / "spool.py").exists()
    assert len([*tmp_path.glob("tlog_client-*.dist-info/METADATA")]) == 1


# Glue is not imported: it needs the framework that it is glue for.
ALONE = """
import logging
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import tlog_client
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
known = getattr(sys, "stdlib_module_names", None)
assert known is None or not loaded - {"tlog_client"} - known, loaded - known
slow = {"asyncio", "ctypes", "urllib.request"} & set(sys.modules)
assert not slow, slow
logging.getLogger("tlog_client").addHandler(logging.NullHandler())  # nobody answers there
log = tlog_client.AuditLog("http://127.0.0.1:9", "token", source="ehr-api", spool=sys.argv[2], flush_at_exit=0)
try:
    log.record("look", {"userId": "u"}, {"type": "a", "id": "b"})
except tlog_client.InvalidEventError as error:
    print(error.pointer, error.exit_code)
print(log.record("read", {"userId": "u"}, {"type": "a", "id": "b"}), log.health()["depth"])
"""


@pytest.mark.parametrize("minor", range(9, 14))
def test_it_works_without_anything_else(wheel, tmp_path, minor):
    python = find_python(minor)
    if python is None:
        pytest.skip(f"is not installed: Python 3.{minor}")
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    command = [python, "-I", "-S", "-c", ALONE, wheel, spool / "a"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("/action 2\n1 1\n", "")


def test_each_file_is_text_that_python_3_9_parses(wheel):
    with zipfile.ZipFile(wheel) as files:
        texts = {name: files.read(name) for name in files.namelist() if name.endswith(".py")}
    assert len(texts) >= 7
    for name, text in texts.items():
        ast.parse(text, name, feature_version=(3, 9))
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case 1:\n        pass", feature_version=(3, 9))


def test_errors_are_those_of_tlog(wheel):
    with zipfile.ZipFile(wheel) as files:
        assert files.read("tlog_client/errors_.py") == (build_client.ROOT / "tlog" / "errors.py").read_bytes()
        assert b"class OverloadedError" in files.read("tlog_client/errors_.py")
