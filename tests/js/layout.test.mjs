// Unit tests of static/layout.mjs and static/density.mjs.
import assert from "node:assert/strict";
import test from "node:test";
import { gridOf, levelOf } from "../../hexviz/widgets/static/density.mjs";
import * as js from "../../hexviz/widgets/static/layout.mjs";
import { STATUS_COLORS } from "../../hexviz/widgets/static/palette.mjs";
import { applyMessage, createStore } from "../../hexviz/widgets/static/store.mjs";
import { message } from "./made.mjs";

function storeOf(fresh, waves = [[1, 5, 5, 0, -1]]) {
  const store = createStore();
  const nodes = Math.max(...fresh.map((row) => row[1])) + 1;
  const names = Array.from({ length: nodes }, (_, i) => [`n${i}`, 1]);
  applyMessage(store, ...message(1, { full: true, fresh, names, waves }));
  return store;
}

function viewOf(store, more = {}) {
  const view = { store, width: 474, height: 136, domain: [0, 100], lanesBy: "wave", focus: null, folded: new Set(), shownTo: 100, packedAt: "", ...more };
  view.plan = js.planOf(view);
  return view;
}

test("bands follow each other without overlap and fill the height", () => {
  const waves = [3, 1, 2].map((index) => ({ index, nodes: index * 2, lanes: index }));
  const { bands, row } = js.layoutBands(waves, 200, (wave) => wave.lanes);
  const placed = [...bands.values()];
  assert.deepEqual(placed.map((band) => band.index), [1, 2, 3]);
  for (let i = 1; i < placed.length; i++) assert.ok(placed[i].y >= placed[i - 1].y + placed[i - 1].h);
  assert.ok(placed[2].y + placed[2].h <= 200.001 && row > 0);
});

test("a run in progress keeps lanes for waves to come, a finished one only those that it used", () => {
  const wave = { nodes: 9, lanes: 3 };
  const lanes = (nodes, done) => js.reservedLanes({ run: { nodes }, nodes: 0, done }, wave);
  assert.deepEqual([lanes(20, false), lanes(20, true)], [9, 9]);
  assert.deepEqual([lanes(100, false), lanes(100, true)], [9, 3]);
  assert.deepEqual([lanes(5000, false), lanes(5000, true)], [4, 3]);
  const ended = [{ nodes: 100, lanes: 20, end: 5 }, { nodes: 100, lanes: 90, end: -1 }];
  assert.equal(js.reservedLanes({ run: { nodes: 5000 }, done: false }, { nodes: 50, lanes: 0, end: -1 }, js.laneShare(ended)), 10);
});

test("packed lanes hold no two attempts at once and as few lanes as can be", () => {
  const store = storeOf(Array.from({ length: 200 }, (_, i) => [i, i, 1, i, 3, 0, i * 3, i * 3 + 30]));
  const { lanes, counts } = js.packLanes(store);
  assert.equal(counts.get(-1), 10);
  const ends = new Map();
  for (let row = 0; row < 200; row++) {
    assert.ok(store.start[row] >= (ends.get(lanes[row]) ?? 0));
    ends.set(lanes[row], store.end[row]);
  }
});

test("a bar is found under its pixels and nowhere else", () => {
  const view = viewOf(storeOf([[0, 0, 1, 0, 3, 10, 20, 40], [1, 1, 1, 1, 3, 0, 50, 60]]));
  const place = {};
  assert.ok(js.placeRow(view, view.plan, 1, place));
  const at = (ms) => js.rowAt(view, view.plan.x(ms), place.y + 2);
  assert.deepEqual([at(49), at(55), at(61)], [-1, 1, -1]);
  js.placeRow(view, view.plan, 0, place);
  assert.deepEqual([at(12), at(30)], [0, 0], "its wait belongs to it");
});

test("a folded wave takes one lane, and its attempts lie in it", () => {
  const fresh = Array.from({ length: 5 }, (_, i) => [i, i, 1, i, 3, 0, 10, 20]);
  const view = viewOf(storeOf(fresh), { folded: new Set([1]) });
  const ys = new Set(fresh.map(([row]) => { const place = {}; js.placeRow(view, view.plan, row, place); return place.y; }));
  assert.deepEqual([view.plan.bands.get(1).folded, ys.size], [true, 1]);
});

test("concurrency is the mean number of attempts under way in each part of the time", () => {
  const store = storeOf([[0, 0, 1, 0, 3, 0, 0, 50], [1, 1, 1, 0, 3, 0, 25, 75], [2, 2, 1, 0, 1, 0, 90, -1]]);
  assert.deepEqual([...js.concurrency(store, 0, 100, 4, 100)].map((n) => Number(n.toFixed(3))), [1, 2, 1, 0.4]);
  assert.deepEqual([...js.concurrency(store, 0, 100, 4, 40)].map((n) => Number(n.toFixed(3))), [1, 1.2, 0, 0]);
});

