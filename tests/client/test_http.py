"""The connection: what is a URL, what is repeated, and what is told of a server that breaks off."""

from __future__ import annotations

import socket
import threading

import pytest
from fakelog import problem

from tlog.client.http import Answer, Connection, ServiceError
from tlog.errors import MalformedInputError, OverloadedError


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://127.0.0.1", "http://", "http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:x", "http://a?b=c", "http://a#b", "http://u:p@a"],
)  # fmt: skip
def test_what_is_no_url_is_refused(url):
    with pytest.raises(MalformedInputError, match="a scheme, a host and a port"):
        Connection(url, None)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "é"])
def test_what_is_no_key_is_refused(token):
    with pytest.raises(MalformedInputError, match="an API key is one word"):
        Connection("http://127.0.0.1:1", token)


def test_an_idle_connection_that_was_closed_is_made_again(fake_log):
    connection = Connection(fake_log.url, "token")
    assert connection.send("POST", "/", body=b"{}").status == 201
    first = connection._http.sock
    first.shutdown(socket.SHUT_RDWR)  # as if the other side had closed it
    assert connection.send("POST", "/", body=b"{}").status == 201
    assert connection._http.sock is not first
    assert len(fake_log.requests) == 2
    kept = connection._http.sock
    connection.send("POST", "/", body=b"{}")
    assert connection._http.sock is kept
    connection.close()


def test_an_answer_that_does_not_come_is_told(fake_log):
    fake_log.script = [None]
    connection = Connection(fake_log.url, None)
    with pytest.raises(OverloadedError, match=r"cannot be reached \(RemoteDisconnected\)"):
        connection.send("POST", "/", body=b"{}")
    connection.close()


def test_who_waits_can_be_called_back(fake_log):
    waiting = threading.Event()
    fake_log.script = [lambda lines: (waiting.set(), threading.Event().wait(0.5), problem(500)(lines))[2]]
    connection = Connection(fake_log.url, None)
    errors = []

    def send():
        try:
            connection.send("POST", "/", body=b"{}")
        except OverloadedError as error:
            errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    assert waiting.wait(10)
    connection.abort()
    thread.join(10)
    assert len(errors) == 1
    Connection("http://127.0.0.1:1", None).abort()


@pytest.mark.parametrize("scheme, host", [("http", "nowhere.invalid"), ("https", "nowhere.invalid:8443")])
def test_a_proxy_of_the_environment_is_asked(monkeypatch, scheme, host):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        said = []

        def answer():
            peer, _ = listener.accept()
            with peer:
                said.append(peer.recv(65_536).split(b"\r\n")[0].decode())
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=answer)
        thread.start()
        connection = Connection(f"{scheme}://{host}/logs/a", None)
        if scheme == "http":
            assert connection.send("GET", "/checkpoint", query={"a": "b c"}).body == b"ok"
            assert said == ["GET http://nowhere.invalid/logs/a/checkpoint?a=b+c HTTP/1.1"]
        else:
            with pytest.raises(OverloadedError):  # what the proxy of this test has behind it speaks no TLS
                connection.send("GET", "/checkpoint")
            assert said[0].startswith("CONNECT nowhere.invalid:8443 HTTP/1.")
        thread.join()
        connection.close()
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    assert connection._proxy() is None


@pytest.mark.parametrize(
    "answer, kind, message",
    [
        (Answer(503, 7, b'{"title":"No","detail":"later"}'), OverloadedError, "No: later"),
        (Answer(507, None, b"<html>"), OverloadedError, "the log answered 507"),
        (Answer(422, None, b'{"title":"No","detail":"so","pointer":"/0/action"}'), MalformedInputError, "No: so"),
        (Answer(403, None, b'{"title":"No","detail":"so","pointer":""}'), ServiceError, "No: so"),
        (Answer(404, None, b"[" * 100_000), ServiceError, "the log answered 404"),
        (Answer(404, None, b'{"title":1,"detail":"x","pointer":"/a"}'), ServiceError, "the log answered 404"),
        (Answer(404, None, b"\xff"), ServiceError, "the log answered 404"),
    ],
)
def test_what_an_answer_means(answer, kind, message):
    with pytest.raises(kind) as error:
        answer.raise_problem()
    assert str(error.value) == message
    if kind is OverloadedError:
        assert error.value.retry_after == (answer.retry_after or 1)


@pytest.mark.parametrize("text, seconds", [("7", 7), ("", None), ("soon", None), ("-1", None), ("9" * 10, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])  # fmt: skip
def test_seconds_are_taken_and_nothing_else(fake_log, text, seconds):
    fake_log.script = [problem(503, Retry_After=text)]
    connection = Connection(fake_log.url, None)
    assert connection.send("POST", "/", body=b"{}").retry_after == seconds
    connection.close()
