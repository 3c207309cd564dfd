// One picture of the timeline on its canvas.

import { gridOf, levelOf } from "./density.mjs";
import { shortened, ticks } from "./format.mjs";
import { GUTTER, MARKS, concurrency, placeRow, planOf } from "./layout.mjs";
import { ACCENT, ACCENT_ON_DARK, DARK_INK, FAILED, PENDING, RETRYING, RUNNING, SIGNALS, SIGNAL_COLORS, STATUS_COLORS, STRONG_COLORS } from "./palette.mjs";
import { nameOf } from "./store.mjs";
import { shortNames } from "./workers.mjs";

/** Bars of so many pixels have room for a name. */
const NAMED = 10;

/** The colours of the page as a canvas understands them: computed ones, which may depend on light or dark. */
export function readTheme(root) {
  const style = getComputedStyle(root);
  const value = (name) => style.getPropertyValue(name).trim();
  const { color: dim } = getComputedStyle(root.querySelector(".hx-summary"));
  return { fg: style.color, dim, line: value("--hx-line"), band: value("--hx-band"), bg: style.backgroundColor, font: style.fontFamily, accent: isLight(style.color) ? ACCENT_ON_DARK : ACCENT };
}

/** Whether a computed colour, such as "rgb(230, 237, 243)", is nearer to white than to black. */
function isLight(color) {
  const [r, g, b] = (color.match(/[\d.]+/g) ?? []).map(Number);
  return 0.3 * r + 0.59 * g + 0.11 * b > 127;
}

export function colorsOf(view) {
  return view.contrast ? STRONG_COLORS : STATUS_COLORS;
}

/** A pen on `canvas`, sized for the screen and cleared. */
export function penOn(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function hatch(color, across = false) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const pen = tile.getContext("2d");
  pen.strokeStyle = color;
  pen.lineWidth = 1.2;
  pen.beginPath();
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(shift, across ? 0 : 6);
    pen.lineTo(shift + 6, across ? 6 : 0);
  }
  pen.stroke();
  return tile;
}

export function hatches() {
  return { queue: hatch("#7d8590"), backoff: hatch(STATUS_COLORS[RETRYING]), failed: hatch("#000000", true) };
}

export function picture(view) {
  const { canvas, width, height } = view;
  const pen = penOn(canvas, width, height);
  const plan = (view.plan = planOf(view));
  drawBands(pen, view, plan);
  drawAxis(pen, view, plan);
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER, 0, width - GUTTER, plan.bottom);
  pen.clip();
  view.level = levelOf(view.store.rows, plan.row);
  if (view.level === "bars") drawRows(pen, view, plan);
  else drawDense(pen, view, plan);
  drawLost(pen, view, plan);
  drawCritical(pen, view, plan);
  drawOutlines(pen, view, plan);
  drawNow(pen, view, plan);
  pen.restore();
  drawMarks(pen, view, plan);
}

function drawBands(pen, view, { bands, bottom }) {
  const { theme, width } = view;
  const every = Math.ceil((14 * bands.size) / Math.max(bottom, 1));
  const names = view.lanesBy === "worker" ? workerNames(view, bands) : waveName;
  let [odd, free] = [false, -1];
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  pen.font = `11px ${theme.font}`;
  for (const band of bands.values()) {
    odd = !odd;
    if (odd && band.h >= 1) {
      pen.fillStyle = theme.band;
      pen.fillRect(0, band.y, width, band.h);
    }
    const middle = Math.min(Math.max(band.y + band.h / 2, 7), bottom - 7);
    pen.fillStyle = theme.dim;
    if (band.index < 0) pen.fillText(`${view.counts.get(-1) ?? 0} lanes`, GUTTER - 6, 8);
    if (band.index < 0 || middle - 6 < free || (every > 1 && band.index % every !== 1)) continue;
    free = middle + 7;
    pen.fillText(names(band), GUTTER - 6, middle);
  }
}

function waveName({ index, folded }) {
  return `${folded ? "▸ " : ""}${index ? `wave ${index}` : "no wave"}`;
}

