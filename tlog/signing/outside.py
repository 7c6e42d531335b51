"""Requests to addresses that an operator's file names: short, bounded, and never to a place that the file did not mean.

THREATS A65. HTTPS, or HTTP to this machine; no redirects; no private networks, whatever a name resolves to, and the connection
goes to the very address that was looked at; an answer of 64 KiB at most.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import httpx2

from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

MAX_ANSWER: Final = 64 << 10
_PORTS: Final = {"http": 80, "https": 443}


class OutsideError(Exception):
    """There was no answer, or none that may be used; the message says why. Whoever asks expects that, and goes on."""


class Answer(NamedTuple):
    """A whole answer; `media_type` is without parameters, in lower case."""

    status: int
    media_type: str
    body: bytes


class Outside:
    """Asks, over connections that are kept for the next time."""

    def __init__(self, seconds: float) -> None:
        """Prepare; each request has so many seconds."""
        self._seconds = seconds
        self._client = httpx2.AsyncClient(timeout=seconds, trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, method: str, url: str, content: bytes | None = None) -> Answer:
        """Return the answer to a request.

        Raises:
            OutsideError: there was none in time, it is too long, or the address is one that nobody may be sent to.

        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._ask(method, url, content)
        except TimeoutError:
            message = f"no answer within {self._seconds:g} s"
            raise OutsideError(message) from None
        except (httpx2.HTTPError, OSError) as error:
            raise OutsideError(str(error) or type(error).__name__) from error

    async def _ask(self, method: str, url: str, content: bytes | None) -> Answer:
        parts = urlsplit(url)
        host = str(parts.hostname)
        address = await _resolve(host, parts.port or _PORTS[parts.scheme])
        request = self._client.build_request(
            method,
            httpx2.URL(url).copy_with(host=address),
            content=content,
            headers={"Host": parts.netloc, "Accept-Encoding": "identity"},
            extensions={"sni_hostname": host},
        )
        answer = await self._client.send(request, stream=True)
        try:
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MAX_ANSWER:
                    message = f"the answer is longer than {MAX_ANSWER} bytes"
                    raise OutsideError(message)
        finally:
            await answer.aclose()
        return Answer(
            answer.status_code, answer.headers.get("content-type", "").partition(";")[0].strip().lower(), body
        )


def check_url(url: str) -> str:
    """Return an address as it is asked below, without a slash at its end.

    Raises:
        MalformedInputError: it is not https, or http to this machine, or has more than a host, a port and a path.

    """
    try:
        parts = urlsplit(url)
        plain = parts.hostname and not (parts.username or parts.password or parts.query or parts.fragment)
        allowed = plain and parts.port != 0 and (parts.scheme == "https" or (parts.scheme == "http" and _is_here(url)))
    except ValueError:
        allowed = False
    if not allowed:
        message = "the address of a witness begins with https:// (or http:// on this machine) and has no user, query or fragment"
        raise MalformedInputError(message)
    return url.rstrip("/")


async def _resolve(host: str, port: int) -> str:
    """Return an address of a host.

    Raises:
        OutsideError: one of its addresses is in no public network, and the host is not this machine.

    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(each[4][0])) for each in found]
    if not all(address.is_loopback if _is_loopback(host) else _is_public(address) for address in addresses):
        message = "its name leads into a private network"
        raise OutsideError(message)
    return str(addresses[0])


def _is_here(url: str) -> bool:
    return _is_loopback(str(urlsplit(url).hostname))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_global and not mapped.is_multicast)
