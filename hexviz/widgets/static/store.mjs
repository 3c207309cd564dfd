// What is known of a run: one row per attempt in columns, the nodes, the waves and the lists.

import { grown, readNames, unpack } from "./columns.mjs";
import { PENDING, RETRYING, RUNNING } from "./palette.mjs";

const KEPT = 5000;
const ROW_COLUMNS = [
  ["node", Uint32Array], ["attempt", Uint16Array], ["lane", Uint16Array], ["status", Uint8Array],
  ["ready", Float32Array], ["start", Float32Array], ["end", Float32Array], ["backoff", Float32Array], ["before", Int32Array],
  ["tight", Uint16Array], ["worker", Uint16Array], ["sent", Float32Array],
];
const MOST_LANES = 4096;

export function createStore() {
  const totals = { attempts: 0, decisions: 0, failures: 0, calls: 0 };
  const store = { seq: -1, done: false, nowMs: 0, endMs: 0, run: {}, counts: new Array(8).fill(0), totals, health: [], overhead: {} };
  return clear(store);
}

function clear(store) {
  for (const [name, Type] of ROW_COLUMNS) store[name] = new Type(0);
  return Object.assign(store, {
    rows: 0, known: 0, capacity: 0, names: [], nodes: 0, nodeWave: new Uint32Array(0), nodeStatus: new Uint8Array(0), nodeSettled: new Float32Array(0),
    lastRow: new Int32Array(0), waves: new Map(), tightWaves: new Map(), decisions: [], marks: [], failures: [], calls: [], edges: [], critical: [], moments: null, workers: [""], lost: new Map(), labels: new Set(), waiting: 0,
  });
}

/** Take in one message. False where a message in between was missed: then only a full one helps. */
export function applyMessage(store, message, buffers) {
  if (!message.full && message.base !== store.seq) return false;
  if (message.full) clear(store);
  Object.assign(store, {
    seq: message.seq, done: Boolean(message.done), nowMs: message.now, endMs: message.end, run: message.run,
    counts: message.counts, totals: message.totals, moments: null,
  });
  for (const word of ["health", "overhead", "critical"]) if (message[word]) store[word] = message[word];
  const tables = unpack(message.sizes, buffers);
  applyNames(store, message.firstName, tables);
  applyWaves(store, tables);
  applyFresh(store, message.firstRow, tables.fresh);
  applyChanged(store, tables);
  applyWorkers(store, message, tables.placed);
  applyNodes(store, tables.nodes);
  applyLists(store, message, tables.marks);
  return true;
}

function applyNames(store, first, { names, text, edges }) {
  const last = first > 0 && store.names[first - 1] !== undefined ? new TextEncoder().encode(store.names[first - 1]) : undefined;
  readNames(text, names.length, last).forEach((name, k) => { store.names[first + k] = name; });
  if (names.length) nodeRoom(store, first + names.length);
  for (let k = 0; k < edges.length; k++) store.edges.push([edges.parent[k], edges.child[k]]);
}

function applyWaves(store, { waves, spans }) {
  for (let k = 0; k < waves.length; k++) {
    const [index, nodes, lanes, start, end] = [waves.index[k], waves.nodes[k], waves.lanes[k], waves.start[k], waves.end[k]];
    store.waves.set(index, { index, nodes, lanes, start, end });
  }
  for (let k = 0; k < spans.length; k++) {
    nodeRoom(store, spans.first[k] + spans.count[k]);
    store.nodeWave.fill(spans.wave[k], spans.first[k], spans.first[k] + spans.count[k]);
  }
}

/** A lane in which the attempt meets no other that runs, whatever waits: what many attempts are drawn in. */
function tighten(store, row) {
  const wave = store.nodeWave[store.node[row]];
  if (!store.tightWaves.has(wave)) store.tightWaves.set(wave, { ends: [], last: -1 });
  const lanes = store.tightWaves.get(wave);
  const [start, end] = [store.start[row], store.end[row] < 0 ? Infinity : store.end[row]];
  let lane = start < lanes.last && lanes.ends.length ? row % lanes.ends.length : lanes.ends.findIndex((at) => at <= start);
  if (lane < 0) lane = lanes.ends.length < MOST_LANES ? lanes.ends.length : row % MOST_LANES;
  lanes.last = Math.max(lanes.last, start);
  lanes.ends[lane] = Math.max(end, lanes.ends[lane] === Infinity ? 0 : lanes.ends[lane] ?? 0);
  store.tight[row] = lane;
}

