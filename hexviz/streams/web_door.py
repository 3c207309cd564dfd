"""The door of the server: who comes in as a client, and what others are told."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from hexviz.streams.access import Asked
from hexviz.streams.web_answers import answer, document_answer, json_answer, not_found, page_answer
from hexviz.streams.web_client import BadQueryError, Client, wanted_by

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from hexviz.streams.access import Access
    from hexviz.streams.run_list import RunList
    from hexviz.streams.web_models import Page

__all__ = ["Door"]


class Door:
    """Lets in at most ``most_clients`` clients, and answers all other requests. Called by the server's thread."""

    def __init__(
        self,
        access: Access,
        page: Page | None,
        runs: RunList,
        clients: set[Client],
        counts: dict[str, int],
        most_clients: int,
    ) -> None:
        self._access, self._page, self._runs = access, page, runs
        self._clients, self._counts, self._most_clients = clients, counts, most_clients

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Let a client in (None), or answer its request; the handshake comes after this."""
        asked = Asked.of(request.path, request.headers)
        if asked is None or getattr(request, "method", "GET") != "GET":
            return answer(HTTPStatus.BAD_REQUEST, "That is no request that this server knows.")
        refusal = self._access.refusal(asked, request.headers)
        if refusal is not None:
            self._counts["clients_refused"] += 1
            more = {"WWW_Authenticate": "Bearer"} if refusal.status is HTTPStatus.UNAUTHORIZED else {}
            return answer(refusal.status, refusal.text, **more)
        return self._admit(connection, asked) if asked.path in {"/events", "/view"} else self._told(asked)

    def _told(self, asked: Asked) -> Response:
        if asked.path == "/healthz":
            return json_answer({"ok": True, "clients": len(self._clients)})
        if asked.path == "/runs":
            return json_answer(self._runs.newest_first())
        if asked.path.startswith("/schemas/"):
            return document_answer(asked.path.removeprefix("/schemas/"))
        page = None if self._page is None else page_answer(asked, self._access, self._page.files)
        return page or not_found()

    def _admit(self, connection: ServerConnection, asked: Asked) -> Response | None:
        if not asked.upgrade:
            return answer(HTTPStatus.UPGRADE_REQUIRED, "This is for WebSocket clients.", Upgrade="websocket")
        if len(self._clients) >= self._most_clients:
            self._counts["clients_refused"] += 1
            return answer(
                HTTPStatus.SERVICE_UNAVAILABLE, "This server has as many clients as it takes.", Retry_After="5"
            )
        if asked.path == "/view" and self._page is None:
            return not_found()
        try:
            connection.wanted = wanted_by(asked.query)  # type: ignore[attr-defined]
        except BadQueryError as error:
            return answer(HTTPStatus.BAD_REQUEST, str(error))
        connection.asked = asked  # type: ignore[attr-defined]
        return None
