"""What of an event is somebody else's: by its entry alone, whatever its groups hold."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from msgspec import UNSET

from tlog.answering.withholding import Own, withheld

OWN = Own("patient_record", ["mine", "my-bucket"])
SOMEBODY = Own("", ["me", "my-bucket"])


def entry(kind, *related):
    """Return an entry of a resource of a type that names related resources with these keys."""
    commitments = SimpleNamespace(related=["c"] * len(related) if related else UNSET)
    return SimpleNamespace(resourceType=kind, commitments=commitments, keys=["actor", "resource", "action", *related])


# An entry, in which group the asked resource is, whose answers these are, and what is withheld.
CASES = {
    "what happened to it": (entry("patient_record"), "resource", OWN, []),
    "what happened to it beside others": (entry("patient_record", "other"), "resource", OWN, ["related/0"]),
    "its lab result": (entry("lab_result", "mine"), "related/0", OWN, []),
    "a list that has it": (
        entry("search", "other", "mine", "third"),
        "related/1",
        OWN,
        ["resource", "related/0", "related/2"],
    ),
    "another person that has it": (entry("patient_record", "mine"), "related/0", OWN, ["resource"]),
    "who asked about it": (entry("log", "mine", "my-bucket"), "related/0", OWN, []),
    "who asked about it and others": (
        entry("log", "mine", "user", "bucket"),
        "related/0",
        OWN,
        ["related/1", "related/2"],
    ),
    "what somebody did": (entry("patient_record"), None, SOMEBODY, ["resource"]),
    "what somebody did to several": (entry("search", "other", "me"), None, SOMEBODY, ["resource", "related/0"]),
    "what somebody asked": (entry("log", "other"), None, SOMEBODY, ["related/0"]),
}


@pytest.mark.parametrize("name", CASES)
def test_groups_that_are_somebody_elses_are_withheld(name):
    event, matched, own, expected = CASES[name]
    assert withheld(event, matched, own) == expected