test("concurrency of a sample is scaled to the whole", () => {
  const store = storeOf([[0, 0, 1, 0, 3, 0, 0, 100]]);
  store.totals.attempts = 4;
  assert.deepEqual([...js.concurrency(store, 0, 100, 2, 100)], [4, 4]);
});

test("few attempts are bars, many are lanes, and lanes thinner than a pixel are density", () => {
  assert.deepEqual([levelOf(20000, 0.1), levelOf(20001, 1.5), levelOf(20001, 0.5)], ["bars", "lanes", "density"]);
});

test("many attempts lie in as few lanes as run at once, however long they waited", () => {
  const fresh = Array.from({ length: 20002 }, (_, i) => [i, i, 1, i, 3, i, i, i + 9.5]);
  const store = storeOf(fresh);
  assert.equal(Math.max(...store.tight.subarray(0, store.rows)), 9);
  for (let row = 10; row < 100; row++) assert.notEqual(store.tight[row], store.tight[row - 1]);
});

test("the worst of those that meet in one pixel is seen, and a lit row alone where it is asked for", () => {
  const fresh = Array.from({ length: 20002 }, (_, i) => [i, i % 5, 1, 0, i % 5 === 2 && i < 50 ? 4 : 3, 0, 10 + (i % 5) * 4, 11 + (i % 5) * 4]);
  const view = viewOf(storeOf(fresh));
  const grid = gridOf(view, view.plan, 474, 100, STATUS_COLORS);
  const at = (ms) => new Set(grid.filter((_, place) => place % 474 === Math.round(view.plan.x(ms))));
  assert.ok(at(18.5).has(0xff005ed5));
  assert.ok(at(14.5).has(0xff739e00) && !at(14.5).has(0xff005ed5));
  const lit = gridOf(view, view.plan, 474, 100, STATUS_COLORS, new Set([8]));
  assert.ok(lit.includes(0xff739e00));
  assert.ok(!lit.includes(0xff005ed5));
});

test("attempts narrower than a pixel are mixed, so that a few bad ones do not hide the others", () => {
  const fresh = Array.from({ length: 20002 }, (_, i) => [i, i % 5, 1, 0, i % 20 ? 3 : 2, 0, i * 0.004, i * 0.004 + 0.003]);
  const view = viewOf(storeOf(fresh));
  const [ink] = new Set(gridOf(view, view.plan, 474, 100, STATUS_COLORS).filter((pixel) => pixel));
  assert.ok((ink & 255) < 60 && ((ink >> 8) & 255) > 140, "nearly the colour of those that succeeded");
});

test("density mixes colours and is the stronger the more lanes are busy", () => {
  const waves = [[1, 2000, 2000, 0, -1]];
  const fresh = Array.from({ length: 20002 }, (_, i) => [i, i, 1, i, 3, 0, i < 15000 ? 10 : 60, i < 15000 ? 20 : 70]);
  const view = viewOf(storeOf(fresh, waves));
  assert.ok(view.plan.row < 1);
  const grid = gridOf(view, view.plan, 474, 100, STATUS_COLORS);
  const alpha = (ms) => grid[50 * 474 + Math.round(view.plan.x(ms))] >>> 24;
  assert.ok(alpha(15) >= alpha(65) && alpha(65) > 0 && alpha(40) === 0);
});

test("the decision nearest to the pointer is told, one that interferes before one that does not", () => {
  const store = storeOf([[0, 0, 1, 0, 3, 0, 0, 50]]);
  store.decisions = [[50, "proceed"], [50, "retry"], [90, "fail"]];
  const view = viewOf(store);
  const at = (ms, y = view.plan.bottom + 4) => js.decisionAt(view, view.plan.x(ms), y)?.[1] ?? null;
  assert.deepEqual([at(50), at(90), at(70), at(50, 5)], ["retry", "fail", null, null]);
});

test("a decision that is too old for the list is told by its mark: when it fell, and with which signal", () => {
  const store = storeOf([[0, 0, 1, 0, 3, 0, 0, 50]]);
  store.decisions = [[40, "retry", "a"]];
  store.marks = [[10, 4], [40, 1]];
  const view = viewOf(store);
  const at = (ms) => js.decisionAt(view, view.plan.x(ms), view.plan.bottom + 4);
  assert.deepEqual([at(10), at(40)], [[10, "fail"], [40, "retry", "a"]]);
});
