// Many attempts as one image: lane by pixel where lanes can be told apart, a mix of colours where they cannot.

import { DENSE_ROWS, GUTTER } from "./layout.mjs";
import { FAILED, RUNNING, WORST, rgbOf } from "./palette.mjs";

/** Where attempts are narrower than so many pixels the worst of them would hide all others: colours are mixed. */
const CROWDED = 2;

/** "bars" as long as there are few rows, then "lanes", and "density" once several lanes share one line of pixels. */
export function levelOf(rows, rowHeight) {
  if (rows <= DENSE_ROWS) return "bars";
  return rowHeight >= 1 ? "lanes" : "density";
}

/** How many pixels wide an attempt is, from a sample of them. */
export function meanWidth(store, plan) {
  let [sum, count] = [0, 0];
  for (let row = 0; row < store.rows; row += Math.max(1, Math.floor(store.rows / 500))) {
    if (store.start[row] < 0 || store.end[row] < 0) continue;
    sum += (store.end[row] - store.start[row]) * plan.scale;
    count += 1;
  }
  return count ? sum / count : Infinity;
}

/** The image of all rows (of those in `only`, if given) as 32-bit pixels. */
export function gridOf(view, plan, columns, lines, colors, only = null) {
  return plan.row < 1 || meanWidth(view.store, plan) < CROWDED ? mixed(view, plan, columns, lines, colors, only) : worst(view, plan, columns, lines, colors, only);
}

/** The tops of the bands by wave or worker (-1 where one is not shown), and which are folded: faster to read than a map. */
function tops(view, plan) {
  const [top, folded] = [new Float64Array(Math.max(1, ...plan.bands.keys(), ...view.store.waves.keys()) + 1).fill(-1), new Set()];
  for (const band of plan.bands.values()) {
    if (band.index < 0) top.fill(band.y);
    else top[band.index] = band.y;
    if (band.folded) folded.add(band.index);
  }
  return { top, folded };
}

/** Call `visit(first pixel, last pixel, status)` for each attempt to be seen; the one loop that all rows go through. */
function eachSpan(view, plan, columns, lines, only, visit) {
  const { store, shownTo } = view;
  const { start: starts, end: ends, status: statuses } = store;
  const { from, to, row: tall, scale, lane, groupOf } = plan;
  const { top, folded } = tops(view, plan);
  const shift = (tall - plan.bar) / 2;
  view.moving = false;
  for (let row = 0; row < store.rows; row++) {
    const start = starts[row];
    if (start < 0 || start > shownTo || start > to || (only && !only.has(row))) continue;
    const group = groupOf(row);
    const band = top[group] ?? top[0];
    let end = ends[row];
    const running = end < 0 || end > shownTo;
    if (running) {
      view.moving = true;
      end = shownTo;
    }
    if (band < 0 || end < from) continue;
    const line = Math.floor(band + shift + (folded.size && folded.has(group) ? 0 : lane[row] * tall));
    const y = line < 0 ? 0 : line >= lines ? lines - 1 : line;
    const first = Math.max(GUTTER, Math.floor(GUTTER + (start - from) * scale));
    const last = Math.min(columns - 1, Math.max(first, Math.ceil(GUTTER + (end - from) * scale) - 1));
    if (first <= last) visit(y * columns + first, y * columns + last, running ? RUNNING : statuses[row]);
  }
}

let spare = [];

/** Four cleared arrays for sums, used again from picture to picture: making them anew would cost more than the sums. */
function sums(size) {
  if (spare[0]?.length !== size) spare = [0, 1, 2, 3].map(() => new Float32Array(size));
  else for (const array of spare) array.fill(0);
  return spare;
}

function pixel([r, g, b], alpha = 255) {
  return ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** Each lane a line; of several attempts in one pixel the worst is seen. */
function worst(view, plan, columns, lines, colors, only) {
  const grid = new Uint8Array(columns * lines);
  eachSpan(view, plan, columns, lines, only, (from, to, status) => {
    const rank = WORST[status];
    for (let at = from; at <= to; at++) if (rank > WORST[grid[at]]) grid[at] = status;
  });
  const inks = colors.map((color) => pixel(rgbOf(color)));
  const pixels = new Uint32Array(columns * lines);
  const tall = Math.max(1, Math.floor(plan.bar));
  for (let at = 0; at < grid.length; at++) {
    if (!grid[at]) continue;
    const ink = inks[grid[at]];
    for (let k = 0, to = at; k < tall && to < pixels.length; k++, to += columns) pixels[to] = ink;
  }
  return pixels;
}

/** Several lanes, or several attempts, to a pixel: the mean colour of what ran there, the stronger the more of the lanes were busy. */
function mixed(view, plan, columns, lines, colors, only) {
  const size = columns * lines;
  const [weights, reds, greens, blues] = sums(size);
  const inks = colors.map(rgbOf);
  eachSpan(view, plan, columns, lines, only, (from, to, status) => {
    const [r, g, b] = inks[status];
    const weight = status === FAILED ? 3 : 1;
    for (let at = from; at <= to; at++) {
      weights[at] += weight;
      reds[at] += weight * r;
      greens[at] += weight * g;
      blues[at] += weight * b;
    }
  });
  const full = Math.max(1, 1 / Math.max(plan.row, 1e-6));
  const tall = Math.max(1, Math.floor(plan.bar));
  const pixels = new Uint32Array(size);
  for (let at = 0; at < size; at++) {
    const weight = weights[at];
    if (!weight) continue;
    const alpha = Math.round(255 * Math.min(1, 0.35 + (0.65 * weight) / full));
    const ink = pixel([reds[at] / weight, greens[at] / weight, blues[at] / weight], alpha);
    for (let k = 0, to = at; k < tall && to < size; k++, to += columns) pixels[to] = ink;
  }
  return pixels;
}
