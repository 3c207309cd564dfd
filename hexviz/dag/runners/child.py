"""The process of a :class:`~hexviz.dag.runners.processes.ProcessRunner`: waits for calls, makes them, sends home."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from hexviz.dag.errors import NodeTransferError
from hexviz.dag.runners.away import Ended, perform_packed
from hexviz.dag.runners.packing import packed_error, packed_result, unpacked

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class _Pipe:
    """The way home from this process."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._asked: dict[str, Future[bytes]] = {}
        self.calls: SimpleQueue[Any] = SimpleQueue()

    def listen(self) -> None:
        """Hear calls and answers; when home is gone, this process goes as well."""
        while True:
            try:
                ticket, content = unpacked(self._line.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)  # nobody is left to hear of the node under way
            if ticket is None:
                self.calls.put(content)
            elif (asked := self._asked.pop(ticket, None)) is not None:
                asked.set_result(content)

    def send(self, *message: Any) -> None:
        with self._lock:
            if os.getpid() == self._pid:  # not for a child that the node forked
                self._line.send(message)

    def ask(self, number: int) -> Future[bytes]:
        ticket, answer = secrets.token_hex(8), Future[bytes]()
        self._asked[ticket] = answer
        self.send("ask", number, ticket)
        return answer


def serve(line: Connection) -> None:
    """Make one call after the other until home is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for home, which decides
    pipe = _Pipe(line)
    threading.Thread(target=pipe.listen, name="hexviz-home", daemon=True).start()
    own = os.getpid()
    worker = f"process {own}"
    while True:
        node, call = pipe.calls.get()
        pipe.send("start", worker)
        ended = perform_packed(node, call, pipe)
        if os.getpid() != own:  # the node forked, and this is the child: it does not speak for its parent
            os._exit(_exit_code(ended.error))
        pipe.send("end", ended.events, ended.duration_ms, *_payload(node, ended))
        del call, ended


def _payload(node: str, ended: Ended) -> tuple[bool, bytes]:
    if ended.error is not None:
        return False, packed_error(ended.error)
    try:
        return True, packed_result(node, ended.value)
    except NodeTransferError as error:
        return False, packed_error(error)


def _exit_code(error: BaseException | None) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return int(error is not None)
