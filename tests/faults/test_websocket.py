"""F1 to F7: slow and many clients, tokens, origins and hosts, frames that must not be, commands, broken connections."""

import contextlib
import hmac
import json
import logging
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hexviz
from hexviz.events.cloud_events import from_cloud_event, to_cloud_event
from hexviz.events.events import NodeStarted
from hexviz.streams import StreamError, WebSocketBroadcaster, WebSocketSource, web_client
from hexviz.streams.access import AccessError
from hexviz.widgets.page import LivePage
from tests.faults.raw_client import BINARY, CLOSE, CONTINUED, PING, RawClient, frame
from tests.faults.test_secrets import CANARY, deciding, graph_full_of_secrets, leaks
from tests.streams.test_websocket import PATIENCE_S, collected, contract_run, put, source_of, wait_until

MIB = 1024 * 1024
CROWD = Path(__file__).parents[1] / "streams" / "crowd.py"


@pytest.fixture
def server():
    with WebSocketBroadcaster(page=LivePage(), patience_s=0.5) as made:
        yield made


def filling(count, size=2_000, run_id="r"):
    return [NodeStarted("n", 1, worker="x" * size, run_id=run_id, seq=seq) for seq in range(1, count + 1)]


def is_well(server):
    """A client that comes now is served."""
    with source_of(server, run_id="well") as source:
        put(server, contract_run("well"))
        return [from_cloud_event(body).seq for body in collected(source, 17)] == list(range(1, 18))


# --- F1: slow clients


def test_f1_a_client_that_never_reads_holds_little_and_is_closed_while_others_get_all(server):
    with RawClient(server, receive_buffer=4_096) as slow, source_of(server) as quick:
        assert slow.request() == 101
        wait_until(lambda: server.statistics()["clients"] == 1)
        [client] = server._server.clients
        held, found = [], []
        reading = threading.Thread(target=lambda: found.extend(quick))
        reading.start()
        wait_until(lambda: server.statistics()["clients"] == 2)
        for event in filling(8_000):
            server.put(event)
            if event.seq % 100 == 0:
                held.append(client.queued_bytes)
        wait_until(lambda: server.statistics()["clients_too_slow"] == 1)
        assert max(held) <= MIB
        wait_until(lambda: len(found) == 8_000)
    assert server.statistics()["clients_dropped_events"] == 0


def test_f1_a_slow_client_is_told_that_it_is_too_slow(server):
    with RawClient(server, receive_buffer=4_096) as slow:
        assert slow.request() == 101
        for event in filling(2_000):
            server.put(event)
        wait_until(lambda: server.statistics()["clients_too_slow"] == 1)
        assert slow.closed_with() in {1013, 0}  # 0: nothing went through in the two seconds that it was given


def test_f1_a_client_that_hangs_up_and_never_reads_holds_up_no_flush():
    with WebSocketBroadcaster(patience_s=60) as server, RawClient(server, receive_buffer=4_096) as slow:
        assert slow.request() == 101
        wait_until(lambda: server.statistics()["clients"] == 1)
        [client] = server._server.clients
        for event in filling(2_000):
            server.put(event)
        wait_until(lambda: client.queued_bytes)
        slow.socket.shutdown(socket.SHUT_WR)
        assert server.flush(PATIENCE_S) == 0
        assert server.statistics()["clients_too_slow"] == 0
        wait_until(lambda: server.statistics()["clients"] == 0)


def test_f1_who_reads_slowly_but_reads_is_not_taken_for_one_that_does_not(monkeypatch):
    """What waits is counted by hand here: how a kernel lets go of it differs."""
    waits = SimpleNamespace(get_write_buffer_size=lambda: queued)
    client, now = web_client.Client(SimpleNamespace(transport=waits)), 100.0
    monkeypatch.setattr(web_client.time, "monotonic", lambda: now)
    for queued in (web_client.MOST_QUEUED, *range(400_000, 300_000, -10_000)):
        now += 10
        assert client.stalled_s() == 0.0 or queued == 400_000
    for seconds in (10.0, 20.0):
        now += 10
        assert client.stalled_s() == seconds
    queued = 299_000
    assert client.stalled_s() == 0.0


def test_f1_what_a_slow_client_lost_is_counted_for_it():
    with WebSocketBroadcaster(history_bytes=MIB) as server:
        put(server, filling(3_000))
        with source_of(server) as source:
            first = from_cloud_event(collected(source, 1)[0]).seq
            assert source.dropped == server.statistics()["clients_dropped_events"] == first - 1 > 1_000


