"""The worker of a run: takes one ready node after the other, and does with each all that a run promises.

Each node's coroutine is stepped in a context of its own, inside its worker's task: context variables stay with the
node, and ``asyncio.timeout`` and task groups work in it.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from contextvars import copy_context
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from hexviz.dag.attempts import Attempts
from hexviz.dag.detach import CONTAINERS, detached
from hexviz.dag.place import DONE
from hexviz.dag.waves import OPEN, RUNNING, SUCCEEDED
from hexviz.events.asking import NO_OBJECTION
from hexviz.events.events import NodeCompleted, NodeStarted
from hexviz.events.models import ExecutionContext
from hexviz.events.stepping import Continued

if TYPE_CHECKING:
    from hexviz.dag.place import Place

_log = logging.getLogger("hexviz.dag")
_CATCH_UP_EVERY = 31
_LAG_NS = 100_000_000


class Work(Attempts):
    """The path of a node from its start to its end."""

    initial_input: Any
    _spare: bool
    """A worker stands ready that has not begun."""
    _held: bool
    _burst: int
    """So many events may nodes under way tell yet."""

    @abstractmethod
    def _add_worker(self) -> None:
        """Put a spare worker on the loop, where there may be one more."""

    # The life of every node passes here, from its start to its end, in one line: written once, kept whole. What is
    # seldom (somebody waits, objects or fails) stands below.
    async def _work(self, place: Place) -> None:  # noqa: C901, PLR0912, PLR0915 - see above
        self._spare = False
        place.began = True
        plan, ready, results, status, attempts = self.plan, self.ready, self.results, self.status, self.attempts
        facts, launchers, out_models = self._facts, self._launchers, self._out_models
        observers, control, held_starts, freed_by = self.observers, self.control, self._held_starts, self._freed_by
        gates, lost, seqs = self.waves.gates, self._lost, self._seq
        left, unmet, children, barrier = self.waves.left, self._unmet, plan.children, self._barrier
        run_id, pipeline, contexts = self.run_id, plan.name, self._contexts
        take_turn, end_turn = self._lock.acquire, self._lock.release
        away = self._away
        tellers: Any = None
        rows: Any = None
        step = place.new_step(self.initial_input, results)
        while ready and not self._held:
            index = ready.popleft()
            if ready and not self._spare:
                self._add_worker()
            if not index & _CATCH_UP_EVERY:
                observers.catch_up()
            if observers.blocking:
                await observers.make_room(self._burst)
            name, wave, parents, worker = facts[index]
            gate = gates[wave]
            if gate is not OPEN:
                gate = gate or self._open(wave)
                if gate is not OPEN:
                    await self._pass_gate(index, gate, place)
                    continue
            status[index] = RUNNING
            attempt = attempts[index]
            where = None

            # It starts: tell, and ask control.
            if observers.tellers is not tellers or control.rows is not rows:  # somebody came, or left
                (tellers, tell_start, tell_end), (rows, check_start, check_end) = self._listeners(), self._checks()
            if tell_start is not None or check_start is not None:
                times = 0
                if held_starts and index in held_starts:
                    started, times = held_starts.pop(index)
                else:
                    freed, now, ready_at, queued_ms = freed_by[index], monotonic_ns(), None, 0.0
                    if freed is not None:
                        ready_at, queued_ms = freed.timestamp, (now - freed.monotonic_ns) / 1e6
                        freed_by[index] = None
                    if now > self._fresh_until:
                        self._look_at_clock(now)
                    take_turn()  # half the price of a with statement
                    try:
                        seq = next(seqs)
                        started = NodeStarted(
                            name, wave, parents, attempt, ready_at, queued_ms, worker,
                            timestamp=self._timestamp, run_id=run_id, seq=seq, monotonic_ns=now, pipeline=pipeline,
                        )  # fmt: skip
                        if tell_start is not None:
                            tell_start(started)
                    finally:
                        end_turn()
                if check_start is not None:
                    where = contexts[index]
                    if where is None:
                        where = contexts[index] = ExecutionContext(pipeline, name, wave, attempt, {}, run_id)
                    elif where.attempt != attempt:
                        where = self.context_of(index)
                    outcome = check_start.ask((started, where))
                    if outcome is not NO_OBJECTION:
                        decision, rows = check_start.begun(outcome), None
                        if not await self._may_start(index, place, started, times, decision):
                            continue

            # Its code runs up to its first wait, in a context of its own; where it waits, so does this worker.
            context = copy_context()
            here = (self, index, attempt)
            started_ns = monotonic_ns()
            try:
                waiting_on = context.run(step, (here, launchers[index]))
                ended_ns = monotonic_ns()
                took_ns = ended_ns - started_ns
                if took_ns > _LAG_NS and plan.asynchronous[index] and not away:
                    _warn_of_lag(name, pipeline, took_ns)
                if waiting_on is not DONE:
                    timeout_s = None if away else plan.specs[index].timeout_s  # elsewhere it begins with the code
                    place.stay(Continued(place.stepper, waiting_on, context), timeout_s)
                    await place.continued  # type: ignore[misc]
                    ended_ns = monotonic_ns()
                    took_ns = ended_ns - started_ns
                    place.leave()
                    place.forgive()
                    step = place.new_step(self.initial_input, results)
            except BaseException as error:
                place.leave()
                if place.closed:
                    raise  # the loop is gone
                await self._raised(index, error, (monotonic_ns() - started_ns) / 1e6, place)
                step = place.new_step(self.initial_input, results)
                continue
            result = place.result
            duration_ms = took_ns / 1e6
            if away:
                duration_ms = away.pop(index).duration_ms
            if out_models[index] is not None:
                try:
                    result = self.settings.check_result(plan.specs[index], result)
                except Exception as error:  # noqa: BLE001 - a model's own check may raise anything
                    await self._fail_attempt(index, error, duration_ms, place)
                    continue

            # It ended well: tell, ask control, and free its children.
            completed = None
            if observers.tellers is not tellers or control.rows is not rows:
                (tellers, tell_start, tell_end), (rows, check_start, check_end) = self._listeners(), self._checks()
            if tell_end is not None or check_end is not None:
                if ended_ns > self._fresh_until:
                    self._look_at_clock(ended_ns)
                shown = result if type(result) not in CONTAINERS else detached(result)
                take_turn()
                try:
                    seq = next(seqs)
                    completed = NodeCompleted(
                        name, wave, shown, duration_ms, attempt,
                        timestamp=self._timestamp, run_id=run_id, seq=seq, monotonic_ns=ended_ns, pipeline=pipeline,
                    )  # fmt: skip
                    if tell_end is not None:
                        tell_end(completed)
                finally:
                    end_turn()
                if check_end is not None:
                    outcome = check_end.ask((completed, where or self.context_of(index)))
                    if outcome is not NO_OBJECTION:
                        decision, rows = check_end.begun(outcome), None
                        if not await self._may_stand(index, place, completed, decision):
                            continue
                    contexts[index] = None
            results[index] = result
            if barrier or self.stopped:
                self._settle(index, SUCCEEDED, completed)
                continue
            status[index] = SUCCEEDED
            left[wave] = others = left[wave] - 1
            if not others:
                self._wave_done(wave)
            for child in children[index]:
                unmet[child] = others = unmet[child] - 1
                if others:
                    continue
                if lost[child] or status[child]:
                    self._free(child, index, completed)
                else:
                    freed_by[child] = completed
                    ready.append(child)

    def _listeners(self) -> tuple[Any, Any, Any]:
        """What tells observers that a node started, and that it ended; None where nobody is registered."""
        tellers = self.observers.tellers
        if not self.observers.active:
            return tellers, None, None
        return tellers, tellers[NodeStarted], tellers[NodeCompleted]

    def _checks(self) -> tuple[Any, Any, Any]:
        """Who is asked, and checks of them about nodes for one worker to hold; None where nobody is registered."""
        rows, all_votes = self.control.rows, self._all_votes
        if not self.control.active:
            return rows, None, None
        return rows, rows[NodeStarted].check(all_votes=all_votes), rows[NodeCompleted].check(all_votes=all_votes)


def _warn_of_lag(node: str, pipeline: str, held_ns: int) -> None:
    _log.warning(
        "async node %r of %r held up the event loop for %.1f s: nothing else ran meanwhile. Make it a plain function "
        "(it gets a thread), or let it await",
        node, pipeline, held_ns / 1e9,
    )  # fmt: skip
