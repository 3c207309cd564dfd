// Unit tests of hexviz/widgets/static/timeline.js, without a browser: node --test tests/js/
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const source = readFileSync(new URL("../../hexviz/widgets/static/timeline.js", import.meta.url), "utf8");
const js = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);

const view = (array) => new DataView(array.buffer, array.byteOffset, array.byteLength);

function buffers(rows, nodes = []) {
  const pick = (Type, list, at) => view(Type.from(list.map((entry) => entry[at])));
  const empty = (typed) => (typed.byteLength ? typed : view(new Uint8Array(1)));
  return [
    pick(Uint32Array, rows, 0), pick(Uint32Array, rows, 1), pick(Uint16Array, rows, 2), pick(Uint32Array, rows, 3),
    pick(Uint8Array, rows, 4), pick(Float32Array, rows, 5), pick(Float32Array, rows, 6), pick(Float32Array, rows, 7),
    pick(Float32Array, rows, 8), pick(Uint32Array, nodes, 0), pick(Uint8Array, nodes, 1), pick(Float32Array, nodes, 2),
  ].map(empty);
}

function message(seq, more = {}) {
  return {
    k: "d", seq, base: seq - 1, full: false, now: 10, end: 10, done: false, run: { nodes: 2 }, counts: [0, 0, 0, 0, 0, 0, 0, 0],
    waves: [], names: [], nodeWaves: [], firstName: 0, decisions: [], firstDecision: 0, failures: [], firstFailure: 0, ...more,
  };
}

// row, node, attempt, lane, status, ready, start, end, backoff
const RUNNING_ROW = [0, 0, 1, 0, 1, 0, 2, -1, 0];
const ENDED_ROW = [0, 0, 1, 0, 3, 0, 2, 8, 0];

function started() {
  const store = js.createStore();
  const whole = message(1, { full: true, names: ["a", "b"], nodeWaves: [1, 2], waves: [[1, 1, 1, 0, -1], [2, 1, 0, -1, -1]] });
  assert.ok(js.applyMessage(store, whole, buffers([RUNNING_ROW], [[0, 1, -1], [1, 0, -1]])));
  return store;
}

test("a delta changes only its rows", () => {
  const store = started();
  assert.ok(js.applyMessage(store, message(2), buffers([[1, 1, 1, 0, 1, 8, 9, -1, 0]])));
  assert.equal(store.rows, 2);
  assert.deepEqual([store.status[0], store.end[0], store.start[1]], [1, -1, 9]);
  assert.ok(js.applyMessage(store, message(3), buffers([ENDED_ROW])));
  assert.deepEqual([store.status[0], store.end[0], store.rows], [3, 8, 2]);
});

test("a message without its predecessor is refused, a full one heals", () => {
  const store = started();
  assert.equal(js.applyMessage(store, message(5), buffers([ENDED_ROW])), false);
  assert.equal(store.status[0], 1);
  assert.ok(js.applyMessage(store, message(6, { full: true, names: ["a"], nodeWaves: [1] }), buffers([ENDED_ROW])));
  assert.deepEqual([store.rows, store.names.length, store.status[0]], [1, 1, 3]);
});

test("buffers may lie at any offset of a larger one", () => {
  const bytes = new Uint8Array(64);
  new DataView(bytes.buffer).setUint32(5, 7, true);
  const odd = buffers([RUNNING_ROW]);
  odd[1] = new DataView(bytes.buffer, 5, 4);
  const store = js.createStore();
  js.applyMessage(store, message(1, { full: true }), odd);
  assert.equal(store.node[0], 7);
});

test("columns grow with the rows", () => {
  const store = js.createStore();
  const rows = Array.from({ length: 5000 }, (_, i) => [i, i, 1, 0, 3, 0, i, i + 1, 0]);
  js.applyMessage(store, message(1, { full: true }), buffers(rows));
  assert.equal(store.rows, 5000);
  assert.equal(store.start[4999], 4999);
});

