"""A TCP proxy that misbehaves on request, between a client and a server on 127.0.0.1."""

import asyncio
import contextlib
import threading

LATE_S = 0.2
SLOW = 1_000


class Proxy:
    """Passes bytes on, both ways, as ``mode`` says at each moment.

    ``pass``; ``swallow``: takes what clients send and passes nothing on; ``deaf``: passes on what clients send and
    swallows the answers; ``reset``: cuts a connection after ``reset_bytes`` from the client; ``late``: everything comes
    :data:`LATE_S` later; ``slow``: :data:`SLOW` bytes a second each way. :meth:`away` is a context within which nobody
    listens.
    """

    def __init__(self, port, server_port):
        self.port, self.server_port = port, server_port
        self.mode, self.reset_bytes, self.resets = "pass", 30_000, 0
        self._writers = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _open(self):
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    async def _cut(self):
        for writer in self._writers:
            writer.transport.abort()

    def cut(self):
        """Reset every connection."""
        self._do(self._cut())

    async def _stop(self):
        self._server.close()
        await self._cut()

    @contextlib.contextmanager
    def away(self):
        self._do(self._stop())
        yield
        self._open()

    @contextlib.contextmanager
    def as_(self, mode):
        """In this mode, with connections that begin in it and end with it."""
        self.mode = mode
        yield
        self.mode = "pass"
        self.cut()

    async def _end(self):
        await self._stop()
        await asyncio.sleep(0)  # whoever was let in just now begins, and so ends its connection
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self):
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            try:
                await self._pass_on(reader, writer)
            finally:
                self._writers.discard(writer)
                writer.transport.abort()

    async def _pass_on(self, reader, writer):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server_port)
        self._writers.add(to_server)
        ways = [
            asyncio.ensure_future(self._pump(reader, to_server, "swallow")),
            asyncio.ensure_future(self._pump(from_server, writer, "deaf")),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers.discard(to_server)
            to_server.transport.abort()
            for way in ways:
                way.cancel()

    async def _pump(self, reader, writer, swallowed_in):
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                if self.mode in {swallowed_in, "swallow"}:
                    continue
                passed += len(data)
                if self.mode == "late":
                    self._loop.call_later(LATE_S, _write, writer, data)
                    continue
                if self.mode == "slow":
                    await asyncio.sleep(len(data) / SLOW)
                writer.write(data)
                await writer.drain()
                if self.mode == "reset" and swallowed_in == "swallow" and passed > self.reset_bytes:
                    self.resets += 1
                    return


def _write(writer, data):
    if not writer.transport.is_closing():
        writer.write(data)
