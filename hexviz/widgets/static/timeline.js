// The timeline of one run: a canvas, the lists beside it, and the link back to Python.
// One module for the widget under the cell, the recorded run with its slider, and the report of one file.
// Whatever comes from data reaches the page as textContent or as text on the canvas, never as markup.

export const STATUSES = ["pending", "running", "retrying", "succeeded", "failed", "skipped", "fell_back", "cancelled"];
export const STATUS_COLORS = ["#c9ced6", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#999999", "#cc79a7", "#56b4e9"];
export const SIGNAL_COLORS = {
  proceed: "#009e73", retry: "#e69f00", skip: "#999999", fallback: "#cc79a7", fail: "#d55e00", error: "#882255",
};
const [PENDING, RUNNING, RETRYING] = [0, 1, 2];
const PROGRESS_ORDER = [3, 6, 5, 7, 4, 2, 1];
const ALWAYS_COUNTED = new Set([0, 1, 3, 4]);
const WORST = [0, 1, 5, 2, 7, 3, 4, 6];
const DARK_INK = "#0d1117";
const GUTTER = 58;
const AXIS = 24;
const MARKS = 10;
const DENSE_ROWS = 20000;
const FRAME_MS = 50;
const LISTED = 200;

// --- what is known: columns, grown as needed --------------------------------------------------------------------------

const ROW_COLUMNS = [
  ["node", Uint32Array], ["attempt", Uint16Array], ["lane", Uint32Array], ["status", Uint8Array],
  ["ready", Float32Array], ["start", Float32Array], ["end", Float32Array], ["backoff", Float32Array],
];

export function createStore() {
  const store = { rows: 0, capacity: 0, seq: -1, done: false, nowMs: 0, endMs: 0, run: {}, counts: new Array(8).fill(0) };
  return clear(store);
}

function clear(store) {
  for (const [name, Type] of ROW_COLUMNS) store[name] = new Type(0);
  return Object.assign(store, {
    rows: 0, capacity: 0, names: [], nodeWave: [], nodeStatus: new Uint8Array(0), nodeSettled: new Float32Array(0),
    waves: new Map(), decisions: [], failures: [], firstDecision: 0, firstFailure: 0, byNode: null,
  });
}

function grown(old, Type, length) {
  const column = new Type(length);
  column.set(old);
  return column;
}

function makeRoom(store, rows) {
  if (rows <= store.capacity) return;
  store.capacity = Math.max(256, rows, store.capacity * 2);
  for (const [name, Type] of ROW_COLUMNS) store[name] = grown(store[name], Type, store.capacity);
}

/** A typed array over a copy of `view` (its bytes may lie at any offset). */
function column(view, Type, length = Math.floor(view.byteLength / Type.BYTES_PER_ELEMENT)) {
  const bytes = length * Type.BYTES_PER_ELEMENT;
  return new Type(view.buffer.slice(view.byteOffset, view.byteOffset + bytes));
}

/** Take in one message. False where a message in between was missed: then only a full one helps. */
export function applyMessage(store, message, buffers) {
  if (!message.full && message.base !== store.seq) return false;
  if (message.full) clear(store);
  store.seq = message.seq;
  store.done = Boolean(message.done);
  store.nowMs = message.now;
  store.endMs = message.end;
  store.run = message.run;
  store.counts = message.counts;
  for (const [index, nodes, lanes, start, end] of message.waves) store.waves.set(index, { index, nodes, lanes, start, end });
  applyNodes(store, message, buffers.slice(9));
  applyRows(store, buffers);
  applyLists(store, message);
  return true;
}

function applyNodes(store, message, [indexBuffer, statusBuffer, settledBuffer]) {
  message.names.forEach((name, i) => {
    store.names[message.firstName + i] = name;
    store.nodeWave[message.firstName + i] = message.nodeWaves[i];
  });
  if (store.nodeStatus.length < store.names.length) {
    const room = Math.max(64, store.names.length * 2);
    store.nodeStatus = grown(store.nodeStatus, Uint8Array, room);
    store.nodeSettled = grown(store.nodeSettled, Float32Array, room);
  }
  const index = column(indexBuffer, Uint32Array);
  const status = column(statusBuffer, Uint8Array, index.length);
  const settled = column(settledBuffer, Float32Array, index.length);
  index.forEach((node, k) => {
    store.nodeStatus[node] = status[k];
    store.nodeSettled[node] = settled[k];
  });
}

function applyRows(store, buffers) {
  const index = column(buffers[0], Uint32Array);
  const columns = ROW_COLUMNS.map(([name, Type], k) => [name, column(buffers[k + 1], Type, index.length)]);
  const rows = index.reduce((most, row) => Math.max(most, row + 1), store.rows);
  makeRoom(store, rows);
  store.rows = rows;
  for (const [name, values] of columns) {
    const target = store[name];
    for (let k = 0; k < index.length; k++) target[index[k]] = values[k];
  }
}

function applyLists(store, message) {
  if (message.full) {
    store.firstDecision = message.firstDecision;
    store.firstFailure = message.firstFailure;
  }
  store.decisions.push(...message.decisions);
  store.failures.push(...message.failures);
}

// --- counting and placing: pure functions ---------------------------------------------------------------------------

export function formatMs(ms) {
  if (!(ms >= 0)) return "-";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  const seconds = Math.floor(ms / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h} h ${String(m).padStart(2, "0")} min` : `${m} min ${String(s).padStart(2, "0")} s`;
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 864e5];

/** Round places on the axis between two times, in one unit, at least `gap` pixels apart. */
export function ticks(from, to, width, gap = 80) {
  const span = Math.max(to - from, 1e-6);
  const wanted = (span * gap) / Math.max(width, 1);
  const step = STEPS.find((s) => s >= wanted) ?? 864e5 * Math.ceil(wanted / 864e5);
  const [unit, size] = to < 1000 ? ["ms", 1] : to < 120000 ? ["s", 1000] : to < 7200000 ? ["min", 60000] : ["h", 3600000];
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to + 1e-9; at += step) {
    found.push({ at, label: `${Number((at / size).toFixed(3))} ${unit}` });
  }
  return found;
}

/** Where the axis ends while the run goes on: in steps, so that the picture stands still between them. */
export function axisEnd(now) {
  const floor = Math.max(now * 1.02, 1000);
  const size = 10 ** Math.floor(Math.log10(floor));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((k) => k * size).find((end) => end >= floor);
}

/** The bands of the waves from top to bottom; `room(wave)` lanes each. */
export function layoutBands(waves, height, room) {
  const bands = [...waves].sort((a, b) => a.index - b.index);
  const lanes = bands.reduce((sum, wave) => sum + room(wave), 0);
  const gap = bands.length > 1 ? Math.min(4, (height * 0.25) / bands.length) : 0;
  const row = lanes ? (height - gap * bands.length) / lanes : 0;
  let y = 0;
  const placed = new Map();
  for (const wave of bands) {
    const h = room(wave) * row;
    placed.set(wave.index, { index: wave.index, y, h, nodes: wave.nodes });
    y += h + gap;
  }
  return { bands: placed, row };
}

/** For each row the lowest lane that is free from its start on, whatever its wave; and how many lanes that takes. */
export function packLanes(store) {
  const order = Uint32Array.from({ length: store.rows }, (_, row) => row).sort((a, b) => store.start[a] - store.start[b]);
  const lanes = new Uint32Array(store.rows);
  const [busy, free] = [[], []];
  let count = 0;
  for (const row of order) {
    while (busy.length && busy[0][0] <= store.start[row]) push(free, [pop(busy)[1], 0]);
    const lane = free.length ? pop(free)[0] : count++;
    lanes[row] = lane;
    push(busy, [store.end[row] < 0 ? Infinity : store.end[row], lane]);
  }
  return { lanes, count };
}

function push(heap, entry) {
  let at = heap.length;
  heap.push(entry);
  for (let up = (at - 1) >> 1; at > 0 && heap[up][0] > entry[0]; up = (at - 1) >> 1) {
    heap[at] = heap[up];
    heap[at = up] = entry;
  }
}

function pop(heap) {
  const [top, last] = [heap[0], heap.pop()];
  if (!heap.length) return top;
  let at = 0;
  for (;;) {
    let down = 2 * at + 1;
    if (down + 1 < heap.length && heap[down + 1][0] < heap[down][0]) down += 1;
    if (down >= heap.length || heap[down][0] >= last[0]) break;
    heap[at] = heap[down];
    at = down;
  }
  heap[at] = last;
  return top;
}

/** Nodes by status at time `t`, from what is known at the end. */
export function countsAt(store, t) {
  const now = new Uint8Array(store.names.length);
  for (let row = 0; row < store.rows; row++) {
    if (store.start[row] > t) continue;
    now[store.node[row]] = statusAt(store, row, t);
  }
  for (let node = 0; node < now.length; node++) {
    const settled = store.nodeSettled[node];
    if (settled >= 0 && settled <= t) now[node] = store.nodeStatus[node];
  }
  const counts = new Array(8).fill(0);
  for (const status of now) counts[status] += 1;
  return counts;
}

export function statusAt(store, row, t) {
  const end = store.end[row];
  return end < 0 || end > t ? RUNNING : store.status[row];
}

/** A canvas height that fits the size of the run and stays while it goes on. */
export function canvasHeight(nodes, waves) {
  if (nodes <= 40) return Math.max(120, Math.min(nodes * 19 + waves * 4, 520)) + AXIS + MARKS;
  return Math.min(520, 400 + nodes) + AXIS + MARKS;
}

// --- the picture --------------------------------------------------------------------------------------------------

function readTheme(root) {
  const style = getComputedStyle(root);
  const value = (name) => style.getPropertyValue(name).trim();
  return { fg: value("--hx-fg"), dim: value("--hx-dim"), line: value("--hx-line"), band: value("--hx-band"), bg: value("--hx-bg"), font: style.fontFamily };
}

function hatch(color) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const pen = tile.getContext("2d");
  pen.strokeStyle = color;
  pen.lineWidth = 1.2;
  pen.beginPath();
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(shift, 6);
    pen.lineTo(shift + 6, 0);
  }
  pen.stroke();
  return tile;
}

function picture(view) {
  const { canvas, store } = view;
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [view.width, view.height];
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const plan = placing(view);
  view.plan = plan;
  drawBands(pen, view, plan);
  drawAxis(pen, view, plan);
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER, 0, width - GUTTER, plan.bottom);
  pen.clip();
  if (store.rows > DENSE_ROWS) drawDense(pen, view, plan);
  else drawRows(pen, view, plan);
  drawNow(pen, view, plan);
  pen.restore();
  drawMarks(pen, view, plan);
}

function placing(view) {
  const { store, height } = view;
  const bottom = height - AXIS - MARKS;
  if (view.packed) return packedPlacing(view, bottom);
  const waves = view.focus === null ? store.waves.values() : [store.waves.get(view.focus)].filter(Boolean);
  const { bands, row } = layoutBands(waves, bottom, (wave) => reservedLanes(store, wave));
  return scaled(view, bottom, bands, row, (at) => bands.get(store.nodeWave[store.node[at]]), store.lane);
}

/** Lanes kept for a wave: all that it may need in a small run, so that nothing moves while it goes on. */
export function reservedLanes(store, wave) {
  const nodes = store.run.nodes || store.names.length;
  const kept = nodes <= 40 ? wave.nodes : store.done ? 2 : nodes <= 120 ? wave.nodes : 4;
  return Math.max(1, wave.lanes, Math.min(wave.nodes, kept));
}

function packedPlacing(view, bottom) {
  const { store } = view;
  if (view.packedAt !== store.seq) Object.assign(view, packLanes(store), { packedAt: store.seq });
  const row = Math.min(28, bottom / Math.max(view.count, 1));
  const all = { index: -1, y: 0, h: bottom };
  return scaled(view, bottom, new Map([[-1, all]]), row, () => all, view.lanes);
}

function scaled(view, bottom, bands, row, bandOf, lane) {
  const { width } = view;
  const bar = row > 8 ? row - 3 : row > 4 ? row - 1.5 : row > 2 ? row - 0.6 : Math.max(row, 0.9);
  const [from, to] = view.domain;
  const scale = (width - GUTTER - 10) / Math.max(to - from, 1e-6);
  return { bottom, bands, row, bar, from, to, scale, bandOf, lane, x: (ms) => GUTTER + (ms - from) * scale };
}

function drawBands(pen, view, { bands, bottom }) {
  const { theme, width } = view;
  let odd = false;
  let free = -1;
  const every = Math.ceil((14 * bands.size) / Math.max(bottom, 1));
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  pen.font = `11px ${theme.font}`;
  for (const band of bands.values()) {
    odd = !odd;
    if (odd) {
      pen.fillStyle = theme.band;
      pen.fillRect(0, band.y, width, band.h);
    }
    const middle = Math.min(Math.max(band.y + band.h / 2, 7), bottom - 7);
    pen.fillStyle = theme.dim;
    if (band.index < 0) pen.fillText(`${view.count} lanes`, GUTTER - 6, 8);
    if (band.index < 0 || middle - 6 < free || (every > 1 && band.index % every !== 1)) continue;
    free = middle + 7;
    pen.fillText(`${band.index ? `wave ${band.index}` : "no wave"}`, GUTTER - 6, middle);
  }
}

function drawAxis(pen, view, { x, from, to, bottom }) {
  const { theme, width, height } = view;
  pen.font = `11px ${theme.font}`;
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  for (const tick of ticks(from, to, width - GUTTER)) {
    const at = Math.round(x(tick.at)) + 0.5;
    pen.fillStyle = theme.line;
    pen.fillRect(at - 0.5, 0, 1, bottom + MARKS + 4);
    const half = pen.measureText(tick.label).width / 2;
    pen.fillStyle = theme.dim;
    pen.fillText(tick.label, Math.min(Math.max(at, GUTTER + half - 8), width - half - 2), height - 6);
  }
  pen.fillStyle = theme.line;
  pen.fillRect(GUTTER, bottom + MARKS, width - GUTTER, 1);
}

function visible(view, plan, row) {
  const { store } = view;
  const band = plan.bandOf(row);
  if (!band || store.ready[row] > view.shownTo) return null;
  const status = statusAt(store, row, view.shownTo);
  const end = status === RUNNING ? view.shownTo : store.end[row];
  const waited = end + (status === RETRYING ? store.backoff[row] : 0);
  if (waited < plan.from || store.ready[row] > plan.to) return null;
  return { status, end, y: band.y + plan.lane[row] * plan.row + (plan.row - plan.bar) / 2, waited };
}

function drawRows(pen, view, plan) {
  const { store } = view;
  const label = plan.bar >= 10;
  const last = label ? lastOfLane(store, plan, view.shownTo) : null;
  view.moving = false;
  for (let row = 0; row < store.rows; row++) {
    const place = visible(view, plan, row);
    if (!place) continue;
    if (place.status === RUNNING) view.moving = true;
    drawWaits(pen, view, plan, row, place);
    if (store.start[row] > view.shownTo) continue;
    drawBar(pen, view, plan, row, place);
    if (label) drawName(pen, view, plan, row, place, last);
  }
}

function drawWaits(pen, view, plan, row, { y, end, status, waited }) {
  const { store } = view;
  const start = Math.min(store.start[row], view.shownTo);
  if (!view.packed && store.start[row] - store.ready[row] > 0) wait(pen, view, plan, store.ready[row], start, y, view.hatches.queue, PENDING);
  if (!view.packed && status === RETRYING && waited > end) wait(pen, view, plan, end, Math.min(waited, Math.max(view.shownTo, end)), y, view.hatches.backoff, RETRYING);
}

function wait(pen, view, plan, from, to, y, pattern, status) {
  const x = plan.x(from);
  const width = plan.x(to) - x;
  if (width < 1) return;
  pen.globalAlpha = 0.22 * Math.min(1, plan.row);
  pen.fillStyle = STATUS_COLORS[status];
  pen.fillRect(x, y, width, plan.bar);
  pen.globalAlpha = 1;
  if (plan.bar < 3) return;
  pen.fillStyle = pen.createPattern(pattern, "repeat");
  pen.fillRect(x, y, width, plan.bar);
}

function drawBar(pen, view, plan, row, { status, end, y }) {
  const x = plan.x(view.store.start[row]);
  const width = Math.max(plan.x(end) - x, 1.5);
  pen.fillStyle = STATUS_COLORS[status];
  if (plan.bar > 6 && width > 4) {
    pen.beginPath();
    pen.roundRect(x, y, width, plan.bar, 2.5);
    pen.fill();
  } else pen.fillRect(x, y, width, plan.bar);
  if (row !== view.hover && view.store.node[row] !== view.selected) return;
  pen.strokeStyle = view.theme.fg;
  pen.lineWidth = 1.5;
  pen.strokeRect(x - 0.5, y - 0.5, width + 1, plan.bar + 1);
}

/** The ends of a long name tell more than its middle. */
export function shortened(name, most = 40) {
  return name.length <= most ? name : `${name.slice(0, most / 2)}…${name.slice(1 - most / 2)}`;
}

function laneKey(store, plan, row) {
  return `${plan.bandOf(row)?.index}/${plan.lane[row]}`;
}

function lastOfLane(store, plan, t) {
  const last = new Map();
  for (let row = 0; row < store.rows; row++) {
    if (store.start[row] <= t) last.set(laneKey(store, plan, row), row);
  }
  return last;
}

function drawName(pen, view, plan, row, { status, end, y, waited }, last) {
  const { store, theme, width } = view;
  const name = shortened(store.names[store.node[row]]) + (store.attempt[row] > 1 ? ` · ${store.attempt[row]}` : "");
  pen.font = `${Math.min(12, Math.max(9, Math.round(plan.bar * 0.8)))}px ${theme.font}`;
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  const size = pen.measureText(name).width;
  const left = Math.max(plan.x(store.start[row]), GUTTER);
  const inside = plan.x(end) - left - 10;
  if (size <= inside) {
    pen.fillStyle = status === RUNNING ? "#ffffff" : DARK_INK;
    pen.fillText(name, left + 5, y + plan.bar / 2 + 0.5);
    return;
  }
  if (last.get(laneKey(store, plan, row)) !== row) return;
  const right = plan.x(Math.max(end, Math.min(waited, view.shownTo))) + 6;
  pen.fillStyle = theme.fg;
  if (right + size < width - 4) pen.fillText(name, right, y + plan.bar / 2 + 0.5);
  else if (plan.x(store.ready[row]) - size - 6 > GUTTER) pen.fillText(name, plan.x(store.ready[row]) - size - 6, y + plan.bar / 2 + 0.5);
}

/** Above some rows: lane by pixel, where the worst status of those that meet in one pixel wins. */
function drawDense(pen, view, plan) {
  const [columns, lines] = [Math.ceil(view.width), Math.ceil(plan.bottom)];
  const grid = new Uint8Array(columns * lines);
  view.moving = false;
  for (let row = 0; row < view.store.rows; row++) {
    const place = visible(view, plan, row);
    if (!place || view.store.start[row] > view.shownTo) continue;
    if (place.status === RUNNING) view.moving = true;
    const y = Math.min(lines - 1, Math.max(0, Math.floor(place.y)));
    const from = Math.max(GUTTER, Math.floor(plan.x(view.store.start[row])));
    const to = Math.min(columns - 1, Math.max(from, Math.ceil(plan.x(place.end)) - 1));
    for (let x = from; x <= to; x++) if (WORST[place.status] > WORST[grid[y * columns + x]]) grid[y * columns + x] = place.status;
  }
  const tall = Math.max(1, plan.bar);
  for (let y = 0; y < lines; y++) paintLine(pen, grid.subarray(y * columns, (y + 1) * columns), y, tall);
}

function paintLine(pen, line, y, tall) {
  let from = 0;
  for (let x = 1; x <= line.length; x++) {
    if (x < line.length && line[x] === line[from]) continue;
    if (line[from]) {
      pen.fillStyle = STATUS_COLORS[line[from]];
      pen.fillRect(from, y, x - from, tall);
    }
    from = x;
  }
}

function drawNow(pen, view, plan) {
  if (view.store.done && view.cut === null) return;
  pen.fillStyle = view.theme.fg;
  pen.globalAlpha = 0.55;
  pen.fillRect(plan.x(view.shownTo), 0, 1, plan.bottom);
  pen.globalAlpha = 1;
}

/** A small triangle under the bars for each decision; those that let things go on stay in the background. */
function drawMarks(pen, view, plan) {
  const shown = view.store.decisions.filter(([at]) => at <= view.shownTo && at >= plan.from && at <= plan.to);
  for (const decision of shown) if (decision[1] === "proceed") drawMark(pen, view, plan, decision);
  for (const decision of shown) if (decision[1] !== "proceed") drawMark(pen, view, plan, decision);
}

function drawMark(pen, view, plan, [at, signal]) {
  const quiet = signal === "proceed";
  const [x, y, size] = [plan.x(at), plan.bottom + MARKS / 2, quiet ? 0.6 : 1];
  pen.globalAlpha = quiet ? 0.35 : 1;
  pen.fillStyle = quiet ? view.theme.dim : SIGNAL_COLORS[signal] ?? view.theme.dim;
  pen.beginPath();
  pen.moveTo(x, y - 4 * size);
  pen.lineTo(x + 3.5 * size, y + 3 * size);
  pen.lineTo(x - 3.5 * size, y + 3 * size);
  pen.fill();
  pen.globalAlpha = 1;
}

/** The attempt under a point of the canvas, or -1. */
function rowAt(view, px, py) {
  const { plan, store } = view;
  if (!plan || px < GUTTER) return -1;
  const slack = Math.max(0, 3 - plan.bar) / 2;
  for (let row = store.rows - 1; row >= 0; row--) {
    const place = visible(view, plan, row);
    if (!place || py < place.y - slack || py > place.y + plan.bar + slack) continue;
    if (px >= plan.x(store.ready[row]) - 1 && px <= Math.max(plan.x(place.waited), plan.x(store.start[row]) + 2)) return row;
  }
  return -1;
}

// --- the page around it ---------------------------------------------------------------------------------------------

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function build(root, { controllable, player }) {
  const parts = { root };
  const add = (parent, name, tag, className, text) => {
    parts[name] = make(tag, className, text);
    parent.append(parts[name]);
    return parts[name];
  };
  const head = add(root, "head", "div", "hx-head");
  add(head, "name", "span", "hx-name");
  add(head, "state", "span", "hx-state");
  add(head, "elapsed", "span", "hx-elapsed");
  add(head, "summary", "span", "hx-summary");
  add(head, "link", "span", "hx-link");
  if (controllable) {
    add(head, "hold", "button", "hx-button hx-hold", "Hold").title = "Start no new nodes until released";
    add(head, "cancel", "button", "hx-button hx-cancel", "Cancel").title = "Cancel this run";
  }
  const progress = add(root, "progress", "div", "hx-progress");
  progress.setAttribute("role", "progressbar");
  parts.segments = PROGRESS_ORDER.map((status) => {
    const segment = make("i");
    segment.style.background = STATUS_COLORS[status];
    progress.append(segment);
    return [status, segment];
  });
  add(root, "counts", "div", "hx-counts");
  parts.numbers = STATUSES.map((word, status) => countOf(parts.counts, word, status));
  for (const [kind, word] of [["queue", "waiting"], ["backoff", "back-off"]]) {
    const item = make("span", "hx-count hx-on");
    item.append(make("i", `hx-swatch hx-${kind}`), word);
    parts.counts.append(item);
  }
  const pack = add(parts.counts, "pack", "button", "hx-button hx-pack", "Packed");
  pack.title = "Show the lanes by wave, or packed whatever the wave";
  pack.setAttribute("aria-pressed", "false");
  const stage = add(root, "stage", "div", "hx-stage");
  const canvas = add(stage, "canvas", "canvas", "hx-canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  add(stage, "tip", "div", "hx-tip").hidden = true;
  if (player) buildPlayer(root, parts, add);
  const lists = add(root, "lists", "div", "hx-lists");
  buildList(lists, parts, add, "decisions", "Decisions");
  buildList(lists, parts, add, "failures", "Failures");
  return parts;
}

function countOf(parent, word, status) {
  const item = make("span", ALWAYS_COUNTED.has(status) ? "hx-count" : "hx-count hx-unseen");
  const swatch = make("i", "hx-swatch");
  swatch.style.background = STATUS_COLORS[status];
  const number = make("b", "", "0");
  item.append(swatch, number, word.replace("_", " "));
  parent.append(item);
  return { item, number };
}

function buildPlayer(root, parts, add) {
  const bar = add(root, "player", "div", "hx-player");
  add(bar, "play", "button", "hx-button hx-play", "Play");
  const slider = add(bar, "slider", "input", "hx-slider");
  Object.assign(slider, { type: "range", min: 0, max: 1000, step: 1, value: 1000 });
  slider.setAttribute("aria-label", "Time shown");
  add(bar, "at", "span", "hx-at");
}

function buildList(parent, parts, add, name, title) {
  const section = add(parent, `${name}Box`, "section", `hx-list hx-${name}`);
  const head = add(section, `${name}Head`, "h4", "", title);
  head.append(" ", (parts[`${name}Number`] = make("b", "hx-number", "0")));
  add(section, `${name}Rows`, "ol").tabIndex = 0;
  add(section, `${name}None`, "p", "hx-none", `No ${title.toLowerCase()} so far`);
}

function chip(word, color) {
  const element = make("span", "hx-chip", word);
  element.style.background = color;
  if (color === SIGNAL_COLORS.error) element.style.color = "#ffffff";
  return element;
}

function decisionItem([at, signal, node, , attempt, kind, by, reason, shadow]) {
  const item = make("li");
  const again = attempt > 1 ? ` · ${attempt}` : "";
  const where = node ? node + again : kind;
  item.append(make("time", "", formatMs(at)), chip(signal, SIGNAL_COLORS[signal] ?? "#999999"));
  item.append(make("span", "hx-node", node ? shortened(node, 20) + again : kind), make("span", "hx-by", (shadow ? "shadow " : "") + by), make("span", "hx-why", reason));
  item.title = [where, `on ${kind}`, by, reason].filter(Boolean).join("\n");
  return item;
}

function failureItem([at, node, , attempt, type, message]) {
  const item = make("li");
  const again = attempt > 1 ? ` · ${attempt}` : "";
  const where = node ? node + again : "the run";
  item.append(make("time", "", formatMs(at)), make("span", "hx-node", node ? shortened(node, 20) + again : where));
  item.append(make("span", "hx-why", message ? `${type}: ${message}` : type));
  item.title = `${where}\n${type}: ${message}`;
  return item;
}

/** Newest first; only the last ones stand in the page. While time moves on only new ones are added. */
function showList(view, name, item) {
  const { parts, store } = view;
  const all = store[name];
  const upTo = view.cut === null ? all.length : all.findLastIndex((entry) => entry[0] <= view.cut) + 1;
  const shown = view.listed[name];
  if (shown === upTo) return;
  view.listed[name] = upTo;
  const first = name === "decisions" ? store.firstDecision : store.firstFailure;
  const list = parts[`${name}Rows`];
  const fresh = all.slice(upTo > shown ? Math.max(shown, upTo - LISTED) : Math.max(0, upTo - LISTED), upTo).reverse().map(item);
  if (upTo > shown) list.prepend(...fresh);
  else list.replaceChildren(...fresh);
  while (list.children.length > LISTED) list.lastChild.remove();
  parts[`${name}Number`].textContent = String(upTo ? first + upTo : 0);
  parts[`${name}None`].hidden = upTo > 0;
}

function showHead(view) {
  const { parts, store, root } = view;
  const counts = view.cut === null ? store.counts : countsAt(store, view.cut);
  const total = Math.max(counts.reduce((sum, n) => sum + n, 0), store.run.nodes || 0, 1);
  const ended = counts.slice(3).reduce((sum, n) => sum + n, 0);
  const past = view.cut !== null && view.cut < store.endMs;
  const state = past ? "running" : view.paused && !store.done ? "held" : store.run.status || "waiting";
  text(parts.name, view.title || store.run.pipeline || "waiting for a run");
  text(parts.state, state);
  parts.state.dataset.state = state;
  text(parts.elapsed, formatMs(view.shownTo));
  text(parts.summary, `${ended} of ${total === 1 && !store.run.nodes ? 0 : total} nodes · ${store.rows} attempts · ${store.waves.size} waves`);
  for (const [status, segment] of parts.segments) segment.style.width = `${(100 * counts[status]) / total}%`;
  parts.progress.setAttribute("aria-valuenow", String(Math.round((100 * ended) / total)));
  parts.numbers.forEach(({ item, number }, status) => {
    text(number, String(counts[status]));
    item.classList.toggle("hx-on", counts[status] > 0);
    if (counts[status] > 0) item.classList.remove("hx-unseen");
  });
  const failed = store.run.error && !past ? ` · ${store.run.error}` : "";
  parts.canvas.setAttribute("aria-label", `Timeline: ${state}, ${ended} of ${total} nodes ended, ${counts[4]} failed${failed}`);
  Object.assign(root.dataset, { rows: store.rows, seq: Math.max(store.seq, 0), done: store.done, controls: view.controls });
}

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function showTip(view, event) {
  const { parts, store, hover } = view;
  parts.tip.hidden = hover < 0;
  if (hover < 0) return;
  const lines = tipLines(store, hover, view.shownTo).map(([key, value]) => {
    const line = make("div");
    line.append(make("span", "hx-key", key), make("span", "", value));
    return line;
  });
  parts.tip.replaceChildren(make("b", "", store.names[store.node[hover]]), ...lines);
  const [w, h] = [parts.tip.offsetWidth, parts.tip.offsetHeight];
  const { offsetX: x, offsetY: y } = event;
  parts.tip.style.left = `${Math.max(0, x + 14 + w > view.width ? x - w - 10 : x + 14)}px`;
  parts.tip.style.top = `${Math.max(0, Math.min(y + 12, view.height - h))}px`;
}

export function tipLines(store, row, t) {
  const node = store.node[row];
  const attempt = store.attempt[row];
  const status = statusAt(store, row, t);
  const lines = [["status", STATUSES[status].replace("_", " ")], ["wave", `${store.nodeWave[node]}, attempt ${attempt}`]];
  lines.push(["started", `at ${formatMs(store.start[row])}`]);
  lines.push(["ran", formatMs((status === RUNNING ? t : store.end[row]) - store.start[row])]);
  if (store.start[row] > store.ready[row]) lines.push(["waited", formatMs(store.start[row] - store.ready[row])]);
  if (store.backoff[row] > 0) lines.push(["back-off", formatMs(store.backoff[row])]);
  const name = store.names[node];
  const failure = store.failures.find((f) => f[1] === name && f[3] === attempt && f[0] <= t);
  if (failure) lines.push(["error", `${failure[4]}: ${failure[5]}`]);
  for (const d of store.decisions) {
    if (d[2] === name && d[4] === attempt && d[0] <= t) lines.push([d[1], [d[6], d[7]].filter(Boolean).join(": ")]);
  }
  return lines.slice(0, 12);
}

// --- one view: data in, frames out ----------------------------------------------------------------------------------

export function mount(root, { title = "", controllable = false, player = false, onDrawn = () => {} } = {}) {
  root.classList.add("hexviz-timeline");
  const view = {
    root, title, store: createStore(), parts: null, hover: -1, selected: -1, focus: null, cut: null, offset: 0, live: false,
    packed: false, packedAt: -1, lanes: null, count: 0, width: 0, height: 200, domain: [0, 1000], zoom: null, plan: null, moving: false, draws: 0, waiting: false, last: 0,
    controls: "none", paused: false, listed: { decisions: 0, failures: 0 }, theme: null, hatches: null, onDrawn, alive: true,
  };
  view.parts = build(root, { controllable, player });
  view.canvas = view.parts.canvas;
  view.hatches = { queue: hatch("#7d8590"), backoff: hatch(STATUS_COLORS[RETRYING]) };
  Object.assign(root.dataset, { rows: 0, seq: 0, done: false, controls: "none", draws: 0 });
  listen(view, player);
  kick(view);
  return {
    view,
    apply: (message, buffers) => take(view, message, buffers),
    redraw: () => kick(view),
    destroy: () => { view.alive = false; view.unlisten(); },
  };
}

function take(view, message, buffers) {
  if (!applyMessage(view.store, message, buffers)) return false;
  const { store } = view;
  if (message.full) view.listed = { decisions: Infinity, failures: Infinity };
  view.offset = store.nowMs - performance.now();
  view.live = !store.done && store.run.status === "running" && store.nowMs > store.endMs + 0.001;
  view.paused = Boolean(message.paused);
  kick(view);
  return true;
}

function kick(view) {
  if (view.waiting || !view.alive) return;
  view.waiting = true;
  const since = performance.now() - view.last;
  if (since >= FRAME_MS) requestAnimationFrame(() => frame(view));
  else setTimeout(() => requestAnimationFrame(() => frame(view)), FRAME_MS - since);
}

function frame(view) {
  view.waiting = false;
  view.last = performance.now();
  const { store, root, parts } = view;
  view.width = parts.stage.clientWidth;
  if (!view.alive) return;
  view.height = canvasHeight(store.run.nodes || store.names.length || 8, store.waves.size);
  parts.canvas.style.height = `${view.height}px`;
  const now = view.live ? Math.max(store.endMs, performance.now() + view.offset) : Math.max(store.endMs, store.nowMs);
  view.shownTo = view.cut === null ? now : view.cut;
  const easing = moveDomain(view, now);
  showHead(view);
  showList(view, "decisions", decisionItem);
  showList(view, "failures", failureItem);
  if (view.width > GUTTER) {
    view.theme = readTheme(root);
    picture(view);
    root.dataset.draws = ++view.draws;
  }
  root.dataset.shown = view.cut === null ? store.rows : countShown(store, view.cut);
  view.onDrawn(store.seq);
  if (easing || (!store.done && view.live)) kick(view);
}

function countShown(store, t) {
  let shown = 0;
  for (let row = 0; row < store.rows; row++) if (store.start[row] <= t) shown += 1;
  return shown;
}

/** Let the axis glide to where it should end; true while it is on its way. */
function moveDomain(view, now) {
  if (view.zoom) {
    view.domain = view.zoom;
    return false;
  }
  const target = view.store.done ? Math.max(view.store.endMs * 1.01, 1) : axisEnd(now);
  const at = view.domain[0] === 0 && view.draws > 1 ? view.domain[1] : target;
  const near = Math.abs(target - at) < target * 0.004;
  const least = view.store.done ? 0 : now * 1.02;
  view.domain = [0, near ? target : Math.max(at + (target - at) * 0.3, least)];
  return !near;
}

function listen(view, player) {
  const { canvas, parts } = view;
  const again = () => kick(view);
  const resized = new ResizeObserver(again);
  resized.observe(parts.stage);
  const themed = new MutationObserver(again);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", again);
  view.unlisten = () => { resized.disconnect(); themed.disconnect(); scheme.removeEventListener("change", again); };
  canvas.addEventListener("pointermove", (event) => point(view, event));
  canvas.addEventListener("pointerleave", (event) => { view.hover = -1; view.drag = null; showTip(view, event); kick(view); });
  canvas.addEventListener("pointerdown", (event) => { view.drag = { x: event.offsetX, domain: [...view.domain], moved: false }; });
  canvas.addEventListener("pointerup", (event) => released(view, event));
  canvas.addEventListener("dblclick", () => { view.zoom = null; view.focus = null; kick(view); });
  canvas.addEventListener("wheel", (event) => wheel(view, event), { passive: false });
  canvas.addEventListener("keydown", (event) => key(view, event));
  parts.pack.addEventListener("click", () => {
    view.packed = !view.packed;
    parts.pack.setAttribute("aria-pressed", String(view.packed));
    kick(view);
  });
  if (player) play(view);
}

function point(view, event) {
  if (view.drag && event.buttons && (view.zoom || view.drag.moved) && Math.abs(event.offsetX - view.drag.x) > 2) {
    const by = (view.drag.x - event.offsetX) / view.plan.scale;
    view.drag.moved = true;
    zoomTo(view, view.drag.domain[0] + by, view.drag.domain[1] + by);
    return;
  }
  const before = view.hover;
  view.hover = rowAt(view, event.offsetX, event.offsetY);
  showTip(view, event);
  if (view.hover !== before) kick(view);
}

function released(view, event) {
  const moved = view.drag?.moved;
  view.drag = null;
  if (moved || !view.plan) return;
  if (event.offsetX < GUTTER) {
    const band = [...view.plan.bands.values()].find((b) => event.offsetY >= b.y && event.offsetY <= b.y + b.h);
    view.focus = view.focus === null && band ? band.index : null;
  } else view.selected = view.hover < 0 ? -1 : view.store.node[view.hover];
  kick(view);
}

function wheel(view, event) {
  if (!(event.ctrlKey || event.metaKey || event.shiftKey) || !view.plan) return;
  event.preventDefault();
  const at = view.plan.from + (event.offsetX - GUTTER) / view.plan.scale;
  zoomBy(view, (event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, at);
}

function zoomBy(view, factor, at) {
  const [from, to] = view.domain;
  zoomTo(view, at - (at - from) * factor, at + (to - at) * factor);
}

function zoomTo(view, from, to) {
  const whole = view.store.done ? Math.max(view.store.endMs * 1.01, 1) : axisEnd(view.shownTo);
  const span = Math.max(to - from, 0.5);
  const start = Math.min(Math.max(from, 0), Math.max(whole - span, 0));
  view.zoom = span >= whole ? null : [start, start + span];
  kick(view);
}

function key(view, event) {
  const [from, to] = view.domain;
  const step = (to - from) * 0.15;
  const act = {
    "+": () => zoomBy(view, 0.8, (from + to) / 2), "-": () => zoomBy(view, 1.25, (from + to) / 2),
    ArrowLeft: () => zoomTo(view, from - step, to - step), ArrowRight: () => zoomTo(view, from + step, to + step),
    "0": () => { view.zoom = null; view.focus = null; }, Escape: () => { view.selected = -1; view.focus = null; },
  }[event.key];
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
  kick(view);
}

function play(view) {
  const { slider, play: button, at } = view.parts;
  const show = (value) => {
    view.cut = value >= 1000 ? null : (value / 1000) * view.store.endMs;
    text(at, `${formatMs((value / 1000) * view.store.endMs)} of ${formatMs(view.store.endMs)}`);
    kick(view);
  };
  let playing = 0;
  const stop = () => { playing = 0; text(button, "Play"); };
  const step = (then) => {
    if (!playing || !view.alive) return;
    const now = performance.now();
    const value = Math.min(1000, Number(slider.value) + ((now - then) / 8000) * 1000);
    slider.value = String(value);
    show(value);
    if (value >= 1000) stop();
    else setTimeout(() => requestAnimationFrame(() => step(now)), FRAME_MS);
  };
  slider.step = "any";
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => {
    if (playing) return stop();
    if (Number(slider.value) >= 1000) slider.value = "0";
    playing = 1;
    text(button, "Pause");
    step(performance.now());
  });
  view.showPlayer = () => show(Number(slider.value));
}

// --- the way back to Python -----------------------------------------------------------------------------------------

/** Say hello until answered, and again every two seconds: a late answer means that the kernel is busy. */
export function createLink(send, changed, { every = 250, late = 1500, clock = () => performance.now() } = {}) {
  const link = { state: "queued", view: newId(), asked: 0, answered: 0 };
  let [first, last] = [0, -Infinity];
  const set = (state) => {
    if (state === link.state) return;
    link.state = state;
    changed(state);
  };
  link.tick = () => {
    const [now, waiting] = [clock(), link.asked > link.answered];
    if (waiting && now - first > late) set("queued");
    const eager = !link.answered && link.asked < 20;
    if (now - last < (eager ? every : waiting ? 5000 : 2000)) return;
    if (!waiting) first = now;
    last = now;
    link.asked += 1;
    send({ k: "hello", view: link.view, n: link.asked });
  };
  link.answer = (message) => {
    if (message.view !== link.view) return;
    link.answered = Math.max(link.answered, message.n);
    if (link.answered === link.asked) set("live");
  };
  link.lost = () => {
    Object.assign(link, { view: newId(), asked: 0, answered: 0 });
    last = -Infinity;
    link.tick();
  };
  return link;
}

function newId() {
  return Math.random().toString(36).slice(2);
}

async function connect(model, handle) {
  const { view } = handle;
  const reference = model.get("channel");
  const channel = await model.widget_manager.get_model(String(reference).replace("IPY_MODEL_", ""));
  const controllable = model.get("controllable");
  const post = (content) => channel.send(content, {});
  const link = createLink(post, (state) => showLink(view, controllable, state));
  const heard = (message) => {
    if (message.k === "hello") link.answer(message);
    else if (message.k === "op") showOperation(view, message);
  };
  channel.on("msg:custom", heard);
  const timer = setInterval(() => { if (!view.store.done || !link.answered) link.tick(); }, 250);
  link.tick();
  if (controllable) wireButtons(view, post);
  showLink(view, controllable, link.state);
  return { ack: (seq) => { if (link.state === "live") post({ k: "ack", seq }); }, lost: link.lost, stop: () => { clearInterval(timer); channel.off("msg:custom", heard); } };
}

function showLink(view, controllable, state) {
  view.controls = controllable ? state : "none";
  const words = { live: "controls live", queued: "controls queued: the kernel is busy" };
  text(view.parts.link, controllable && !view.store.done ? words[state] : "");
  kick(view);
}

function wireButtons(view, post) {
  const { hold, cancel } = view.parts;
  hold.addEventListener("click", () => {
    post({ k: "op", op: view.paused ? "release" : "hold" });
    hold.classList.add("hx-busy");
  });
  cancel.addEventListener("click", () => {
    post({ k: "op", op: "cancel" });
    cancel.classList.add("hx-busy");
  });
}

function showOperation(view, message) {
  view.paused = message.paused;
  if (message.error) text(view.parts.link, message.error);
  kick(view);
  showButtons(view, message.cancelling);
}

function showButtons(view, cancelling) {
  const { hold, cancel } = view.parts;
  if (!hold) return;
  const over = view.store.done || view.store.run.status !== "running";
  text(hold, view.paused ? "Release" : "Hold");
  text(cancel, cancelling && !over ? "Cancelling" : "Cancel");
  hold.disabled = over || Boolean(cancelling);
  cancel.disabled = over || Boolean(cancelling);
  hold.classList.remove("hx-busy");
  cancel.classList.remove("hx-busy");
}

function render({ model, el }) {
  const root = document.createElement("div");
  el.append(root);
  let back = null;
  let acked = -1;
  const onDrawn = (seq) => { if (back && seq > acked) back.ack((acked = seq)); };
  const handle = mount(root, { title: model.get("title"), controllable: model.get("controllable"), player: model.get("player"), onDrawn });
  const heard = (message, buffers) => {
    if (message.k !== "d") return;
    if (!handle.apply(message, buffers)) return void back?.lost();
    showButtons(handle.view, message.cancelling);
    handle.view.showPlayer?.();
    if (message.done) text(handle.view.parts.link, "");
  };
  model.on("msg:custom", heard);
  connect(model, handle).then((link) => { back = link; }, () => showLink(handle.view, false, "none"));
  return () => { model.off("msg:custom", heard); back?.stop(); handle.destroy(); };
}

// --- the report: the same view over data that stand in the page -----------------------------------------------------

export function bytesOf(base64) {
  const raw = atob(base64);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

export function mountReport(page) {
  const data = JSON.parse(page.getElementById("hexviz-data").textContent);
  const handle = mount(page.getElementById("hexviz-view"), { title: data.title, player: true });
  handle.apply(data.message, data.buffers.map(bytesOf));
  handle.view.showPlayer();
  return handle;
}

export default { render };