/** A dead worker has a cross before its name. */
function workerNames({ store, shownTo }, bands) {
  const codes = [...bands.keys()];
  const short = new Map(shortNames(codes.map((code) => store.workers[code] ?? "")).map((name, k) => [codes[k], name]));
  return ({ index }) => `${store.lost.get(index) <= shownTo ? "✕ " : ""}${index && !store.labels.has(index) ? short.get(index) : "no worker"}`;
}

/** From the moment at which a worker was found dead its lanes are crossed out. */
function drawLost(pen, { store, shownTo, width, lanesBy, hatches: { queue } }, plan) {
  if (lanesBy !== "worker") return;
  for (const [code, at] of store.lost) {
    const [band, x] = [plan.bands.get(code), Math.max(plan.x(at), GUTTER)];
    if (!band || at > shownTo || x > width) continue;
    pen.fillStyle = STATUS_COLORS[FAILED];
    pen.fillRect(x, band.y, 2, band.h);
    pen.globalAlpha = 0.13;
    pen.fillRect(x, band.y, width - x, band.h);
    pen.globalAlpha = 0.5;
    pen.fillStyle = pen.createPattern(queue, "repeat");
    pen.fillRect(x, band.y, width - x, band.h);
    pen.globalAlpha = 1;
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
    pen.fillText(tick.label, Math.min(at, width - half - 2), height - 6);
  }
  pen.fillStyle = theme.line;
  pen.fillRect(GUTTER, bottom + MARKS, width - GUTTER, 1);
}

/** Whether a row is to be seen plainly; the others are pale while something is searched or lit. */
function isPlain(view, row) {
  return !view.lit || view.lit.has(row);
}

function drawRows(pen, view, plan) {
  const { store, shownTo } = view;
  const last = plan.bar >= NAMED ? lastOfLane(store, plan, shownTo) : null;
  const place = {};
  view.moving = false;
  for (let row = 0; row < store.rows; row++) {
    if (!placeRow(view, plan, row, place)) continue;
    if (place.status === RUNNING) view.moving = true;
    const shade = isPlain(view, row) ? 1 : 0.2;
    drawWaits(pen, view, plan, row, place, shade);
    if (store.start[row] > shownTo) continue;
    drawBar(pen, view, plan, row, place, plan.bandOf(row).folded ? shade * 0.55 : shade);
    if (last && shade === 1 && !plan.bandOf(row).folded) drawName(pen, view, plan, row, place, last);
  }
}

function drawWaits(pen, view, plan, row, { y, end, status, waited }, shade) {
  const { store, shownTo } = view;
  if (view.lanesBy !== "wave" || plan.bandOf(row).folded) return;
  const start = Math.min(store.start[row], shownTo);
  if (start > store.ready[row]) wait(pen, view, plan, store.ready[row], start, y, view.hatches.queue, PENDING, shade);
  if (status === RETRYING && waited > end) wait(pen, view, plan, end, Math.min(waited, Math.max(shownTo, end)), y, view.hatches.backoff, RETRYING, shade);
  if (store.before[row] >= 0) drawLink(pen, view, plan, row, y, shade);
}

/** A thin line from the end of the attempt before to the start of this one. */
function drawLink(pen, view, plan, row, y, shade) {
  const { store } = view;
  const place = {};
  if (!placeRow(view, plan, store.before[row], place) || plan.bar < 3) return;
  pen.strokeStyle = STATUS_COLORS[RETRYING];
  pen.lineWidth = 1.2;
  pen.globalAlpha = shade;
  pen.beginPath();
  pen.moveTo(plan.x(store.end[store.before[row]]), place.y + plan.bar / 2);
  pen.lineTo(plan.x(Math.min(store.start[row], view.shownTo)), y + plan.bar / 2);
  pen.stroke();
  pen.globalAlpha = 1;
}

function wait(pen, view, plan, from, to, y, pattern, status, shade) {
  const x = plan.x(from);
  const width = plan.x(to) - x;
  if (width < 1) return;
  pen.globalAlpha = 0.22 * Math.min(1, plan.row) * shade;
  pen.fillStyle = colorsOf(view)[status];
  pen.fillRect(x, y, width, plan.bar);
  pen.globalAlpha = shade;
  if (plan.bar >= 3) {
    pen.fillStyle = pen.createPattern(pattern, "repeat");
    pen.fillRect(x, y, width, plan.bar);
  }
  pen.globalAlpha = 1;
}

