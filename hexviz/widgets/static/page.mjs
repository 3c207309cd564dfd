// The page that `hexviz serve` shows: the view of a run that goes on elsewhere, fed over a WebSocket, made again where it breaks.

import { put, select, write } from "./dom.mjs";
import { mount } from "./view.mjs";

const PANELS = ["progress", "timeline", "concurrency", "workers", "decisions", "calls", "failures"];
const LATEST = "the run that began last";
const MANY_TRIES = 4;

/** The message and the buffers of a frame: the length of its JSON part, that part, the buffers. */
export function unframed(data) {
  const end = 4 + new DataView(data).getUint32(0, true);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, end - 4)));
  let at = end;
  const buffers = message.lengths.map((length) => new Uint8Array(data, (at += length) - length, length));
  return [message, buffers];
}

/** How long to wait before the next try: half a second, doubled each time, five seconds at most. */
export function pauseMs(tries) {
  return Math.min(500 * 2 ** tries, 5000);
}

function addressOf(run) {
  return `${location.origin.replace(/^http/, "ws")}/view${run ? `?run=${encodeURIComponent(run)}` : ""}`;
}

export function start(page) {
  const bar = page.querySelector("header");
  const link = put(bar, "span", "hx-page-link");
  link.setAttribute("role", "status");
  const main = page.querySelector("main");
  main.replaceChildren();
  const watch = { run: new URLSearchParams(location.search).get("run") ?? "", socket: null, handle: null, tries: 0, acked: 0, link };
  watch.picker = select(bar, "run", "The run to watch", [["", LATEST]], (run) => choose(watch, main, run));
  mountView(watch, main);
  connect(watch);
}

function mountView(watch, main) {
  watch.handle?.destroy();
  main.replaceChildren();
  const onDrawn = (seq) => {
    if (seq > watch.acked && watch.socket?.readyState === WebSocket.OPEN) watch.socket.send(JSON.stringify({ k: "ack", seq: (watch.acked = seq) }));
  };
  watch.handle = mount(put(main, "div"), { panels: PANELS, onDrawn });
}

function choose(watch, main, run) {
  watch.run = run;
  history.replaceState(null, "", run ? `/?run=${encodeURIComponent(run)}` : "/");
  mountView(watch, main);
  watch.tries = 0;
  watch.socket.close();
}

function connect(watch) {
  const socket = (watch.socket = new WebSocket(addressOf(watch.run)));
  socket.binaryType = "arraybuffer";
  watch.acked = 0;
  socket.addEventListener("open", () => { watch.tries = 0; show(watch, "live"); });
  socket.addEventListener("message", ({ data }) => {
    const [message, buffers] = unframed(data);
    if (!watch.handle.apply(message, buffers)) socket.close();
    listRuns(watch, message.runs);
  });
  socket.addEventListener("close", () => {
    show(watch, "away");
    setTimeout(() => connect(watch), pauseMs(watch.tries++));
  });
}

function show(watch, state) {
  watch.link.dataset.state = state;
  const away = watch.tries < MANY_TRIES ? "not connected, trying again" : "not connected: a server that was started anew is at the address that it printed";
  write(watch.link, state === "live" ? "live" : away);
}

function listRuns(watch, runs) {
  const known = [["", LATEST], ...runs.map(([id, pipeline, status]) => [id, `${pipeline || "run"} · ${status} · ${id}`])];
  if (watch.run && !known.some(([id]) => id === watch.run)) known.push([watch.run, watch.run]);
  if (watch.picker.dataset.known === JSON.stringify(known)) return;
  fill(watch.picker, known);
  watch.picker.value = watch.run;
}

function fill(picker, known) {
  picker.dataset.known = JSON.stringify(known);
  picker.replaceChildren();
  for (const [id, text] of known) put(picker, "option", "", text).value = id;
}

if (typeof document !== "undefined") start(document);
