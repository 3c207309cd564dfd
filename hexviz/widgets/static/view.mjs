// One view: data in, frames out.

import { put } from "./dom.mjs";
import { concurrencyStrip, hatches, picture, readTheme } from "./draw.mjs";
import { buildGraph, showGraph } from "./graph.mjs";
import { buildHead, buildProgress, showHead } from "./head.mjs";
import { listen, wholeOf } from "./input.mjs";
import { GUTTER, canvasHeight } from "./layout.mjs";
import { HEALTH_HEADS, LISTS, buildList, buildTable, showHealth, showList, showOverhead } from "./lists.mjs";
import { buildPlayer, seek, showPlayer } from "./player.mjs";
import { applyMessage, createStore, rowsOf, startedAt } from "./store.mjs";
import { sayAttempt } from "./tip.mjs";
import { buildAttempts, buildTools, searchFor, showAttempts, showTools } from "./tools.mjs";
import { buildWorkers, showWorkers } from "./workers.mjs";

export const DEFAULT_PANELS = ["progress", "timeline", "concurrency", "workers", "decisions", "failures"];
const FRAME_MS = 50;
const STRIP = 56;

export function mount(root, { title = "", controllable = false, player = false, live = false, panels = DEFAULT_PANELS, group = "", axisMs = 0, onDrawn = () => {} } = {}) {
  root.classList.add("hexviz-timeline");
  root.classList.toggle("hx-live", live);
  root.classList.toggle("hx-grouped", group !== "");
  root.setAttribute("role", "region");
  const view = {
    root, title, store: createStore(), parts: null, panels, group, axisMs, onDrawn, alive: true, controls: "none", paused: false, live: false,
    hover: -1, hoverDecision: null, selected: new Set(), lit: null, shownByPython: null, words: "", searched: -1, hit: null, foundKey: "", focus: null, folded: new Set(),
    cut: null, frozen: false, lanesBy: "wave", packedAt: "", lanes: null, counts: new Map(), contrast: false, width: 0, height: 200, domain: [0, 1000], zoom: null,
    plan: null, moving: false, draws: 0, waiting: false, timer: 0, last: 0, offset: 0, shownTo: 0, drawMs: 0, theme: null, hatches: hatches(), send: () => {},
    eased: false, started: 0, toldState: "", toldAt: -Infinity, echo: false, level: "bars", note: "",
  };
  view.kick = () => kick(view);
  view.wholeMs = () => wholeOf(view);
  view.choose = (rows) => choose(view, rows);
  view.pick = (node, more) => choose(view, more ? [...view.selected, ...rowsOf(view.store, node)] : rowsOf(view.store, node));
  view.light = (rows) => light(view, rows);
  view.freeze = (on) => { view.frozen = on; view.cut = on ? view.shownTo : null; view.kick(); };
  view.share = (state) => share(view, state);
  view.parts = build(view, { controllable, player, live });
  view.canvas = view.parts.canvas;
  sayAttempt(view);
  Object.assign(root.dataset, { rows: 0, seq: 0, done: false, controls: "none", draws: 0, level: "bars" });
  const unlisten = listen(view);
  const ungroup = join(view);
  kick(view);
  return {
    view,
    apply: (message, buffers) => take(view, message, buffers),
    redraw: view.kick,
    note: (text) => { view.note = text; kick(view); },
    destroy: () => { view.alive = false; unlisten(); ungroup(); },
  };
}

function build(view, { controllable, player, live }) {
  const { root, panels } = view;
  const has = (panel) => panels.includes(panel);
  const parts = { head: buildHead(root, controllable), lists: [], tables: [] };
  if (has("progress")) parts.progress = buildProgress(root);
  const bars = put(root, "div", "hx-bars");
  bars.hidden = !has("timeline");
  if (has("timeline")) parts.tools = buildTools(view, parts.progress?.counts ?? bars, { live });
  parts.stage = put(bars, "div", "hx-stage");
  parts.canvas = put(parts.stage, "canvas", "hx-canvas");
  parts.canvas.tabIndex = 0;
  parts.canvas.setAttribute("role", "slider"); // over the attempts: a screen reader leaves it the arrow keys, and tells the value
  parts.canvas.setAttribute("aria-orientation", "vertical");
  parts.tip = put(parts.stage, "div", "hx-tip");
  parts.tip.hidden = true;
  if (has("concurrency")) parts.strip = put(root, "canvas", "hx-strip");
  if (parts.strip) {
    parts.strip.setAttribute("role", "img");
    parts.strip.title = "Attempts under way at once";
  }
  if (player) parts.player = buildPlayer(view, root);
  parts.table = buildAttempts(root);
  const lists = put(root, "div", "hx-lists");
  for (const panel of panels) {
    if (LISTS[panel]) parts.lists.push(buildList(view, lists, panel));
    else if (panel === "workers") parts.tables.push([buildWorkers(lists), showWorkers]);
    else if (panel === "health") parts.tables.push([buildTable(lists, "health", "Observers", HEALTH_HEADS), showHealth]);
    else if (panel === "overhead") parts.tables.push([buildTable(lists, "overhead", "Cost of watching", []), showOverhead]);
    else if (panel === "graph") parts.graph = buildGraph(lists);
  }
  lists.hidden = !lists.children.length;
  lists.dataset.half = lists.querySelectorAll(".hx-list:not(.hx-graph, .hx-workers)").length;
  return parts;
}