def test_f1_events_told_faster_than_they_can_be_taken_are_counted_and_told(monkeypatch):
    with WebSocketBroadcaster() as server, source_of(server) as source:
        put(server, contract_run())
        reading = iter(source)
        assert len(collected(reading, 17)) == 17
        monkeypatch.setattr("hexviz.streams.broadcast.MOST_WAITING", 0)
        for event in filling(40):
            server.put(event)
        monkeypatch.undo()
        put(server, filling(41)[40:])
        assert from_cloud_event(collected(reading, 1)[0]).seq == 41
        assert source.dropped == server.statistics()["dropped"] == 40


def test_f1_a_run_is_the_same_with_a_slow_client(server):
    graph = hexviz.Graph("sums")
    graph.node(lambda: 1, name="one")
    for number in range(50):
        graph.node(lambda value: value + 1, name=f"n{number}", after=[f"n{number - 1}" if number else "one"])
    plain = hexviz.run_sync(graph, store=False)
    with RawClient(server, receive_buffer=4_096) as slow:
        assert slow.request() == 101
        watched = hexviz.run_sync(graph, store=False, sinks=[server])
    assert dict(watched) == dict(plain)
    assert list(watched) == list(plain)


# --- F2: many clients


def test_f2_two_hundred_clients_all_get_all_within_100_mb(tmp_path):
    """The whole of it, a thousand clients for ten seconds, stands in docs/performance.md."""
    with WebSocketBroadcaster() as server:
        before = memory_mb()
        command = [sys.executable, str(CROWD), server.url, "200", "100"]
        environment = {**os.environ, "HEXVIZ_TOKEN": server.token}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as crowd:
            assert crowd.stdout.readline() == "ready\n"
            for event in filling(100, size=10):
                server.put(event)
                time.sleep(0.01)
            counts = json.loads(crowd.stdout.readline())
        assert (counts["complete"], counts["fewest"], counts["lost"]) == (200, 100, 0)
        assert memory_mb() - before < 100


def memory_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_f2_more_clients_than_there_may_be_are_refused_politely():
    with WebSocketBroadcaster(most_clients=3) as server:
        clients = [RawClient(server) for _ in range(4)]
        answers = []
        for number, client in enumerate(clients):
            answers.append(client.request())
            wait_until(lambda number=number: server.statistics()["clients"] == min(number + 1, 3))
        assert answers == [101, 101, 101, 503]
        for client in clients:
            client.close()
        wait_until(lambda: server.statistics()["clients"] == 0)
        assert is_well(server)


def test_f2_a_server_without_file_descriptors_lives_on(in_process):
    in_process(
        """
        import logging, resource, socket, time
        from hexviz.streams import WebSocketBroadcaster
        logging.basicConfig()
        server = WebSocketBroadcaster(token=False)
        def ask():
            with socket.create_connection((server.host, server.port), timeout=20) as one:
                one.sendall(f"GET /healthz HTTP/1.1\\r\\nHost: {server.host}:{server.port}\\r\\n\\r\\n".encode())
                return one.recv(100)
        assert b"200 OK" in ask()
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        crowd = []
        try:
            while True:
                crowd.append(socket.create_connection((server.host, server.port), timeout=5))
        except OSError:
            pass
        time.sleep(0.3)
        for one in crowd:
            one.close()
        assert b"200 OK" in ask()
        server.close()
        """,
        quiet=False,
    )


# --- F3: tokens


TOKENS = {
    "missing": (None, 401),
    "wrong": ("Bearer wrong-wrong-wrong-wrong", 403),
    "empty": ("Bearer ", 401),
    "prefix": ("Bearer {prefix}", 403),
    "longer": ("Bearer {token}x", 403),
    "other scheme": ("Basic {token}", 401),
    "not ASCII": ("Bearer t\u00f6ken-t\u00f6ken-t\u00f6ken", 403),
    "right": ("Bearer {token}", 101),
    "small letters": ("bearer {token}", 101),
}


@pytest.mark.parametrize("case", TOKENS)
def test_f3_only_the_right_token_comes_in(server, case, caplog):
    caplog.set_level(logging.DEBUG)
    header, status = TOKENS[case]
    header = header and header.format(token=server.token, prefix=server.token[:-1])
    with RawClient(server) as client:
        assert client.request(Authorization=header) == status
        assert (b"WWW-Authenticate: Bearer" in client.said) == (status == 401)
    assert server.token not in caplog.text
    assert is_well(server)


