// The lists beside the timeline: decisions, failures, calls, the health of observers, and what watching costs.

import { heading, make, put, scroller, select, spaced, write } from "./dom.mjs";
import { formatAt, formatCount, formatMs, shortened } from "./format.mjs";
import { SIGNAL_COLORS, STATUS_COLORS } from "./palette.mjs";

const LISTED = 200;

export const LISTS = {
  decisions: { title: "Decisions", none: "No decisions so far", item: decisionItem, at: (d) => d[0] },
  failures: { title: "Failures", none: "No failures so far", item: failureItem, at: (f) => f[0] },
  calls: { title: "Calls", none: "No calls of tools or models so far", item: callItem, at: (c) => c[1] },
};

export function buildList(view, parent, name) {
  const { title, none } = LISTS[name];
  const section = put(parent, "section", `hx-list hx-${name}`);
  section.setAttribute("aria-label", title);
  const line = put(section, "div", "hx-list-head");
  const head = heading(line, title);
  const list = { name, number: make("b", "hx-number", "0"), note: make("span", "hx-note"), shown: -1, key: "", signal: "", by: "" };
  head.append(" ", list.number, list.note);
  if (name === "decisions") {
    const filter = (word) => (value) => { list[word] = value; list.key = ""; view.kick(); };
    const signals = [["", "all signals"], ...Object.keys(SIGNAL_COLORS).map((signal) => [signal, signal])];
    select(line, "signal", "Only decisions with this signal", signals, filter("signal"));
    list.handlers = select(line, "handler", "Only decisions of this handler", [["", "all handlers"]], filter("by"));
  }
  list.rows = put(section, "ol");
  list.rows.tabIndex = 0;
  list.rows.setAttribute("aria-label", title);
  list.none = put(section, "p", "hx-none", none);
  return list;
}

/** What a list shows now: the entries up to the time shown that pass its filters. */
export function listed(entries, upToMs, at, { signal = "", by = "" } = {}) {
  const past = upToMs === null ? entries : entries.filter((entry) => at(entry) <= upToMs);
  return signal || by ? past.filter((entry) => (!signal || entry[1] === signal) && (!by || entry[6] === by)) : past;
}

/** Newest first; only the last ones stand in the page. What has not changed is left alone, so that nothing flickers. */
export function showList(view, list) {
  const { store } = view;
  const { item, at } = LISTS[list.name];
  const key = [store.seq, view.cut, view.frozen, list.signal, list.by].join("/");
  if (key === list.key) return;
  list.key = key;
  if (list.handlers) offerHandlers(list, store.decisions);
  const found = listed(store[list.name], view.cut, at, list);
  const mark = `${found.length}/${found.at(-1)?.join()}/${list.signal}/${list.by}/${list.name === "calls" ? store.seq : ""}`;
  if (mark === list.shown) return;
  list.shown = mark;
  const open = new Set([...list.rows.querySelectorAll("details[open]")].map((element) => element.dataset.key));
  list.rows.replaceChildren(...found.slice(-LISTED).reverse().map((entry) => spaced(item(entry, open))));
  const whole = view.cut === null && !list.signal && !list.by ? store.totals[list.name] : found.length;
  write(list.number, formatCount(whole));
  const notes = [list.name === "calls" ? callsNote(store.totals) : "", whole > LISTED ? `the newest ${Math.min(found.length, LISTED)} are listed` : ""];
  write(list.note, notes.filter(Boolean).join(" · "));
  list.none.hidden = found.length > 0;
}

function callsNote({ tools, models, tokens, callsFailed }) {
  const some = [[tools, "of tools"], [models, "of models"], [tokens, "tokens"], [callsFailed, "failed"]].filter(([count]) => count > 0);
  return some.map(([count, word]) => `${formatCount(count)} ${word}`).join(" · ");
}

function offerHandlers(list, decisions) {
  const names = [...new Set(decisions.map((decision) => decision[6]).filter(Boolean))].sort().slice(0, 50);
  if (list.handlers.options.length === names.length + 1) return;
  const chosen = list.handlers.value;
  list.handlers.replaceChildren();
  for (const name of ["", ...names]) put(list.handlers, "option", "", name || "all handlers").value = name;
  list.handlers.value = chosen;
}

function chip(word, color) {
  const element = make("span", "hx-chip", word);
  element.style.background = color;
  if (color === SIGNAL_COLORS.error || color === STATUS_COLORS[1]) element.style.color = "#ffffff";
  return element;
}

