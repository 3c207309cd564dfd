// Where everything goes: bands of waves, lanes, the time axis. Pure functions of the store and of what the view shows.

import { RETRYING, RUNNING, SIGNALS } from "./palette.mjs";
import { statusAt } from "./store.mjs";

export const GUTTER = 64;
export const AXIS = 24;
export const MARKS = 12;
const FEW = 40;
/** Of more attempts than this each wave shows only what runs, in as few lanes as that takes: waits would fill it. */
export const DENSE_ROWS = 20000;

/** A canvas height that fits the size of the run and stays while it goes on. */
export function canvasHeight(nodes, waves) {
  if (nodes <= FEW) return Math.max(120, Math.min(nodes * 19 + waves * 4, 520)) + AXIS + MARKS;
  return Math.min(520, 400 + nodes) + AXIS + MARKS;
}

/** Lanes kept for a wave: all that it may need in a small run, so that nothing moves while it goes on. */
export function reservedLanes(store, wave, share = 0) {
  const nodes = store.run.nodes || store.nodes;
  const likely = Math.max(4, Math.ceil(wave.nodes * (wave.end < 0 ? share : 0)));
  const kept = nodes <= FEW ? wave.nodes : store.done ? 2 : nodes <= 120 ? wave.nodes : likely;
  return Math.max(1, wave.lanes, Math.min(wave.nodes, kept));
}

/** How many lanes the waves that have ended took per node: what those to come are likely to take. */
export function laneShare(waves) {
  let most = 0;
  for (const wave of waves) if (wave.end >= 0 && wave.nodes) most = Math.max(most, wave.lanes / wave.nodes);
  return Math.min(1, most);
}

/** The bands of the waves from top to bottom; `room(wave)` lanes each. */
export function layoutBands(waves, height, room) {
  const bands = [...waves].sort((a, b) => a.index - b.index);
  const lanes = bands.reduce((sum, wave) => sum + room(wave), 0);
  const gap = bands.length > 1 ? Math.min(4, (height * 0.25) / bands.length) : 0;
  const row = lanes ? Math.min(40, (height - gap * bands.length) / lanes) : 0;
  let y = 0;
  const placed = new Map();
  for (const wave of bands) {
    const h = room(wave) * row;
    placed.set(wave.index, { index: wave.index, y, h, nodes: wave.nodes, row });
    y += h + gap;
  }
  return { bands: placed, row };
}

