"""A connection to PostgreSQL made when it is needed, made again when it broke, never waited for without a limit."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hexviz.errors import MissingExtraError
from hexviz.stores.errors import NotAStoreError, StoreUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECT_S = 5.0
"""How long opening a connection may take, whatever the network does."""
WORK_S = 60.0
"""How long one piece of work may take before the connection is cut."""

_SECRET = ("password", "sslpassword")
_TELLING = 3
"""A password of so few letters would be told by where it was taken out."""


def driver() -> Any:
    """The module psycopg. Raises :class:`~hexviz.errors.MissingExtraError`."""
    try:
        return importlib.import_module("psycopg")
    except ImportError as error:
        raise MissingExtraError("psycopg", "postgres", purpose="keeping runs in PostgreSQL") from error


class Address:
    """Where a server is. ``str`` and ``repr`` show no password, nor does any text that :meth:`clean` made."""

    def __init__(self, url: str) -> None:
        module = driver()
        try:
            given = importlib.import_module("psycopg.conninfo").conninfo_to_dict(url)
        except module.Error:
            # The driver's own words quote the part that it cannot read, which may be the password.
            raise NotAStoreError(
                "the address of the PostgreSQL store cannot be read: write postgresql://USER@HOST:PORT/DATABASE, with "
                "characters such as @ : / % in the password percent-encoded"
            ) from None
        secrets = [str(given.get(name) or "") for name in _SECRET]
        self._secrets = [secret for secret in secrets if len(secret) > _TELLING]
        self._given = given | {"client_encoding": "UTF8"}
        self._given.setdefault("connect_timeout", max(2, round(CONNECT_S)))
        self._given.setdefault("application_name", "hexviz")
        host, user = str(given.get("host") or "localhost"), given.get("user")
        port = f":{given['port']}" if given.get("port") else ""
        self._shown = f"postgresql://{f'{user}@' if user else ''}{host}{port}/{given.get('dbname') or ''}"

    def connect(self) -> Any:
        """A connection in autocommit mode."""
        # Prepared statements do not survive a pooler between us and the server.
        return driver().connect(**self._given, autocommit=True, prepare_threshold=None)

    def clean(self, text: object) -> str:
        """``text`` in one line, without the password."""
        shown = " ".join(str(text).split())
        for secret in self._secrets:
            shown = re.sub(re.escape(secret), "[hidden]", shown)
        return shown

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Address({self._shown!r})"


class Line:
    """One connection at a time, for one thread at a time."""

    def __init__(self, address: Address, *, connect_s: float = CONNECT_S, work_s: float = WORK_S) -> None:
        self.address = address
        self.connect_s = connect_s
        self.work_s = work_s
        self.lock = threading.RLock()
        self._connection: Any = None
        self._pid = os.getpid()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known on this side."""
        return self._connection is not None and not self._connection.closed

    @contextmanager
    def work(self) -> Iterator[Any]:
        """The connection, for a piece of work; cut off where that takes more than ``work_s`` seconds.

        After an error of the connection it is not used again. Raises :class:`StoreUnreachableError` where there can be
        none, and the driver's errors as they are.
        """
        with self.lock:
            connection = self._connected()
            cut = threading.Timer(self.work_s, _cut, [connection])
            cut.daemon = True
            cut.start()
            try:
                yield connection
            except BaseException:
                cut.cancel()  # before anything is closed: the number of its socket may soon be another's
                if connection.closed or connection.broken or connection.info.transaction_status:
                    self.close()
                raise
            finally:
                cut.cancel()

    def ask(self, sql: str, parameters: Any = ()) -> list[Any]:
        """The rows that a question gives; asked once more where the connection turns out to have broken."""
        for last in (False, True):
            try:
                with self.work() as connection:
                    return connection.execute(sql, parameters, binary=True).fetchall()  # type: ignore[no-any-return]
            except (driver().OperationalError, driver().InterfaceError) as error:
                if last or self.connected:
                    raise StoreUnreachableError(
                        f"{self.address} does not answer: {self.address.clean(error)}"
                    ) from None
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def close(self) -> None:
        """Let go of the connection; what was not committed is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            with contextlib.suppress(Exception):
                connection.close()

    def _connected(self) -> Any:
        if self._pid != os.getpid():  # a forked child has its parent's socket, and must not speak on it
            self._connection, self._pid = None, os.getpid()
        if self._connection is None or self._connection.closed:
            self.close()
            self._connection = within(self.connect_s, self.address.connect, self._reason)
        return self._connection

    def _reason(self, error: BaseException | None) -> StoreUnreachableError:
        why = f"no answer within {self.connect_s:g} s" if error is None else self.address.clean(error)
        return StoreUnreachableError(f"{self.address} cannot be reached: {why}")


def within(limit_s: float, connect: Callable[[], Any], reason: Callable[[BaseException | None], Exception]) -> Any:
    """What ``connect`` returns, at the latest after ``limit_s`` seconds: name servers and networks may take longer.

    Raises ``reason(error)``, with None where the time is up; what arrives later is closed.
    """
    found: list[Any] = []
    errors: list[BaseException] = []
    lock, late = threading.Lock(), False
    done = threading.Event()

    def attempt() -> None:
        try:
            connection = connect()
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            errors.append(error)
        else:
            with lock:
                found.append(connection)
                if late:
                    connection.close()
        done.set()

    threading.Thread(target=attempt, name="hexviz connects", daemon=True).start()
    done.wait(limit_s)
    with lock:
        late = True
        if found:
            return found[0]
    raise reason(errors[0] if errors else None) from None


def _cut(connection: Any) -> None:
    """End what another thread waits for on this connection."""
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as shut:
        shut.shutdown(socket.SHUT_RDWR)
