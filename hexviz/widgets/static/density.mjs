// Many attempts as one image: lane by pixel where lanes can be told apart, a mix of colours where they cannot.

import { GUTTER, placeRow } from "./layout.mjs";
import { RUNNING, WORST, rgbOf } from "./palette.mjs";

export const DENSE_ROWS = 20000;

/** "bars" as long as there are few rows, then "lanes", and "density" once several lanes share one line of pixels. */
export function levelOf(rows, rowHeight) {
  if (rows <= DENSE_ROWS) return "bars";
  return rowHeight >= 1 ? "lanes" : "density";
}

/** The image of all rows (of those in `only`, if given) as 32-bit pixels. */
export function gridOf(view, plan, columns, lines, colors, only = null) {
  const level = levelOf(view.store.rows, plan.row);
  return level === "density" ? mixed(view, plan, columns, lines, colors, only) : worst(view, plan, columns, lines, colors, only);
}

function eachSpan(view, plan, columns, lines, only, visit) {
  const { store, shownTo } = view;
  const place = {};
  view.moving = false;
  for (let row = 0; row < store.rows; row++) {
    if (only && !only.has(row)) continue;
    if (store.start[row] > shownTo || !placeRow(view, plan, row, place)) continue;
    if (place.status === RUNNING) view.moving = true;
    const y = Math.min(lines - 1, Math.max(0, Math.floor(place.y)));
    const from = Math.max(GUTTER, Math.floor(plan.x(store.start[row])));
    const to = Math.min(columns - 1, Math.max(from, Math.ceil(plan.x(place.end)) - 1));
    if (from <= to) visit(y * columns + from, y * columns + to, place.status);
  }
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

/** Several lanes to a line: the mean colour of what ran there, the stronger the more of the lanes were busy. */
function mixed(view, plan, columns, lines, colors, only) {
  const size = columns * lines;
  const [weights, reds, greens, blues] = [0, 1, 2, 3].map(() => new Float32Array(size));
  const inks = colors.map(rgbOf);
  eachSpan(view, plan, columns, lines, only, (from, to, status) => {
    const [r, g, b] = inks[status];
    const weight = WORST[status] >= 5 ? 3 : 1;
    for (let at = from; at <= to; at++) {
      weights[at] += weight;
      reds[at] += weight * r;
      greens[at] += weight * g;
      blues[at] += weight * b;
    }
  });
  const full = 1 / Math.max(plan.row, 1e-6);
  const pixels = new Uint32Array(size);
  for (let at = 0; at < size; at++) {
    const weight = weights[at];
    if (!weight) continue;
    const alpha = Math.round(255 * Math.min(1, 0.35 + (0.65 * weight) / full));
    pixels[at] = pixel([reds[at] / weight, greens[at] / weight, blues[at] / weight], alpha);
  }
  return pixels;
}
