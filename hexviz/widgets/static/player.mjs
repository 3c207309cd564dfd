// A recorded run as a film: slider, play, speed, steps. All of it happens in the page, without the kernel.

import { button, put, select, write } from "./dom.mjs";
import { formatMs } from "./format.mjs";
import { momentsOf, neighbour } from "./store.mjs";

const FILM_MS = 8000;
const SPEEDS = [["0", "in 8 s"], ["0.1", "0.1 x"], ["0.5", "0.5 x"], ["1", "1 x"], ["2", "2 x"], ["10", "10 x"], ["100", "100 x"], ["1000", "1000 x"]];

export function buildPlayer(view, root) {
  const bar = put(root, "div", "hx-player");
  const parts = { bar, playing: false };
  parts.back = button(bar, "back", "‹", "To the event before (comma)");
  parts.back.setAttribute("aria-label", "Event before");
  parts.play = button(bar, "play", "Play", "Play the run (space)");
  parts.next = button(bar, "next", "›", "To the next event (full stop)");
  parts.next.setAttribute("aria-label", "Next event");
  parts.decide = button(bar, "decide", "Next decision", "To the next decision (d)");
  parts.slider = put(bar, "input", "hx-slider");
  Object.assign(parts.slider, { type: "range", min: 0, max: 1000, value: 1000, step: "any" });
  parts.slider.setAttribute("aria-label", "Time shown");
  parts.speed = select(bar, "speed", "Speed", SPEEDS, () => {});
  parts.at = put(bar, "span", "hx-at");
  parts.slider.addEventListener("input", () => { stop(view); seek(view, (Number(parts.slider.value) / 1000) * view.store.endMs); });
  parts.play.addEventListener("click", () => playOrPause(view));
  parts.back.addEventListener("click", () => step(view, true));
  parts.next.addEventListener("click", () => step(view, false));
  parts.decide.addEventListener("click", () => stepDecision(view));
  return parts;
}

/** Show the run as it stood at `ms`; from its end on, all of it. */
export function seek(view, ms) {
  const end = view.store.endMs;
  view.cut = ms >= end ? null : Math.max(0, ms);
  const { player } = view.parts;
  if (player) {
    player.slider.value = String(end ? (1000 * Math.min(ms, end)) / end : 1000);
    tellTime(player, Math.min(Math.max(ms, 0), end), end);
  }
  view.kick();
  if (!view.echo) view.share({ cut: view.cut });
}

export function showPlayer(view) {
  if (!view.parts.player) return;
  const end = view.store.endMs;
  tellTime(view.parts.player, view.cut ?? end, end);
}

/** For eyes and for ears: the slider's own number means nothing to either. */
function tellTime({ at, slider }, ms, end) {
  const words = `${formatMs(ms)} of ${formatMs(end)}`;
  write(at, words);
  slider.setAttribute("aria-valuetext", words);
}

function shownAt(view) {
  return view.cut ?? view.store.endMs;
}

export function step(view, back) {
  stop(view);
  seek(view, neighbour(momentsOf(view.store), shownAt(view), back));
}

export function stepDecision(view) {
  stop(view);
  const times = view.store.marks.map(([at]) => at).sort((a, b) => a - b);
  const from = view.cut ?? -1;
  const at = neighbour(times, from);
  if (at > from) seek(view, at);
}

function stop(view) {
  const { player } = view.parts;
  if (!player) return;
  player.playing = false;
  write(player.play, "Play");
}

export function playOrPause(view) {
  const { player } = view.parts;
  if (!player) return;
  if (player.playing) return void stop(view);
  if (view.cut === null) seek(view, 0);
  player.playing = true;
  write(player.play, "Pause");
  let then = performance.now();
  const advance = () => {
    if (!player.playing || !view.alive) return;
    const now = performance.now();
    const speed = Number(player.speed.value) || view.store.endMs / FILM_MS;
    const ms = shownAt(view) + (now - then) * speed;
    then = now;
    seek(view, ms);
    if (ms >= view.store.endMs) return void stop(view);
    setTimeout(() => requestAnimationFrame(advance), 40);
  };
  requestAnimationFrame(advance);
}
