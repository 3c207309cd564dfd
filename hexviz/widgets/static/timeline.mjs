// The browser's half of hexviz: the widget under the cell, the recorded run with its slider, the report of one file.

import { write } from "./dom.mjs";
import { showButtons } from "./head.mjs";
import { connect, showLink } from "./link.mjs";
import { mount } from "./view.mjs";

/** After so long without a message there is no kernel, or no run. */
const SILENT_MS = 4000;

function render({ model, el }) {
  const root = document.createElement("div");
  el.append(root);
  let back = null;
  let acked = -1;
  const onDrawn = (seq) => { if (back && seq > acked) back.ack((acked = seq)); };
  const options = Object.fromEntries(["title", "controllable", "player", "live", "panels", "group"].map((name) => [name, model.get(name)]));
  const handle = mount(root, { ...options, axisMs: model.get("axis_ms"), onDrawn });
  const heard = (message, buffers) => {
    if (message.k !== "d") return;
    if (!handle.apply(message, buffers)) return void back?.lost();
    showButtons(handle.view, message.cancelling);
    if (message.done) write(handle.view.parts.head.link, "");
  };
  model.on("msg:custom", heard);
  const noted = setTimeout(() => handle.note(model.get("note") ?? ""), SILENT_MS);
  connect(model, handle).then((link) => { back = link; }, () => showLink(handle.view, false, "none"));
  return () => { clearTimeout(noted); model.off("msg:custom", heard); back?.stop(); handle.destroy(); };
}

function bytesOf(base64) {
  const raw = atob(base64);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

export function mountReport(page) {
  const data = JSON.parse(page.getElementById("hexviz-data").textContent);
  const handle = mount(page.getElementById("hexviz-view"), { title: data.title, player: true });
  handle.apply(data.message, data.buffers.map(bytesOf));
  return handle;
}

export default { render };
