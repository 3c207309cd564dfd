"""B9: interrupts and restarts of a real kernel, as a person at a notebook gives them."""

from __future__ import annotations

import time
from queue import Empty

import pytest

jupyter_client = pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

LIMIT_S = 60

PRELUDE = """
import asyncio, threading, time
import hexviz
from hexviz.dag import Graph, NodeSpec

async def waits(value=None):
    print("in the node", flush=True)
    await asyncio.sleep(3600)

def blocks(value=None):
    print("in the node", flush=True)
    while True:
        time.sleep(0.05)

async def stubborn(value=None):
    print("in the node", flush=True)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

def run(fn, run_id):
    return hexviz.run(Graph("etl", [NodeSpec("n", fn)]), run_id=run_id, store="runs.db")
"""

AFTER = """
with hexviz.open_store("runs.db") as store:
    kinds = [type(event).__name__ for event in store.recording("{run_id}")]
    print([info.status for info in store.list_runs() if info.run_id == "{run_id}"], kinds[-1], "NodeCancelled" in kinds)
left = [t.get_name() for t in asyncio.all_tasks() if "hexviz" in t.get_name() and "teller" not in t.get_name()]
print("left", left)
"""


class Kernel:
    """A kernel of its own, and what its cells print."""

    def __init__(self, manager):
        self.manager = manager
        self.client = manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=LIMIT_S)

    def begin(self, code):
        return self.client.execute(code)

    def wait_for_text(self, text):
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=LIMIT_S)
            if message["msg_type"] == "stream" and text in message["content"]["text"]:
                return
        pytest.fail(f"{text!r} was not printed")

    def end_of(self, begun):
        """The printed text and the name of the error of a cell, once it has ended."""
        text, error, deadline = "", None, time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=LIMIT_S)
            except Empty:
                break
            if message["parent_header"].get("msg_id") != begun:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                text += content["text"]
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return text, error
        pytest.fail("the cell did not end")

    def cell(self, code):
        return self.end_of(self.begin(code))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    manager = jupyter_client.KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path_factory.mktemp("kernel")))
    kernel = Kernel(manager)
    try:
        kernel.cell(PRELUDE)
        yield kernel
    finally:
        kernel.client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize("node", ["waits", "blocks", "stubborn"])
def test_b9_an_interrupt_cancels_the_run_and_the_next_cell_works(kernel, node):
    cell = kernel.begin(f"await run({node}, '{node}')")
    kernel.wait_for_text("in the node")
    kernel.manager.interrupt_kernel()
    _, error = kernel.end_of(cell)
    assert error in {"CancelledError", "KeyboardInterrupt"}
    assert kernel.cell("print(1 + 1)") == ("2\n", None)
    text, error = kernel.cell(AFTER.format(run_id=node))
    assert error is None
    assert text == "['cancelled'] PipelineCancelled True\nleft []\n"
    text, error = kernel.cell(f"print(dict(await run(lambda: 5, 'after {node}')))")
    assert (text, error) == ("{'n': 5}\n", None)


def test_b9_an_interrupt_twice_ends_the_cell_once(kernel):
    cell = kernel.begin("await run(stubborn, 'twice')")
    kernel.wait_for_text("in the node")
    kernel.manager.interrupt_kernel()
    kernel.manager.interrupt_kernel()
    _, error = kernel.end_of(cell)
    assert error in {"CancelledError", "KeyboardInterrupt"}
    assert kernel.cell("print(1 + 1)") == ("2\n", None)


def test_b9_a_kernel_restarted_in_the_middle_of_a_run_leaves_a_readable_recording(kernel):
    kernel.begin("await run(waits, 'restarted')")
    kernel.wait_for_text("in the node")
    time.sleep(0.5)  # the store commits in groups; what is younger may be lost
    kernel.client.stop_channels()
    kernel.manager.restart_kernel(now=True)
    again = Kernel(kernel.manager)
    kernel.client = again.client
    again.cell(PRELUDE)
    text, error = again.cell(
        "with hexviz.open_store('runs.db') as store:\n"
        "    print([type(e).__name__ for e in store.recording('restarted')])\n"
        "print(dict(await run(lambda: 5, 'again')))"
    )
    assert error is None
    assert text == "['PipelineStarted', 'WaveStarted', 'NodeStarted']\n{'n': 5}\n"
