"""H2: a secret that passes through a run is found in nothing that the run leaves behind."""

import asyncio
import logging
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hexviz
from hexviz.events import events as ev
from hexviz.events import secrets
from hexviz.events.redaction import MOST_STUCK, Redaction, RedactionError
from hexviz.events.secrets import masked, masked_head, masked_tail
from hexviz.events.summary import Summariser, Summary, plain
from hexviz.recording.state import RunState
from hexviz.widgets.snapshot import frozen_html
from hexviz.widgets.wire import encode
from tests.recording.made_events import ProgressMade

CANARY = "cAnArY8472"
NAMED = {
    "api_key": CANARY, "Token": [CANARY, CANARY], "db_password": {"a": {"b": 1}, "c": CANARY}, "x-secret-id": CANARY,
    b"authorization": CANARY, "headers": [("Authorization", f"Bearer {CANARY}"), (b"Cookie", CANARY)],
    "deep": [[{"proxy": f"http://me:{CANARY}@proxy:8080/"}]], "text": f"password={CANARY} and more",
}  # fmt: skip
SENTENCES = [
    f"connect failed: postgresql://me:{CANARY}@db/prod",
    f"connect failed: postgresql://me:p@ss/{CANARY}@db/prod",
    f"https://{CANARY}{CANARY}{CANARY}@git.example/x",
    f"401 for headers={{'Authorization': 'Bearer {CANARY}', 'a': 1}}",
    f'Authorization: Digest username="x", response="{CANARY}"',
    f"Cookie: a=b; session={CANARY}",
    f'{{\\"api_key\\": \\"two {CANARY} words\\"}}',
    f"password = 'it\\'s {CANARY} here' # no more",
    f"login(token=['a', '{CANARY}'])",
    f"if password == '{CANARY}':",
    f"secret: token: {CANARY}",
    f"GET /x?a=1&access_token={CANARY}&b=2",
    f"api_key%3D{CANARY}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
    f"Pwd={CANARY};",
]

SHAPES = [
    "sk-" + "a" * 20, "ghp_" + "a" * 36, "github_pat_" + "a" * 30, "xoxb-" + "1" * 12, "glpat-" + "a" * 20,
    "hf_" + "a" * 34,
    "AKIA" + "A" * 16, "ASIA" + "A" * 16, "AIza" + "a" * 35, "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
]  # fmt: skip


# --- a run leaves nothing behind ----------------------------------------------------------------------------------


def graph_full_of_secrets():
    graph = hexviz.Graph("secrets")

    @graph.node
    async def ask(key):
        async with hexviz.tool_call("search", {"q": CANARY, **{str(k): v for k, v in NAMED.items()}}) as call:
            call.result = [CANARY]
        async with hexviz.llm_call([{"role": "user", "content": CANARY}], model="m") as call:
            call.response = CANARY
        return {"answer": CANARY}

    @graph.node(after=["ask"])
    def fall(ask):
        raise ValueError(SENTENCES[0])

    @graph.node(after=["ask"])
    def skip(ask):
        return CANARY

    @graph.node(after=["fall", "skip"])
    def fail(fall, skip):
        try:
            raise KeyError(f"token={CANARY}")
        except KeyError as first:
            local = CANARY  # tracebacks show no locals
            error = RuntimeError(f"\x1b]0;x\x07 password: {local}")
            error.add_note(f"note: api_key={CANARY}")
            raise error from first

    return graph


def deciding(event, context):
    if isinstance(event, ev.NodeFailed) and event.name == "fall":
        return hexviz.ControlResponse(hexviz.ControlSignal.FALLBACK, CANARY)  # a result, and no reason
    if isinstance(event, ev.NodeCompleted) and event.name == "skip":
        return hexviz.ControlResponse(hexviz.ControlSignal.FALLBACK, CANARY, f"because {SENTENCES[0]}")
    if isinstance(event, ev.ToolCalled):
        raise OSError(SENTENCES[0])
    return hexviz.ControlResponse()


def talkative(event):
    if isinstance(event, ev.WaveStarted):
        raise ValueError(SENTENCES[0])


def run_with_secrets(store):
    async def main():
        await hexviz.run(graph_full_of_secrets(), CANARY, policies=[deciding], observers=[talkative], store=store)

    with pytest.raises(hexviz.PipelineError) as told:
        asyncio.run(main())
    return told.value.recording


def leaks(data):
    return CANARY.encode() in data or CANARY.encode("utf-16-le") in data


