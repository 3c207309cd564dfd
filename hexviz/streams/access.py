"""Who may come in: exact hosts, exact origins, and a token that is compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qs, urlsplit

from hexviz.streams.models import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


__all__ = ["Access", "AccessError", "Asked", "Refusal", "is_loopback", "new_token"]

LEAST_TOKEN = 16
_MOST_FIELDS = 40


class Fields(Protocol):
    """The headers of a request."""

    def get_all(self, key: str, /) -> list[str]:
        """Every value of a header, in order."""


class AccessError(StreamError):
    """A server was to be opened in a way that would let anybody in."""


class Refusal(NamedTuple):
    """Why somebody is not let in."""

    status: HTTPStatus
    text: str


class Asked(NamedTuple):
    """What a request asks for."""

    path: str
    query: Mapping[str, list[str]]
    upgrade: bool

    @classmethod
    def of(cls, target: str, headers: Fields) -> Asked | None:
        """The parts of a request; None where it has none that could be understood."""
        try:
            parts = urlsplit(target)
            query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            return None
        return cls(parts.path, query, any("websocket" in text.lower() for text in headers.get_all("Upgrade")))


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Whether a server there is reached from this machine only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """The rules of one server: the first that a request breaks decides.

    ``token`` None lets everybody in who reaches this machine; it may then be a loopback address only. Every request
    names one of ``hosts`` (the server's own name and port, and those given), a browser's one of ``origins``; a
    WebSocket always names its origin. All are compared exactly: DNS rebinding and foreign pages do not come through.
    The token comes in ``Authorization: Bearer``, or once in the address of the page, which then gets a cookie.
    """

    def __init__(
        self, host: str, port: int, token: str | None, *, origins: Iterable[str] = (), hosts: Iterable[str] = ()
    ) -> None:
        if token is None and not is_loopback(host):
            raise AccessError(f"a server on {host} can be reached by others, so it needs a token; or use 127.0.0.1")
        if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
            raise AccessError(f"a token has at least {LEAST_TOKEN} characters, all of them printable ASCII")
        own = {host, "127.0.0.1", "localhost", "::1"} if is_loopback(host) else {host}
        named = {f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in own}
        self.hosts = frozenset(named) | frozenset(hosts)
        self.origins = frozenset(f"http://{name}" for name in named) | frozenset(origins)
        self.cookie = f"hexviz-{port}"
        self._token = None if token is None else _digest(token)
        self._session = secrets.token_urlsafe(24)

    def refusal(self, asked: Asked, headers: Fields) -> Refusal | None:
        """Why this request is not answered; None where it is."""
        if not _only(headers.get_all("Host"), self.hosts):
            return Refusal(HTTPStatus.FORBIDDEN, "This server does not go by that name.")
        origins = headers.get_all("Origin")
        if (asked.upgrade or origins) and not _only(origins, self.origins):
            return Refusal(HTTPStatus.FORBIDDEN, "Not for pages of another origin.")
        return None if self._token is None else self._token_refusal(asked, headers)

    def new_session(self, asked: Asked) -> str:
        """The cookie for a page that was opened with the token in its address; empty where it was not."""
        if self._token is None or "token" not in asked.query:
            return ""
        return f"{self.cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"

    def _token_refusal(self, asked: Asked, headers: Fields) -> Refusal | None:
        given = [text[7:].strip() for text in headers.get_all("Authorization") if text[:7].lower() == "bearer "]
        if asked.path == "/":
            given += asked.query.get("token", [])
        if len(given) > 1 or len(headers.get_all("Authorization")) > 1:
            return Refusal(HTTPStatus.UNAUTHORIZED, "More than one token was given.")
        if given:
            known = self._token is not None and hmac.compare_digest(_digest(given[0]), self._token)
            return None if known else Refusal(HTTPStatus.FORBIDDEN, "That is not the token of this server.")
        if self._has_session(headers):
            return None
        return Refusal(
            HTTPStatus.UNAUTHORIZED, "This server asks for its token: open the address that it printed, or give token=."
        )

    def _has_session(self, headers: Fields) -> bool:
        pairs = (part.strip().partition("=") for text in headers.get_all("Cookie") for part in text.split(";"))
        wanted = _digest(self._session)
        return any(name == self.cookie and hmac.compare_digest(_digest(value), wanted) for name, _, value in pairs)


def _only(given: list[str], known: frozenset[str]) -> bool:
    return len(given) == 1 and given[0] in known


def _digest(text: str) -> bytes:
    """Of equal length for all texts, so that not even the length of a token shows."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
