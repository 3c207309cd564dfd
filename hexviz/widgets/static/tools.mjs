// The tools above the timeline: search, how the lanes are arranged, table, contrast, freeze, refresh rate.

import { put, scroller, select, toggle, write } from "./dom.mjs";
import { formatCount, formatMs } from "./format.mjs";
import { seek } from "./player.mjs";
import { statusWord } from "./palette.mjs";
import { nameOf, statusAt } from "./store.mjs";
import { hasWorkers, workerOf } from "./workers.mjs";

const TABLED = 200;
/** After so long the table holds its rows. */
const SHOWN_MS = 120;
const RATES = [["", "refresh"], ["10", "10 a second"], ["5", "5 a second"], ["2", "2 a second"], ["1", "1 a second"], ["0.2", "every 5 s"]];
export const TABLE_HEADS = ["node", "wave", "attempt", "status", "waited", "started", "ran", "back-off"];

export function buildTools(view, parent, { live }) {
  const bar = put(parent, "div", "hx-tools");
  const tools = { found: put(bar, "span", "hx-found"), search: put(bar, "input", "hx-search") };
  Object.assign(tools.search, { type: "search", placeholder: "find nodes  /", spellcheck: false });
  tools.search.setAttribute("aria-label", "Find nodes by name");
  tools.search.addEventListener("input", () => searchFor(view, tools.search.value));
  tools.search.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") takeFound(view);
    if (event.key === "Escape") { tools.search.value = ""; searchFor(view, ""); view.canvas.focus(); }
  });
  tools.pack = toggle(bar, "pack", "Packed", "Lanes by wave, or packed whatever the wave (p)", (on) => arrange(view, on ? "packed" : "wave"));
  tools.workers = toggle(bar, "by-worker", "Workers", "Lanes by wave, or by worker (w)", (on) => arrange(view, on ? "worker" : "wave"));
  tools.table = toggle(bar, "table-toggle", "Table", "The attempts as a table (t)", (on) => showTable(view, on));
  tools.contrast = toggle(bar, "contrast", "Contrast", "High contrast (c)", (on) => { view.contrast = on; view.root.classList.toggle("hx-strong", on); view.kick(); });
  if (live) {
    tools.freeze = toggle(bar, "freeze", "Freeze", "Keep this picture still; the run goes on (f)", (on) => view.freeze(on));
    tools.rate = select(bar, "rate", "Refreshes a second", RATES, (hz) => view.send({ k: "op", op: "rate", hz: Number(hz) }));
  }
  return tools;
}

/** It stands under the timeline, which may be higher than the window. */
function showTable(view, on) {
  const { box } = view.parts.table;
  box.hidden = !on;
  view.tableKey = "";
  view.kick();
  if (on) setTimeout(() => box.scrollIntoView({ block: "nearest" }), SHOWN_MS);
}

function arrange(view, lanesBy) {
  view.lanesBy = lanesBy;
  view.kick();
}

/** Lanes by worker are offered where the run has workers. */
export function showTools(view) {
  const { tools } = view.parts;
  const some = hasWorkers(view.store);
  if (view.lanesBy === "worker" && !some) view.lanesBy = "wave";
  if (!tools) return;
  tellFound(view);
  tools.workers.hidden = !some;
  for (const [button, lanesBy] of [[tools.pack, "packed"], [tools.workers, "worker"]]) button.setAttribute("aria-pressed", String(view.lanesBy === lanesBy));
}

/** Light the attempts of all nodes in whose name the words appear, also of those that begin later than the moment shown; everything where there are no words. */
export function searchFor(view, words) {
  view.words = words;
  const wanted = words.trim().toLowerCase();
  const { store } = view;
  if (!wanted) view.lit = view.shownByPython;
  else {
    const hit = (view.hit = Uint8Array.from({ length: store.nodes }, (_, node) => (nameOf(store, node).toLowerCase().includes(wanted) ? 1 : 0)));
    view.lit = new Set();
    for (let row = 0; row < store.rows; row++) if (store.start[row] >= 0 && hit[store.node[row]]) view.lit.add(row);
  }
  view.searched = store.seq;
  view.foundKey = "";
  tellFound(view);
  view.kick();
}