def test_f3_a_token_twice_or_of_ten_megabytes_is_refused(server):
    with RawClient(server) as client:
        assert client.request(extra=[f"Authorization: Bearer {server.token}"]) == 401
    with RawClient(server) as client:
        assert client.request(f"/?token={server.token}&token={server.token}", Authorization=None, Upgrade=None) == 401
    with RawClient(server) as client, contextlib.suppress(ConnectionError):
        assert client.request(Authorization="Bearer " + "x" * 10_000_000) in {0, 400, 431}
    assert is_well(server)


def test_f3_every_token_is_compared_in_constant_time(server, monkeypatch):
    compared = []
    monkeypatch.setattr(
        "hexviz.streams.access.hmac.compare_digest",
        lambda a, b, real=hmac.compare_digest: compared.append(a) or real(a, b),
    )
    for token in ("x" * 32, server.token):
        with RawClient(server) as client:
            client.request(Authorization=f"Bearer {token}")
    assert [len(digest) for digest in compared] == [32, 32]


def test_f3_the_token_leaves_the_address_with_the_first_load(server):
    with RawClient(server) as client:
        assert client.request(f"/?token={server.token}", Authorization=None, Upgrade=None) == 303
        said = client.said.decode()
    assert "Location: /\r\n" in said
    cookie = said.partition("Set-Cookie: ")[2].partition(";")[0]
    assert server.token not in said
    assert "HttpOnly; SameSite=Strict" in said
    for path, upgrade, status in (("/", None, 200), ("/view", "websocket", 101), ("/events", "websocket", 101)):
        with RawClient(server) as client:
            assert client.request(path, Authorization=None, Upgrade=upgrade, Cookie=cookie) == status
        with RawClient(server) as client:
            assert client.request(path, Authorization=None, Upgrade=upgrade, Cookie=cookie[:-1]) == 401


def test_f3_a_token_in_the_address_opens_the_page_and_nothing_else(server):
    for path in ("/events", "/view", "/runs"):
        with RawClient(server) as client:
            assert client.request(f"{path}?token={server.token}", Authorization=None) == 401


@pytest.mark.parametrize("token", ["", "short", "ünter-den-linden-77", "with\nnewline-and-more"])
def test_f3_a_token_that_protects_nothing_is_refused(token):
    if token:
        with pytest.raises(AccessError, match="at least 16 characters"):
            WebSocketBroadcaster(token=token)
    else:
        with WebSocketBroadcaster(token=token) as server:
            assert server.token is None


# --- F4: origins and hosts


ORIGINS = {
    "own": ("http://{own}", 101),
    "by name": ("http://localhost:{port}", 101),
    "foreign": ("http://evil.example", 403),
    "null": ("null", 403),
    "suffix": ("http://localhost:{port}.evil.example", 403),
    "upper case": ("HTTP://LOCALHOST:{port}", 403),
    "trailing dot": ("http://localhost.:{port}", 403),
    "other port": ("http://localhost:1", 403),
    "no port": ("http://localhost", 403),
    "other scheme": ("https://localhost:{port}", 403),
    "with path": ("http://localhost:{port}/", 403),
    "missing": (None, 403),
    "empty": ("", 403),
}


@pytest.mark.parametrize("case", ORIGINS)
def test_f4_only_the_exact_origins_come_in(server, case):
    origin, status = ORIGINS[case]
    origin = origin and origin.format(own=f"{server.host}:{server.port}", port=server.port)
    with RawClient(server) as client:
        assert client.request(Origin=origin) == status


HOSTS = {
    "own": ("{own}", 101),
    "by name": ("localhost:{port}", 101),
    "rebound": ("evil.example", 403),
    "rebound with port": ("evil.example:{port}", 403),
    "upper case": ("LOCALHOST:{port}", 403),
    "trailing dot": ("localhost.:{port}", 403),
    "no port": ("localhost", 403),
    "other port": ("localhost:1", 403),
    "missing": (None, 403),
}


@pytest.mark.parametrize("path", ["/events", "/", "/healthz", "/runs"])
@pytest.mark.parametrize("case", HOSTS)
def test_f4_only_the_exact_hosts_come_in(server, case, path):
    host, status = HOSTS[case]
    host = host and host.format(own=f"{server.host}:{server.port}", port=server.port)
    upgrade = "websocket" if path == "/events" else None
    with RawClient(server) as client:
        assert client.request(path, Host=host, Upgrade=upgrade) == (status if upgrade or status == 403 else 200)


