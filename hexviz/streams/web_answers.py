"""The small HTTP face of the server: what it answers to whoever does not come for a WebSocket."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Response

import hexviz
from hexviz.events.async_api import async_api
from hexviz.events.json_schema import event_schema
from hexviz.streams.open_api import open_api

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hexviz.streams.access import Access, Asked

_LONGEST_NAME = 40
PLAIN, JSON = "text/plain; charset=utf-8", "application/json"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {sockets}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Connection": "close",
}


def answer(status: HTTPStatus, body: bytes | str, kind: str = PLAIN, **more: str) -> Response:
    """A response with the headers that every one of ours has; ``more`` headers by name, ``_`` for ``-``."""
    content = body.encode() if isinstance(body, str) else body
    headers = Headers(_ALWAYS | {"Content-Type": kind, "Content-Length": str(len(content))})
    for name, value in more.items():
        key = name.replace("_", "-")
        if key in headers:
            del headers[key]
        headers[key] = value
    return Response(status.value, status.phrase, headers, content)


def json_answer(value: Any) -> Response:
    """A response with ``value`` as JSON."""
    return answer(HTTPStatus.OK, msgspec.json.encode(value), JSON)


def not_found() -> Response:
    """There is nothing there."""
    return answer(HTTPStatus.NOT_FOUND, "There is nothing of that name.")


@lru_cache(maxsize=16)
def _document(name: str) -> bytes | None:
    """The description of what this server sends; event classes of users are in what `hexviz schema` writes."""
    version = hexviz.__version__
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "events.schema.json": event_schema,
        "asyncapi.json": lambda: async_api(version=version),
        "openapi.json": lambda: open_api(version=version),
    }
    return msgspec.json.encode(makers[name]()) if name in makers else None


def document_answer(name: str) -> Response:
    """One of the documents, by its name."""
    body = _document(name) if len(name) < _LONGEST_NAME else None
    return not_found() if body is None else answer(HTTPStatus.OK, body, JSON)


def page_answer(asked: Asked, access: Access, files: Mapping[str, tuple[str, bytes]]) -> Response | None:
    """The page or one of its files; None where there is none of that name.

    With the token in the address the answer is a cookie and the same address without it.
    """
    found = files.get(asked.path)
    if found is None:
        return None
    cookie = access.new_session(asked)
    if cookie:
        return answer(HTTPStatus.SEE_OTHER, "", Location="/", Set_Cookie=cookie)
    kind, body = found
    sockets = " ".join(sorted(f"ws://{host}" for host in access.hosts if "[" not in host))  # CSP has no word for IPv6
    return answer(HTTPStatus.OK, body, kind, Content_Security_Policy=_POLICY.format(sockets=sockets))
