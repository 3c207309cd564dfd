"""Events over WebSockets: the contracts of sinks and sources, and what only this wire has."""

import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request

import jsonschema
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

from hexviz.errors import MissingExtraError
from hexviz.events.cloud_events import from_cloud_event, to_cloud_event
from hexviz.events.events import NodeCompleted, NodeStarted
from hexviz.events.observer_manager import ObserverManager
from hexviz.events.summary import Summary
from hexviz.streams import Reader, StreamError, WebSocketBroadcaster, WebSocketSource
from hexviz.streams.open_api import open_api
from hexviz.testing import SinkContract, SourceContract, collected
from hexviz.testing.store_contract import contract_run
from hexviz.testing.stream_contracts import summarised

PATIENCE_S = 20.0


@pytest.fixture
def server():
    with WebSocketBroadcaster() as made:
        yield made


def source_of(server, **options):
    return WebSocketSource(server.url, token=server.token, **options)


def put(server, events):
    for event in summarised(events):
        server.put(event)
    assert server.flush(PATIENCE_S) == 0


def get(server, path, **headers):
    """Status, headers and body of a plain request."""
    address = server.url.replace("ws://", "http://") + path
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {server.token}", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class TestWebSocketSink(SinkContract):
    @pytest.fixture
    def place(self):
        return []

    @pytest.fixture
    def open_sink(self, place):
        """Each sink is a server of its own, and each has one client from the beginning."""
        with contextlib.ExitStack() as stack:

            def open_one():
                sink = stack.enter_context(WebSocketBroadcaster())
                source = stack.enter_context(source_of(sink, patience_s=0.1).connect())
                threading.Thread(target=lambda: place.extend(source), daemon=True).start()
                wait_until(lambda: sink.statistics()["clients"] == 1)
                return sink

            yield open_one

    @pytest.fixture
    def arrived(self, place):
        def bodies(count):
            wait_until(lambda: len(place) >= count)
            return list(place)

        return bodies


class TestWebSocketSource(SourceContract):
    @pytest.fixture
    def send(self, server):
        return lambda bodies: put(server, map(from_cloud_event, bodies))

    @pytest.fixture
    def open_source(self, server):
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(source_of(server))

    def test_messages_that_are_no_events_cost_only_themselves(self):
        """A frame that is none breaks the connection, which is made again; a body that is no event costs itself."""
        good = [to_cloud_event(event).decode() for event in contract_run()]
        answers = iter(["garbage", "[" * 100_000, "{}", f'{{"cursor":"x-1","events":[3,{{}},{",".join(good)}]}}'])

        def answer(connection):
            connection.send(next(answers))
            with contextlib.suppress(Exception):
                connection.recv(timeout=PATIENCE_S)

        with serve(answer, "127.0.0.1", 0) as other:
            threading.Thread(target=other.serve_forever, daemon=True).start()
            source = WebSocketSource(f"ws://127.0.0.1:{other.socket.getsockname()[1]}")
            with Reader(source) as reader:
                assert [event.seq for event in collected(reader, 17)] == list(range(1, 18))
            assert reader.statistics()["poison"] == 2
            assert source.connections == 4
            other.shutdown()


def wait_until(done, timeout_s=PATIENCE_S):
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


# --- what a client gets


def test_who_comes_late_gets_what_was_before(server):
    run = contract_run(nodes=30)
    put(server, run[:50])
    with source_of(server) as source:
        reading = iter(source)
        early = collected(reading, 50)
        put(server, run[50:])
        assert early + collected(reading, 42) == list(map(to_cloud_event, run))


def test_a_client_asks_for_some_topics_of_one_run(server):
    put(server, [*contract_run("run-1"), *contract_run("run-2")])
    with source_of(server, run_id="run-2", topics="pipeline.etl.**.failed") as source:
        events = [from_cloud_event(body) for body in collected(source, 5)]
    assert {(type(event).__name__, event.run_id) for event in events} == {("NodeFailed", "run-2")}


def test_the_run_that_began_last_can_be_asked_for_by_that_word(server):
    put(server, [*contract_run("run-1"), *contract_run("run-2")])
    with source_of(server, run_id="last") as source:
        assert {from_cloud_event(body).run_id for body in collected(source, 17)} == {"run-2"}


def test_names_of_all_kinds_can_be_asked_for(server):
    put(server, [NodeStarted("a\x00b", 1, run_id="/é ?&#\u2028", seq=1, pipeline="p.*%")])
    wanted = {"run_id": "/é ?&#\u2028", "topics": "pipeline.p%2E%2A%25.wave.1.node.a\x00b.started"}
    with source_of(server, **wanted) as source:
        assert len(collected(source, 1)) == 1