function nodeRoom(store, nodes) {
  store.nodes = Math.max(store.nodes, nodes);
  if (nodes <= store.nodeStatus.length) return;
  const room = Math.max(64, nodes, store.nodeStatus.length * 2);
  store.nodeStatus = grown(store.nodeStatus, Uint8Array, room);
  store.nodeSettled = grown(store.nodeSettled, Float32Array, room, -1);
  store.lastRow = grown(store.lastRow, Int32Array, room, -1);
  store.nodeWave = grown(store.nodeWave, Uint32Array, room);
}

function rowRoom(store, rows) {
  if (rows > store.capacity) {
    store.capacity = Math.max(256, rows, store.capacity * 2);
    for (const [name, Type] of ROW_COLUMNS) store[name] = grown(store[name], Type, store.capacity, name === "start" || name === "before" ? -1 : 0);
  }
  store.rows = Math.max(store.rows, rows);
}

function applyFresh(store, first, fresh) {
  for (let k = 0; k < fresh.length; k++) {
    const row = first >= 0 ? first + k : fresh.row[k];
    const node = fresh.node[k];
    rowRoom(store, row + 1);
    nodeRoom(store, node + 1);
    if (store.start[row] < 0) store.known += 1;
    store.node[row] = node;
    store.attempt[row] = fresh.attempt[k];
    store.lane[row] = fresh.lane[k];
    store.ready[row] = fresh.start[k] - fresh.wait[k];
    store.start[row] = store.sent[row] = fresh.start[k];
    store.before[row] = store.lastRow[node] < row ? store.lastRow[node] : -1;
    store.lastRow[node] = Math.max(row, store.lastRow[node]);
    settle(store, row, fresh.status[k], fresh.end[k]);
    tighten(store, row);
  }
}

/** The last attempt of a node says how the node stands, unless the node's own entry says otherwise. */
function settle(store, row, status, end) {
  store.status[row] = status;
  store.end[row] = end;
  if (end >= 0 && store.start[row] === Infinity) store.start[row] = store.sent[row];
  const node = store.node[row];
  if (store.lastRow[node] !== row) return;
  store.nodeStatus[node] = status;
  store.nodeSettled[node] = status > RETRYING ? end : -1;
}

function applyChanged(store, { changed, backoffs }) {
  for (let k = 0; k < changed.length; k++) {
    const row = changed.row[k];
    settle(store, row, changed.status[k], changed.end[k]);
    const lanes = store.tightWaves.get(store.nodeWave[store.node[row]]);
    if (lanes?.ends[store.tight[row]] === Infinity) lanes.ends[store.tight[row]] = store.end[row];
  }
  for (let k = 0; k < backoffs.length; k++) if (backoffs.row[k] < store.rows) store.backoff[backoffs.row[k]] = backoffs.ms[k];
}

/** Where attempts run; the code of one begins on its worker, so what came before was a wait. One that waits still has no start yet. */
function applyWorkers(store, { workers = [], firstWorker, lost, labels }, placed) {
  workers.forEach((name, k) => { store.workers[firstWorker + k] = name; });
  if (lost) store.lost = new Map(lost);
  for (let k = 0; k < placed.length; k++) {
    const row = placed.row[k];
    if (row >= store.rows || store.start[row] < 0) continue;
    store.worker[row] = placed.worker[k];
    store.sent[row] = placed.start[k];
    store.start[row] = waits(store, row) ? Infinity : placed.start[k];
  }
  if (labels) {
    store.labels = new Set(labels);
    for (let row = 0; row < store.rows; row++) if (store.start[row] >= 0) store.start[row] = waits(store, row) ? Infinity : store.sent[row];
  }
  store.waiting = 0;
  if ((store.labels.size || labels) && !store.done) countWaiting(store);
}

