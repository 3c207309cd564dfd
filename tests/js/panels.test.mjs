// Unit tests of what stands beside the timeline: static/lists.mjs, graph.mjs, tip.mjs, tools.mjs, link.mjs.
import assert from "node:assert/strict";
import test from "node:test";
import { layered, waveCounts } from "../../hexviz/widgets/static/graph.mjs";
import { createLink } from "../../hexviz/widgets/static/link.mjs";
import { listed } from "../../hexviz/widgets/static/lists.mjs";
import { applyMessage, createStore } from "../../hexviz/widgets/static/store.mjs";
import { decisionLines, tipLines } from "../../hexviz/widgets/static/tip.mjs";
import { cellsOf, countFound, searchFor, tabled } from "../../hexviz/widgets/static/tools.mjs";
import { RUNNING_ROW, TWO_NODES, message } from "./made.mjs";

function storeOf(more) {
  const store = createStore();
  assert.ok(applyMessage(store, ...message(1, { full: true, ...TWO_NODES, fresh: [RUNNING_ROW], ...more })));
  return store;
}

test("hover tells status, times, errors and decisions as text", () => {
  const store = storeOf({ failures: [[8, "a", 1, 1, "ValueError", "<b>bad</b>", ""]], decisions: [[8, "retry", "a", 1, 1, "NodeFailed", "Retry", "again", false]] });
  applyMessage(store, ...message(2, { changed: [[0, 2, 8]], backoffs: [[0, 5]] }));
  const lines = Object.fromEntries(tipLines(store, 0, 10));
  assert.deepEqual([lines.status, lines.ran, lines.waited, lines["back-off"]], ["retrying", "6.0 ms", "2.0 ms", "5.0 ms"]);
  assert.deepEqual([lines.error, lines.retry], ["ValueError: <b>bad</b>", "Retry: again"]);
});

test("a decision's mark tells its handler first", () => {
  assert.equal(decisionLines([8, "retry", "a", 1, 1, "NodeFailed", "MyRetry", "again", false])[0], "MyRetry");
  assert.equal(decisionLines([8, "proceed", "", 0, 0, "NodeFailed", "", "", false])[0], "nobody objected");
});

test("a list shows what passes its filters up to the time shown", () => {
  const decisions = [[1, "retry", , , , , "A"], [2, "fail", , , , , "B"], [3, "retry", , , , , "B"]];
  const at = (d) => d[0];
  assert.deepEqual(listed(decisions, null, at).length, 3);
  assert.deepEqual(listed(decisions, 2, at).map(at), [1, 2]);
  assert.deepEqual(listed(decisions, null, at, { signal: "retry", by: "B" }).map(at), [3]);
});

test("search lights the attempts whose node's name holds the words, whatever the case", () => {
  const store = storeOf({ names: [["Load", 1], ["clean", 2]], fresh: [RUNNING_ROW, [1, 1, 1, 0, 1, 0, 5, -1]] });
  const view = { store, kick() {}, shownByPython: null, parts: {}, selected: new Set(), shownTo: 10 };
  searchFor(view, " LOA ");
  assert.deepEqual([...view.lit], [0]);
  assert.deepEqual(tabled(view), [0]);
  searchFor(view, "");
  assert.equal(view.lit, null);
  view.selected.add(1);
  assert.deepEqual(tabled(view), [1]);
  assert.deepEqual(cellsOf(store, 1, 10), ["clean", 2, 1, "running", "-", "5.0 ms", "5.0 ms", "-"]);
});

test("of what a search finds, those that have not begun at the moment shown are counted apart", () => {
  const store = storeOf({ names: [["load a", 1], ["load b", 2], ["load c", 2]], fresh: [RUNNING_ROW, [1, 1, 1, 0, 1, 0, 5, -1]] });
  const view = { store, kick() {}, shownByPython: null, parts: {}, selected: new Set(), shownTo: 10 };
  searchFor(view, "load");
  assert.deepEqual(countFound(view, 10), { attempts: 2, later: 1 });
  assert.deepEqual(countFound(view, 4), { attempts: 1, later: 2 });
});

test("the order of layers takes crossings away and does not depend on chance", () => {
  const edges = Array.from({ length: 10 }, (_, i) => [i, 10 + (9 - i)]);
  const layers = layered([...new Array(10).fill(1), ...new Array(10).fill(2)], edges);
  const place = new Map([...layers.values()].flatMap((nodes) => nodes.map((node, i) => [node, i])));
  assert.ok(edges.every(([a, b]) => place.get(a) === place.get(b)));
});

test("a folded graph counts the nodes of each wave by status", () => {
  const store = storeOf({});
  assert.deepEqual([...waveCounts(store, store.nodeStatus)], [[1, [0, 1, 0, 0, 0, 0, 0, 0]], [2, [1, 0, 0, 0, 0, 0, 0, 0]]]);
});

test("the link says hello until answered, is live while answers come, and queued when they are late", () => {
  let now = 0;
  const [sent, states] = [[], []];
  const link = createLink((m) => sent.push(m), (s) => states.push(s), { clock: () => now });
  const pass = (ms) => { for (const until = now + ms; now < until; now += 250) link.tick(); };
  link.tick();
  pass(1000);
  assert.ok(sent.length >= 3);
  link.answer({ view: "someone else", n: 9 });
  assert.equal(link.state, "queued");
  link.answer({ view: link.view, n: sent.at(-1).n });
  assert.equal(link.state, "live");
  pass(2500);
  assert.ok(link.asked > link.answered);
  pass(2500);
  assert.equal(link.state, "queued");
  const asked = link.asked;
  pass(2000);
  assert.ok(link.asked - asked <= 1, "a busy kernel is not flooded with hellos");
  link.answer({ view: link.view, n: link.asked });
  pass(250);
  assert.deepEqual(states, ["live", "queued", "live"]);
});