def test_a_broadcaster_of_a_manager_sends_what_a_recorder_would_keep(server):
    observers = ObserverManager()
    secret = {"password": "canary-5", "rows": 2}
    with WebSocketBroadcaster(observers) as mine, source_of(mine) as source:
        observers.notify_nowait(NodeCompleted("n", 1, secret, 1.0, run_id="r", seq=1))
        secret["more"] = 3
        [body] = collected(source, 1)
        assert mine.flush(PATIENCE_S) == 0
    assert b"canary-5" not in body
    assert from_cloud_event(body).result == Summary("dict", length=2)  # as it was when it was told
    assert len(observers) == 0


def test_events_that_are_told_by_hand_are_numbered_so_that_each_is_read():
    observers = ObserverManager()
    with WebSocketBroadcaster(observers) as mine, source_of(mine) as source:
        for number in range(3):
            observers.notify_nowait(NodeStarted(f"n{number}", 1))
        assert [event.name for event in collected(Reader(source), 3)] == ["n0", "n1", "n2"]


def test_a_server_of_the_other_loopback_address_is_found():
    try:
        made = WebSocketBroadcaster(host="::1")
    except StreamError:
        pytest.skip("this machine has no IPv6")
    with made, source_of(made) as source:
        put(made, contract_run())
        assert len(collected(source, 17)) == 17


def test_two_clients_with_different_wishes_get_their_own(server):
    with source_of(server, topics="**.started") as one, source_of(server) as two:
        put(server, contract_run())
        assert len(collected(two, 17)) == 17
        kinds = {type(from_cloud_event(body)).__name__ for body in collected(one, 6)}
        assert kinds == {"PipelineStarted", "NodeStarted"}


BAD_QUERIES = (
    "topics=a..b",
    "topics=a*b",
    "topics=" + "x" * 301,
    "topics=" + ".**.x" * 5,
    "run=a&run=b",
    "&".join(f"topics=t{number}" for number in range(21)),
    "&".join(f"x{number}=1" for number in range(50)),
)


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_a_wish_that_cannot_be_understood_is_refused_before_the_upgrade(server, query):
    status, _, body = get(server, f"/events?{query}", Upgrade="websocket", Connection="Upgrade", Origin=origin(server))
    assert status == 400
    assert body


def origin(server):
    return server.url.replace("ws://", "http://")


def test_who_asked_for_the_last_run_stays_with_it_also_after_the_connection_broke(server):
    put(server, contract_run("one"))
    with source_of(server, run_id="last") as source:
        reading = iter(source)
        early = collected(reading, 17)
        put(server, contract_run("two"))
        source._connection.socket.shutdown(socket.SHUT_RDWR)
        put(server, [NodeStarted("later", 1, run_id="one", seq=18)])
        late = collected(reading, 1)
    assert source.connections == 2
    assert {from_cloud_event(body).run_id for body in early + late} == {"one"}


def test_who_asks_for_the_last_run_before_there_is_one_gets_the_first(server):
    with source_of(server, run_id="last").connect() as source:
        wait_until(lambda: server.statistics()["clients"] == 1)
        put(server, [*contract_run("one"), *contract_run("two")[:3], contract_run("one")[0]])
        bodies = collected(source, 18)
    assert {from_cloud_event(body).run_id for body in bodies} == {"one"}


def test_closing_a_source_ends_the_reading_with_the_event_at_hand(server):
    put(server, contract_run(nodes=100))
    source, found = source_of(server), []
    for body in source:
        found.append(body)
        source.close()
    assert len(found) == 1


