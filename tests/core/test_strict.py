"""Decimal numbers and base64: one form each, nothing else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlog.core.strict import (
    encode_base64,
    encode_base64url,
    encode_hashes_base64url,
    parse_base64,
    parse_base64url,
    parse_decimal,
)
from tlog.errors import MalformedInputError


@given(st.integers(0, 2**63 - 1))
def test_decimals_round_trip(number: int):
    assert parse_decimal(b"%d" % number, "the number") == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "007",
        "00",
        "+7",
        "-0",
        "-7",
        "1_000",
        " 7",
        "7 ",
        "7\n",
        "7.0",
        "0x7",
        "1e3",
        "7\x00",
        "\uff17",
        "\u0663",
        "\u00b2",
        "9223372036854775808",
        "18446744073709551615",
        "9" * 19,
        "1" + "0" * 19,
        "1" * 10_000,
    ],
)
def test_decimals_have_one_form(text: str):
    with pytest.raises(MalformedInputError, match="the number is not a decimal number"):
        parse_decimal(text.encode(), "the number")


@given(st.binary(max_size=100))
def test_base64_round_trips(data: bytes):
    assert encode_base64(data) == base64.b64encode(data)
    assert parse_base64(encode_base64(data), "the value") == data
    assert encode_base64url(data) == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert parse_base64url(encode_base64url(data), "the value", len(data)) == data


# What Python's decoders let pass, in part or in full.
@pytest.mark.parametrize(
    "text",
    [
        "YWJj\n",
        "\nYWJj",
        "YW Jj",
        "YWJ",
        "YQ",
        "YQ=",
        "YQ===",
        "YR==",
        "YWI",
        "YWJ=",
        "YW==Jj",
        "=YWJj",
        "YWJj=",
        "YWJj====",
        "_-8=",
        "!WJj",
        "YWJj\x00",
        "ÿWJj",
        "\u0410" * 4,
    ],
)
def test_base64_has_one_form(text: str):
    with pytest.raises(MalformedInputError, match="the value is not canonical base64"):
        parse_base64(text.encode(), "the value")


def test_base64_of_another_length_is_refused():
    with pytest.raises(MalformedInputError, match="the value has 3 bytes, not 32"):
        parse_base64(b"YWJj", "the value", 32)


@pytest.mark.parametrize("text", ["YQ==", "+_8", "/_8", "YQ=", "Y", "YR", "YQ\n", "Y Q", "YQA"])
def test_base64url_has_one_form(text: str):
    with pytest.raises(MalformedInputError, match="the value"):
        parse_base64url(text.encode(), "the value", 2 if text.endswith("_8") else 1)


def test_many_hashes_are_encoded_as_each_would_be():
    hashes = [bytes([255 - number]) * 32 for number in range(3)]
    assert encode_hashes_base64url(hashes) == [base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in hashes]
    assert encode_hashes_base64url([]) == []
