"""Index keys: the published computation, and bucket keys that stay secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
from unicodedata import normalize

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.making.bucket_keys import BucketKeys
from tlog.core.merkle import leaf_hash
from tlog.core.proof import verify_joint
from tlog.core.pseudonym import (
    KEY_SIZE,
    MAX_BITS,
    actor_ident,
    bucket_of,
    check_assigned,
    index_key,
    public_key,
    public_text,
    related_ident,
    resource_ident,
)
from tlog.errors import MalformedInputError, NotCheckedError

BITS = 4
KEYS = b"".join(hashlib.sha256(b"bucket %d" % bucket).digest() for bucket in range(1 << BITS))


def test_idents():
    assert actor_ident("ü-1") == b"actor\x00\xc3\xbc-1"
    assert actor_ident("") == b"actor\x00"
    assert resource_ident("patient_record", "p/1") == b"resource\x00patient_record\x00p/1"
    assert related_ident("user", "ü-1") == b"related\x00user\x00\xc3\xbc-1"


def test_idents_are_over_the_nfc_form():
    """One name in two spellings is one name; case is kept."""
    assert actor_ident("u\u0308-1") == actor_ident("ü-1") != actor_ident("Ü-1")
    assert resource_ident("t", "A\u030a") == resource_ident("t", "\u212b") == b"resource\x00t\x00\xc3\x85"
    assert related_ident("t", "A\u030a") == b"related\x00t\x00\xc3\x85"
    assert actor_ident("\ufb01") == b"actor\x00\xef\xac\x81"  # the ligature has another NFKC form, which is not taken


def test_characters_without_a_place_in_the_tables_are_named():
    for text in ("", "n.varga", "Am\u00e9lie\u0301", "\U0001f600", "\ue000"):
        check_assigned(text, "the id")
    for text in ("\u0378", "a\U0010ffff"):
        with pytest.raises(
            NotCheckedError, match="the id has characters that the Unicode tables of this program do not know"
        ) as named:
            check_assigned(text, "the id")
        assert text not in str(named.value)


def test_public_keys_need_no_bucket_key():
    assert public_key("action", "read") == hashlib.sha256(b"public\x00action\x00read").digest()[:16]
    assert public_key("operation", "read") == hashlib.sha256(b"public\x00operation\x00read").digest()[:16]
    assert (
        len({public_key(kind, "read") for kind in ("action", "operation", "source", "control", "order", "stream")}) == 6
    )
    text = public_text("source", "ehr-api-7")
    assert base64.urlsafe_b64decode(text + "==") == public_key("source", "ehr-api-7")


@given(st.text(max_size=50))
def test_personal_keys_are_those_of_the_format(value: str):
    keys = BucketKeys(KEYS)
    normal = normalize("NFC", value).encode()
    for ident, text in (
        (b"actor\x00" + normal, keys.actor_text(value)),
        (b"resource\x00note\x00" + normal, keys.resource_text("note", value)),
        (b"related\x00note\x00" + normal, keys.related_text("note", value)),
    ):
        bucket = hashlib.sha256(ident).digest()[0] >> 4
        assert bucket_of(ident, BITS) == bucket
        expected = hmac.new(KEYS[32 * bucket : 32 * bucket + 32], ident, "sha256").digest()[:16]
        key = base64.urlsafe_b64decode(text + "==")
        assert len(text) == 22
        assert key == keys.key(ident) == index_key(keys.bucket_key(bucket), ident) == expected
        assert len(key) == KEY_SIZE


def test_the_root_is_over_the_bucket_keys():
    buckets = [KEYS[at : at + 32] for at in range(0, len(KEYS), 32)]
    assert BucketKeys(KEYS).root() == reference.tree_hash(buckets)


def test_one_bucket_is_the_smallest_number():
    keys = BucketKeys(KEYS[:32])
    assert keys.bits == 0
    assert bucket_of(b"anything", 0) == 0
    assert keys.root() == reference.tree_hash([KEYS[:32]])


def test_the_first_bits_decide():
    ident = b"actor\x00u-1"
    digest = hashlib.sha256(ident).digest()
    assert bucket_of(ident, 16) == int.from_bytes(digest[:2])
    assert bucket_of(ident, MAX_BITS) == int.from_bytes(digest[:3])
    assert bucket_of(ident, 1) == digest[0] >> 7


@pytest.mark.parametrize("length", [0, 1, 31, 33, 3 * 32, 5 * 32, 64 + 16, 15 * 32, 1 << 30])
def test_other_numbers_of_keys_are_refused(length: int):
    class Sized(bytes):
        """Claims a length without holding it."""

        def __len__(self):
            return length

    with pytest.raises(MalformedInputError, match=f"not {length} bytes"):
        BucketKeys(Sized())


def test_the_representation_shows_no_key():
    assert repr(BucketKeys(KEYS)) == "BucketKeys(bits=4)"
    assert str(BucketKeys(KEYS)) == "BucketKeys(bits=4)"


def test_one_instance_does_not_answer_for_another():
    other = BucketKeys(bytes(32 << BITS))
    assert BucketKeys(KEYS).actor_text("u-1") != other.actor_text("u-1")


@pytest.mark.parametrize("bits", [0, 1, 4, 8, 9, 11])
def test_a_bucket_key_is_proved_under_the_root(bits: int):
    keys = BucketKeys((bytes(range(256)) * 256)[: 32 << bits])
    for user in ("u", "v", "w"):
        ident = actor_ident(user)
        key, hashes = keys.prove(ident)
        assert index_key(key, ident) == keys.key(actor_ident(user))
        verify_joint(1 << bits, {bucket_of(ident, bits): leaf_hash(key)}, hashes, keys.root())


def test_keys_go_to_another_process_as_they_are():
    keys = bytes(range(32)) * 4
    assert BucketKeys(keys).to_bytes() == keys