def test_f4_a_host_twice_does_not_come_in_and_those_of_a_proxy_do():
    with WebSocketBroadcaster(origins=["https://viz.example"], hosts=["viz.example"]) as server:
        with RawClient(server) as client:
            assert client.request(Host="viz.example", Origin="https://viz.example") == 101
        with RawClient(server) as client:
            assert client.request(extra=[f"Host: {server.host}:{server.port}"]) == 403


def test_f4_it_listens_on_this_machine_only_unless_it_is_told_otherwise(server):
    assert server.host == "127.0.0.1"
    with pytest.raises(StreamError, match="allow_remote=True"):
        WebSocketBroadcaster(host="0.0.0.0")
    with pytest.raises(StreamError, match="needs a token"):
        WebSocketBroadcaster(host="0.0.0.0", allow_remote=True, token=False)


# --- F5: frames and handshakes that must not be


def many(count, *frames):
    return b"".join(frames) * count


BAD_FRAMES = {
    "over 64 KiB": (frame(b"x" * 65_537), {1009}),
    "in parts over 64 KiB": (frame(b"x" * 30_000, last=False) + many(2, frame(b"x" * 30_000, CONTINUED, last=False)),
                             {1009}),
    "a length of 2**63": (b"\x81\xff" + b"\x7f" + b"\xff" * 7 + bytes(4), {1009, 1002}),
    "unmasked": (frame(b"hello", masked=False), {1002}),
    "reserved bits": (frame(b"hello", reserved=4), {1002}),
    "unknown kind": (frame(b"hello", 3), {1002}),
    "bad UTF-8": (frame(b"\xff\xfe"), {1007}),
    "a long ping": (frame(b"x" * 126, PING), {1002}),
    "a ping in parts": (frame(b"x", PING, last=False), {1002}),
    "a continuation of nothing": (frame(b"x", CONTINUED), {1002}),
    "a bad close": (frame(b"\x00", CLOSE), {1002}),
    "garbage": (b"\x00\xff" * 50, {1002, 1009}),
    "many pings": (many(60_000, frame(b"x" * 10, PING)), {0}),
    "empty parts for ever": (frame(b"", last=False) + many(60_000, frame(b"", CONTINUED, last=False)), {0, 1009}),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_f5_a_frame_that_must_not_be_ends_its_connection_and_nothing_else(server, case, caplog):
    data, codes = BAD_FRAMES[case]
    with RawClient(server) as client:
        assert client.request() == 101
        try:
            client.socket.sendall(data)
        except ConnectionError:
            assert 0 in codes
        assert client.closed_with() in codes
    assert is_well(server)
    assert len(caplog.records) <= 1


def test_f5_compression_is_not_agreed_to_so_no_bomb_comes_in(server):
    with RawClient(server) as client:
        assert client.request(Sec_WebSocket_Extensions="permessage-deflate") == 101
        assert b"permessage-deflate" not in client.said


# 0: closed without an answer, as versions of websockets before 17 do.
BAD_HANDSHAKES = {
    "a header line of 9 kB": (b"GET / HTTP/1.1\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", {0, 400, 431}),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n", {0, 400, 431}),
    "a long path": (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n", {0, 400, 414}),
    "another method": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", {0, 400, 403, 405}),
    "an old version": (b"GET / HTTP/1.0\r\n\r\n", {0, 400, 403, 505}),
    "garbage": (b"\x16\x03\x01\x02\x00" * 40 + b"\r\n\r\n", {0, 400}),
    "nothing": (b"\r\n\r\n", {0, 400}),
}


@pytest.mark.parametrize("case", BAD_HANDSHAKES)
def test_f5_a_handshake_that_must_not_be_is_refused(server, case, caplog):
    data, statuses = BAD_HANDSHAKES[case]
    with RawClient(server) as client:
        client.socket.sendall(data)
        assert client.answer() in statuses
    assert is_well(server)
    assert len(caplog.records) <= 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=400), st.booleans())
def test_f5_any_bytes_as_a_handshake_or_as_frames_leave_the_server_well(server, data, upgraded):
    with RawClient(server) as client:
        if upgraded:
            assert client.request() == 101
        client.socket.sendall(data)
        client.socket.shutdown(socket.SHUT_WR)
        client.everything()
    with RawClient(server) as client:
        assert client.request("/healthz", Upgrade=None) == 200