test("counts at a time come from what is known at the end", () => {
  const store = started();
  js.applyMessage(store, message(2), buffers([ENDED_ROW], [[0, 3, 8], [1, 5, 9]]));
  assert.deepEqual(js.countsAt(store, 1), [2, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(js.countsAt(store, 5), [1, 1, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(js.countsAt(store, 10), [0, 0, 0, 1, 0, 1, 0, 0]);
});

test("durations are written for people", () => {
  const cases = [[0.123, "0.12 ms"], [412, "412 ms"], [3200, "3.20 s"], [247000, "4 min 07 s"], [7500000, "2 h 05 min"], [-1, "-"]];
  for (const [ms, text] of cases) assert.equal(js.formatMs(ms), text);
});

test("ticks are round, in order, in one unit and not too close", () => {
  for (const to of [1, 17, 905, 4380, 61000, 3600000, 1e9]) {
    const found = js.ticks(0, to, 800);
    assert.ok(found.length >= 1 && found.length <= 11, `${found.length} ticks up to ${to}`);
    assert.equal(new Set(found.map((t) => t.label)).size, found.length);
    assert.equal(new Set(found.map((t) => t.label.split(" ")[1])).size, 1);
  }
});

test("the axis ends beyond now and stands still between its steps", () => {
  for (let now = 0; now < 100000; now += 37) assert.ok(js.axisEnd(now) >= now);
  assert.equal(js.axisEnd(2100), js.axisEnd(2900));
});

test("bands follow each other without overlap and fill the height", () => {
  const waves = [3, 1, 2].map((index) => ({ index, nodes: index * 2, lanes: index }));
  const { bands, row } = js.layoutBands(waves, 300, (wave) => wave.lanes);
  const placed = [...bands.values()];
  assert.deepEqual(placed.map((band) => band.index), [1, 2, 3]);
  for (let i = 1; i < placed.length; i++) assert.ok(placed[i].y >= placed[i - 1].y + placed[i - 1].h);
  assert.ok(placed[2].y + placed[2].h <= 300.001 && row > 0);
});

test("a run in progress keeps lanes for waves to come, a finished one only those that it used", () => {
  const wave = { nodes: 9, lanes: 3 };
  const lanes = (nodes, done) => js.reservedLanes({ run: { nodes }, names: [], done }, wave);
  assert.deepEqual([lanes(20, false), lanes(20, true)], [9, 9]);
  assert.deepEqual([lanes(100, false), lanes(100, true)], [9, 3]);
  assert.deepEqual([lanes(5000, false), lanes(5000, true)], [4, 3]);
});

test("packed lanes hold no two attempts at once and as few lanes as can be", () => {
  const store = js.createStore();
  const rows = Array.from({ length: 200 }, (_, i) => [i, i, 1, i, 3, i * 3, i * 3, i * 3 + 30, 0]);
  js.applyMessage(store, message(1, { full: true }), buffers(rows));
  const { lanes, count } = js.packLanes(store);
  assert.equal(count, 10);
  const ends = new Map();
  for (let row = 0; row < 200; row++) {
    assert.ok(store.start[row] >= (ends.get(lanes[row]) ?? 0));
    ends.set(lanes[row], store.end[row]);
  }
});

test("hover tells status, times, errors and decisions as text", () => {
  const store = started();
  const failed = message(2, { failures: [[8, "a", 1, 1, "ValueError", "<b>bad</b>"]], decisions: [[8, "retry", "a", 1, 1, "NodeFailed", "Retry", "again", false]] });
  js.applyMessage(store, failed, buffers([[0, 0, 1, 0, 2, 0, 2, 8, 5]]));
  const lines = Object.fromEntries(js.tipLines(store, 0, 10));
  assert.deepEqual([lines.status, lines.ran, lines.waited, lines["back-off"]], ["retrying", "6.0 ms", "2.0 ms", "5.0 ms"]);
  assert.deepEqual([lines.error, lines.retry], ["ValueError: <b>bad</b>", "Retry: again"]);
});

test("the link says hello until answered, is live while answers come, and queued when they are late", () => {
  let now = 0;
  const [sent, states] = [[], []];
  const link = js.createLink((m) => sent.push(m), (s) => states.push(s), { clock: () => now });
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

test("nothing in the module writes markup or loads anything", () => {
  assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function/);
  assert.doesNotMatch(source, /fetch\(|XMLHttpRequest|https?:/);
});