/** What was sent to a runner and waits there for a worker is pending. */
function countWaiting(store) {
  for (let row = 0; row < store.rows; row++) {
    if (store.start[row] < 0 || store.end[row] >= 0) continue;
    const waiting = store.start[row] === Infinity;
    store.waiting += waiting;
    if (store.lastRow[store.node[row]] === row) store.nodeStatus[store.node[row]] = waiting ? PENDING : RUNNING;
  }
}

/** Whether an attempt goes on that has no worker yet. */
function waits(store, row) {
  return store.end[row] < 0 && store.labels.has(store.worker[row]);
}

function applyNodes(store, { length, node, status, settled }) {
  for (let k = 0; k < length; k++) {
    nodeRoom(store, node[k] + 1);
    store.nodeStatus[node[k]] = status[k];
    store.nodeSettled[node[k]] = settled[k];
  }
}

/** `marks` are all decisions as [ms, signal code]; the lists hold the last ones with all their words. */
function applyLists(store, message, marks) {
  for (let k = 0; k < marks.length; k++) store.marks.push([marks.at[k], marks.signal[k]]);
  for (const name of ["decisions", "failures"]) {
    for (const entry of message[name]) store[name].push(entry);
    if (store[name].length > 2 * KEPT) store[name] = store[name].slice(-KEPT);
  }
  for (const call of message.calls) {
    const at = store.calls.findLastIndex((known) => known[0] === call[0]);
    if (at < 0) store.calls.push(call);
    else store.calls[at] = call;
  }
  if (store.calls.length > KEPT) store.calls = store.calls.slice(-KEPT / 2);
}

export function nameOf(store, node) {
  return store.names[node] ?? `node ${node + 1}`;
}

export function statusAt(store, row, t) {
  const end = store.end[row];
  return end < 0 || end > t ? RUNNING : store.status[row];
}

/** Nodes by status at time `t`, from what is known at the end. */
export function countsAt(store, t) {
  const now = nodesAt(store, t);
  const counts = new Array(8).fill(0);
  for (let node = 0; node < now.length; node++) counts[now[node]] += 1;
  return counts;
}

/** The status of each node at time `t`. */
export function nodesAt(store, t) {
  const now = new Uint8Array(store.nodes);
  for (let row = 0; row < store.rows; row++) {
    if (store.start[row] >= 0 && store.start[row] <= t) now[store.node[row]] = statusAt(store, row, t);
  }
  for (let node = 0; node < now.length; node++) {
    const settled = store.nodeSettled[node];
    if (settled >= 0 && settled <= t) now[node] = store.nodeStatus[node];
  }
  return now;
}

/** How many attempts had started at time `t`. */
export function startedAt(store, t) {
  let shown = 0;
  for (let row = 0; row < store.rows; row++) if (store.start[row] >= 0 && store.start[row] <= t) shown += 1;
  return shown;
}

/** The rows of a node, in the order of its attempts. */
export function rowsOf(store, node) {
  return rowsWhere(store, (row) => store.node[row] === node);
}

export function rowsWhere(store, holds) {
  const rows = [];
  for (let row = 0; row < store.rows; row++) if (store.start[row] >= 0 && holds(row)) rows.push(row);
  return rows;
}

/** Every moment at which an attempt begins or ends, in order and once. */
export function momentsOf(store) {
  if (store.moments) return store.moments;
  const all = new Float64Array(2 * store.rows);
  let count = 0;
  for (let row = 0; row < store.rows; row++) {
    if (store.start[row] < 0 || store.start[row] === Infinity) continue;
    all[count++] = store.start[row];
    if (store.end[row] >= 0) all[count++] = store.end[row];
  }
  const sorted = all.subarray(0, count).sort();
  let kept = 0;
  for (let k = 0; k < count; k++) if (!kept || sorted[k] > sorted[kept - 1]) sorted[kept++] = sorted[k];
  return (store.moments = sorted.subarray(0, kept));
}

/** The first of `moments` after `t` (or, with `back`, the last before); `t` itself where there is none. */
export function neighbour(moments, t, back = false) {
  let [low, high] = [0, moments.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (back ? moments[middle] < t : moments[middle] <= t) low = middle + 1;
    else high = middle;
  }
  return moments[back ? low - 1 : low] ?? t;
}