/** For each row the lowest lane of its group that is free from its start on; and how many lanes each group takes. */
export function packLanes(store, groupOf = () => -1) {
  const known = [];
  for (let row = 0; row < store.rows; row++) if (store.start[row] >= 0 && store.start[row] < Infinity) known.push(row);
  const order = Uint32Array.from(known).sort((a, b) => store.start[a] - store.start[b]);
  const lanes = new Uint32Array(store.rows);
  const groups = new Map();
  for (const row of order) {
    const group = groupOf(row);
    if (!groups.has(group)) groups.set(group, { busy: [], free: [], count: 0 });
    const taken = groups.get(group);
    while (taken.busy.length && taken.busy[0][0] <= store.start[row]) push(taken.free, [pop(taken.busy)[1], 0]);
    lanes[row] = taken.free.length ? pop(taken.free)[0] : taken.count++;
    push(taken.busy, [store.end[row] < 0 ? Infinity : store.end[row], lanes[row]]);
  }
  return { lanes, counts: new Map([...groups].map(([group, { count }]) => [group, count])) };
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

/** The plan of one picture: bands, the height of a bar, the scale of time. */
export function planOf(view) {
  const { store, width, height } = view;
  const bottom = height - AXIS - MARKS;
  const dense = store.rows > DENSE_ROWS;
  const { lanesBy } = view;
  const { bands, row } = lanesBy === "wave" ? waveBands(view, bottom, dense) : packedBands(view, bottom);
  const bar = row > 8 ? row - 3 : row > 4 ? row - 1.5 : row > 2 ? row - 0.6 : Math.max(row, 0.9);
  const [from, to] = view.domain;
  const scale = (width - GUTTER - 10) / Math.max(to - from, 1e-6);
  const lane = lanesBy !== "wave" ? view.lanes : dense ? store.tight : store.lane;
  const groupOf = GROUPS[lanesBy](store);
  const bandOf = (r) => bands.get(groupOf(r));
  return { bottom, bands, row, bar, from, to, scale, bandOf, groupOf, lane, x: (ms) => GUTTER + (ms - from) * scale };
}

function waveBands(view, bottom, dense) {
  const { store, folded } = view;
  const waves = view.focus === null ? store.waves.values() : [store.waves.get(view.focus)].filter(Boolean);
  const share = laneShare(store.waves.values());
  const most = Math.max(1, ...[...store.tightWaves.values()].map(({ ends }) => ends.length));
  const tight = (wave) => (store.done ? store.tightWaves.get(wave.index)?.ends.length || 1 : Math.min(most, Math.max(wave.nodes, 1)));
  const room = dense ? tight : (wave) => reservedLanes(store, wave, share);
  const placed = layoutBands(waves, bottom, (wave) => (folded.has(wave.index) ? 1 : room(wave)));
  for (const index of folded) if (placed.bands.has(index)) placed.bands.get(index).folded = true;
  return placed;
}

/** What the lanes are arranged by: the number of the band that an attempt belongs to. */
const GROUPS = {
  wave: (store) => (row) => store.nodeWave[store.node[row]],
  worker: (store) => (row) => store.worker[row],
  packed: () => () => -1,
};

/** Bands in which attempts lie wherever there is room: one for all, or one for each worker. */
function packedBands(view, bottom) {
  const { store, lanesBy } = view;
  const key = `${lanesBy}/${store.seq}`;
  if (view.packedAt !== key) Object.assign(view, packLanes(store, GROUPS[lanesBy](store)), { packedAt: key });
  if (lanesBy === "worker") return layoutBands([...view.counts.keys()].map((index) => ({ index })), bottom, ({ index }) => view.counts.get(index));
  return { bands: new Map([[-1, { index: -1, y: 0, h: bottom }]]), row: Math.min(28, bottom / Math.max(view.counts.get(-1) ?? 0, 1)) };
}

/** Fill `place` with where a row stands now; false where it is not to be seen. */
export function placeRow(view, plan, row, place) {
  const { store, shownTo } = view;
  if (store.start[row] < 0 || store.ready[row] > shownTo || store.ready[row] > plan.to) return false;
  if (store.start[row] > shownTo && view.lanesBy !== "wave") return false; // it waits, and takes no lane of its own
  const band = plan.bandOf(row);
  if (!band) return false;
  const status = statusAt(store, row, shownTo);
  const end = status === RUNNING ? shownTo : store.end[row];
  const waited = end + (status === RETRYING ? store.backoff[row] : 0);
  if (waited < plan.from) return false;
  place.status = status;
  place.end = end;
  place.waited = waited;
  place.y = band.y + (band.folded ? 0 : plan.lane[row] * plan.row) + (plan.row - plan.bar) / 2;
  return true;
}

/** The attempt under a point of the canvas, or -1. */
export function rowAt(view, px, py) {
  const { plan, store } = view;
  if (!plan || px < GUTTER) return -1;
  const slack = Math.max(0, 3 - plan.bar) / 2;
  const place = {};
  for (let row = store.rows - 1; row >= 0; row--) {
    if (!placeRow(view, plan, row, place)) continue;
    if (py < place.y - slack || py > place.y + plan.bar + slack) continue;
    if (px >= plan.x(store.ready[row]) - 1 && px <= Math.max(plan.x(place.waited), plan.x(Math.min(store.start[row], view.shownTo)) + 2)) return row;
  }
  return -1;
}

/** The decision whose mark is nearest to a point of the strip under the bars, or null; all that is known of it. */
export function decisionAt(view, px, py) {
  const { plan, store, shownTo } = view;
  if (!plan || py < plan.bottom || py > plan.bottom + MARKS + 2) return null;
  let [best, least] = [null, 7];
  const look = (decision) => {
    const far = Math.abs(plan.x(decision[0]) - px) + (decision[1] === "proceed" ? 1 : 0);
    if (decision[0] <= shownTo && far < least) [best, least] = [decision, far];
  };
  store.decisions.forEach(look);
  if (!best && store.marks.length > store.decisions.length) store.marks.forEach(([at, code]) => look([at, SIGNALS[code] ?? "?"]));
  return best;
}

/** Mean number of attempts under way, for each of `columns` equal parts of the time from `from` to `to`. */
export function concurrency(store, from, to, columns, shownTo = Infinity) {
  const width = Math.max(to - from, 1e-9) / columns;
  const [whole, part] = [new Float64Array(columns + 1), new Float64Array(columns + 1)];
  for (let row = 0; row < store.rows; row++) {
    const start = store.start[row];
    if (start < 0 || start > shownTo || start > to) continue;
    const end = Math.min(store.end[row] < 0 ? shownTo : store.end[row], shownTo, to);
    if (end < from) continue;
    const [a, b] = [(Math.max(start, from) - from) / width, Math.min((end - from) / width, columns)];
    const [first, last] = [Math.min(Math.floor(a), columns - 1), Math.min(Math.floor(b), columns)];
    if (first === last) part[first] += b - a;
    else {
      part[first] += first + 1 - a;
      part[last] += b - last;
      whole[first + 1] += 1;
      whole[last] -= 1;
    }
  }
  let running = 0;
  const more = store.known && store.totals.attempts > store.known ? store.totals.attempts / store.known : 1;
  return Float64Array.from({ length: columns }, (_, k) => ((running += whole[k]) + part[k]) * more);
}
