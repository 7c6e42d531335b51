"""Each condition of tools/verify.py alone: inputs that break one rule and keep all others, and those just within it.

As tests/core/test_single_conditions.py for tlog's own verifier: whoever cheats signs whatever suits.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from hashlib import sha256

import bundles
import pytest
import reference
from bundles import b64, b64url, canonical, file_of, sample_log
from core import test_single_conditions as single
from offline import (
    BAD_DISCLOSURES,
    BAD_ENTRIES,
    BAD_FILES,
    ENTRIES,
    GOOD_ENTRY,
    GOOD_STRANGERS,
    ORIGIN,
    check_evidence,
    check_fraud,
    checkpoint_note,
    control,
    disclosure,
    event,
    event_file,
    export,
    growth_file,
    many,
    proof_file,
    stranger,
    verify,
    vkey_of,
)

MAX_SIZE = 9_223_372_036_854_775_807
MIB, P, LINE = single.MIB, single.P, single.LINE
L = 2**252 + 27742317777372353535851937790883648493
VKEY = vkey_of()
LOG = sample_log()


def malformed(match=None):
    return pytest.raises(verify.MalformedError, match=match)


def refused(match=None):
    return pytest.raises(verify.VerificationError, match=match)


# --- Parsing ---------------------------------------------------------------------------------------------------------


def test_numbers_end_at_2_to_the_63():
    assert verify.parse_decimal(b"%d" % MAX_SIZE, "n") == MAX_SIZE
    assert verify.fits(MAX_SIZE, int)
    assert verify.fits(0, int)
    with malformed():
        verify.parse_decimal(b"%d" % (MAX_SIZE + 1), "n")
    for value in (MAX_SIZE + 1, -1, True, 1.0, "1", None):
        assert not verify.fits(value, int)


def test_a_form_is_exact():
    form = {"a": [(int, str)], "b": {"c": dict}, "d": "x", "v": 1}
    right = {"a": [[1, "y"], [2, ""]], "b": {"c": {"e": 1}}, "d": "x", "v": 1}
    assert verify.fits(right, form)
    assert verify.fits(right | {"a": []}, form)
    for name, value in (
        ("a", [[1, "y", 2]]), ("a", [[1]]), ("a", [["y", 1]]), ("a", {}), ("a", ""), ("a", [[True, "y"]]), ("a", [{}]),
        ("b", {}), ("b", {"c": []}), ("b", {"c": {}, "d": {}}), ("b", []), ("d", "y"), ("d", ["x"]), ("v", True), ("v", 1.0),
        ("v", 2), ("v", "1"), ("w", 1),
    ):  # fmt: skip
        assert not verify.fits(right | {name: value}, form), (name, value)
    assert not verify.fits([], form)


def test_a_form_has_members_that_may_be_absent():
    form = {"a?": str, "b": [], "c?": [int]}
    for value in ({"b": []}, {"a": "", "b": []}, {"b": [], "c": [1]}, {"a": "", "b": [], "c": []}):
        assert verify.fits(value, form)
    for value in (
        {},
        {"a": ""},
        {"b": [1]},
        {"b": [None]},
        {"a": None, "b": []},
        {"a?": "", "b": []},
        {"b": [], "x": 1},
        {"b": [], "c": [""]},
    ):
        assert not verify.fits(value, form), value


NUMBERS = {  # RFC 8785 appendix B, and the ends of the ways in which numbers are written
    "0000000000000000": "0", "8000000000000000": "0", "0000000000000001": "5e-324", "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308", "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992", "c340000000000000": "-9007199254740992", "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22", "44b52d02c7e14af6": "1e+23", "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000", "444b1ae4d6e2ef4f": "999999999999999900000", "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7", "3eb0c6f7a0b5ed8d": "0.000001", "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325", "41b3de4355555555": "333333333.3333333", "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343", "becbf647612f3696": "-0.0000033333333333333333", "43143ff3c1cb0959": "1424953923781206.2",
}  # fmt: skip


@pytest.mark.parametrize("bits", NUMBERS)
def test_a_number_is_written_as_rfc_8785_says(bits):
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert verify.canonical(value) == NUMBERS[bits]
    data = f'{{"n":{NUMBERS[bits]}}}'.encode()
    assert verify.parse_json(data, "x")["n"] == value
    for other in (f"{NUMBERS[bits]}.0", f"0{NUMBERS[bits]}", f"{NUMBERS[bits]} "):
        with malformed():
            verify.parse_json(f'{{"n":{other}}}'.encode(), "x")


def test_members_stand_in_the_order_of_utf_16():
    assert verify.canonical({"\ue000": 1, "\U0001f600": 2, "a": [{}, []]}) == '{"a":[{},[]],"\U0001f600":2,"\ue000":1}'
    assert verify.canonical('\x00\x1f"\\\x7f\u2028é') == '"\\u0000\\u001f\\"\\\\\x7f\u2028é"'


def test_base64url_is_text_in_its_own_alphabet():
    assert verify.parse_base64url("-" * 21 + "A", "x", 16) == bytes.fromhex("fbefbe" * 5 + "f8")
    for value in ("+" * 21 + "A", "/" * 21 + "A", 5, None, b"-" * 21 + b"A", "-" * 21 + "=", "é" * 22):
        with malformed("is not base64url"):
            verify.parse_base64url(value, "x", 16)


def test_a_member_in_base64_is_text():
    assert verify.decode("None", "x") == bytes.fromhex("3689de")
    for value in (None, 5, ["None"]):
        with malformed("is not text"):
            verify.decode(value, "x")


@pytest.mark.parametrize(
    "data", [b'{"b":1,"a":2}', b'{"a":NaN}', b'{"a":Infinity}', b"[]", b"5", b"null", b"", b"\xff"]
)
def test_json_is_an_object_in_canonical_form(data):
    assert verify.parse_json(b'{"a":2,"b":1}', "x") == {"a": 2, "b": 1}
    with malformed("canonical form"):
        verify.parse_json(data, "x")


def test_a_note_has_at_most_100_signatures():
    assert len(verify.split_note(b"text\n\n" + LINE * 100)[1]) == 100
    with malformed("1 to 100"):
        verify.split_note(b"text\n\n" + LINE * 101)


def test_a_signature_has_a_byte_behind_its_key_id():
    line = "— a ".encode() + b64(b"1234").encode() + b"\n"
    assert verify.split_note(b"text\n\n" + LINE) == (b"text\n", [("a", b"1234", b"5")])
    with malformed("nothing after it"):
        verify.split_note(b"text\n\n" + line)


@pytest.mark.parametrize("note", [LINE, b"text\n" + LINE, b"text\n\n", b"text\n\n" + LINE[:-1], b"text\n\nx\n"])
def test_a_note_has_text_an_empty_line_and_signatures(note):
    with malformed():
        verify.split_note(note)


HASH = b64(bytes(32)).encode() + b"\n"
TLOG_PROOF = b"c2sp.org/tlog-proof@v1\n"


def test_a_proof_has_at_most_63_hashes():
    for count in (0, 1, 63):
        assert len(verify.parse_proof(b"old 1\n" + HASH * count + b"\nx", b"old ")[1]) == count
        assert len(verify.parse_proof(TLOG_PROOF + b"index 1\n" + HASH * count + b"\nx", b"index ")[1]) == count
    with malformed("at most 63"):
        verify.parse_proof(b"old 1\n" + HASH * 64 + b"\nx", b"old ")


@pytest.mark.parametrize(
    "data", [b"old 1\n\n", b"old 1\n", b"", b"\n\nx", b"ld 1\n\nx", b"index 1\n\nx", HASH + b"\nx"]
)
def test_a_consistency_proof_has_its_line_and_a_checkpoint(data):
    with malformed():
        verify.parse_proof(data, b"old ")


@pytest.mark.parametrize("rest", [b"\nx", b"extra YWJj\n\nx", b"index 1\n\n", b"old 1\n\nx", b"extra *\nindex 1\n\nx"])
def test_an_inclusion_proof_has_its_lines(rest):
    assert verify.parse_proof(TLOG_PROOF + b"extra YWJj\nindex 1\n\nx", b"index ") == (1, [], b"x")
    with malformed():
        verify.parse_proof(TLOG_PROOF + rest, b"index ")


def test_a_sequence_number_is_below_2_to_the_53():
    entry = json.loads(event(5)[0])
    for number in (0, 2**53 - 1):
        data = event(5, source={"id": "a", "seq": number})[0]
        assert verify.parse_entry(data)["seq"] == str(number)
    assert verify.parse_entry(canonical(entry).encode())["seq"] is None
    with malformed():
        verify.parse_entry(event(5, source={"id": "a", "seq": 2**53})[0])


@pytest.mark.parametrize("name", [name for name in BAD_ENTRIES if name != "a control entry"])
def test_a_bad_entry_is_named_as_that(name):
    assert verify.parse_entry(control())["type"] == "index-keys"
    with malformed():
        verify.parse_entry(BAD_ENTRIES[name])


@pytest.mark.parametrize("name", GOOD_STRANGERS)
def test_an_entry_of_a_later_type_is_one(name):
    entry = verify.parse_entry(GOOD_STRANGERS[name])
    assert (entry["known"], "eventId" in entry) == (False, False)


def test_an_entry_ends_at_65535_bytes():
    fill = 65_535 - len(stranger(note=""))
    assert len(stranger(note="x" * fill)) == 65_535
    assert verify.parse_entry(stranger(note="x" * fill))["type"] == "later"
    with malformed("at most 65535 bytes"):
        verify.parse_entry(stranger(note="x" * (fill + 1)))


def test_keys_have_the_names_of_what_they_are_of():
    entry, _ = event(5, related=[{"id": "P-9", "type": "a"}] * 1, operation="o", source={"id": "s", "seq": 1})
    named = verify.parse_entry(entry)["keys"]
    assert [*named] == ["actor", "resource", "action", "operation", "source", "related/0"]
    assert named["operation"] == verify.public_key("operation", "o") != verify.public_key("source", "o")
    assert [*verify.parse_entry(stranger())["keys"]] == ["control", "any/1", "any/2"]
    assert [*verify.parse_entry(canonical({**GOOD_ENTRY, "v": 2}).encode())["keys"]] == ["any/0", "any/1", "any/2"]
    assert verify.parse_entry(control())["keys"] == {}


OF_FILES = {
    **BAD_FILES,
    **{name: each for name, each in BAD_DISCLOSURES.items() if each[1] == 2 and "does not have" not in name},
}


@pytest.mark.parametrize("name", OF_FILES)
def test_a_bad_event_file_is_named_as_that(name):
    data, _ = OF_FILES[name]
    with malformed():
        verify.parse_event_file(data)


@pytest.mark.parametrize(
    "disclosures",
    [{"actor": 1}, {"actor": ["body", "salt"]}, {"actor": {"body": "", "salt": "A" * 22, "x": 1}}, {"actor": {}},
     {"x": {"body": "", "salt": "A" * 22}}, {"actor": {"body": 1, "salt": "A" * 22}}, {"actor": {"body": "", "salt": 1}},
     {"related/2": {"body": "", "salt": "A" * 22}}, {"related/01": {"body": "", "salt": "A" * 22}}],
)  # fmt: skip
def test_a_disclosure_has_body_and_salt(disclosures):
    entry = verify.parse_entry(event(5, related=[{"id": "P-9", "type": "a"}, {"id": "P-8", "type": "a"}])[0])
    right = {"related/1": {"body": "r", "salt": "A" * 22}, "actor": {"body": "", "salt": "A" * 22}}
    assert [*verify.parse_disclosures(right, entry["commitments"]).items()] == [
        ("actor", (bytes(16), "")),
        ("related/1", (bytes(16), "r")),
    ]
    with malformed():
        verify.parse_disclosures(disclosures, entry["commitments"])


def test_a_vkey_has_its_form_and_type():
    with malformed("has the form"):
        verify.parse_vkey("a+b+c")
    public = VKEY.split("+", 2)[2]
    key = verify.parse_base64(public.encode(), "key", 33)[1:]
    for kind, right in ((b"\1", True), (b"\2", False), (b"\0", False)):
        key_id = sha256(ORIGIN.encode() + b"\n" + kind + key).hexdigest()[:8]
        vkey = f"{ORIGIN}+{key_id}+{b64(kind + key)}"
        if right:
            assert verify.parse_vkey(vkey) == (ORIGIN, bytes.fromhex(key_id), key)
        else:
            with malformed("not an Ed25519 key"):
                verify.parse_vkey(vkey)


def test_a_file_may_be_as_long_as_the_limit(tmp_path):
    path = tmp_path / "file"
    for size in (0, 4, 5):
        path.write_bytes(b"x" * size)
        assert verify.read(path, 5) == b"x" * size
    for size in (6, 7, 100):
        path.write_bytes(b"x" * size)
        with malformed("longer than 5 bytes"):
            verify.read(path, 5)
    assert (verify.MAX_FILE, verify.MAX_BUNDLE) == (MIB, 32 * MIB)


# --- Proofs and signatures -------------------------------------------------------------------------------------------


def test_the_largest_tree():
    leaf, hashes = bytes(32), [bytes([number]) * 32 for number in range(63)]
    root = single.climbed(leaf, hashes)
    verify.verify_inclusion(0, MAX_SIZE, leaf, hashes, root)
    with refused("index is not below"):
        verify.verify_inclusion(0, MAX_SIZE + 1, leaf, hashes, root)
    verify.verify_consistency(MAX_SIZE, MAX_SIZE, root, root, [])
    with refused("older tree is larger"):
        verify.verify_consistency(MAX_SIZE + 1, MAX_SIZE + 1, root, root, [])


def test_a_hash_has_32_bytes():
    """Else bytes could move from one to the next, and the whole would be hashed to the same."""
    leaf, sibling = b"1" * 32, b"2" * 32
    root = single.climbed(leaf, [sibling])
    verify.verify_inclusion(0, 2, leaf, [sibling], root)
    for arguments in ((0, 2, leaf + b"2", [sibling[1:]], root), (0, 2, leaf[:-1], [b"1" + sibling], root)):
        with refused("32 bytes"):
            verify.verify_inclusion(*arguments)
    with refused("32 bytes"):
        verify.verify_inclusion(0, 1, leaf[1:], [], leaf[1:])
    with refused("32 bytes"):
        verify.verify_consistency(1, 1, leaf[1:], leaf[1:], [])
    verify.verify_consistency(1, 2, leaf, root, [sibling])
    with refused("32 bytes"):
        verify.verify_consistency(1, 2, leaf + b"2", root, [sibling[1:]])


def test_leaves_that_are_proved_together_are_all_in_the_tree():
    leaf, stranger = b"1" * 32, b"2" * 32
    verify.verify_joint(1, {0: leaf}, "", leaf, "it")
    for leaves in ({-1: stranger, 0: leaf}, {0: leaf, 1: stranger}, {0: leaf, 5: stranger}, {}, {0: stranger}):
        with refused("proof of it"):
            verify.verify_joint(1, leaves, "", leaf, "it")
    pair = single.climbed(leaf, [stranger])
    verify.verify_joint(2, {0: leaf}, b64(stranger), pair, "it")
    verify.verify_joint(2, {0: leaf, 1: stranger}, "", pair, "it")
    for proof in (stranger * 2, b""):
        with refused("proof of it"):
            verify.verify_joint(2, {0: leaf}, b64(proof), pair, "it")
    for proof in (stranger + b"x", stranger[1:]):
        with malformed("whole hashes"):
            verify.verify_joint(2, {0: leaf}, b64(proof), pair, "it")


def is_point(y):
    square = (y * y - 1) * pow(verify.D * y * y + 1, -1, P) % P
    return pow(square, (P - 1) // 2, P) in (0, 1)


def test_a_point_has_one_encoding():
    beyond = [number for number in range(2, 19) if is_point(number)]
    assert beyond
    for number in (0, 1, *beyond):
        assert verify.decode_point(number.to_bytes(32, "little"))[1] == number
        with malformed("not a canonical"):
            verify.decode_point((P + number).to_bytes(32, "little"))
    assert verify.decode_point((1).to_bytes(32, "little")) == verify.IDENTITY
    for number in (1, P - 1):  # their x is 0, which has no sign
        with malformed("not an Ed25519 point"):
            verify.decode_point((number | 1 << 255).to_bytes(32, "little"))


def test_a_signature_is_below_the_group_order():
    key = verify.parse_vkey(VKEY)[2]
    assert verify.L == L
    for scalar in (L, L + 1, 2**256 - 1):
        with refused("group order"):
            verify.verify_ed25519(key, b"", bytes(32) + scalar.to_bytes(32, "little"))
    with refused("does not verify"):
        verify.verify_ed25519(key, b"", bytes(32) + (L - 1).to_bytes(32, "little"))


# --- Commands: what they say -----------------------------------------------------------------------------------------


def judge(capsys, *arguments):
    code = verify.main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def put(tmp_path, **files):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in files]


def test_what_was_checked_is_counted(tmp_path, capsys):
    note, old, growth = put(
        tmp_path, note=checkpoint_note(ENTRIES), old=checkpoint_note(ENTRIES, 5), growth=growth_file(5)
    )
    assert judge(capsys, "checkpoint", "--vkey", VKEY, note)[1]["checked"] == {"checkpoints": 1}
    verdict = judge(capsys, "consistency", "--vkey", VKEY, "--old", old, growth)[1]
    assert verdict["checked"] == {"checkpoints": 2}
    directory = export(tmp_path / "log", many(600))
    verdict = judge(capsys, "log", "--vkey", VKEY, "--old", old, directory)[1]
    assert verdict["checked"] == {"entries": 600, "tiles": 4, "checkpoints": 2}
    question = {"userId": "user-3"}
    bundle = LOG.bundle(question)
    verdict = check_evidence(tmp_path, capsys, bundle, question)[1]
    assert verdict["checked"] == {"entries": len(bundle["entries"]), "segments": 4, "disclosures": 0}
    proof_and_event = LOG.event_proof(70)
    cheat = sample_log(spoil=single.without(70)).bundle({"userId": "user-0"})
    proof, file, bundle = put(tmp_path, proof=proof_and_event[0], file=proof_and_event[1], bundle=file_of(cheat))
    verdict = judge(capsys, "fraud", "--vkey", bundles.vkey(), "--proof", proof, "--event", file, bundle)[1]
    assert verdict["checked"] == {"entries": 2}


def test_a_proof_says_when_and_in_which_log(tmp_path, capsys):
    proof, file = put(tmp_path, proof=proof_file(5), file=event(5)[1])
    details = judge(capsys, "proof", "--vkey", VKEY, "--event", file, proof)[1]["details"]
    assert "time      2026-03-17T09:59:59Z says the producer, 2026-03-17T10:00:05.000000Z says the log" in details
    root = reference.tree_hash(ENTRIES).hex()
    assert details[-1] == f"log       {ORIGIN}, 12 entries, root hash {root}"


def test_a_control_entry_is_no_event(tmp_path, capsys):
    proof, file = put(tmp_path, proof=proof_file(0), file=event_file(control().decode(), {}))
    code, verdict = judge(capsys, "proof", "--vkey", VKEY, "--event", file, proof)
    assert (code, verdict["problems"]) == (2, ["the entry is not an event"])


def test_evidence_says_as_of_when_and_what_was_disclosed(tmp_path, capsys):
    question = {"userId": "user-3", "resourceType": "record", "resourceId": "R:4"}
    bundle = LOG.bundle(question, disclose=True)
    verdict = check_evidence(tmp_path, capsys, bundle, question)[1]
    assert {canonical(each["actor"]) for each in verdict["answers"]} == {'{"appendedBy":"key-1","userId":"user-3"}'}
    about = [each["resource"]["resource"] == {"id": "R:4", "type": "record"} for each in verdict["answers"]]
    assert about == [each["matched"] == "resource" for each in verdict["answers"]]
    as_of = {"size": 121, "loggedAt": bundles.moment(121), "checkpointSize": 122, "root": LOG.root.hex()}
    assert (verdict["asOf"], verdict["names"], verdict["log"]["origin"]) == (as_of, "all", bundles.ORIGIN)


@pytest.mark.parametrize(
    "count, said",
    [(0, "no event answers"), (1, "1 event, and no other, answers your"), (2, "2 events, and no others, answer your")],
)
def test_answers_in_words(tmp_path, capsys, count, said):
    question = {"userId": "user-3", "to": bundles.moment(7 * count, fraction=False)}
    code, verdict = check_evidence(tmp_path, capsys, LOG.bundle(question), question)
    assert (code, verdict["summary"][: len(said)]) == (0, said)


def test_no_more_than_100_problems_are_told(tmp_path, capsys):
    entries = [*many(100), *(b"{}" for _ in range(101))]
    verdict = judge(capsys, "log", "--vkey", VKEY, export(tmp_path / "log", entries))[1]
    assert len(verdict["problems"]) == 100


def test_entries_may_be_logged_at_the_same_moment(tmp_path, capsys):
    entries = [*many(10), event(9)[0].replace(b"000000000009", b"000000000010")]
    assert judge(capsys, "log", "--vkey", VKEY, export(tmp_path / "log", entries))[0] == 0


def test_an_empty_file_is_not_a_missing_one(tmp_path, capsys):
    for name in ("tile/0/000.p/10", "tile/entries/000.p/10"):
        directory = export(tmp_path / name.replace("/", "-"), many(10))
        (directory / name).write_bytes(b"")
        code, verdict = judge(capsys, "log", "--vkey", VKEY, directory)
        assert (code, verdict["problems"][0].startswith(f"{name}: ")) == (1, True)
        (directory / name).unlink()
        assert judge(capsys, "log", "--vkey", VKEY, directory)[0] == 3


@pytest.mark.parametrize(
    "arguments",
    [[], ["checkpoint", "note"], ["proof", "--vkey", "k", "proof"], ["fraud", "--vkey", "k"],
     ["consistency", "--vkey", "k", "proof"],
     ["evidence", "--vkey", "k", "bundle"], ["evidence", "--ask", "action=read", "bundle"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_needed_is_asked_for(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        verify.main(arguments)
    assert caught.value.code == 2
    assert "required" in capsys.readouterr().err


def test_a_terminal_without_a_character_gets_its_escape(tmp_path, monkeypatch):
    proof, file = put(tmp_path, proof=proof_file(5), file=event(5)[1])
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii"))
    assert verify.main(["proof", "--vkey", VKEY, "--event", str(file), str(proof)]) == 0
    sys.stdout.flush()
    assert rb"user-5\xe9" in output.getvalue()


# --- Evidence --------------------------------------------------------------------------------------------------------

ASKED = {"userId": "user-3"}
BUNDLE = LOG.bundle(ASKED)


def problem(tmp_path, capsys, bundle, question, *more):
    code, verdict = check_evidence(tmp_path, capsys, bundle, question, *more)
    return code, verdict["problems"][0] if verdict["problems"] else ""


def resigned(log, **members):
    """The log with another epoch entry, signed."""
    epoch = json.loads(log.entries[log.epoch]) | members
    log.entries[log.epoch] = canonical(epoch)
    return bundles.signed(log)


def with_table(change):
    """A log whose index has the table that `change` makes of the rows [start, end, postings, root], committed and signed."""
    log = sample_log()
    rows = [list(row) for row in struct.iter_unpack(">QQQ32s", log.index.table())]
    table = b"".join(struct.pack(">QQQ32s", *row) for row in change(rows))
    log.index.table = lambda: table
    return resigned(log, table=b64url(sha256(b"\x13" + table).digest()))


def overlapping(rows):
    rows[1][0] -= 1
    return rows


def ends_one_later(rows):
    rows[1][1] += 1
    rows[2][0] += 1
    return rows


FORGED_INDEXES = {
    "segments overlap": (with_table(overlapping), 2, "do not cover the epoch"),
    "segments end elsewhere": (with_table(ends_one_later), 2, "do not cover the epoch"),
    "ends of the epoch are others": (resigned(sample_log(), ends=[64, 100, 102, 121]), 1, "another segment table"),
    "the epoch covers less": (resigned(sample_log(), size=120), 2, "to its size"),
    "the epoch covers more": (resigned(sample_log(), size=122), 2, "to its size"),
    "the epoch is of another type": (resigned(sample_log(), type="epoch"), 1, "epoch's entry is not there"),
    "the epoch commits to another table": (resigned(sample_log(), table=b64url(bytes(32))), 1, "another segment table"),
}


@pytest.mark.parametrize("name", FORGED_INDEXES)
def test_an_index_that_contradicts_itself_is_refused(tmp_path, capsys, name):
    log, expected, said = FORGED_INDEXES[name]
    code, first = problem(tmp_path, capsys, log.bundle(ASKED), ASKED)
    assert (code, said in first) == (expected, True), first


def with_member(*path, member):
    """The bundle with one member more in an object of it."""
    copy = json.loads(canonical(BUNDLE))
    inner = copy
    for step in path:
        inner = inner[step]
    inner[member] = ""
    return copy


FORMS = {
    "another byte instead of the newline": (file_of(BUNDLE)[:-1] + b" ", "ends with a newline"),
    "a member more": (with_member(member="x"), "exactly the members"),
    "a member more in a bucket": (with_member("buckets", 0, member="x"), "exactly the members"),
    "a member more in a segment": (with_member("segments", 1, member="x"), "exactly the members"),
    "another type": (BUNDLE | {"type": "tlog-evidences"}, "exactly the members"),
    "another version": (BUNDLE | {"v": 2}, "exactly the members"),
    "text instead of objects": (BUNDLE | {"buckets": "", "segments": "", "type": ""}, "exactly the members"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_bundle_has_exactly_its_members(tmp_path, capsys, name):
    bundle, said = FORMS[name]
    code, first = problem(tmp_path, capsys, bundle, ASKED)
    assert (code, said in first) == (2, True), first


REFUSED = {
    "window inverted": ({"start": 121, "end": 120}, "window is not within"),
    "window beyond the epoch": ({"end": 122}, "window is not within"),
    "a segment less": ({"segments": BUNDLE["segments"][1:]}, "not every segment"),
    "a segment more": ({"segments": [*BUNDLE["segments"], BUNDLE["segments"][0]]}, "not every segment"),
    "no bucket key": ({"buckets": []}, "as many bucket keys"),
    "a bucket key more": ({"buckets": BUNDLE["buckets"] * 2}, "as many bucket keys"),
    "an entry twice": ({"entries": [BUNDLE["entries"][0], *BUNDLE["entries"]]}, "do not rise"),
    "entries turned round": ({"entries": BUNDLE["entries"][::-1]}, "do not rise"),
    "an answer counted too much": ({"manifest": BUNDLE["manifest"] | {"answers": 18}}, "manifest does not count"),
    "a posting counted too much": ({"manifest": BUNDLE["manifest"] | {"postings": 18}}, "manifest does not count"),
    "a disclosure counted": ({"manifest": BUNDLE["manifest"] | {"disclosures": 1}}, "manifest does not count"),
    "disclosures of another": ({"disclosure": "full", "disclosures": [[1, {}]]}, "disclosures rise by index"),
    "disclosures twice": ({"disclosure": "full", "disclosures": [[3, {}], [3, {}]]}, "disclosures rise by index"),
    "disclosures that are empty": ({"disclosure": "full", "disclosures": [[3, {}]]}, "disclosures rise by index"),
    "the mode of a count": ({"mode": "count"}, "entries in the bundle that the question does not need"),
    "another question": ({"question": {"userId": "user-4"}}, "the proof of a bucket key"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_rule_of_evidence_alone(tmp_path, capsys, name):
    change, said = REFUSED[name]
    code, first = problem(tmp_path, capsys, BUNDLE | change, ASKED)
    assert (code, said in first) == (1, True), first


def test_only_entry_0_of_its_type_commits_to_bucket_keys(tmp_path, capsys):
    log = sample_log()
    epoch = json.loads(log.entries[log.epoch]) | {"loggedAt": bundles.moment(0)}
    log.entries[0] = canonical(epoch)
    bundle = resigned(log).bundle(ASKED)
    assert problem(tmp_path, capsys, bundle, ASKED) == (1, "entry 0, which commits to the bucket keys, is not there")


def test_what_is_not_in_the_index_cannot_be_asked_alone(tmp_path, capsys):
    question = {"outcome": "success"}
    code, first = problem(tmp_path, capsys, LOG.bundle({"action": "read"}) | {"question": question}, question)
    assert (
        code,
        first.startswith("ask for a resource, a userId, actorType, sourceId, operation, control or action"),
    ) == (2, True)
    code, first = problem(tmp_path, capsys, BUNDLE, {"patient": "x"})
    assert (code, first.startswith("--ask takes one of resource, action, actorType")) == (2, True)


def test_the_clock_of_the_log_decides_where_both_are_asked(tmp_path, capsys):
    question = {**ASKED, "loggedFrom": bundles.moment(10, fraction=False), "from": bundles.moment(12, fraction=False)}
    code, verdict = check_evidence(tmp_path, capsys, LOG.bundle(question, window=(10, 121)), question)
    assert code == 0, verdict
    assert f"before {bundles.moment(10, fraction=False)}" in verdict["notSeen"]


@pytest.mark.parametrize("window", [(5, 121), (0, 50)])
def test_a_question_without_a_window_is_answered_from_everything(tmp_path, capsys, window):
    code, first = problem(tmp_path, capsys, LOG.bundle(ASKED, window=window), ASKED)
    assert (code, first) == (1, f"the window {'begins later' if window[0] else 'ends earlier'} than the question looks")


@pytest.mark.parametrize("option, wrong, right", [("loggedFrom", (6, 121), (5, 121)), ("loggedTo", (0, 49), (0, 50))])
def test_a_window_ends_where_the_question_does(tmp_path, capsys, option, wrong, right):
    question = {**ASKED, option: bundles.moment(right[0] or right[1], fraction=False)}
    assert problem(tmp_path, capsys, LOG.bundle(question, window=right), question) == (0, "")
    assert problem(tmp_path, capsys, LOG.bundle(question, window=wrong), question)[0] == 1


def test_an_event_of_the_moment_asked_for(tmp_path, capsys):
    """`from` is part of the time asked for, `to` is not."""
    moment = bundles.moment(14, fraction=False)  # when event 17, by user-3, happened
    for when, expected in (("from", [17]), ("to", [3, 10])):
        question = {**ASKED, when: moment}
        verdict = check_evidence(tmp_path, capsys, LOG.bundle(question), question)[1]
        shown = [each["index"] for each in verdict["answers"]]
        assert shown[::-1][: len(expected)] == expected
        assert (when == "from") == (len(shown) > len(expected))


MANY = sample_log(800, [801])


def test_an_answer_needs_the_pages_in_between(tmp_path, capsys):
    question = {"action": "read"}
    count = MANY.bundle(question, mode="count")
    assert len(count["segments"][0]["runs"]) == 2
    assert problem(tmp_path, capsys, count, question, "--count") == (0, "")
    bundle = MANY.bundle(question) | {"segments": count["segments"]}
    code, first = problem(tmp_path, capsys, bundle, question)
    assert (code, first) == (1, "pages between the first and the last are not there")


@pytest.mark.parametrize("victim", [64, 68, 99, 100, 120])
def test_fraud_at_the_ends_of_a_segment(tmp_path, capsys, victim):
    proof_and_event, question = LOG.event_proof(victim), {"action": LOG.events[victim].members["action"]}
    cheat = sample_log(spoil=single.without(victim)).bundle(question)
    code, said = check_fraud(tmp_path, capsys, cheat, proof_and_event)
    assert (code, f"leaves out entry {victim}" in said) == (0, True)
    code, said = check_fraud(tmp_path, capsys, LOG.bundle(question), proof_and_event)
    assert (code, "no fraud" in said) == (1, True)


def test_fraud_is_about_one_entry_and_not_the_next(tmp_path, capsys):
    """Entry 401 is a read as well, and the pages shown are those of reads."""
    question = {"action": "read"}
    cheat = sample_log(800, [801], spoil=single.without(400))
    code, said = check_fraud(tmp_path, capsys, cheat.bundle(question), cheat.event_proof(400))
    assert (code, "leaves out entry 400" in said) == (0, True)


def test_a_resource_can_be_asked_for_in_two_parts(tmp_path, capsys):
    question = {"resourceType": "record", "resourceId": "R:4"}
    (bundle,) = put(tmp_path, bundle=file_of(LOG.bundle(question)))
    asked = ["--ask", "resourceType=record", "--ask", "resourceId=R:4"]
    assert judge(capsys, "evidence", "--vkey", bundles.vkey(), *asked, bundle)[0] == 0


# --- Pages of a segment, under a root that is right for them ---------------------------------------------------------

KEY, PAGES, POSTINGS, LOW, HIGH = single.KEY, single.PAGES, single.POSTINGS, single.LOW, single.HIGH


def find(pages, low, high, *runs, first=None):
    """The places of two bounds that these pages show, and whether all postings between them are shown."""
    segment = verify.Segment(0, 1000, sum(map(len, pages)) // 12, reference.tree_hash(pages))
    hashes = bundles.joint_proof(len(pages), sorted({number for run in runs for number in run}), pages)
    shown = [[run[0] if first is None else first, b64(b"".join(pages[number] for number in run))] for run in runs]
    opened = verify.open_pages(segment, {"hashes": b64(b"".join(hashes)), "runs": shown})
    (start, one), (end, other) = opened.place(low), opened.place(high)
    return one, other, opened.postings[start:end] if end - start == other - one else None


def pages_of(count):
    postings = [single.posting(KEY, 2 * number) for number in range(count)]
    return postings, [b"".join(postings[at : at + 32]) for at in range(0, count, 32)]


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 63, 64, 65, 96, 97])
def test_every_place_of_a_segment(count):
    """Shown by all pages and by the two around it; pages that do not show it are refused."""
    postings, pages = pages_of(count)
    for number in range(0, 2 * count + 1, 1 if count < 70 else 3):
        bound = single.posting(KEY, number)
        place = sum(item < bound for item in postings)
        assert find(pages, bound, bound, range(len(pages))) == (place, place, [])
        around = sorted({max(place - 1, 0) // 32, min(place, count - 1) // 32})
        assert find(pages, bound, bound, range(around[0], around[-1] + 1))[:2] == (place, place)
        for page in range(len(pages)):
            if page not in around or len(around) > 1:
                with refused("do not show"):
                    find(pages, bound, bound, [page])


def test_places_are_shown_by_the_run_that_has_them():
    postings, pages = pages_of(160)
    low, high = postings[10], postings[140]
    assert find(pages, low, high, range(5)) == (10, 140, postings[10:140])
    assert find(pages, low, high, [0], [4]) == (10, 140, None)
    assert find(pages, low, high, [0], [2], [4]) == (10, 140, None)
    assert find(pages, low, high, [0, 1], [3, 4]) == (10, 140, None)


def test_neighbouring_pages_are_one_run():
    for runs in (([1], [2]), ([1], [0]), ([0, 1], [1, 2])):
        with refused("not of the index"):
            find(PAGES, LOW, LOW, *runs)


@pytest.mark.parametrize("first", [-1, 0, 2, 3, 4, 2**40])
def test_a_page_has_a_number_below_the_number_of_pages(first):
    assert find(PAGES, LOW, HIGH, [1], first=1) == (40, 50, POSTINGS[40:50])
    with pytest.raises((verify.VerificationError, verify.MalformedError)):
        find(PAGES, LOW, HIGH, [1], first=first)
    if first > 2:
        with refused("not of the index"):
            find(PAGES, LOW, HIGH, [1], first=first)


@pytest.mark.parametrize("middle", single.BAD_PAGES.values(), ids=single.BAD_PAGES)
def test_pages_that_are_none_are_refused_although_they_are_signed(middle):
    pages = [PAGES[0], b"".join(middle), PAGES[2]]
    for run in ([1], [0, 1]):
        with refused("not of the index"):
            find(pages, LOW, HIGH, run)


def test_a_segment_without_postings_has_no_pages():
    empty = verify.Segment(0, 1, 0, verify.EMPTY_ROOT)
    pages = verify.open_pages(empty, {"hashes": "", "runs": []})
    assert (pages.place(LOW), pages.place(HIGH), pages.postings) == ((0, 0), (0, 0), [])
    for text in ({"hashes": b64(bytes(32)), "runs": []}, {"hashes": "", "runs": [[0, ""]]}):
        with refused():
            verify.open_pages(empty, text)


@pytest.mark.parametrize("mode", ["answer", "count"])
def test_only_the_fewest_pages_are_shown(tmp_path, capsys, mode):
    """A page that nothing asks for, rightly proved."""
    question = {"operation": "Do:4"}
    bundle = MANY.bundle(question, mode=mode)
    more = ["--count"] if mode == "count" else []
    assert problem(tmp_path, capsys, bundle, question, *more) == (0, "")
    shown = [page for first, pages in bundle["segments"][0]["runs"] for page in range(first, first + len(pages) // 512)]
    last = len(MANY.index.pages(0)) - 1
    for extra in {0, max(shown) + 1, last} - {*shown}:
        bundle["segments"] = [MANY.index.range_proof(0, sorted([*shown, extra]))]
        code, first = problem(tmp_path, capsys, bundle, question, *more)
        assert (code, first) == (1, "there are pages of the index that the question does not need")


# --- Disclosures -----------------------------------------------------------------------------------------------------


def test_a_disclosure_is_of_the_type_its_entry_says():
    entry = verify.parse_entry(event(5)[0])
    actor = {"appendedBy": "local", "userId": "x"}
    for group, body, error in (
        ("resource", {"resource": {"id": "P-5", "type": "invoice"}}, verify.VerificationError),
        ("resource", actor, verify.MalformedError),
        ("actor", actor | {"userId": 5}, verify.MalformedError),
        ("actor", {"appendedBy": "local"}, verify.MalformedError),
    ):
        salt, text, commitment = disclosure(1, canonical(body))
        commitments = entry["commitments"] | {group: b64url(commitment)}
        with pytest.raises(error):
            verify.check_disclosure(entry | {"commitments": commitments}, group, salt, text)
        with refused("commits to"):
            verify.check_disclosure(entry, group, salt, text)


IDENTS = {
    "an actor": ("actor", {"appendedBy": "x", "userId": "a"}, b"actor\0a"),
    "an actor in NFD": ("actor", {"appendedBy": "x", "userId": "e\u0301"}, "actor\0\u00e9".encode()),
    "nobody known": ("actor", {"appendedBy": "x", "type": "unknown"}, b"actor\0"),
    "a resource": ("resource", {"resource": {"id": "R\u0041\u030a", "type": "patient_record"}}, "resource\0patient_record\0R\u00c5".encode()),
    "a related resource": ("related/0", {"id": "e\u0301", "role": "r", "type": "a:b"}, "related\0a:b\0\u00e9".encode()),
}  # fmt: skip


@pytest.mark.parametrize("name", IDENTS)
def test_what_is_disclosed_leads_to_an_ident(name):
    group, body, ident = IDENTS[name]
    salt, text, commitment = disclosure(1, canonical(body))
    entry = {"commitments": {group: b64url(commitment)}, "resourceType": "patient_record"}
    assert verify.check_disclosure(entry | {"known": True}, group, salt, text) == ident
    assert verify.check_disclosure(entry | {"known": False}, group, salt, text) == b""