function drawBar(pen, view, plan, row, { status, end, y }, shade) {
  const x = plan.x(view.store.start[row]);
  const width = Math.max(plan.x(end) - x, 1.5);
  pen.globalAlpha = shade;
  pen.fillStyle = colorsOf(view)[status];
  pen.beginPath();
  if (plan.bar > 6 && width > 4) pen.roundRect(x, y, width, plan.bar, 2.5);
  else pen.rect(x, y, width, plan.bar);
  pen.fill();
  if (view.contrast) mark(pen, view, plan, status, width);
  pen.globalAlpha = 1;
}

/** In high contrast colour is never alone: failed bars are crossed, all have an edge. */
function mark(pen, view, plan, status, width) {
  if (plan.bar < 4 || width < 4) return;
  if (status === FAILED) {
    pen.fillStyle = pen.createPattern(view.hatches.failed, "repeat");
    pen.fill();
  }
  pen.strokeStyle = view.theme.fg;
  pen.lineWidth = 1;
  pen.stroke();
}

function laneKey(plan, row) {
  return `${plan.bandOf(row)?.index}/${plan.lane[row]}`;
}

function lastOfLane(store, plan, t) {
  const last = new Map();
  for (let row = 0; row < store.rows; row++) {
    if (store.start[row] >= 0 && store.start[row] <= t) last.set(laneKey(plan, row), row);
  }
  return last;
}

function drawName(pen, view, plan, row, { status, end, y, waited }, last) {
  const { store, theme, width } = view;
  const name = shortened(nameOf(store, store.node[row])) + (store.attempt[row] > 1 ? ` · ${store.attempt[row]}` : "");
  pen.font = `${Math.min(12, Math.max(9, Math.round(plan.bar * 0.8)))}px ${theme.font}`;
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  const size = pen.measureText(name).width;
  const left = Math.max(plan.x(store.start[row]), GUTTER);
  const middle = y + plan.bar / 2 + 0.5;
  if (size <= plan.x(end) - left - 10) {
    pen.fillStyle = status === RUNNING ? "#ffffff" : DARK_INK;
    pen.fillText(name, left + 5, middle);
    return;
  }
  if (last.get(laneKey(plan, row)) !== row) return;
  const right = plan.x(Math.max(end, Math.min(waited, view.shownTo))) + 6;
  const before = plan.x(store.ready[row]) - size - 6;
  pen.fillStyle = theme.fg;
  if (right + size < width - 4) pen.fillText(name, right, middle);
  else if (view.lanesBy === "wave" && before > GUTTER && store.before[row] < 0) pen.fillText(name, before, middle);
}

function drawDense(pen, view, plan) {
  const [columns, lines] = [Math.ceil(view.width), Math.ceil(plan.bottom)];
  const scratch = (view.scratch ??= document.createElement("canvas"));
  const paint = (only, alpha) => {
    if (scratch.width !== columns || scratch.height !== lines) [scratch.width, scratch.height] = [columns, lines];
    const pixels = gridOf(view, plan, columns, lines, colorsOf(view), only);
    const image = new ImageData(new Uint8ClampedArray(pixels.buffer), columns, lines);
    scratch.getContext("2d").putImageData(image, 0, 0);
    pen.globalAlpha = alpha;
    pen.drawImage(scratch, 0, 0);
    pen.globalAlpha = 1;
  };
  pen.imageSmoothingEnabled = false;
  paint(null, view.lit ? 0.2 : 1);
  if (view.lit) paint(view.lit, 1);
}

