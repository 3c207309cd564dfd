// Unit tests of static/workers.mjs, and of what else depends on where attempts run.
import assert from "node:assert/strict";
import test from "node:test";
import * as layout from "../../hexviz/widgets/static/layout.mjs";
import { applyMessage, createStore } from "../../hexviz/widgets/static/store.mjs";
import { tipLines } from "../../hexviz/widgets/static/tip.mjs";
import { cellsOf } from "../../hexviz/widgets/static/tools.mjs";
import { busyShare, hasWorkers, shortNames, workerRows } from "../../hexviz/widgets/static/workers.mjs";
import { message } from "./made.mjs";

const FRESH = [[0, 0, 1, 0, 3, 0, 0, 10], [1, 1, 1, 1, 4, 0, 0, 20], [2, 2, 1, 0, 1, 5, 15, -1], [3, 3, 1, 1, 7, 0, 25, 30]];
const NAMES = ["a", "b", "c", "d"].map((name) => [name, 1]);

function storeOf() {
  const store = createStore();
  const told = { workers: ["", "process", "tcp://h:1", "tcp://h:2"], firstWorker: 0, lost: [[3, 20]] };
  const placed = [[0, 2, 4], [1, 3, 0], [2, 2, 16], [3, 2, 25]];
  assert.ok(applyMessage(store, ...message(1, { full: true, names: NAMES, fresh: FRESH, waves: [[1, 4, 2, 0, -1]], placed, ...told })));
  return store;
}

test("an attempt begins when its code begins on the worker, and waited until then", () => {
  const store = storeOf();
  assert.deepEqual([store.start[0], store.ready[0], store.start[2], store.ready[2]], [4, 0, 16, 10]);
  const lines = Object.fromEntries(tipLines(store, 1, 30));
  assert.equal(lines.worker, "tcp://h:2, lost at 20 ms");
  assert.equal(cellsOf(store, 0, 30).at(-1), "tcp://h:1");
});

test("what a runner has and has placed nowhere waits: no bar, no lane, no place among the workers", () => {
  const store = createStore();
  const told = { workers: ["", "mine", "tcp://h:1"], firstWorker: 0, counts: [0, 3, 0, 0, 0, 0, 0, 0] };
  const fresh = [0, 1, 2].map((row) => [row, row, 1, row, 1, 0, row, -1]);
  const full = { full: true, names: NAMES, fresh, waves: [[1, 4, 3, 0, -1]], placed: fresh.map(([row]) => [row, 1, row]) };
  applyMessage(store, ...message(1, { ...full, ...told }));
  assert.deepEqual([store.waiting, workerRows(store, 5).length], [0, 1]);
  applyMessage(store, ...message(2, { placed: [[0, 2, 4]], labels: [1] }));
  assert.deepEqual([store.waiting, [...store.start.subarray(0, 3)]], [2, [4, Infinity, Infinity]]);
  assert.deepEqual([...store.nodeStatus.subarray(0, 4)], [1, 0, 0, 0]);
  assert.deepEqual(workerRows(store, 5).map(({ name, running }) => [name, running]), [["tcp://h:1", 1]]);
  assert.deepEqual([...layout.packLanes(store, (row) => store.worker[row]).counts], [[2, 1]]);
  assert.deepEqual(tipLines(store, 1, 5), [["status", "waiting"], ["wave", "1, attempt 1"], ["waited", "4.0 ms"]]);
  assert.deepEqual([...layout.concurrency(store, 0, 8, 1)], [0.5]);
  applyMessage(store, ...message(3, { changed: [[1, 7, 6], [2, 7, 6]], placed: [[1, 1, 6]] }));
  assert.deepEqual([store.waiting, store.start[1], store.start[2]], [0, 6, 2]);
  assert.deepEqual([...store.nodeStatus.subarray(0, 4)], [1, 7, 7, 0]);
});

test("each worker's attempts are counted up to the time shown, and its loss only from then on", () => {
  const rows = workerRows(storeOf(), 40);
  assert.deepEqual(rows.map(({ name, running, done, failed, lost }) => [name, running, done, failed, lost]), [["tcp://h:1", 1, 1, 0, -1], ["tcp://h:2", 0, 0, 1, 20]]);
  assert.ok(Math.abs(rows[0].busy - 30 / 36) < 1e-9);
  assert.equal(rows[1].busy, 1);
  assert.deepEqual(workerRows(storeOf(), 15).map(({ lost }) => lost), [-1, -1]);
});

test("spans that overlap are busy once", () => {
  assert.equal(busyShare([[10, 20], [0, 15], [30, 40]], 40), 0.75);
  assert.equal(busyShare([[5, 9]], 5), 0);
});

test("lanes by worker put each attempt in its worker's band, none over another", () => {
  const store = storeOf();
  const view = { store, width: 474, height: 136, domain: [0, 100], lanesBy: "worker", focus: null, folded: new Set(), shownTo: 100, packedAt: "" };
  const plan = layout.planOf(view);
  assert.deepEqual([...plan.bands.keys()], [2, 3]);
  const ys = FRESH.map(([row]) => { const place = {}; layout.placeRow(view, plan, row, place); return place.y; });
  assert.ok(ys[0] === ys[2] && ys[3] !== ys[2] && ys[1] > Math.max(ys[0], ys[3]));
});

test("a message of a run without workers tells none, a full one forgets those of before", () => {
  const store = storeOf();
  assert.ok(hasWorkers(store));
  applyMessage(store, ...message(2, { full: true, names: NAMES, fresh: FRESH }));
  assert.deepEqual([hasWorkers(store), store.lost.size], [false, 0]);
});

test("short names are the ends of names, and still differ", () => {
  assert.deepEqual(shortNames(["process 4711", "process 4712"]), ["4711", "4712"]);
  assert.deepEqual(shortNames(["tcp://10.0.0.1:80", "tcp://10.0.0.2:80"]), ["….0.0.1:80", "….0.0.2:80"].map((name) => `…${name.slice(-8)}`));
});
