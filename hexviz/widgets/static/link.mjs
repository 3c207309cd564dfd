// The way back to Python: hello, acknowledgements and operations, on a comm apart from the data.

import { write } from "./dom.mjs";
import { showButtons } from "./head.mjs";

/** Say hello until answered, and again every two seconds: a late answer means that the kernel is busy. */
export function createLink(send, changed, { every = 250, late = 1500, clock = () => performance.now() } = {}) {
  const link = { state: "queued", view: newId(), asked: 0, answered: 0 };
  let [first, last] = [0, -Infinity];
  const set = (state) => {
    if (state === link.state) return;
    link.state = state;
    changed(state);
  };
  link.tick = () => {
    const [now, waiting] = [clock(), link.asked > link.answered];
    if (waiting && now - first > late) set("queued");
    const eager = !link.answered && link.asked < 20;
    if (now - last < (eager ? every : waiting ? 5000 : 2000)) return;
    if (!waiting) first = now;
    last = now;
    link.asked += 1;
    send({ k: "hello", view: link.view, n: link.asked });
  };
  link.answer = (message) => {
    if (message.view !== link.view) return;
    link.answered = Math.max(link.answered, message.n);
    if (link.answered === link.asked) set("live");
  };
  link.lost = () => {
    Object.assign(link, { view: newId(), asked: 0, answered: 0 });
    last = -Infinity;
    link.tick();
  };
  return link;
}

function newId() {
  return Math.random().toString(36).slice(2);
}

export async function connect(model, handle) {
  const { view } = handle;
  const reference = model.get("channel");
  const channel = await model.widget_manager.get_model(String(reference).replace("IPY_MODEL_", ""));
  const controllable = model.get("controllable");
  const post = (content) => channel.send(content, () => {}); // ipywidgets takes an object of callbacks there, marimo calls it
  view.send = post;
  const link = createLink(post, (state) => showLink(view, controllable, state));
  const heard = (message) => {
    if (message.k === "hello") link.answer(message);
    else if (message.k === "op") showOperation(view, message);
    else if (message.k === "light") view.light(message.rows);
  };
  channel.on("msg:custom", heard);
  const timer = setInterval(() => { if (!view.store.done || !link.answered) link.tick(); }, 250);
  link.tick();
  if (controllable) wireButtons(view, post);
  showLink(view, controllable, link.state);
  const ack = (seq) => { if (link.state === "live") post({ k: "ack", seq }); };
  return { ack, lost: link.lost, stop: () => { clearInterval(timer); channel.off("msg:custom", heard); } };
}

export function showLink(view, controllable, state) {
  view.controls = controllable ? state : "none";
  const words = { live: "controls live", queued: "controls queued: the kernel is busy" };
  write(view.parts.head.link, controllable && !view.store.done ? words[state] : "");
  view.kick();
}

function wireButtons(view, post) {
  const { hold, cancel } = view.parts.head;
  hold.addEventListener("click", () => {
    post({ k: "op", op: view.paused ? "release" : "hold" });
    hold.classList.add("hx-busy");
  });
  cancel.addEventListener("click", () => {
    post({ k: "op", op: "cancel" });
    cancel.classList.add("hx-busy");
  });
}

function showOperation(view, message) {
  view.paused = message.paused;
  if (message.error) write(view.parts.head.link, message.error);
  view.kick();
  showButtons(view, message.cancelling);
}