/** How many attempts were found that have begun at the moment shown, and of how many nodes none has. */
export function countFound(view, t) {
  const { store } = view;
  const begun = new Set();
  let attempts = 0;
  for (const row of view.lit) {
    if (store.start[row] > t) continue;
    attempts += 1;
    begun.add(store.node[row]);
  }
  return { attempts, later: view.hit.reduce((sum, hit) => sum + hit, 0) - begun.size };
}

/** Told anew when the words, the data or the moment shown have changed. */
function tellFound(view) {
  const found = view.parts.tools?.found;
  const key = `${view.words.trim()}/${view.searched}/${view.cut}`;
  if (!found || view.foundKey === key) return;
  view.foundKey = key;
  if (!view.words.trim()) return void write(found, "");
  const { attempts, later } = countFound(view, view.cut ?? Infinity);
  write(found, `${formatCount(attempts)} found${later ? `, ${formatCount(later)} ${later === 1 ? "node" : "nodes"} not begun` : ""}`);
}

/** Select what was found; where a player shows none of it yet, go to the moment at which the first of it begins. */
function takeFound(view) {
  if (!view.lit) return;
  const rows = [...view.lit];
  const first = rows.reduce((least, row) => Math.min(least, view.store.start[row]), Infinity);
  if (view.cut !== null && !view.frozen && first > view.cut && first < Infinity) seek(view, first);
  view.choose(rows);
}

export function buildAttempts(parent) {
  const box = put(parent, "div", "hx-attempts");
  box.hidden = true;
  const table = put(scroller(box, "Attempts"), "table", "hx-table");
  const caption = put(table, "caption");
  return { box, caption, heads: put(put(table, "thead"), "tr"), body: put(table, "tbody") };
}

/** The cells of one attempt at time `t`. */
export function cellsOf(store, row, t) {
  const node = store.node[row];
  const status = statusAt(store, row, t);
  const end = store.end[row] < 0 || store.end[row] > t ? t : store.end[row];
  const waited = store.start[row] - store.ready[row];
  return [
    nameOf(store, node), store.nodeWave[node], store.attempt[row], statusWord(status), waited > 0.005 ? formatMs(waited) : "-",
    formatMs(store.start[row]), formatMs(end - store.start[row]), store.backoff[row] > 0 ? formatMs(store.backoff[row]) : "-",
    ...(hasWorkers(store) ? [workerOf(store, row)] : []),
  ];
}

/** The rows of the table: those selected, else those lit, else the newest. */
export function tabled(view) {
  const { store, shownTo } = view;
  const chosen = view.selected.size ? [...view.selected] : view.lit ? [...view.lit] : null;
  if (chosen) return chosen.filter((row) => row < store.rows && store.start[row] >= 0 && store.start[row] <= shownTo);
  const rows = [];
  for (let row = 0; row < store.rows; row++) if (store.start[row] >= 0 && store.start[row] <= shownTo) rows.push(row);
  return rows;
}

export function showAttempts(view) {
  const { box, caption, heads, body } = view.parts.table;
  const key = `${view.store.seq}/${view.cut}/${view.lit?.size}/${[...view.selected].slice(0, 50).join()}`;
  if (box.hidden || view.tableKey === key) return;
  view.tableKey = key;
  const words = hasWorkers(view.store) ? [...TABLE_HEADS, "worker"] : TABLE_HEADS;
  if (heads.children.length !== words.length) {
    heads.replaceChildren();
    for (const word of words) put(heads, "th", "", word).scope = "col";
  }
  const rows = tabled(view);
  const last = rows.slice(-TABLED).reverse();
  write(caption, last.length < rows.length ? `The last ${last.length} of ${formatCount(rows.length)} attempts` : `${rows.length} attempts`);
  body.replaceChildren(...last.map((row) => {
    const line = document.createElement("tr");
    for (const cell of cellsOf(view.store, row, view.shownTo)) put(line, "td", "", String(cell));
    return line;
  }));
}