function again(attempt) {
  return attempt > 1 ? ` · ${attempt}` : "";
}

function decisionItem([at, signal, node, , attempt, kind, by, reason, shadow]) {
  const item = make("li");
  item.append(make("time", "", formatAt(at)), chip(signal, SIGNAL_COLORS[signal] ?? "#999999"));
  item.append(make("span", "hx-node", node ? shortened(node, 16) + again(attempt) : kind));
  item.append(make("span", "hx-by", (shadow ? "shadow " : "") + by), make("span", "hx-why", reason));
  item.title = [node ? node + again(attempt) : kind, `on ${kind}`, by, reason].filter(Boolean).join("\n");
  return item;
}

function failureItem([at, node, , attempt, type, message, traceback], open) {
  const item = make("li");
  const where = node ? node + again(attempt) : "the run";
  item.append(make("time", "", formatAt(at)), make("span", "hx-node", node ? shortened(node, 16) + again(attempt) : where));
  const what = message ? `${type}: ${message}` : type;
  item.title = `${where}\n${what}`;
  if (!traceback) {
    put(item, "span", "hx-why", what);
    return item;
  }
  const details = put(item, "details", "hx-why");
  details.dataset.key = `${node}/${attempt}/${at}`;
  details.open = open.has(details.dataset.key);
  put(details, "summary", "", what);
  put(details, "pre", "", traceback);
  return item;
}

const CALL_COLORS = { running: STATUS_COLORS[1], succeeded: STATUS_COLORS[3], failed: STATUS_COLORS[4] };

function callItem([, start, end, status, kind, name, node, attempt, tokens]) {
  const item = make("li");
  item.append(make("time", "", formatAt(start)), chip(kind, CALL_COLORS[status] ?? "#999999"), make("span", "hx-node", shortened(name, 20)));
  item.append(make("span", "hx-by", shortened(node, 16) + again(attempt)));
  const took = end >= 0 ? formatMs(end - start) : "running";
  item.append(make("span", "hx-why", tokens ? `${took} · ${formatCount(tokens)} tokens` : took));
  item.title = [name, `${kind}, ${status}`, node + again(attempt), took].join("\n");
  return item;
}

export function buildTable(parent, name, title, heads) {
  const section = put(parent, "section", `hx-list hx-${name}`);
  heading(section, title);
  const scroll = scroller(section, title);
  const table = put(scroll, "table", "hx-table");
  table.setAttribute("aria-label", title);
  const row = put(put(table, "thead"), "tr");
  for (const head of heads) put(row, "th", "", head).scope = "col";
  return { section, body: put(table, "tbody"), shown: "", none: put(section, "p", "hx-none") };
}

export function fillTable(table, rows) {
  const key = JSON.stringify(rows);
  if (key === table.shown) return;
  table.shown = key;
  table.body.replaceChildren(...rows.map((cells) => {
    const row = make("tr");
    for (const cell of cells) put(row, "td", "", String(cell));
    return row;
  }));
}

export const HEALTH_HEADS = ["observer", "delivered", "queued", "dropped", "failed", "timed out", "longest lag"];

export function showHealth(view, table) {
  fillTable(table, view.store.health.map(([name, delivered, queued, dropped, failed, late, lag]) => [
    shortened(name, 32), formatCount(delivered), formatCount(queued), formatCount(dropped), formatCount(failed), formatCount(late), lag > 0 ? formatMs(lag) : "-",
  ]));
  write(table.none, view.store.health.length ? "" : "No observers beside this view");
}

export function showOverhead(view, table) {
  const { overhead: o, seq } = view.store;
  if (o.cpuMs === undefined) return write(table.none, "Nothing was measured: this run is not live");
  write(table.none, "");
  const draw = view.drawMs ? `${view.drawMs.toFixed(1)} ms a frame` : "-";
  fillTable(table, [
    ["taking in events", `${formatCount(o.events)} events, ${formatMs(o.cpuMs)} of kernel time`],
    ["per event", o.events ? `${((1000 * o.cpuMs) / o.events).toFixed(1)} µs` : "-"],
    ["sent", `${formatCount(seq)} messages, ${formatCount(Math.round(o.bytes / 1000))} kB`],
    ["waiting to be shown", `${formatCount(o.behind)} events, ${formatCount(o.unsent)} attempts`],
    ["skipped refreshes", formatCount(o.skipped)],
    ["drawing", draw],
  ]);
}
