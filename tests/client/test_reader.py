"""The client for whoever asks: what it says when the log is away, and the example of its docstring."""

from __future__ import annotations

import json
import socket
import textwrap
import threading

import pytest
from support import sample_events

from tlog.client import Client, ServiceError, reader
from tlog.errors import MalformedInputError, OverloadedError


@pytest.fixture
def nowhere():
    """The URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}"


ASK = {
    "append": lambda client: client.append([b"{}"]),
    "log": lambda client: client.log(),
    "ask": lambda client: client.ask({"action": "read"}),
    "export": lambda client: list(client.export("ndjson", {"action": "read"})),
}


@pytest.mark.parametrize("what", ASK)
def test_a_log_that_is_away_can_be_asked_again_later(nowhere, what):
    with Client(nowhere) as client, pytest.raises(OverloadedError, match="cannot be reached"):
        ASK[what](client)


def answering(listener, body):
    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{", b"\xff"])
@pytest.mark.parametrize("what", [*sorted(ASK.keys() - {"export"}), "event_proof"])
def test_what_is_no_log_is_said_to_be_none(what, body):
    calls = {**ASK, "event_proof": lambda client: client.event_proof("0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e")}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = answering(listener, body)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url) as client, pytest.raises(ServiceError, match="is no log"):
            calls[what](client)
        thread.join()


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "ftp://127.0.0.1", "http://127.0.0.1:99999", ""])
def test_what_is_no_url_is_refused(url):
    with pytest.raises((MalformedInputError, OverloadedError)), Client(url) as client:
        client.log()


def test_an_export_that_breaks_off_is_no_shorter_answer():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client, pytest.raises(OverloadedError):
            list(client.export("ndjson", {"action": "read"}))
        thread.join()


def test_the_example_of_the_docstring(running_server):
    server = running_server
    example = textwrap.dedent(reader.__doc__.partition("to be there):\n\n")[2].partition("\n\nAn append")[0])
    names = {"url": server.url, "token": server.token, "vkey": server.vkey, "event": sample_events(1)[0]}
    exec(compile(example, "example", "exec"), names)
    assert names["verified"].index == names["receipt"]["index"]
    assert names["verified"].entry.eventId == json.loads(names["event"])["eventId"]