def test_a_server_of_garbage_is_asked_more_and_more_seldom(monkeypatch):
    waits = []

    class Closed(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return len(waits) == 4 and self.set()

    with serve(lambda connection: connection.send("garbage"), "127.0.0.1", 0) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        source = WebSocketSource(f"ws://127.0.0.1:{other.socket.getsockname()[1]}")
        source._closed = Closed()
        assert list(source) == []
        other.shutdown()
    assert waits == [0.1, 0.2, 0.4, 0.8]


class Pages:
    """A page with a view that fails as soon as there is something to show."""

    files = {}  # noqa: RUF012 - a fixture

    def __init__(self):
        self.views = 0
        self.seen = []

    def take(self, events):
        self.seen += events
        raise ZeroDivisionError

    def view(self, _run_id):
        self.views += 1
        return self

    def frame(self):
        if self.seen:
            raise ZeroDivisionError

    def acknowledge(self, seq):
        """Nothing is drawn."""

    def close(self):
        self.views -= 1


def test_a_page_that_fails_costs_nobody_else_anything():
    page = Pages()
    with WebSocketBroadcaster(page=page) as server, source_of(server) as source:
        headers = {"Authorization": f"Bearer {server.token}"}
        with connect(f"{server.url}/view", origin=origin(server), additional_headers=headers) as view:
            wait_until(lambda: page.views == 1)
            put(server, contract_run())
            assert len(collected(source, 17)) == 17
            with pytest.raises(ConnectionClosed):
                view.recv(timeout=PATIENCE_S)
        wait_until(lambda: page.views == 0)
        assert server.statistics()["faults"] == 2


def test_a_handshake_that_does_not_come_to_its_end_leaves_no_view():
    page = Pages()
    with WebSocketBroadcaster(page=page) as server:
        status, _, _ = get(server, "/view", Upgrade="websocket", Connection="Upgrade", Origin=origin(server))
        assert status in {400, 426}
        assert page.views == 0


# --- the small HTTP face


def test_the_answers_are_what_the_openapi_document_says(server):
    put(server, contract_run())
    paths = open_api(version="1")["paths"]
    for path in ("/healthz", "/runs"):
        status, headers, body = get(server, path)
        content = paths[path]["get"]["responses"]["200"]["content"]
        assert (status, headers["Content-Type"]) == (200, next(iter(content)))
        jsonschema.validate(json.loads(body), content["application/json"]["schema"])
    assert json.loads(get(server, "/runs")[2]) == [
        {"run_id": "run-1", "pipeline": "etl", "status": "succeeded", "events": 17}
    ]
    for name in ("events.schema.json", "asyncapi.json", "openapi.json"):
        assert json.loads(get(server, f"/schemas/{name}")[2])
    assert get(server, "/events")[0] == 426
    for path in ("/", "/view", "/nothing", "/schemas/none", "/schemas/" + "x" * 5_000, "//evil.example/", "/../etc"):
        assert get(server, path)[0] in {404, 426}, path


def test_a_frame_is_what_the_openapi_document_says(server):
    put(server, contract_run())
    headers = {"Authorization": f"Bearer {server.token}"}
    with connect(f"{server.url}/events", origin=origin(server), additional_headers=headers) as client:
        frame = json.loads(client.recv(timeout=PATIENCE_S))
    jsonschema.validate(frame, open_api(version="1")["components"]["schemas"]["Frame"])
    assert (frame["dropped"], len(frame["events"])) == (0, 17)


def test_every_answer_forbids_what_a_page_could_be_used_for(server):
    for path in ("/healthz", "/nothing"):
        headers = get(server, path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


# --- life


def test_a_server_away_for_too_long_ends_the_reading(server):
    put(server, contract_run())
    source = source_of(server, patience_s=0.3)
    found = []
    reading = threading.Thread(target=lambda: found.extend(source))
    reading.start()
    wait_until(lambda: len(found) == 17)
    server.close()
    reading.join(PATIENCE_S)
    assert not reading.is_alive()


def test_after_closing_nothing_is_left(server):
    before = threading.active_count()
    for _ in range(3):
        with WebSocketBroadcaster() as made, source_of(made) as source:
            put(made, contract_run())
            assert len(collected(source, 17)) == 17
    assert made.close() == 0
    wait_until(lambda: threading.active_count() <= before)
    with pytest.raises(StreamError, match="cannot be reached"):
        source_of(made).connect()


def test_a_port_that_is_taken_is_a_named_error(server):
    with pytest.raises(StreamError, match=f"no server can be opened on 127.0.0.1, port {server.port}"):
        WebSocketBroadcaster(port=server.port)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ftp://x", "ws://", "kafka:"])
def test_an_address_of_no_server_is_a_named_error(address):
    with pytest.raises(StreamError, match="ws://HOST:PORT"):
        WebSocketSource(address)


def test_the_token_is_in_no_text_of_ours(server):
    for made in (server, source_of(server), WebSocketSource(f"{server.url}/?token={server.token}")):
        assert server.token not in f"{made!r} {made}"
        assert server.token not in made.url
    with pytest.raises(StreamError) as raised:
        WebSocketSource(f"{server.url}/?token={server.token}x").connect()
    assert server.token not in str(raised.value)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith(("websockets", "hexviz.streams.web_"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets", None)
    for use in (WebSocketBroadcaster, lambda: WebSocketSource("ws://127.0.0.1:1")):
        with pytest.raises(MissingExtraError, match=r"hexviz\[ws\]"):
            use()


def test_streams_load_no_client_of_any_broker_before_it_is_needed():
    import subprocess
    import sys

    program = "import sys, hexviz.cli, hexviz.streams; print({'websockets', 'confluent_kafka'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60) == "set()\n"