def test_f5_who_does_not_finish_a_handshake_is_not_waited_for(server, monkeypatch):
    assert 0 < hexviz.streams.web_server._OPEN_S <= 10
    monkeypatch.setattr("hexviz.streams.web_server._OPEN_S", 0.3)
    with WebSocketBroadcaster() as quick:
        with RawClient(quick) as slow:
            slow.socket.sendall(b"GET / HTTP/1.1\r\nHost: ")
            assert slow.answer() == 0
        assert is_well(quick)


def test_f5_a_hundred_bad_handshakes_are_told_in_one_line_at_most(server, caplog):
    for _ in range(100):
        with RawClient(server) as client:
            client.socket.sendall(b"garbage\r\n\r\n")
            client.answer()
    assert is_well(server)
    assert len(caplog.records) <= 1


# --- F6: read-only


COMMANDS = [
    '{"k":"op","op":"cancel"}',
    '{"op":"pause"}',
    "cancel",
    "",
    "[" * 5_000,
    '{"k":"ack","seq":"x"}',
    '{"k":"ack"}',
]


@pytest.mark.parametrize("path", ["/events", "/view"])
def test_f6_whatever_a_client_says_is_ignored_and_counted(server, path):
    with RawClient(server) as client:
        assert client.request(path) == 101
        for command in COMMANDS:
            client.send(command.encode())
        client.send(b"\x00\xff", BINARY)
        wait_until(lambda: server.statistics()["ignored"] == len(COMMANDS) + 1)
    assert is_well(server)


# --- H2: secrets


def test_h2_no_byte_on_a_socket_holds_a_secret(server):
    """The clients are there before the run, and get every byte of it."""
    with RawClient(server) as events, RawClient(server) as page:
        assert (events.request("/events"), page.request("/view")) == (101, 101)
        wait_until(lambda: server.statistics()["clients"] == 2)
        with contextlib.suppress(hexviz.PipelineError):
            hexviz.run_sync(graph_full_of_secrets(), CANARY, policies=[deciding], store=False, sinks=[server])
        assert server.flush(PATIENCE_S) == 0
        with RawClient(server) as asking:
            assert asking.request("/runs", Upgrade=None) == 200
            sent = asking.everything()
        server.close()
        sent += events.everything() + page.everything()
    assert b"PipelineFailed" in sent
    assert b"connect failed" in sent
    assert not leaks(sent)


# --- F7: connections that break


def test_f7_a_hundred_disconnects_lose_nothing_and_repeat_nothing(server, monkeypatch):
    monkeypatch.setattr("hexviz.streams.web_source._FIRST_WAIT_S", 0.002)
    run = contract_run(nodes=1_000)
    dice = random.Random(7)
    found, sockets = [], []
    source = source_of(server)

    def cut():
        connection = source._connection
        if connection is not None and connection not in sockets:
            sockets.append(connection)
            connection.socket.shutdown(socket.SHUT_RDWR)

    reading = threading.Thread(target=lambda: found.extend(source))
    reading.start()
    told = iter(run)
    while len(sockets) < 100:
        for _ in range(dice.randint(0, 60)):
            event = next(told, None)
            if event is not None:
                server.put(event)
        time.sleep(dice.random() * 0.02)
        cut()
    put(server, told)
    wait_until(lambda: len(found) >= len(run))
    source.close()
    reading.join(PATIENCE_S)
    assert found == list(map(to_cloud_event, run))
    assert source.connections >= 100
    assert source.dropped == 0


def test_f7_after_a_restart_of_the_server_a_reader_has_each_event_once():
    run = contract_run(nodes=50)
    with WebSocketBroadcaster(token="a-token-that-stays") as first:
        port = first.port
        put(first, run[:100])
        watched = hexviz.watch(first.url, token=first.token)
        wait_until(lambda: len(watched.recorder) == 100)
    with WebSocketBroadcaster(token="a-token-that-stays", port=port) as second:
        put(second, run)
        assert watched.wait(PATIENCE_S)
        watched.close()
    assert [event.seq for event in watched.recording.events()] == list(range(1, 153))
    assert watched.statistics()["missing"] == 0


def test_f7_a_source_that_is_refused_after_a_restart_says_so():
    with WebSocketBroadcaster() as first:
        port = first.port
        put(first, contract_run()[:3])
        source = WebSocketSource(first.url, token=first.token).connect()
        reading = iter(source)
        assert len(collected(reading, 3)) == 3
    with WebSocketBroadcaster(port=port), pytest.raises(StreamError, match="403"):
        next(reading)
