"""What a witness remembers: heads only move from where they were looked at, whoever races."""

from __future__ import annotations

import sqlite3
import threading
from hashlib import sha256

import pytest
from witnessing import LeafLog

from tlog.core.note import Signer
from tlog.errors import MalformedInputError, NotFoundError, RollbackError
from tlog.witness.decide import NEVER, Head
from tlog.witness.state import WitnessedLog, WitnessState

LOG = LeafLog()
VKEY, ORIGIN = LOG.signer.verifier.vkey(), LOG.signer.verifier.name
SECOND = Signer(ORIGIN, b"\x44" * 32).verifier.vkey()


def head(size):
    return Head(size, LOG.root(size))


@pytest.fixture
def state(tmp_path):
    WitnessState.create(tmp_path / "witness.sqlite3")
    opened = WitnessState(tmp_path / "witness.sqlite3")
    yield opened
    opened.close()


def test_a_log_is_known_from_its_first_head_on(state):
    assert state.find(ORIGIN) == ([], NEVER)
    state.add_log(VKEY)
    assert state.find(ORIGIN) == ([LOG.signer.verifier], NEVER)
    state.add_log(Signer("log.example/b", bytes(32)).verifier.vkey(), head(7))
    assert state.find("log.example/b")[1] == head(7)
    assert [log.origin for log in state.logs()] == ["log.example/b", ORIGIN]
    with pytest.raises(MalformedInputError, match=r"knows log\.example/witnessed already"):
        state.add_log(SECOND)
    assert state.find(ORIGIN)[0] == [LOG.signer.verifier]
    with pytest.raises(MalformedInputError):
        state.add_log("no vkey")


def test_keys_come_and_go_and_the_head_stays(state):
    with pytest.raises(NotFoundError, match="does not know"):
        state.add_key(VKEY)
    state.add_log(VKEY)
    assert state.advance(ORIGIN, NEVER, head(5), b"a note")
    state.add_key(SECOND)
    state.add_key(SECOND)
    assert state.logs() == [WitnessedLog(ORIGIN, 5, tuple(sorted((VKEY, SECOND))))]
    state.remove_key(VKEY)
    with pytest.raises(NotFoundError, match="no such key"):
        state.remove_key(VKEY)
    state.remove_key(SECOND)
    assert state.find(ORIGIN) == ([], head(5))


def test_a_head_moves_only_from_where_it_is(state):
    state.add_log(VKEY)
    assert state.advance(ORIGIN, NEVER, head(5), b"5")
    assert not state.advance(ORIGIN, NEVER, head(6), b"6")
    assert not state.advance(ORIGIN, Head(5, bytes(32)), head(6), b"6")
    assert not state.advance("log.example/unknown", NEVER, head(6), b"6")
    assert state.advance(ORIGIN, head(5), head(5), b"again")
    assert state.note_of(sha256(ORIGIN.encode()).hexdigest()) == b"again"


def test_what_was_never_cosigned_is_not_shown(state):
    state.add_log(VKEY, head(5))
    for name in (ORIGIN, "log.example/unknown"):
        with pytest.raises(NotFoundError, match="no checkpoint of such a log"):
            state.note_of(sha256(name.encode()).hexdigest())


def test_heads_are_durable(tmp_path, state):
    with sqlite3.connect(tmp_path / "witness.sqlite3") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert state._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_memory_that_is_gone_is_not_made_anew(tmp_path):
    with pytest.raises(RollbackError, match="is gone"):
        WitnessState(tmp_path / "witness.sqlite3")
    assert not (tmp_path / "witness.sqlite3").exists()


def race(path, advance, workers=8, rounds=25):
    """Move one head from many threads at once, each over a connection of its own; return how many won each round."""
    states = [WitnessState(path) for _ in range(workers)]
    winners = []
    try:
        for number in range(rounds):
            old, won, start = states[0].find(ORIGIN)[1], [], threading.Barrier(workers)

            def move(state, size, won=won, start=start, old=old):
                start.wait()
                won += [size] if advance(state, old, Head(size, bytes([size % 256]) * 32)) else []

            threads = [
                threading.Thread(target=move, args=(state, 1 + number * workers + place))
                for place, state in enumerate(states)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            winners.append(len(won))
            if len(won) == 1:
                assert states[0].find(ORIGIN)[1].size == won[0]
    finally:
        for state in states:
            state.close()
    return winners


def test_of_racing_requests_one_wins(tmp_path, state):
    """The control is a statement that does not compare: then several win."""
    state.add_log(VKEY)
    path = tmp_path / "witness.sqlite3"
    assert set(race(path, lambda state, old, new: state.advance(ORIGIN, old, new, b"note"))) == {1}

    def blind(state, _, new):
        statement = "UPDATE log SET size = ?, root = ? WHERE origin = ?"
        return state._connection.execute(statement, (*new, ORIGIN)).rowcount == 1

    assert set(race(path, blind, rounds=2)) == {8}
