"""A WebSocket client by hand, which can do whatever a client must not."""

import base64
import contextlib
import os
import socket
import struct

TEXT, BINARY, CLOSE, PING, PONG, CONTINUED = 1, 2, 8, 9, 10, 0


class RawClient:
    """A connection to a server; ``request`` sends a handshake, or another request, with the headers given."""

    def __init__(self, server, *, receive_buffer=None):
        self.server = server
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect((server.host, server.port))
        self.rest = b""

    def headers(self, **changed):
        own = f"{self.server.host}:{self.server.port}"
        headers = {
            "Host": own,
            "Origin": f"http://{own}",
            "Authorization": f"Bearer {self.server.token}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        headers.update(changed)
        return headers

    def request(self, path="/events", extra=(), **changed):
        """The status of the answer; ``changed`` headers replace the usual ones, None leaves one out."""
        lines = [
            f"{name.replace('_', '-')}: {value}" for name, value in self.headers(**changed).items() if value is not None
        ]
        text = "\r\n".join((f"GET {path} HTTP/1.1", *lines, *extra, "", ""))
        self.socket.sendall(text.encode("latin-1", "replace") if isinstance(text, str) else text)
        return self.answer()

    def answer(self):
        """The status of the next answer, 0 where the connection was closed without one; its text in ``said``."""
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                more = self.socket.recv(65_536)
                if not more:
                    break
                data += more
        except (ConnectionError, TimeoutError):
            pass
        self.said, _, self.rest = data.partition(b"\r\n\r\n")
        return int(data.split(b" ", 2)[1]) if data.startswith(b"HTTP/") else 0

    def send(self, payload=b"", kind=TEXT, *, last=True, masked=True, reserved=0):
        self.socket.sendall(frame(payload, kind, last=last, masked=masked, reserved=reserved))

    def closed_with(self):
        """The code of the close frame; 0 where the connection ended without one."""
        data = self.rest
        try:
            while True:
                while len(data) >= 2:
                    size, start = data[1] & 127, 2
                    if size == 126:
                        size, start = int.from_bytes(data[2:4]), 4
                    elif size == 127:
                        size, start = int.from_bytes(data[2:10]), 10
                    if len(data) < start + size:
                        break
                    if data[0] & 15 == CLOSE:
                        return int.from_bytes(data[start : start + 2])
                    data = data[start + size :]
                more = self.socket.recv(65_536)
                if not more:
                    return 0
                data += more
        except ConnectionError:
            return 0

    def everything(self):
        """Whatever else comes until the connection ends."""
        data = self.rest
        with contextlib.suppress(ConnectionError, TimeoutError):
            while more := self.socket.recv(65_536):
                data += more
        return data

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def frame(payload=b"", kind=TEXT, *, last=True, masked=True, reserved=0):
    head = bytes([128 * last | reserved << 4 | kind])
    size = len(payload)
    length = bytes([128 * masked | (size if size < 126 else 126 if size < 65_536 else 127)])
    length += b"" if size < 126 else struct.pack(">H" if size < 65_536 else ">Q", size)
    return head + length + (bytes(4) if masked else b"") + payload  # a mask of zeros changes nothing
