// Unit tests of static/store.mjs and static/columns.mjs.
import assert from "node:assert/strict";
import test from "node:test";
import { column, readNames } from "../../hexviz/widgets/static/columns.mjs";
import * as js from "../../hexviz/widgets/static/store.mjs";
import { RUNNING_ROW, TWO_NODES, message } from "./made.mjs";

function started() {
  const store = js.createStore();
  assert.ok(js.applyMessage(store, ...message(1, { full: true, ...TWO_NODES, fresh: [RUNNING_ROW] })));
  return store;
}

test("a delta changes only its rows", () => {
  const store = started();
  assert.ok(js.applyMessage(store, ...message(2, { fresh: [[1, 1, 1, 0, 1, 1, 9, -1]] })));
  assert.equal(store.known, 2);
  assert.deepEqual([store.status[0], store.end[0], store.start[1], store.ready[1]], [1, -1, 9, 8]);
  assert.ok(js.applyMessage(store, ...message(3, { changed: [[0, 3, 8]] })));
  assert.deepEqual([store.status[0], store.end[0], store.known], [3, 8, 2]);
});

test("a node stands as its last attempt does, unless its own entry says otherwise", () => {
  const store = started();
  js.applyMessage(store, ...message(2, { changed: [[0, 2, 8]], fresh: [[1, 0, 2, 0, 1, 0, 9, -1]], nodes: [[1, 5, 7]] }));
  assert.deepEqual([...store.nodeStatus.slice(0, 2)], [1, 5]);
  js.applyMessage(store, ...message(3, { changed: [[1, 3, 12]] }));
  assert.deepEqual([...store.nodeStatus.slice(0, 2)], [3, 5]);
  assert.deepEqual([store.nodeSettled[0], store.before[1]], [12, 0]);
});

test("attempts may come in any order and leave gaps", () => {
  const store = js.createStore();
  js.applyMessage(store, ...message(1, { full: true, fresh: [[7, 3, 2, 0, 3, 0, 70, 71]] }));
  assert.deepEqual([store.rows, store.known, store.start[6]], [8, 1, -1]);
  js.applyMessage(store, ...message(2, { fresh: [[6, 3, 1, 0, 4, 0, 60, 61]] }));
  assert.deepEqual([store.known, store.nodeStatus[3], js.nameOf(store, 3)], [2, 3, "node 4"]);
  assert.deepEqual(js.rowsOf(store, 3), [6, 7]);
});

test("a message without its predecessor is refused, a full one heals", () => {
  const store = started();
  assert.equal(js.applyMessage(store, ...message(5, { changed: [[0, 3, 8]] })), false);
  assert.equal(store.status[0], 1);
  assert.ok(js.applyMessage(store, ...message(6, { full: true, names: [["a", 1]], fresh: [[0, 0, 1, 0, 3, 0, 2, 8]] })));
  assert.deepEqual([store.rows, store.names.length, store.status[0]], [1, 1, 3]);
});

test("buffers may lie at any offset of a larger one, and one value stands for all", () => {
  const bytes = new Uint8Array(64);
  new DataView(bytes.buffer).setUint32(5, 7, true);
  assert.deepEqual([...column(new DataView(bytes.buffer, 5, 4), Uint32Array, 3)], [7, 7, 7]);
  assert.equal(column(new DataView(bytes.buffer, 5, 1), Uint32Array, 0).length, 0);
});

test("names share their beginnings, also within a letter of several bytes", () => {
  const bytes = Uint8Array.from([0, 3, 0, 97, 0xc3, 0xa4, 2, 1, 0, 0xb6]);
  assert.deepEqual(readNames(bytes, 2), ["aä", "aö"]);
});

test("columns grow with the rows", () => {
  const store = js.createStore();
  const fresh = Array.from({ length: 5000 }, (_, i) => [i, i, 1, 0, 3, 0, i, i + 1]);
  js.applyMessage(store, ...message(1, { full: true, fresh }));
  assert.deepEqual([store.rows, store.start[4999]], [5000, 4999]);
});

test("counts at a time come from what is known at the end", () => {
  const store = started();
  js.applyMessage(store, ...message(2, { changed: [[0, 3, 8]], nodes: [[1, 5, 9]] }));
  assert.deepEqual(js.countsAt(store, 1), [2, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(js.countsAt(store, 5), [1, 1, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(js.countsAt(store, 10), [0, 0, 0, 1, 0, 1, 0, 0]);
});

test("a call that ended takes the place of the one that began", () => {
  const store = started();
  js.applyMessage(store, ...message(2, { calls: [[0, 1, -1, "running", "llm", "m", "a", 1, 0]] }));
  js.applyMessage(store, ...message(3, { calls: [[0, 1, 9, "succeeded", "llm", "m", "a", 1, 30], [1, 9, -1, "running", "tool", "t", "a", 1, 0]] }));
  assert.deepEqual(store.calls.map((call) => call[3]), ["succeeded", "running"]);
});

test("the moments of a run are in order, once each, and neighbours are found from any place", () => {
  const store = js.createStore();
  js.applyMessage(store, ...message(1, { full: true, fresh: [[0, 0, 1, 0, 3, 0, 5, 9], [1, 1, 1, 0, 3, 0, 5, 7], [2, 2, 1, 0, 1, 0, 8, -1]] }));
  const moments = js.momentsOf(store);
  assert.deepEqual([...moments], [5, 7, 8, 9]);
  assert.deepEqual([0, 5, 6, 9].map((t) => js.neighbour(moments, t)), [5, 7, 7, 9]);
  assert.deepEqual([5, 6, 9, 99].map((t) => js.neighbour(moments, t, true)), [5, 5, 8, 9]);
});
