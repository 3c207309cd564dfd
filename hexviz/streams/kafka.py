"""Where Kafka is and how to speak to it: addresses, settings, names of topics, what stands in a message's headers."""

from __future__ import annotations

import hashlib
import importlib
import logging
import re
import string
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from hexviz.errors import MissingExtraError
from hexviz.streams.models import StreamError, TransportDownError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOPIC_HEADER = "hexviz_topic"
"""Header of a message: the dotted topic of its event, so that readers can choose without looking inside."""
PART_HEADER = "hexviz_part"
"""Header of a part of an event that is larger than the broker takes: ``SEQ:NUMBER/COUNT``, numbers from 1."""
LONGEST_HEADER = 1024

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,249}")
_LONGEST_NAME = 249
_PLAIN = frozenset(string.ascii_letters + string.digits + "-")
_IN_URL = ("client.id", "sasl.mechanism", "security.protocol", "ssl.ca.location")
_library_log = logging.getLogger("hexviz.streams.librdkafka")
_library_log.setLevel(logging.CRITICAL + 1)  # what matters is told by our own log; who wants more lowers this
_QUIET = {
    "logger": _library_log,  # otherwise the library writes to stderr
    "client.id": "hexviz",
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
}


def driver(name: str = "confluent_kafka") -> Any:
    """The module confluent_kafka. Raises :class:`~hexviz.errors.MissingExtraError`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError("confluent-kafka", "kafka", purpose="sending and reading runs by Kafka") from error


def topic_name(text: str) -> str:
    """A legal name of a Kafka topic for any text: ``_HH`` stands for each byte but ASCII letters, digits and ``-``.

    Different texts give different names. Long ones end with a checksum of the rest.
    """
    raw = text.encode("utf-8", "surrogatepass")
    name = "".join(char if char in _PLAIN else f"_{ord(char):02X}" for char in raw.decode("latin-1")) or "_"
    if len(name) <= _LONGEST_NAME:
        return name
    mark = f"_x{hashlib.sha256(raw).hexdigest()}"  # no name of a short text holds "_x"
    return name[: _LONGEST_NAME - len(mark)] + mark


def key_of(run_id: str) -> bytes:
    """The key of all messages of a run, so that one partition has them: its id, or the hash of a long one."""
    raw = run_id.encode("utf-8", "surrogatepass")
    return raw if len(raw) <= LONGEST_HEADER else hashlib.sha256(raw).hexdigest().encode()


class Address:
    """``kafka://[USER:PASSWORD@]HOST:PORT[,HOST:PORT]/TOPIC``; ``str`` shows no password.

    With a user the connection is encrypted and speaks SASL PLAIN, unless the query says otherwise
    (``?security.protocol=SASL_PLAINTEXT&sasl.mechanism=SCRAM-SHA-256``). ``settings`` are librdkafka's and come last.
    """

    def __init__(self, url: str, settings: Mapping[str, Any] | None = None) -> None:
        self.hosts, self.topic, self.settings = _parsed(url)
        self.settings |= dict(settings or {})
        secrets = {str(v) for k, v in self.settings.items() if "password" in k or "secret" in k}
        self._secrets = [secret for secret in secrets if secret]

    def clean(self, text: object) -> str:
        """``text`` in one line, without passwords."""
        shown = " ".join(str(text).split())
        for secret in self._secrets:
            shown = shown.replace(secret, "[hidden]")
        return shown

    def __str__(self) -> str:
        return f"kafka://{self.hosts}/{self.topic}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"


def _parsed(url: str) -> tuple[str, str, dict[str, Any]]:
    parts = urlsplit(url, allow_fragments=False)
    topic = unquote(parts.path.lstrip("/"))
    user, _, hosts = parts.netloc.rpartition("@")
    if parts.scheme != "kafka" or not hosts or not topic:
        raise StreamError("the address of a Kafka topic is written kafka://HOST:PORT/TOPIC")
    if not _LEGAL.fullmatch(topic) or topic in {".", ".."}:
        raise StreamError(
            f"{topic!r} cannot be the name of a Kafka topic (letters, digits, '.', '_', '-', at most {_LONGEST_NAME}); "
            f"hexviz.streams.topic_name(text) makes one of any text"
        )
    settings: dict[str, Any] = {}
    if user:
        name, _, password = user.partition(":")
        settings = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
        settings |= {"sasl.username": unquote(name), "sasl.password": unquote(password)}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _IN_URL:
            raise StreamError(f"{name!r} cannot stand in the address of a Kafka topic, only {', '.join(_IN_URL)} can")
        settings[name] = value
    return hosts, topic, settings


class Line:
    """Makes clients of one address, and knows what the library last said of its connections."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._said = ""

    def client(self, kind: str, settings: Mapping[str, Any] | None = None, *, module: str = "confluent_kafka") -> Any:
        """A ``Producer``, ``Consumer`` or ``AdminClient``. Raises :class:`StreamError` for settings that cannot be."""
        library = driver(module)
        given = _QUIET | {"error_cb": self._hear} | dict(settings or {}) | self.address.settings
        try:
            return getattr(library, kind)({"bootstrap.servers": self.address.hosts} | given)
        except driver().KafkaException as error:
            raise StreamError(f"{self.address}: {self.address.clean(error.args[0].str())}") from None

    def down(self, reason: object) -> TransportDownError:
        """The error that says why nothing goes through."""
        said = f" ({self._said})" if self._said else ""
        return TransportDownError(f"{self.address}: {self.address.clean(reason)}{said}")

    def well(self) -> None:
        """Forget what was said: it works again."""
        self._said = ""

    def _hear(self, error: Any) -> None:
        # That all brokers are down follows from what was said of each of them.
        if error.name() != "_ALL_BROKERS_DOWN":
            self._said = self.address.clean(error.str())[:300]

    def partitions(self, client: Any, limit_s: float, *, must: bool = True) -> list[int]:
        """The partitions of the topic; with ``must=False`` none where there is no such topic.

        Raises :class:`TransportDownError` where it cannot be used, or nobody answers.
        """
        topic, until = self.address.topic, time.monotonic() + limit_s
        while True:
            try:
                found = client.list_topics(topic, timeout=0.5).topics[topic]
                break
            except driver().KafkaException as error:
                client.poll(0.05)  # brings what the library has said, such as that the connection was refused
                if self._said or time.monotonic() > until:
                    raise self.down(error.args[0].str()) from None
        if found.error is not None:
            if not must and found.error.name() in {"UNKNOWN_TOPIC_OR_PART", "LEADER_NOT_AVAILABLE"}:
                return []
            raise self.down(f"the topic cannot be used: {found.error.str()}")
        return sorted(found.partitions)


def headers_of(pairs: Iterable[tuple[str, bytes | None]] | None) -> dict[str, bytes]:
    """The headers of a message by name."""
    return {name: value or b"" for name, value in pairs or ()}
