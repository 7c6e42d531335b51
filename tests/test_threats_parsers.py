"""Attacks on whoever reads what a log says, one test for each, against everything that reads it.

Readers are the core, tools/verify.py (which was written independently) and the running service. Each attack has its
control: what is right is taken. Large tables of wrong inputs stand with the tests of each format and are used here.
"""

from __future__ import annotations

import base64
import json

import bundles
import httpx2
import pytest
import reference
from core import test_checkpoint, test_note, test_tlogproof
from offline import verify
from support import sample_events, start_server

from tlog.core.bundle import MAX_ENTRY_SIZE, format_bundle, parse_bundle
from tlog.core.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from tlog.core.evidence import parse_evidence
from tlog.core.making.parsing import parse_event, parse_event_slowly
from tlog.core.merkle import EMPTY_ROOT, leaf_hash
from tlog.core.note import Signer, check_public_key, open_note, parse_vkey, sign_note, split_note
from tlog.core.proof import verify_consistency, verify_inclusion
from tlog.core.strict import parse_base64, parse_decimal
from tlog.core.tile import parse_tile_path
from tlog.core.tlogproof import parse_inclusion_proof
from tlog.core.verify import verify_event
from tlog.errors import MalformedInputError, TlogError, VerificationError

REFUSALS = (TlogError, verify.MalformedError, verify.VerificationError)
LOG = Signer("log.example/audit", bytes(32))
ROOT = bytes(range(32))
NOTE = sign_checkpoint(Checkpoint(LOG.verifier.name, 7, ROOT), LOG)
ROOT_TEXT = base64.b64encode(ROOT)
ORIGIN = LOG.verifier.name.encode()
EVENT = {name: member for name, member in json.loads(sample_events(1)[0]).items() if name != "metadata"}


def refused(*readers):
    for reader in readers:
        with pytest.raises(REFUSALS):
            reader()


def signed(text, signer=LOG):
    """A note of any text, rightly signed."""
    line = base64.b64encode(signer.verifier.key_id + signer.sign(text))
    return text + b"\n\xe2\x80\x94 " + signer.verifier.name.encode() + b" " + line + b"\n"


def both_open(note, signer=LOG):
    """What both readers make of a signed checkpoint."""
    vkey = signer.verifier.vkey()
    return [
        lambda: open_checkpoint(note, signer.verifier),
        lambda: verify.open_checkpoint(note, verify.parse_vkey(vkey)),
    ]


def text_of(size=b"7", root=ROOT_TEXT, origin=ORIGIN, rest=b""):
    return origin + b"\n" + size + b"\n" + root + b"\n" + rest


@pytest.fixture(scope="module")
def server(module_directory):
    server = start_server(module_directory / "data")
    server.append([json.loads(each) for each in sample_events(20)])
    server.seal()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def http(server):
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


def post(http, body, **headers):
    sent = {"Content-Type": "application/json", **headers}
    return http.post("/v1/audit/events", content=body, headers=sent).status_code


# --- Checkpoints, keys and signatures --------------------------------------------------------------------------------