/** The chain of nodes that kept the run from being shorter, once it has ended. */
function drawCritical(pen, view, plan) {
  const { store } = view;
  if (!store.critical.length || !store.done || view.cut !== null || view.lanesBy === "packed") return;
  const place = {};
  let before = null;
  const shade = view.lit ? 0.3 : 1;
  pen.strokeStyle = pen.fillStyle = view.theme.accent;
  pen.globalAlpha = shade;
  for (const node of store.critical) {
    const row = store.lastRow[node] ?? -1;
    if (row < 0 || !placeRow(view, plan, row, place)) continue;
    const [x, right] = [plan.x(store.start[row]), plan.x(place.end)];
    const middle = place.y + plan.bar / 2;
    const thick = Math.max(1, Math.min(2.5, plan.bar * 0.35));
    const below = plan.bar >= NAMED ? 2 : 0; // under the name, whose letters reach down
    pen.fillRect(x, place.y + plan.bar - thick + below, Math.max(right - x, 1.5), thick);
    if (before) {
      pen.lineWidth = 1.2;
      pen.beginPath();
      pen.moveTo(before.x, before.y);
      pen.lineTo(x, middle);
      pen.stroke();
    }
    before = { x: right, y: middle };
  }
  pen.globalAlpha = 1;
}

function drawOutlines(pen, view, plan) {
  const { store, theme } = view;
  const rows = new Set(view.selected);
  if (view.hover >= 0) rows.add(view.hover);
  const place = {};
  pen.strokeStyle = theme.fg;
  for (const row of [...rows].slice(0, 500)) {
    if (row >= store.rows || !placeRow(view, plan, row, place)) continue;
    const x = plan.x(store.start[row] > view.shownTo ? store.ready[row] : store.start[row]);
    pen.lineWidth = row === view.hover ? 2 : 1.5;
    pen.strokeRect(x - 0.5, place.y - 0.5, Math.max(plan.x(place.end) - x, 1.5) + 1, plan.bar + 1);
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
  const places = SIGNALS.map(() => new Set());
  const others = new Set();
  for (const [at, code] of view.store.marks) {
    if (at <= view.shownTo && at >= plan.from && at <= plan.to) (places[code] ?? others).add(Math.round(plan.x(at)));
  }
  for (const x of others) drawMark(pen, view, plan, x, "");
  places.forEach((xs, code) => { for (const x of xs) drawMark(pen, view, plan, x, SIGNALS[code]); });
  const { hoverDecision } = view;
  if (hoverDecision) drawMark(pen, view, plan, plan.x(hoverDecision[0]), hoverDecision[1], true);
}

function drawMark(pen, view, plan, x, signal, hovered = false) {
  const quiet = signal === "proceed";
  const [y, size] = [plan.bottom + MARKS / 2, hovered ? 1.5 : quiet ? 0.6 : 1.1];
  pen.globalAlpha = quiet && !hovered ? 0.35 : 1;
  pen.fillStyle = quiet ? view.theme.dim : SIGNAL_COLORS[signal] ?? view.theme.dim;
  pen.beginPath();
  pen.moveTo(x, y - 4 * size);
  pen.lineTo(x + 3.5 * size, y + 3 * size);
  pen.lineTo(x - 3.5 * size, y + 3 * size);
  pen.fill();
  pen.globalAlpha = 1;
}

/** The strip under the timeline, on the same axis: how many attempts were under way. */
export function concurrencyStrip(view, canvas, height) {
  const { plan, theme, width, store } = view;
  const pen = penOn(canvas, width, height);
  const columns = Math.max(10, Math.floor((width - GUTTER - 10) / 2));
  const busy = concurrency(store, plan.from, plan.to, columns, view.shownTo);
  const most = Math.max(1, busy.reduce((a, b) => Math.max(a, b), 0));
  const top = 8;
  const y = (n) => height - 1 - (n / most) * (height - 1 - top);
  pen.fillStyle = colorsOf(view)[RUNNING];
  pen.globalAlpha = 0.8;
  busy.forEach((n, k) => { if (n > 0) pen.fillRect(GUTTER + k * 2, y(n), 2, height - 1 - y(n)); });
  pen.globalAlpha = 1;
  pen.fillStyle = theme.line;
  pen.fillRect(GUTTER, height - 1, width - GUTTER, 1);
  pen.fillRect(GUTTER, top, width - GUTTER, 1);
  pen.fillStyle = theme.dim;
  pen.font = `11px ${theme.font}`;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.fillText(most < 10 ? String(Number(most.toFixed(1))) : String(Math.round(most)), GUTTER - 6, top + 2);
  pen.fillText("at once", GUTTER - 6, height - 8);
  return most;
}