def test_h2_a_default_run_leaves_no_secret_in_any_file_export_report_log_or_output(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    store = hexviz.open_store(tmp_path / "runs.db")
    recording = run_with_secrets(store)
    store.flush("disk")
    assert {f.name for f in tmp_path.iterdir()} >= {"runs.db", "runs.db-wal"}  # looked into before it is folded in
    for suffix in ("jsonl", "parquet", "csv", "trace.json", "otlp.json", "ocel.json", "wfformat.json"):
        hexviz.export(recording, tmp_path / f"run.{suffix}")
    hexviz.report(recording, tmp_path / "report.html")
    hexviz.testing.policy_test_from(recording, "fall", tmp_path / "test_policy.py")
    found = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert [f.name for f in found if leaks(f.read_bytes())] == []
    assert [f.name for f in (tmp_path / "run.parquet").rglob("*.parquet") if leaks(unpacked(f))] == []
    store.close()
    assert not leaks((tmp_path / "runs.db").read_bytes())
    assert CANARY not in caplog.text
    assert "talkative" in caplog.text
    assert "\x1b" not in caplog.text
    assert CANARY not in "".join(capfd.readouterr())
    frames = recording.frames
    assert set(frames.decisions["signal"]) >= {"fallback"}
    assert [
        name for name in ("nodes", "decisions", "calls", "events") if CANARY in getattr(frames, name).to_csv()
    ] == []


def unpacked(path):
    import pyarrow.parquet as pq

    return repr(pq.read_table(path).to_pylist()).encode()


def test_h2_what_a_live_view_sends_and_leaves_holds_no_secret():
    told = []
    state = RunState()
    observers = hexviz.ObserverManager()
    observers.register(state.fold, lossless=True)
    observers.register(lambda event: told.append(event.log_message(logging.DEBUG)), lossless=True)
    control = hexviz.ControlManager()
    control.register(deciding)
    run = hexviz.Orchestrator(observers=observers, control=control).run(graph_full_of_secrets(), CANARY)
    with pytest.raises(hexviz.PipelineError):
        asyncio.run(run)
    message, buffers = encode(state, state.delta(full=True))
    assert len(message["failures"]) >= 2
    assert CANARY not in repr((message, buffers))
    assert CANARY not in frozen_html(state)
    assert CANARY not in "\n".join(told)
    assert any("'fail' failed" in line for line in told)


@pytest.mark.parametrize("capture", ["summary", "json"])
def test_h2_captured_content_stands_only_in_the_content_field_after_the_redactors(capture, tmp_path):
    seen = []

    def redactor(value):
        seen.append(repr(value))
        return {**value, "q": "hidden"} if isinstance(value, dict) else value

    with hexviz.open_store(tmp_path / "runs.db") as store:
        recorder = hexviz.Recorder(store, capture=capture, redact=[redactor])
        recorder(ev.ToolCalled("n", "t", {"q": CANARY, "plain": "kept", **NAMED}))
        recorder.close()
        (event,) = recorder.recording.events()
    assert ("kept" in event.params.content, bool(seen)) == ((True, True) if capture == "json" else (False, False))
    assert CANARY not in repr(event)
    assert [f.name for f in tmp_path.iterdir() if leaks(f.read_bytes())] == []


# --- redactors that misbehave -------------------------------------------------------------------------------------


class Leaving(BaseException):
    pass


def raises(error):
    def redactor(value):
        raise error

    return redactor


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), Leaving(), RecursionError()])
def test_h2_a_redactor_that_raises_anything_costs_the_content_only(error):
    step = Summariser("json", [raises(error)])
    assert step(ev.ToolCalled("n", "t", {"q": CANARY})).params == Summary("dict", length=1)


def test_h2_a_redactor_that_hangs_costs_the_content_and_soon_no_time():
    release = threading.Event()
    step = Summariser("json", [lambda value: release.wait(30) and value])
    step._redact.limit_s = 0.05
    began = time.monotonic()
    for _ in range(MOST_STUCK + 200):
        assert step(ev.ToolCalled("n", "t", {"q": CANARY})).params == Summary("dict", length=1)
    assert time.monotonic() - began < 20
    assert step._redact.stuck == MOST_STUCK
    release.set()


def test_h2_a_run_whose_redactor_hangs_ends_and_keeps_every_event(in_process):
    out = in_process("""
        import asyncio, time, hexviz
        graph = hexviz.Graph("g")
        for i in range(5):
            graph.node(lambda i=i: {"secret": i}, name=f"n{i}")
        recorder = hexviz.Recorder(capture="json", redact=[lambda value: time.sleep(3600)])
        observers = hexviz.ObserverManager()
        recorder.attach(observers)
        result = asyncio.run(hexviz.Orchestrator(observers=observers).run(graph, None))
        kept = [event for event in recorder.recording.events() if type(event).__name__ == "NodeCompleted"]
        print(result["n4"], len(kept), [event.result.content for event in kept])
    """)
    assert out.split("\n")[0] == "{'secret': 4} 5 ['', '', '', '', '']"