def test_a17_an_empty_tree_has_no_other_root():
    empty = text_of(b"0", base64.b64encode(EMPTY_ROOT))
    for reader in both_open(signed(empty)):
        assert reader().size == 0
    refused(*both_open(signed(text_of(b"0"))))
    for module_of in (verify_consistency, verify.verify_consistency):
        module_of(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
        refused(lambda check=module_of: check(0, 0, ROOT, ROOT, []))


def test_a30_no_changed_byte_of_a_checkpoint_is_taken():
    for reader in both_open(NOTE):
        assert reader().size == 7
    for place in range(0, len(NOTE), 3):
        changed = bytearray(NOTE)
        changed[place] ^= 1
        refused(*both_open(bytes(changed)))


def test_a33_no_log_speaks_for_another_origin():
    other = Signer("other.example/log", b"\1" * 32)
    for reader in both_open(signed(text_of(), LOG)):
        assert reader().origin == LOG.verifier.name
    refused(*both_open(signed(text_of(), other), other))
    refused(lambda: sign_checkpoint(Checkpoint(LOG.verifier.name, 7, ROOT), other))
    impostor = Signer(LOG.verifier.name, b"\2" * 32)
    refused(lambda: open_checkpoint(signed(text_of(), impostor), LOG.verifier))


def test_a34_a_proof_is_of_one_event():
    log = bundles.sample_log(20, [21])
    key = parse_vkey(bundles.vkey())
    for index in (3, 4):
        proof, file = log.event_proof(index)
        assert verify_event(key, file, proof).index == index
        refused(lambda proof=proof, index=index: verify_event(key, log.event_proof(index + 1)[1], proof))


def test_a35_keys_of_small_order_are_refused():
    check_public_key(LOG.verifier.public_key)
    verify.decode_public_key(LOG.verifier.public_key)
    assert len(test_note.SMALL_ORDER) == 14
    for key in test_note.SMALL_ORDER:
        data = bytes.fromhex(key) if isinstance(key, str) else key
        refused(lambda data=data: check_public_key(data), lambda data=data: verify.decode_public_key(data))


def test_a36_a_signature_has_one_form():
    text, key = text_of(), LOG.verifier.public_key
    right = LOG.sign(text)
    LOG.verifier.verify(text, right)
    verify.verify_ed25519(key, text, right)
    scalar = int.from_bytes(right[32:], "little") + verify.L
    for wrong in (right[:32] + scalar.to_bytes(32, "little"), right[:-1], right + b"\0", b"", bytes(64)):
        refused(
            lambda wrong=wrong: LOG.verifier.verify(text, wrong),
            lambda wrong=wrong: verify.verify_ed25519(key, text, wrong),
        )


def test_a37_a_key_under_the_logs_name_and_id_is_not_known_twice():
    witness = Signer("witness.example", b"\1" * 32)
    note = sign_note(text_of(), [LOG, witness])
    assert open_checkpoint(note, LOG.verifier, [witness.verifier]).size == 7
    refused(lambda: open_checkpoint(note, LOG.verifier, [LOG.verifier]))
    namesake = Signer(LOG.verifier.name, b"\3" * 32)
    refused(lambda: open_checkpoint(sign_note(text_of(), [namesake]), LOG.verifier, [namesake.verifier]))


def test_a38_a_forged_witness_line_counts_for_nothing():
    witness = Signer("witness.example", b"\1" * 32)
    forged = NOTE + "— witness.example ".encode() + base64.b64encode(witness.verifier.key_id + bytes(64)) + b"\n"
    assert open_note(forged, [LOG.verifier]).verified == (LOG.verifier,)
    assert verify.open_checkpoint(forged, verify.parse_vkey(LOG.verifier.vkey())).size == 7
    refused(lambda: open_checkpoint(forged, LOG.verifier, [witness.verifier]))


# --- Text formats ----------------------------------------------------------------------------------------------------

SIZES = [
    "007",
    "+7",
    "-0",
    "1_000",
    " 7",
    "7 ",
    "\uff17",
    "\u0663",
    "",
    "7\n",
    "0x7",
    "7.0",
    "9223372036854775808",
    "9" * 5000,
]


def test_a45_sizes_are_decimal_without_ornaments(http):
    assert parse_decimal(b"7", "it") == verify.parse_decimal(b"7", "it") == 7
    for size in SIZES:
        data = size.encode()
        refused(lambda data=data: parse_decimal(data, "it"), lambda data=data: verify.parse_decimal(data, "it"))
        refused(*both_open(signed(text_of(data))))
    assert http.get("/v1/proof/inclusion", params={"index": "7"}).status_code == 200
    for size in SIZES:
        assert http.get("/v1/proof/inclusion", params={"index": size}).status_code == 400, size


BASE64 = [
    b"YR==",
    b"YWJ=",
    b"YQ",
    b"YQ=",
    b"YQ==\n",
    b"Y Q==",
    b"YQ==YQ==",
    b"_-==",
    b"Y*Q==",
    b"=",
    "\uff39Q==".encode(),
]


def test_a46_base64_has_one_form():
    assert parse_base64(b"YQ==", "it") == verify.parse_base64(b"YQ==", "it") == b"a"
    for text in BASE64:
        refused(lambda text=text: parse_base64(text, "it"), lambda text=text: verify.parse_base64(text, "it"))
    root = base64.b64encode(ROOT)
    for other in (root[:-2] + b"9=", root.rstrip(b"="), root + b"=", root[:-1] + b" ="):
        refused(*both_open(signed(text_of(root=other))))


@pytest.mark.parametrize("separator", ["\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\r"])
def test_a47_only_a_line_feed_ends_a_line(separator):
    text = text_of().replace(b"\n", separator.encode(), 1)
    refused(*both_open(signed(text)))
    line = f"— a{separator}b ".encode() + base64.b64encode(b"12345") + b"\n"
    refused(lambda: split_note(b"text\n\n" + line), lambda: verify.split_note(b"text\n\n" + line))


def test_a48_notes_of_another_form_are_refused():
    assert (
        split_note(b"a\n\nb\n\n" + test_note.PETER_LINE)[0]
        == verify.split_note(b"a\n\nb\n\n" + test_note.PETER_LINE)[0]
    )
    for name, note in test_note.MALFORMED.items():
        if name != "more than 1 MiB":  # which is refused where a file is read
            refused(lambda note=note: split_note(note), lambda note=note: verify.split_note(note))


def test_a49_signature_lines_cannot_be_stuffed():
    key, peter = verify.parse_vkey(LOG.verifier.vkey()), test_note.PETER_LINE
    for extra in (peter, peter * 99):
        assert open_note(NOTE + extra, [LOG.verifier]).verified == (LOG.verifier,)
        assert verify.open_checkpoint(NOTE + extra, key).size == 7
    bad = f"— {LOG.verifier.name} ".encode() + base64.b64encode(LOG.verifier.key_id + bytes(64)) + b"\n"
    short = f"— {LOG.verifier.name} ".encode() + base64.b64encode(LOG.verifier.key_id) + b"\n"
    for extra in (
        peter * 100,
        bad,
        short,
        peter.replace(b" Peter", b" Pe+ter"),
        peter.replace(b"Neu", "N\u2003u".encode()),
    ):
        refused(*both_open(NOTE + extra))
    refused(lambda: open_note(NOTE, [LOG.verifier, LOG.verifier]))


def test_a50_extension_lines_are_refused():
    for reader in both_open(signed(text_of())):
        assert reader().size == 7
    for rest in (b"extension\n", b"timestamp 123\n", b"\n", b"x"):
        refused(*both_open(signed(text_of(rest=rest))))
    for text in test_checkpoint.MALFORMED.values():
        data = text if isinstance(text, bytes) else text.encode()
        refused(lambda data=data: parse_checkpoint(data))


def test_a51_proofs_have_the_shape_that_index_and_size_give():
    entries = reference.entries(7)
    leaf, root, path = leaf_hash(entries[5]), reference.tree_hash(entries), reference.path(5, entries)
    for check in (verify_inclusion, verify.verify_inclusion):
        check(5, 7, leaf, path, root)
        wrong = [(7, 7, path), (-1, 7, path), (2**64 - 1, 2**64, path), (5, 2**63, path), (4, 7, path)]
        wrong += [(5, 7, path[1:]), (5, 7, [*path, path[0]]), (5, 7, [path[0][:31], *path[1:]]), (5, 7, path[:1] * 70)]
        for index, size, hashes in wrong:
            refused(lambda check=check, index=index, size=size, hashes=hashes: check(index, size, leaf, hashes, root))
    hashes = b"".join(base64.b64encode(item) + b"\n" for item in path)
    many = b"c2sp.org/tlog-proof@v1\nindex 5\n" + base64.b64encode(ROOT) + b"\n"
    file = b"c2sp.org/tlog-proof@v1\nindex 5\n" + hashes + b"\n" + NOTE
    assert parse_inclusion_proof(file).index == verify.parse_proof(file, b"index ")[0] == 5
    wrong = [text.encode() for name, text in test_tlogproof.MALFORMED_INCLUSION.items() if name != "more than 1 MiB"]
    for data in (*wrong, many + base64.b64encode(ROOT) * 63 + b"\n\n" + NOTE):
        refused(lambda data=data: parse_inclusion_proof(data), lambda data=data: verify.parse_proof(data, b"index "))


PATHS = [
    "tile/0/../000", "tile/0/%2e%2e/000", "tile/0/x000/000", "tile/0/0", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000",
    "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p", "tile/0/000/", "tile//0/000", "tile/0/x001x002/000",
    "tile/0/\u0660\u0660\u0660", "tile/entries/000.p/300", "tile/Entries/000", "tile/0/000\n",
    "tile/0/x036/x028/x797/x018/x963/968",
]  # fmt: skip


def test_a52_tile_paths_have_one_form(http):
    assert parse_tile_path("tile/0/x001/234.p/7").path() == "tile/0/x001/234.p/7" == verify.tile_path("0", 1234, 7)
    for path in PATHS:
        refused(lambda path=path: parse_tile_path(path))
    assert http.get("/tile/0/000.p/5").status_code == 200
    for path in PATHS:
        assert (
            http.get("/" + path.encode().hex("%").join("%%")[1:-1] if path.isascii() else "/" + path).status_code == 404
        ), path


def test_a53_an_entry_bundle_is_consumed_exactly():
    good = format_bundle([b"a", b"", b"bc"])
    assert parse_bundle(good, 3) == verify.parse_bundle(good, 3) == [b"a", b"", b"bc"]
    for data, width in (
        (good + b"\0", 3),
        (good[:-1], 3),
        (good, 2),
        (good, 4),
        (b"\xff\xff" + b"x" * 65_534, 1),
        (b"\0", 1),
    ):
        refused(lambda data=data, width=width: parse_bundle(data, width))
        refused(lambda data=data, width=width: verify.parse_bundle(data, width))
    assert format_bundle([bytes(MAX_ENTRY_SIZE)])
    refused(lambda: format_bundle([bytes(MAX_ENTRY_SIZE + 1)]))


def test_a54_nothing_is_decompressed(http):
    body = sample_events(1, seed=5)[0]
    for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip"):
        assert post(http, body, **{"Content-Encoding": coding}) == 415
    assert post(http, body) == 201


# --- Events ----------------------------------------------------------------------------------------------------------


def with_metadata(text):
    return json.dumps(EVENT, ensure_ascii=False).encode()[:-1] + b', "metadata": ' + text + b"}"


JSON_TEXTS = [
    b'{"a":1,"a":1}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e400}', b'{"a":9007199254740993}', b'{"a":-9007199254740992}',
    b'{"a":"\\ud800"}', b'{"\\udc00":1}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xff"}', b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
    b'{"a":' + b"9" * 5000 + b"}", b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b"{'a':1}", b'{"a":1,}', b'{"a":"\x01"}', b"[" * 60_000,
]  # fmt: skip


def test_a55_json_is_taken_strictly(http):
    body = with_metadata(b'{"a":[1,"x",null,0.5]}')
    assert parse_event(body) == parse_event_slowly(body)
    assert post(http, body) == 201
    texts = [with_metadata(text) for text in JSON_TEXTS]
    texts += [b"\xef\xbb\xbf" + body, body.decode().encode("utf-16"), body.decode().encode("utf-32-le"), b"[" * 60_000]
    for text in texts:
        refused(lambda text=text: parse_event(text), lambda text=text: parse_event_slowly(text))
        assert post(http, text) in (400, 422), text[:60]
    for file in (
        b'{"entry":"x","entry":"x"}\n',
        b'{"a":NaN}\n',
        b"\xef\xbb\xbf{}\n",
        b"[" * 99_999 + b"\n",
        b'{"a":1e400}\n',
    ):
        refused(lambda file=file: verify.parse_event_file(file))


def test_a56_what_looks_alike_is_not_the_same(http):
    """Nothing is normalised and nothing is written again: stored bytes are hashed."""
    bodies = set()
    for number, text in enumerate(('"\u00e9"', '"e\u0301"', "1.0", "-0", "1", '"1"')):
        event = EVENT | {"eventId": f"00000000-0000-4000-8000-{number:012d}"}
        body = json.dumps(event).encode()[:-1] + b', "metadata": {"a": ' + text.encode() + b"}}"
        bodies.add(parse_event(body).resource_body)
        assert post(http, body) == 201
    assert len(bodies) == 5  # RFC 8785 writes 1.0 and 1 alike, and -0 as 0
    for first, second in (('{"\u00e9":1}', '{"e\u0301":1}'),):
        assert (
            parse_event(with_metadata(first.encode())).resource_body
            != parse_event(with_metadata(second.encode())).resource_body
        )


def test_a57_nul_is_kept_where_it_may_be(http):
    event = EVENT | {
        "eventId": "00000000-0000-4000-8000-0000000000aa",
        "details": {"reason": "a\0b"},
        "metadata": {"a\0": "\0"},
    }
    assert post(http, json.dumps(event).encode()) == 201
    assert http.get(f"/v1/audit/events/{event['eventId']}").json()["details"]["reason"] == "a\0b"
    for member, value in (
        ("actor", {"userId": "a\0"}),
        ("resource", {"type": "x", "id": "\0"}),
        ("resource", {"type": "x\0", "id": "1"}),
    ):
        refused(lambda member=member, value=value: parse_event(json.dumps(EVENT | {member: value}).encode()))
        assert post(http, json.dumps(EVENT | {member: value}).encode()) == 422
    # No event can have it, so it is asked for in the form in which importers keep such ids, and there is none.
    answer = http.get("/v1/audit/events", params={"userId": "a\0"})
    assert (answer.status_code, answer.json()["count"]) == (200, 0)


# --- What the fuzzer found -------------------------------------------------------------------------------------------


def test_members_that_no_bundle_has_are_refused_by_both(tmp_path):
    """They would be carried along unverified, under a verdict that says verified."""
    question = {"userId": "user-3"}
    log = bundles.sample_log(20, [21])
    good = log.bundle(question)
    parts = ("buckets", "segments")
    stray = [good | {"note": "x"}, *(good | {part: [each | {"note": "x"} for each in good[part]]} for part in parts)]
    file = tmp_path / "bundle.json"
    arguments = ["evidence", "--vkey", bundles.vkey(), "--ask", "userId=user-3", str(file)]
    for bundle, code in ((good, 0), *((each, 2) for each in stray)):
        file.write_bytes(bundles.file_of(bundle))
        assert verify.main(arguments) == code
    for bundle in stray:
        refused(lambda bundle=bundle: parse_evidence(bundles.file_of(bundle)))


def test_both_readers_bound_proofs_notes_and_keys_alike():
    line = ROOT_TEXT + b"\n"
    head = b"c2sp.org/tlog-proof@v1\nindex 5\n"
    for read in (parse_inclusion_proof, lambda data: verify.parse_proof(data, b"index ")):
        assert read(head + line * 63 + b"\n" + NOTE)
        refused(lambda read=read: read(head + line * 64 + b"\n" + NOTE), lambda read=read: read(head + line + b"\n"))
    note = b"\n\n" + test_note.PETER_LINE
    assert split_note(note) == verify.split_note(note)
    control = Signer("a", bytes(32)).verifier._replace(name="a\x11").vkey()
    refused(lambda: parse_vkey(control), lambda: verify.parse_vkey(control))


def test_each_refusal_is_a_documented_error():
    assert all(issubclass(each, Exception) for each in REFUSALS)
    assert issubclass(MalformedInputError, TlogError)
    assert issubclass(VerificationError, TlogError)
