"""The options of `tlog ingest`: what they mean, and what is refused before anything is asked of a broker."""

from __future__ import annotations

import pytest
from support import tlog

from tlog.cli import ingest
from tlog.errors import MalformedInputError, OperatorError


@pytest.mark.parametrize(
    "text, numbers",
    [("0", {0}), ("0-3,7", {0, 1, 2, 3, 7}), ("5-5", {5}), ("1,1", {1})],
)
def test_partitions(text, numbers):
    assert ingest._read_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "01", "+1", "0,", "0-999999999", "\u0663"])
def test_texts_that_are_no_partitions(text):
    with pytest.raises(MalformedInputError):
        ingest._read_numbers(text)


def test_offsets_and_gaps():
    assert ingest._read_places("--from-offset", ["0=7", "3=0"], ranges=False) == {0: (7, 7), 3: (0, 0)}
    assert ingest._read_places("--accept-gap", ["0=7-9"], ranges=True) == {0: (7, 9)}
    for text, ranges in (
        ("0", False),
        ("0=7-9", False),
        ("0=7", True),
        ("=7-9", True),
        ("0=-9", True),
        ("x=1-2", True),
    ):
        with pytest.raises(MalformedInputError):
            ingest._read_places("--x", [text], ranges=ranges)


def test_one_place_to_begin():
    wishes = ingest._read_wishes("0-1", ["0=7", "1=8"], ["0=1-2"], beginning=False, end=False)
    assert (wishes.partitions, wishes.start, wishes.gaps) == ({0, 1}, {0: 7, 1: 8}, {0: (1, 2)})
    assert ingest._read_wishes(None, [], [], beginning=True, end=False).start == "beginning"
    assert ingest._read_wishes(None, [], [], beginning=False, end=True).start == "end"
    for beginning, end, offsets in ((True, True, []), (True, False, ["0=1"]), (False, True, ["0=1"])):
        with pytest.raises(MalformedInputError, match="exclude each other"):
            ingest._read_wishes(None, offsets, [], beginning=beginning, end=end)


def test_the_address_of_metrics():
    assert ingest._read_address("127.0.0.1:9108") == ("127.0.0.1", 9108)
    assert ingest._read_address("[::1]:0") == ("::1", 0)
    for text in ("9108", ":9108", "host:", "host:x", "host:70000", "host:\u0663"):
        with pytest.raises(MalformedInputError, match="HOST:PORT"):
            ingest._read_address(text)


def test_properties_from_a_file(tmp_path):
    path = tmp_path / "kafka.properties"
    path.write_text("# how to prove who one is\n\nsasl.mechanism=SCRAM-SHA-512\nsasl.password = a=b \n")
    path.chmod(0o644)
    with pytest.raises(OperatorError, match="chmod 600"):
        ingest.read_kafka_config(path)
    path.chmod(0o600)
    assert ingest.read_kafka_config(path) == {"sasl.mechanism": "SCRAM-SHA-512", "sasl.password": "a=b"}


@pytest.mark.parametrize(
    "text, words",
    [
        ("isolation.level=read_uncommitted", "isolation.level cannot be set: tlog sets it itself"),
        ("group.id=mine", "group.id cannot be set: tlog sets it itself"),
        ("plugin.library.paths=evil.so", "plugin.library.paths cannot be set: it is not among"),
        ("ssl.engine.location=evil.so", "ssl.engine.location cannot be set: it is not among"),
        ("sasl.mechanism=GSSAPI", "sasl.mechanism is one of OAUTHBEARER, PLAIN"),
        ("sasl.password", "line 1 is not NAME=VALUE"),
        ("client.id=a\nclient.id=b", "line 2 is not NAME=VALUE, or names a property a second time"),
    ],
)
def test_properties_that_are_refused(tmp_path, text, words):
    path = tmp_path / "kafka.properties"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(MalformedInputError, match=words):
        ingest.read_kafka_config(path)


def test_what_is_refused_before_a_broker_is_asked(tmp_path):
    data = ("--data", tmp_path / "nowhere", "--bootstrap", "127.0.0.1:1", "--topic", "t")
    for options, words in (
        (("--action-map", "x.toml"), "goes with --format cloudevents"),
        (("--from-beginning", "--from-end"), "exclude each other"),
    ):
        done = tlog("ingest", "kafka", *data, *options, check=False)
        assert done.returncode == 2
        assert words in done.stderr