def test_h2_a_redactor_works_on_a_copy_of_builtin_values():
    given_value = {"q": ["a"], "api_key": CANARY}
    step = Summariser("json", [lambda value: value.clear() or {"left": True}])
    assert step(ev.ToolCalled("n", "t", given_value)).params.content == '{"left":true}'
    assert given_value == {"q": ["a"], "api_key": CANARY}


def redactors():
    return {thread for thread in threading.enumerate() if thread.name == "hexviz redactors"}


def test_redactors_are_called_in_order_and_let_their_thread_go():
    before = redactors()
    redaction = Redaction([lambda value: [*value, 1], lambda value: [*value, 2]])
    assert redaction([0]) == [0, 1, 2]
    (mine,) = redactors() - before
    del redaction
    mine.join(timeout=10)
    assert not mine.is_alive()
    with pytest.raises(RedactionError):
        Redaction([raises(ValueError())])([0])


# --- what looks like a secret -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sentence", SENTENCES)
def test_h2_secrets_in_a_message_are_masked_wherever_it_is_shown(sentence):
    assert CANARY not in masked(sentence)
    error = ValueError(sentence)
    known = ev.RecordedError.of(error)
    assert CANARY not in known.message + known.traceback_text
    assert CANARY not in ev.NodeFailed("n", 1, error).log_message()
    assert CANARY not in ev.PipelineCancelled("p", 1.0, sentence).log_message()


@pytest.mark.parametrize("limit", range(30, 75))
def test_h2_a_limit_never_cuts_a_secret_so_that_the_rest_is_not_recognised(limit):
    text = f"could not reach postgresql://me:{CANARY}@db:5432/prod, will try again in a while"
    assert CANARY[:4] not in masked_head(text * 100, limit)
    assert CANARY[-4:] not in masked_tail(f"{'x' * 5000}\npassword = '{CANARY}'\nlast line", limit)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_quick_look_never_hides_a_secret_from_the_patterns(sentence):
    for text in (sentence, sentence.upper(), *SHAPES):
        found = secrets._TEXT.search(text)
        assert found is None or any(sign in found[0].lower() for sign in secrets._SIGNS)
    assert all(masked(shape) == "[redacted]" for shape in SHAPES)


@given(st.text() | st.lists(st.sampled_from([*SENTENCES, "a", "\n", "'", "token=", "[redacted]", "://"])).map("".join))
def test_masking_twice_changes_nothing_more(text):
    once = masked(text)
    assert masked(once) == once


def test_h2_reasons_and_votes_are_masked():
    vote = ev.Vote("h", 1, "skip", SENTENCES[0], 1.0, False, SENTENCES[3])
    told = Summariser()(ev.ControlDecided("NodeFailed", 1, "skip", "n", 1, 1, "h", 1, SENTENCES[0], (vote,)))
    assert CANARY not in repr(told)
    assert told.votes[0].latency_us == 1.0
    for cls in (ev.NodeSkipped, ev.NodeFellBack, ev.NodeCancelled):
        assert CANARY not in repr(Summariser()(cls("n", 1, reason=SENTENCES[0])))


def test_h2_fields_of_a_users_own_events_are_masked():
    kept = Summariser()(ProgressMade(SENTENCES[0], 0.5, NAMED))
    assert CANARY not in repr(kept)
    assert CANARY not in repr(plain(NAMED))


@pytest.mark.parametrize(
    "unit",
    ["-token", "a-", "a.", "token", "http://:", "token='", "token=\\'", "secret: ", "eyJaaaaaaaa.", "://a:b", "://",
     "-----BEGIN PRIVATE KEY-----", "authorization:", "bearer ", "token\\\\\\", "cookie: [", "sk-",
     "password=(", "Pwd=="],
)  # fmt: skip
def test_h2_no_message_makes_masking_slow(unit):
    short, long = (unit * (size // len(unit)) for size in (2_000, 16_000))
    began = time.process_time()
    masked(short)
    middle = time.process_time()
    masked(long)
    ended = time.process_time()
    assert ended - middle < 0.02 + 40 * (middle - began)  # eight times the text: a square would take sixty-four
    assert ended - began < 5


def test_texts_without_secrets_stay_as_they_are():
    for text in ("http://127.0.0.1:8888/lab", "the secret garden", "token expired", "rows: 5", "KeyError: 'token'"):
        assert masked(text) == text
    assert re.fullmatch(r"password=\[redacted\] user=bob", masked("password=x,y user=bob"))
