// What hovering tells: of an attempt or of a decision.

import { make } from "./dom.mjs";
import { formatMs } from "./format.mjs";
import { RUNNING, statusWord } from "./palette.mjs";
import { nameOf, statusAt } from "./store.mjs";
import { workerOf } from "./workers.mjs";

export function tipLines(store, row, t) {
  const node = store.node[row];
  const attempt = store.attempt[row];
  const status = statusAt(store, row, t);
  const waits = store.start[row] > t;
  const lines = [["status", waits ? "waiting" : statusWord(status)], ["wave", `${store.nodeWave[node]}, attempt ${attempt}`]];
  if (workerOf(store, row) && !waits) lines.push(["worker", workerLine(store, row, t)]);
  if (!waits) lines.push(["started", `at ${formatMs(store.start[row])}`], ["ran", formatMs((status === RUNNING ? t : store.end[row]) - store.start[row])]);
  const waited = Math.min(store.start[row], t) - store.ready[row];
  if (waited > 0) lines.push(["waited", formatMs(waited)]);
  if (store.backoff[row] > 0) lines.push(["back-off", formatMs(store.backoff[row])]);
  if (store.done && store.critical.includes(node)) lines.push(["critical", "on the path that kept the run from being shorter"]);
  const name = nameOf(store, node);
  const failure = store.failures.find((f) => f[1] === name && f[3] === attempt && f[0] <= t);
  if (failure) lines.push(["error", `${failure[4]}: ${failure[5]}`]);
  for (const d of store.decisions) {
    if (d[2] === name && d[4] === attempt && d[0] <= t) lines.push([d[1], [d[6], d[7]].filter(Boolean).join(": ")]);
  }
  return lines.slice(0, 12);
}

function workerLine(store, row, t) {
  const lost = store.lost.get(store.worker[row]);
  return `${workerOf(store, row)}${lost <= t ? `, lost at ${formatMs(lost)}` : ""}`;
}

export function decisionLines([at, signal, node, wave, attempt, kind, by, reason, shadow]) {
  const lines = [["signal", shadow ? `${signal} (shadow)` : signal], ["at", formatMs(at)]];
  if (kind === undefined) return ["An earlier decision", [...lines, ["more", "in frames.decisions"]]];
  lines.push(["on", kind]);
  if (node) lines.push(["node", `${node}, wave ${wave}, attempt ${attempt}`]);
  if (reason) lines.push(["reason", reason]);
  return [by || "nobody objected", lines];
}

export function showTip(view, x, y) {
  const { tip } = view.parts;
  const { store, hover, hoverDecision } = view;
  tip.hidden = hover < 0 && !hoverDecision;
  if (tip.hidden) return;
  const [title, lines] = hoverDecision ? decisionLines(hoverDecision) : [nameOf(store, store.node[hover]), tipLines(store, hover, view.shownTo)];
  tip.replaceChildren(make("b", "", title), ...lines.map(([key, value]) => {
    const line = make("div");
    line.append(make("span", "hx-key", key), make("span", "", value));
    return line;
  }));
  const [w, h] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${Math.max(0, x + 14 + w > view.width ? x - w - 10 : x + 14)}px`;
  tip.style.top = `${Math.max(0, Math.min(y + 12, view.height - h))}px`;
}

/** The attempt under the keyboard's cursor, in words, for those who do not see it: the value of the timeline. */
export function sayAttempt({ store, hover, shownTo, canvas }) {
  const words = hover < 0 ? [] : tipLines(store, hover, shownTo).map(([key, value]) => `${key} ${value}`);
  const text = hover < 0 ? "arrow keys go from attempt to attempt" : `${nameOf(store, store.node[hover])}: ${words.join(", ")}`;
  const facts = { valuemin: 0, valuemax: store.rows, valuenow: hover + 1, valuetext: text };
  for (const [name, value] of Object.entries(facts)) canvas.setAttribute(`aria-${name}`, String(value));
}
