// The top of the view: name, state, time, controls, progress by status, and what a screen reader is told.

import { button, make, put, spaced, write } from "./dom.mjs";
import { formatCount, formatMs, restMs, roughly } from "./format.mjs";
import { PENDING, PROGRESS_ORDER, STATUSES, STATUS_COLORS, STRONG_COLORS, statusWord } from "./palette.mjs";
import { countsAt } from "./store.mjs";

const ALWAYS_COUNTED = new Set([0, 1, 3, 4]);
const TOLD_EVERY_MS = 3000;

export function buildHead(root, controllable) {
  const head = put(root, "div", "hx-head");
  const parts = { name: put(head, "span", "hx-name"), state: put(head, "span", "hx-state"), elapsed: put(head, "span", "hx-elapsed") };
  parts.summary = put(head, "span", "hx-summary");
  const steering = put(head, "span", "hx-steering"); // wraps as one where the view is narrow
  parts.link = put(steering, "span", "hx-link");
  if (controllable) {
    parts.hold = button(steering, "hold", "Hold", "Start no new nodes until released");
    parts.cancel = button(steering, "cancel", "Cancel", "Cancel this run");
  }
  spaced(head);
  parts.told = put(root, "div", "hx-told");
  parts.told.setAttribute("role", "status");
  return parts;
}

export function buildProgress(root) {
  const bar = put(root, "div", "hx-progress");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", "Nodes ended");
  const segments = PROGRESS_ORDER.map((status) => [status, put(bar, "i")]);
  const counts = put(root, "div", "hx-counts");
  const numbers = STATUSES.map((_word, status) => countOf(counts, status));
  let waiting = null;
  for (const [kind, word] of [["queue", "waiting"], ["backoff", "back-off"]]) {
    const item = put(counts, "span", "hx-count hx-on");
    item.append(make("i", `hx-swatch hx-${kind}`));
    if (kind === "queue") waiting = put(item, "b");
    item.append(word);
  }
  spaced(counts);
  return { bar, segments, counts, numbers, waiting };
}

function countOf(parent, status) {
  const item = put(parent, "span", ALWAYS_COUNTED.has(status) ? "hx-count" : "hx-count hx-unseen");
  const swatch = put(item, "i", "hx-swatch");
  const number = put(item, "b", "", "0");
  item.append(` ${statusWord(status)}`);
  return { item, number, swatch };
}

export function showHead(view) {
  const { store, root, parts } = view;
  const { head, progress } = parts;
  const counts = view.cut === null ? countsNow(store) : countsAt(store, view.cut);
  const total = Math.max(store.counts.reduce((sum, n) => sum + n, 0), store.run.nodes || 0);
  const ended = counts.slice(3).reduce((sum, n) => sum + n, 0);
  const past = view.cut !== null && view.cut < store.endMs;
  const state = view.frozen ? "view frozen" : past ? "running" : view.paused && !store.done ? "held" : store.run.status || "waiting";
  write(head.name, view.title || store.run.pipeline || "waiting for a run");
  head.name.title = head.name.textContent;
  root.setAttribute("aria-label", `Run ${head.name.textContent}`);
  write(head.state, state);
  head.state.dataset.state = state;
  write(head.elapsed, formatMs(view.shownTo));
  const rest = past || store.done || view.paused ? -1 : restMs(ended, total, view.shownTo);
  write(head.summary, store.seq < 0 && view.note ? view.note : summaryOf(store, ended, total, rest, past ? view.started : store.totals.attempts));
  const facts = `${state}, ${formatMs(view.shownTo)}, ${ended} of ${total} nodes ended, ${counts[1]} running, ${counts[4]} failed`;
  const failed = store.run.error && !past ? `, ${store.run.error}` : "";
  if (progress) showProgress(progress, view, counts, ended, Math.max(total, 1));
  parts.canvas.setAttribute("aria-label", `Timeline of ${head.name.textContent}: ${facts}${failed}`);
  tell(view, `${head.name.textContent}: ${facts}${failed}`, state);
  Object.assign(root.dataset, { rows: store.known, seq: Math.max(store.seq, 0), done: store.done, controls: view.controls });
}

/** What was sent to a runner and waits there for a worker is pending, and told apart from the rest. */
function countsNow({ counts, waiting }) {
  return counts.map((count, status) => (status === PENDING ? Math.max(0, count - waiting) : count));
}

function summaryOf(store, ended, total, rest, attempts) {
  const shown = store.known < attempts ? ` (${formatCount(store.known)} drawn)` : "";
  const left = rest >= 0 ? ` · ${roughly(rest)} left` : "";
  const some = (count, word) => `${formatCount(count)} ${word}${count === 1 ? "" : "s"}`;
  return `${formatCount(ended)} of ${some(total, "node")}${left} · ${some(attempts, "attempt")}${shown} · ${some(store.waves.size, "wave")}`; // where it is cut, the end may go
}

function showProgress({ bar, segments, numbers, waiting }, view, counts, ended, total) {
  write(waiting, view.cut === null && view.store.waiting ? `${formatCount(view.store.waiting)} ` : "");
  const colors = view.contrast ? STRONG_COLORS : STATUS_COLORS;
  for (const [status, segment] of segments) {
    segment.style.width = `${(100 * counts[status]) / total}%`;
    segment.style.background = colors[status];
  }
  bar.setAttribute("aria-valuenow", String(Math.round((100 * ended) / total)));
  numbers.forEach(({ item, number, swatch }, status) => {
    write(number, formatCount(counts[status]));
    swatch.style.background = colors[status];
    item.classList.toggle("hx-on", counts[status] > 0);
    if (counts[status] > 0) item.classList.remove("hx-unseen");
  });
}

/** A screen reader hears of a change of state at once, of progress every few seconds, of the slider never. */
function tell(view, facts, state) {
  const now = performance.now();
  if (view.cut !== null || (state === view.toldState && now - view.toldAt < TOLD_EVERY_MS)) return;
  view.toldState = state;
  view.toldAt = now;
  write(view.parts.head.told, facts);
}

export function showButtons(view, cancelling) {
  const { hold, cancel } = view.parts.head;
  if (!hold) return;
  const over = view.store.done || view.store.run.status !== "running";
  write(hold, view.paused ? "Release" : "Hold");
  write(cancel, cancelling && !over ? "Cancelling" : "Cancel");
  for (const element of [hold, cancel]) {
    element.disabled = over || Boolean(cancelling);
    element.classList.remove("hx-busy");
  }
}
