// The workers of a run: what each did, and the panel that tells it.

import { formatAt, formatCount } from "./format.mjs";
import { buildTable, fillTable } from "./lists.mjs";
import { CANCELLED, RUNNING, SUCCEEDED } from "./palette.mjs";
import { statusAt } from "./store.mjs";

export const WORKER_HEADS = ["worker", "running", "done", "failed", "busy", "state"];
const EVERY_MS = 400;

export function hasWorkers(store) {
  return store.workers.length > 1;
}

/** The worker of an attempt, or "" where none is known. */
export function workerOf(store, row) {
  return store.labels.has(store.worker[row]) ? "" : store.workers[store.worker[row]] ?? "";
}

/** What each worker did up to time `t`, in the order of their first attempts: see worker_rows in hexviz/recording/workers.py. */
export function workerRows(store, t) {
  const found = new Map();
  for (let row = 0; row < store.rows; row++) {
    const code = store.worker[row];
    if (!code || store.labels.has(code) || store.start[row] < 0 || store.start[row] > t) continue;
    if (!found.has(code)) found.set(code, { code, name: store.workers[code] ?? "", running: 0, done: 0, failed: 0, spans: [] });
    const worker = found.get(code);
    const status = statusAt(store, row, t);
    worker.running += status === RUNNING;
    worker.done += status === SUCCEEDED;
    worker.failed += status !== RUNNING && status !== SUCCEEDED && status !== CANCELLED;
    worker.spans.push([store.start[row], status === RUNNING ? t : store.end[row]]);
  }
  return [...found.values()].map(({ spans, ...worker }) => {
    const lost = store.lost.get(worker.code) ?? Infinity;
    return { ...worker, lost: lost <= t ? lost : -1, busy: busyShare(spans, Math.min(lost, t)) };
  });
}

/** The share of the time from the first of `spans` to `until` that they cover together. */
export function busyShare(spans, until) {
  spans.sort((a, b) => a[0] - b[0]);
  const first = spans[0][0];
  let [covered, sum] = [first, 0];
  for (const [start, end] of spans) {
    const stop = Math.min(end, until);
    sum += Math.max(0, stop - Math.max(start, covered));
    covered = Math.max(covered, stop);
  }
  return until > first ? Math.min(1, sum / (until - first)) : 0;
}

/** Names for little room: what stands after the last space, colon or slash, or the end of the name where that is not enough. */
export function shortNames(names, longest = 9) {
  const tails = names.map((name) => name.split(/[\s:/]+/).filter(Boolean).at(-1) ?? name);
  const alone = new Set(tails).size === new Set(names).size;
  return names.map((name, k) => {
    const short = alone ? tails[k] : name;
    return short.length > longest ? `…${short.slice(1 - longest)}` : short;
  });
}

export function buildWorkers(parent) {
  const table = buildTable(parent, "workers", "Workers", WORKER_HEADS);
  return Object.assign(table, { at: -Infinity, key: "" });
}

/** Beside other panels it stands only where the run has workers. While the run goes on it is renewed now and then. */
export function showWorkers(view, table) {
  const { store } = view;
  table.section.hidden = !hasWorkers(store) && table.section.parentElement.children.length > 1;
  const [now, key] = [performance.now(), `${store.seq}/${view.cut}/${view.frozen}`];
  const early = now - table.at < EVERY_MS;
  if (table.section.hidden || (view.cut === null && early && !store.done) || (key === table.key && (!view.live || view.frozen))) return;
  Object.assign(table, { at: now, key });
  const rows = workerRows(store, view.shownTo);
  table.none.textContent = rows.length ? "" : hasWorkers(store) ? "Nothing has begun on a worker yet" : "No workers: nodes run in the process of the run";
  fillTable(table, rows.map(({ name, running, done, failed, busy, lost }) => [
    name, formatCount(running), formatCount(done), formatCount(failed), `${Math.round(100 * busy)} %`, lost >= 0 ? `lost at ${formatAt(lost)}` : "",
  ]));
  rows.forEach(({ busy, lost, name }, k) => {
    const line = table.body.children[k];
    line.classList.toggle("hx-lost", lost >= 0);
    line.children[0].title = name;
    line.children[4].classList.add("hx-meter");
    line.children[4].style.setProperty("--hx-share", `${Math.round(100 * busy)}%`);
  });
}
