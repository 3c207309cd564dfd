// Pointer, wheel and keyboard on the canvas.

import { axisEnd } from "./format.mjs";
import { GUTTER, decisionAt, placeRow, rowAt } from "./layout.mjs";
import { playOrPause, step, stepDecision } from "./player.mjs";
import { rowsOf, rowsWhere } from "./store.mjs";
import { sayAttempt, showTip } from "./tip.mjs";

export function listen(view) {
  const { canvas, parts } = view;
  const again = () => view.kick();
  const resized = new ResizeObserver(again);
  resized.observe(parts.stage);
  const themed = new MutationObserver(again);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", again);
  canvas.addEventListener("pointermove", (event) => point(view, event));
  canvas.addEventListener("pointerleave", () => { view.drag = null; hover(view, -1, null, 0, 0); });
  canvas.addEventListener("pointerdown", (event) => { view.drag = { x: event.offsetX, domain: [...view.domain], moved: false }; });
  canvas.addEventListener("pointerup", (event) => released(view, event));
  canvas.addEventListener("dblclick", () => { view.focus = null; zoomTo(view, 0, Infinity); });
  canvas.addEventListener("wheel", (event) => wheel(view, event), { passive: false });
  view.root.addEventListener("keydown", (event) => key(view, event));
  return () => { resized.disconnect(); themed.disconnect(); scheme.removeEventListener("change", again); };
}

function hover(view, row, decision, x, y) {
  const changed = row !== view.hover || decision !== view.hoverDecision;
  view.hover = row;
  view.hoverDecision = decision;
  showTip(view, x, y);
  if (changed) view.kick();
}

function point(view, event) {
  const { offsetX: x, offsetY: y } = event;
  if (view.drag && event.buttons && (view.zoom || view.drag.moved) && Math.abs(x - view.drag.x) > 2) {
    const by = (view.drag.x - x) / view.plan.scale;
    view.drag.moved = true;
    zoomTo(view, view.drag.domain[0] + by, view.drag.domain[1] + by);
    return;
  }
  const decision = decisionAt(view, x, y);
  hover(view, decision ? -1 : rowAt(view, x, y), decision, x, y);
}

function released(view, event) {
  const moved = view.drag?.moved;
  view.drag = null;
  if (moved || !view.plan) return;
  if (event.offsetX < GUTTER) return void fold(view, event);
  if (view.hover >= 0) view.pick(view.store.node[view.hover], event.shiftKey);
  else view.choose([]);
}

/** A click on a wave's name folds it to one line, or unfolds it; with shift, it alone is shown. On a worker's, it selects what ran there. */
function fold(view, event) {
  const band = [...view.plan.bands.values()].find((b) => event.offsetY >= b.y && event.offsetY <= b.y + b.h);
  if (!band || band.index < 0) return;
  if (view.lanesBy === "worker") return void view.choose(rowsWhere(view.store, (row) => view.store.worker[row] === band.index));
  if (event.shiftKey || view.focus !== null) view.focus = view.focus === null ? band.index : null;
  else if (!view.folded.delete(band.index)) view.folded.add(band.index);
  view.kick();
}

function wheel(view, event) {
  if (!(event.ctrlKey || event.metaKey || event.shiftKey) || !view.plan) return;
  event.preventDefault();
  const at = view.plan.from + (event.offsetX - GUTTER) / view.plan.scale;
  zoomBy(view, (event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, at);
}

export function zoomBy(view, factor, at) {
  const [from, to] = view.domain;
  zoomTo(view, at - (at - from) * factor, at + (to - at) * factor);
}

export function zoomTo(view, from, to) {
  const whole = view.wholeMs();
  const span = Math.max(to - from, 0.01);
  const start = Math.min(Math.max(from, 0), Math.max(whole - span, 0));
  view.zoom = span >= whole ? null : [start, start + span];
  view.kick();
  if (!view.echo) view.share({ zoom: view.zoom });
}

/** Where the whole time axis ends. */
export function wholeOf(view) {
  if (view.axisMs) return view.axisMs;
  return view.store.done ? Math.max(view.store.endMs * 1.01, 0.01) : axisEnd(view.shownTo);
}

/** Move the keyboard's cursor to the next attempt that is shown. */
function walk(view, by) {
  const { store, plan } = view;
  const place = {};
  let row = view.hover < 0 ? (by > 0 ? -1 : store.rows) : view.hover;
  do row += by; while (row >= 0 && row < store.rows && ((view.lit && !view.lit.has(row)) || !placeRow(view, plan, row, place)));
  if (row < 0 || row >= store.rows) return;
  hover(view, row, null, plan.x(Math.min(store.start[row], view.shownTo)), place.y);
  sayAttempt(view);
}

function key(view, event) {
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const onCanvas = event.target === view.canvas;
  const [from, to] = view.domain;
  const pan = (to - from) * 0.15;
  const { tools } = view.parts;
  const anywhere = {
    "+": () => zoomBy(view, 0.8, (from + to) / 2), "-": () => zoomBy(view, 1.25, (from + to) / 2),
    "0": () => { view.focus = null; view.folded.clear(); zoomTo(view, 0, Infinity); },
    Escape: () => { view.focus = null; view.choose([]); hover(view, -1, null, 0, 0); sayAttempt(view); },
    "/": () => tools?.search.focus(), p: () => tools?.pack.click(), w: () => { if (tools && !tools.workers.hidden) tools.workers.click(); }, t: () => tools?.table.click(), c: () => tools?.contrast.click(),
    f: () => tools?.freeze?.click(), ",": () => step(view, true), ".": () => step(view, false), d: () => stepDecision(view),
  };
  const there = {
    ArrowLeft: () => zoomTo(view, from - pan, to - pan), ArrowRight: () => zoomTo(view, from + pan, to + pan),
    ArrowDown: () => walk(view, 1), ArrowUp: () => walk(view, -1), " ": () => playOrPause(view),
    Enter: () => { if (view.hover >= 0) view.choose(rowsOf(view.store, view.store.node[view.hover])); },
  };
  const act = (onCanvas && there[event.key]) || anywhere[event.key];
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
  view.kick();
}