function take(view, message, buffers) {
  if (!applyMessage(view.store, message, buffers)) return false;
  const { store } = view;
  view.offset = store.nowMs - performance.now();
  view.live = !store.done && store.run.status === "running" && store.nowMs > store.endMs + 0.001;
  view.paused = Boolean(message.paused);
  if (message.full) view.eased = false;
  if (message.full) view.selected = new Set([...view.selected].filter((row) => row < store.totals.attempts));
  if (view.words && view.searched !== store.seq) searchFor(view, view.words);
  showPlayer(view);
  if (message.full) hurry(view);
  kick(view);
  return true;
}

function choose(view, rows) {
  view.selected = new Set(rows);
  view.tableKey = "";
  view.send({ k: "sel", rows: [...view.selected].slice(0, 20000) });
  view.root.dataset.selected = view.selected.size;
  kick(view);
}

/** Python says which attempts are to be seen plainly; none means all. */
function light(view, rows) {
  view.shownByPython = rows.length ? new Set(rows) : null;
  view.root.dataset.lit = rows.length;
  if (!view.words) view.lit = view.shownByPython;
  kick(view);
}

// Views of one group (two runs that are compared) zoom and move in time together.

function share(view, state) {
  if (view.group) document.dispatchEvent(new CustomEvent("hexviz-share", { detail: { group: view.group, from: view, state } }));
}

function join(view) {
  if (!view.group) return () => {};
  const heard = ({ detail }) => {
    if (detail.group !== view.group || detail.from === view) return;
    view.echo = true;
    if ("zoom" in detail.state) view.zoom = detail.state.zoom;
    if ("cut" in detail.state) seek(view, detail.state.cut ?? Infinity);
    view.echo = false;
    kick(view);
  };
  document.addEventListener("hexviz-share", heard);
  return () => document.removeEventListener("hexviz-share", heard);
}

function kick(view) {
  if (view.waiting || !view.alive) return;
  view.waiting = true;
  const since = performance.now() - view.last;
  const pause = Math.max(FRAME_MS, view.drawMs * 2);
  if (since >= pause) requestAnimationFrame(() => frame(view));
  else view.timer = setTimeout(() => { view.timer = 0; requestAnimationFrame(() => frame(view)); }, pause - since);
}

/** The next picture is drawn at once: it is the first of a run. */
function hurry(view) {
  view.last = -Infinity;
  if (!view.timer) return;
  clearTimeout(view.timer);
  view.timer = 0;
  view.waiting = false;
}

function frame(view) {
  view.waiting = false;
  view.last = performance.now();
  if (!view.alive) return;
  const { store, root, parts } = view;
  const nodes = store.run.nodes || store.nodes || 8;
  view.width = parts.stage.clientWidth || parts.strip?.clientWidth || root.clientWidth - 30;
  view.height = canvasHeight(nodes, store.run.waves || store.waves.size);
  parts.canvas.style.height = `${view.height}px`;
  const now = view.live ? Math.max(store.endMs, performance.now() + view.offset) : Math.max(store.endMs, store.nowMs);
  view.shownTo = view.cut === null ? now : view.cut;
  view.started = view.cut === null ? store.known : startedAt(store, view.cut);
  const easing = moveDomain(view, now);
  showHead(view);
  showTools(view);
  for (const list of parts.lists) showList(view, list);
  for (const [table, show] of parts.tables) show(view, table);
  if (parts.graph) showGraph(view, parts.graph);
  showAttempts(view);
  if (view.width > GUTTER) {
    view.theme = readTheme(root);
    picture(view);
    if (parts.strip) parts.strip.setAttribute("aria-label", `At most ${Math.round(concurrencyStrip(view, parts.strip, STRIP))} attempts at once`);
    Object.assign(root.dataset, { draws: ++view.draws, level: view.level });
  }
  root.dataset.shown = view.started;
  view.drawMs = 0.7 * view.drawMs + 0.3 * (performance.now() - view.last);
  view.onDrawn(store.seq);
  if (easing || (!store.done && view.live && !view.frozen)) kick(view);
}

/** Let the axis glide to where it should end; true while it is on its way. */
function moveDomain(view, now) {
  if (view.zoom) {
    view.domain = view.zoom;
    return false;
  }
  if (view.frozen) return false;
  const target = wholeOf(view);
  const at = view.domain[0] === 0 && view.eased ? view.domain[1] : target;
  view.eased = view.store.known > 0;
  const near = Math.abs(target - at) < target * 0.004;
  const least = view.store.done ? 0 : now * 1.02;
  view.domain = [0, near ? target : Math.max(at + (target - at) * 0.3, least)];
  return !near;
}
