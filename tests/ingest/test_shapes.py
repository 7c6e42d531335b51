"""The shapes of files: whatever stands around records, each is found, with its place and its text as it stood."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import sys

import pytest

from tlog.ingest import shapes
from tlog.ingest.shapes import DamagedFileError, Record, Skipped, expand, find_doubled, open_plain, read_pieces

A = {"eventID": "a", "n": 1}
B = {"eventID": "b", "s": 'x"\\{[\u20ac\n'}


class Trickle(io.BytesIO):
    """A stream that gives a few bytes at a time, as a decompressor may."""

    def read(self, size=-1):
        return super().read(min(7, size) if size > 0 else size)


def pieces(data, stream=io.BytesIO):
    return list(read_pieces(open_plain(stream(data))))


def found(data, *, cloudtrail=True):
    """Return (base, value or rule) of all that is in a file."""
    each = [record for piece in pieces(data) for record in expand(piece, cloudtrail=cloudtrail)]
    return [(record.base, record.rule or record.value) if isinstance(record, Record) else record for record in each]


def dump(value, **options):
    return json.dumps(value, ensure_ascii=False, **options).encode()


LINES = dump(A) + b"\n" + dump(B) + b"\n"
AROUND = {
    "one record": (dump(A), [("", A)]),
    "one record over several lines": (dump(A, indent=2), [("", A)]),
    "one per line": (LINES, [("", A), ("", B)]),
    "blank lines and line ends of DOS": (b"\r\n\n" + LINES.replace(b"\n", b"\r\n\r\n"), [("", A), ("", B)]),
    "concatenated": (dump(A) + dump(B), [("", A), ("", B)]),
    "concatenated over several lines": (dump(A, indent=1) + dump(B, indent=3), [("", A), ("", B)]),
    "text sequence of RFC 7464": (b"\x1e" + dump(A) + b"\n\x1e" + dump(B), [("", A), ("", B)]),
    "array": (dump([A, B]), [("/0", A), ("/1", B)]),
    "array over several lines": (dump([A, B], indent=1), [("/0", A), ("/1", B)]),
    "several arrays": (dump([A]) + dump([B]), [("/0", A), ("/0", B)]),
    "byte order mark": (b"\xef\xbb\xbf" + LINES, [("", A), ("", B)]),
    "byte order marks of joined files": (b"\xef\xbb\xbf" + dump(A) + b"\xef\xbb\xbf" + dump(B), [("", A), ("", B)]),
    "gzip": (gzip.compress(LINES), [("", A), ("", B)]),
    "gzip of joined files": (gzip.compress(dump(A)) + gzip.compress(dump(B)), [("", A), ("", B)]),
    "log file": (dump({"Records": [A, B]}), [("/Records/0", A), ("/Records/1", B)]),
    "empty log file": (dump({"Records": []}), []),
    "empty file": (b" \n", []),
    "EventBridge": (dump({"id": "1", "detail-type": "x", "detail": A}), [("/detail", A)]),
    "EventBridge, archived as array": (dump([{"detail": A}, {"detail": B}]), [("/0/detail", A), ("/1/detail", B)]),
    "lookup-events": (dump({"Events": [{"EventId": "a", "CloudTrailEvent": json.dumps(A)}]}), [("/Events/0/CloudTrailEvent", A)]),
    "CloudWatch Logs, subscription": (
        dump({"messageType": "DATA_MESSAGE", "logEvents": [{"id": "1", "message": json.dumps(A)}, {"message": json.dumps(B)}]}),
        [("/logEvents/0/message", A), ("/logEvents/1/message", B)],
    ),
    "CloudWatch Logs, get-log-events": (dump({"events": [{"message": json.dumps(A)}], "nextToken": "f"}), [("/events/0/message", A)]),
    "CloudWatch Logs, control message": (dump({"messageType": "CONTROL_MESSAGE", "logEvents": []}), [Skipped("control message")]),
    "EventBridge in CloudWatch Logs": (dump({"events": [{"message": json.dumps({"detail": A})}]}), [("/events/0/message/detail", A)]),
    "digest": (dump({"digestStartTime": "x", "logFiles": []}), [Skipped("digest")]),
    "set aside": (dump({"place": "p", "pointer": "", "record": A, "rule": "r"}), [("/record", A)]),
    "set aside as text": (dump({"place": "p", "pointer": "", "text": LINES.decode(), "rule": "r"}), [("/text", A), ("/text", B)]),
    "set aside whole": (
        dump({"place": "p", "pointer": "", "base64": base64.b64encode(gzip.compress(dump({"Records": [A]}))).decode(), "rule": "r"}),
        [("/base64/Records/0", A)],
    ),
    "what looks like it": (dump({"place": "p", "pointer": "", "text": 7, "rule": "r"}), [("", {"place": "p", "pointer": "", "text": 7, "rule": "r"})]),
    "a record with such a member": (dump({"eventID": "a", "Records": [B]}), [("", {"eventID": "a", "Records": [B]})]),
    "members of other types": (dump({"Records": {}, "Events": 1, "detail": "x", "message": 1}), [("", {"Records": {}, "Events": 1, "detail": "x", "message": 1})]),
}  # fmt: skip


@pytest.mark.parametrize("data, expected", AROUND.values(), ids=AROUND)
def test_shapes(data, expected):
    assert found(data) == expected
    if data[:2] != b"\x1f\x8b":
        assert found(gzip.compress(data)) == expected


@pytest.mark.parametrize("data", [data for data, _ in AROUND.values()], ids=AROUND)
def test_how_a_stream_is_cut_makes_no_difference(data, monkeypatch):
    whole = pieces(data)
    monkeypatch.setattr(shapes, "_CHUNK", 3)
    assert pieces(data) == whole
    if data[:2] != b"\x1f\x8b":
        assert pieces(data, Trickle) == whole


@pytest.mark.parametrize("data, expected", AROUND.values(), ids=AROUND)
def test_the_text_of_each_record_is_as_it_stood(data, expected):
    records = [each for piece in pieces(data) for each in expand(piece, cloudtrail=True) if isinstance(each, Record)]
    assert [json.loads(each.content()) for each in records] == [
        each[1] for each in expected if not isinstance(each, Skipped)
    ]


def test_text_is_as_it_stood_in_every_detail():
    inner = '{ "eventID" :"a", "n": 1.50e1,"u":"\\u00e9",  "b": [ ] }'
    data = f'[\n {{"detail": {inner}}} ,{{"Records" : [ 7, {inner}  , {inner}]}}]'.encode()
    (piece,) = pieces(data)
    records = [each for each in expand(piece, cloudtrail=True) if isinstance(each, Record)]
    assert [each.content() for each in records] == [inner.encode(), b"7", inner.encode(), inner.encode()]


def test_other_importers_know_no_envelopes_of_cloudtrail():
    for data in (dump({"Records": [A]}), dump({"detail": A}), dump({"message": "x"}), dump({"digestStartTime": "x"})):
        assert found(data, cloudtrail=False) == [("", json.loads(data))]
    assert found(dump([A, B]), cloudtrail=False) == [("/0", A), ("/1", B)]


DAMAGE = {
    "a line": (dump(A) + b'\n{"eventID": oops}\n' + dump(B), [A, shapes.NO_JSON, B], [1, 2, 3]),
    "a line that is cut": (dump(A) + b'\n{"a": {"b": 1\n' + dump(B) + b"\n", [A, shapes.NO_JSON, B], [1, 2, 3]),
    "a list that is cut": (b'{"a": [1,\n' + dump(A) + b"\n" + dump(B) + b"\n", [shapes.NO_JSON, A, B], [1, 2, 3]),
    "the last line": (dump(A) + b'\n{"eventID": "b', [A, shapes.NO_JSON], [1, 2]),
    "after a text": (dump(A) + b" oops\n" + dump(B), [A, shapes.NO_JSON, B], [1, 1, 2]),
    "several lines": (b'{\n "a": 1,\n "b": oops\n}\n' + dump(B, indent=1), [shapes.NO_JSON, B], [1, 5]),
    "a line that is no UTF-8": (dump(A) + b'\n{"a": "\xff"}\n' + dump(B), [A, shapes.NO_UTF8, B], [1, 2, 3]),
    "a line of garbage that is no UTF-8": (b"\xff\xfa\n" + dump(B), [shapes.NO_UTF8, B], [1, 2]),
    "a table": (b"a,b\n1,2\n", [shapes.NO_JSON], [1]),
    "values that are no records": (b'7\n"x"\n', [shapes.NO_JSON], [1]),
    "brackets without end": (b"[" * 5000, [shapes.NO_JSON], [1]),
    "a cut log file": (dump({"Records": [A, B]})[:-2], [shapes.NO_JSON], [1]),
}  # fmt: skip


@pytest.mark.parametrize("data, values, lines", DAMAGE.values(), ids=DAMAGE)
def test_damage_stops_at_the_next_line_that_begins_with_a_bracket(data, values, lines, monkeypatch):
    for chunk in (1 << 18, 3):
        monkeypatch.setattr(shapes, "_CHUNK", chunk)
        got = pieces(data)
        assert [piece.rule or piece.value for piece in got] == values
        assert [piece.line for piece in got] == lines
        kept = [each.content() for piece in got for each in expand(piece, cloudtrail=True) if each.rule]
        assert all(content in data for content in kept)


def test_pieces_of_many_lines_and_of_many_chunks(monkeypatch):
    """Every file that is cut anywhere gives its whole records, and no others."""
    monkeypatch.setattr(shapes, "_CHUNK", 64)
    records = [{"eventID": str(k), "t": "x" * (k % 50), "l": [{}] * (k % 7)} for k in range(200)]
    for indent in (None, 2):
        data = b"\n".join(dump(record, indent=indent) for record in records)
        assert [piece.value for piece in pieces(data)] == records
        for seed in range(20):
            cut = random.Random(seed).randrange(len(data))
            values = [piece.value for piece in pieces(data[:cut]) if not piece.rule]
            assert values == records[: len(values)]


@pytest.mark.parametrize(
    "text, expected",
    [
        (dump({"CloudTrailEvent": "no JSON"}), [("", shapes.NO_JSON)]),
        (dump({"CloudTrailEvent": ""}), [("", shapes.NO_JSON)]),
        (json.dumps({"message": '{"a":"\ud800"}'}).encode(), [("", shapes.NO_UTF8)]),
        (dump({"place": "", "pointer": "", "rule": "", "base64": "?"}), [("", "this is not base64")]),
        (dump({"place": "", "pointer": "", "rule": "", "text": "no JSON"}), [("/text", shapes.NO_JSON)]),
        (
            dump({"place": "", "pointer": "", "rule": "", "base64": base64.b64encode(b"\x1f\x8bx").decode()}),
            [("/base64", shapes.DAMAGED_GZIP)],
        ),
    ],
)
def test_texts_in_texts(text, expected):
    assert found(text) == expected


def test_what_was_set_aside_whole_and_is_still_damaged_stays_as_it_was():
    line = dump({"place": "", "pointer": "", "rule": "", "base64": base64.b64encode(b"\x1f\x8b\xff").decode()})
    (piece,) = pieces(line)
    (record,) = expand(piece, cloudtrail=True)
    assert (record.content(), record.is_json) == (b"\x1f\x8b\xff", False)


def test_a_member_name_that_stands_twice():
    assert found(b'{"eventID":"a","x/y":1,"x/y":2}') == [("", shapes.DOUBLED)]
    assert found(b'{"Records":[],"Records":[{"eventID":"a"}]}') == [("", shapes.DOUBLED)]
    assert found(b'{"Records":[{"eventID":"a","b":[{"c":1,"c":1}]},{"eventID":"b"}]}') == [
        ("/Records/0", shapes.DOUBLED),
        ("/Records/1", {"eventID": "b"}),
    ]
    (piece,) = pieces(b'[{"a":{"x/y":1,"x/y":2}},1]')
    assert find_doubled(piece.value) == "/0/a/x~1y"
    assert [each.pointer for each in expand(piece, cloudtrail=True)] == ["/a/x~1y", ""]


def test_numbers_keep_their_text():
    (piece,) = pieces(b'{"a":99999999999999.99,"b":12345678901234567890,"c":1.50,"d":NaN,"e":7}')
    assert piece.value == {"a": "99999999999999.99", "b": "12345678901234567890", "c": 1.5, "d": "NaN", "e": 7}


def test_what_is_nested_deeper_than_the_stack():
    deep = sys.getrecursionlimit() * 3
    data = b'{"eventID":"a","x":' + b"[" * deep + b'{"t":"]"}' + b"]" * deep + b',"y":[1]}' + dump(B)
    first, second = pieces(data)
    assert (first.value["y"], second.value) == ([1], B)
    value = first.value["x"]
    for _ in range(198):
        (value,) = value
    assert value == "[" * (deep - 198) + '{"t":"]"}' + "]" * (deep - 198)
    (record,) = expand(first, cloudtrail=True)
    assert record.content() == first.text.encode()
    wrapped = b'{"Records":[' + first.text.encode() + b"]}"
    (record,) = (each for piece in pieces(wrapped) for each in expand(piece, cloudtrail=True))
    assert json.loads(record.content())["eventID"] == "a"


def test_envelopes_are_opened_to_a_bound():
    value = A
    for _ in range(20):
        value = [value]
    ((base, inner),) = found(dump(value))
    assert (base, inner) == ("/0" * 8, [[[[[[[[[[[[A]]]]]]]]]]]])


@pytest.mark.parametrize(
    "data",
    [b"\x1f\x8bdamaged", gzip.compress(LINES)[:-9], gzip.compress(LINES)[:-8] + bytes(8), gzip.compress(LINES) + b"x"],
    ids=["header", "cut", "checksum", "garbage after it"],
)
def test_damaged_gzip_is_one_error(data):
    with pytest.raises(DamagedFileError, match=shapes.DAMAGED_GZIP):
        pieces(data)
    with pytest.raises(DamagedFileError, match=shapes.DAMAGED_GZIP):
        list(iter(open_plain(io.BytesIO(data)).readline, b""))


def test_flipped_and_cut_gzip_is_one_error_or_none():
    """zlib.error, EOFError and BadGzipFile come from the same damage, as the position decides."""
    good = gzip.compress(LINES * 50)
    names = set()
    flipped = [good[:k] + bytes([good[k] ^ 1 << k % 8]) + good[k + 1 :] for k in range(2, len(good))]
    for data in flipped + [good[:k] for k in range(2, len(good))]:
        try:
            pieces(data)
        except DamagedFileError as error:
            names.add(type(error.__context__).__name__)
    assert names == {"error", "EOFError", "BadGzipFile"}


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf_16_is_named(mark):
    with pytest.raises(DamagedFileError, match="UTF-16"):
        pieces(mark + "{}".encode("utf-16-le"))


def test_what_has_no_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(shapes, "MAX_PIECE", 1000)
    monkeypatch.setattr(shapes, "_CHUNK", 100)
    assert len(pieces((dump(A) + b"\n") * 1000)) == 1000
    for data in (b'{"a":[' + b"1," * 2000, b"x" * 5000):
        with pytest.raises(DamagedFileError, match="no JSON text ends within"):
            pieces(data)


class Counting(io.BytesIO):
    """A stream that counts how much is read."""

    total = 0

    def read(self, size=-1):
        data = super().read(size)
        self.total += len(data)
        return data


def test_lines_stream(monkeypatch):
    """A file larger than memory gives its first record before the rest is read."""
    monkeypatch.setattr(shapes, "_CHUNK", 1000)
    for data in (LINES * 5000, (dump(A) + dump(B)) * 5000, dump(A, indent=1) * 9000):
        stream = Counting(data)
        next(read_pieces(open_plain(stream)))
        assert stream.total < 3000
