// The graph of the run: waves are the layers, ordered so that few edges cross; each node in the colour of its status.

import { heading, put, scroller, write } from "./dom.mjs";
import { formatCount, shortened } from "./format.mjs";
import { DARK_INK, PENDING, PROGRESS_ORDER, RUNNING, statusWord } from "./palette.mjs";
import { nameOf, nodesAt } from "./store.mjs";
import { colorsOf } from "./draw.mjs";

const SVG = "http://www.w3.org/2000/svg";
export const MOST_NODES = 200;
const BOXED = 60;
const MOST_WAVES = 300;
const SHARES = [...PROGRESS_ORDER, PENDING];

/** The nodes of each layer from top to bottom, by the mean place of their neighbours (barycentre, four sweeps). */
export function layered(layerOf, edges) {
  const layers = new Map();
  layerOf.forEach((layer, node) => { layers.set(layer, [...(layers.get(layer) ?? []), node]); });
  const [above, below] = [layerOf.map(() => []), layerOf.map(() => [])];
  for (const [parent, child] of edges) {
    above[child].push(parent);
    below[parent].push(child);
  }
  const place = new Array(layerOf.length).fill(0);
  const number = (nodes) => nodes.forEach((node, i) => { place[node] = (i + 0.5) / nodes.length; });
  layers.forEach(number);
  const order = [...layers.keys()].sort((a, b) => a - b);
  for (let sweep = 0; sweep < 4; sweep++) {
    const near = sweep % 2 ? below : above;
    for (const layer of sweep % 2 ? [...order].reverse() : order) {
      const mean = (n) => (near[n].length ? near[n].reduce((sum, m) => sum + place[m], 0) / near[n].length : place[n]);
      const means = new Map(layers.get(layer).map((n) => [n, mean(n)]));
      layers.get(layer).sort((a, b) => means.get(a) - means.get(b) || a - b);
      number(layers.get(layer));
    }
  }
  return new Map(order.map((layer) => [layer, layers.get(layer)]));
}

/** For each wave how many of its nodes have which status. */
export function waveCounts(store, statuses) {
  const counts = new Map();
  for (let node = 0; node < store.nodes; node++) {
    const wave = store.nodeWave[node];
    if (!counts.has(wave)) counts.set(wave, new Array(8).fill(0));
    counts.get(wave)[statuses[node]] += 1;
  }
  return new Map([...counts].sort(([a], [b]) => a - b));
}

function draw(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

export function buildGraph(parent) {
  const section = put(parent, "section", "hx-list hx-graph");
  const head = heading(section, "Graph");
  return { note: put(head, "span", "hx-note"), scroll: scroller(section, "Graph"), nodes: [], made: "", seen: "" };
}

export function showGraph(view, graph) {
  const { store } = view;
  const seen = `${store.seq}/${view.cut}/${view.contrast}/${[...view.selected].join()}`;
  if (seen === graph.seen) return;
  graph.seen = seen;
  const statuses = view.cut === null ? store.nodeStatus : nodesAt(store, view.cut);
  const folded = store.nodes > MOST_NODES;
  const made = `${store.nodes}/${store.edges.length}/${folded ? store.waves.size : store.names.length}/${Math.round(view.width / 100)}`;
  if (made !== graph.made) {
    graph.made = made;
    if (folded) buildWaves(view, graph, waveCounts(store, statuses));
    else buildNodes(view, graph);
  }
  write(graph.note, folded ? `each wave is one box, because there are ${formatCount(store.nodes)} nodes` : `${store.nodes} nodes, ${store.edges.length} edges`);
  if (folded) colorWaves(view, graph, waveCounts(store, statuses));
  else colorNodes(view, graph, statuses);
}

function svgOf(graph, width, height, label) {
  graph.scroll.replaceChildren();
  return draw(graph.scroll, "svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "hx-svg" });
}

function buildNodes(view, graph) {
  const { store } = view;
  const boxed = store.nodes <= BOXED;
  const layers = layered(Array.from(store.nodeWave.subarray(0, store.nodes)), store.edges);
  const fitting = Math.floor(((view.width || 1000) - 16) / layers.size);
  const stepX = boxed ? Math.min(176, Math.max(136, fitting)) : Math.min(150, Math.max(112, fitting));
  const [stepY, wide] = boxed ? [34, Math.min(132, stepX - 30)] : [15, 10];
  const tallest = Math.max(1, ...[...layers.values()].map((nodes) => nodes.length));
  const height = tallest * stepY + 34;
  const svg = svgOf(graph, layers.size * stepX + 16, height, `Graph of ${store.nodes} nodes in ${layers.size} waves`);
  const at = new Map();
  [...layers].forEach(([wave, nodes], k) => {
    if (k % 2 === 0) draw(svg, "rect", { x: k * stepX, y: 0, width: stepX, height, class: "hx-layer" });
    draw(svg, "text", { x: 12 + k * stepX, y: 15, class: "hx-faint" }, `wave ${wave}`);
    const first = 26 + ((tallest - nodes.length) * stepY) / 2 + stepY / 2;
    nodes.forEach((node, i) => at.set(node, [12 + k * stepX, first + i * stepY]));
  });
  for (const [parent, child] of store.edges) edge(svg, at.get(parent), at.get(child), wide);
  graph.nodes = [];
  for (const [node, [x, y]] of at) graph.nodes[node] = nodeOf(view, svg, node, x, y, boxed ? wide : 0);
}

function edge(svg, from, to, wide) {
  if (!from || !to) return;
  const [x, bend] = [from[0] + wide, Math.max((to[0] - from[0] - wide) / 2, 10)];
  draw(svg, "path", { d: `M${x} ${from[1]}C${x + bend} ${from[1]} ${to[0] - bend} ${to[1]} ${to[0]} ${to[1]}`, class: "hx-edge" });
}

/** `wide` is the width of its box; a dot where there is none. */
function nodeOf(view, svg, node, x, y, wide) {
  const boxed = wide > 0;
  const group = draw(svg, "g", { class: "hx-pick" });
  const title = draw(group, "title", {});
  const shape = boxed
    ? draw(group, "rect", { x, y: y - 12, width: wide, height: 24, rx: 5 })
    : draw(group, "circle", { cx: x + 5, cy: y, r: 5 });
  const name = shortened(nameOf(view.store, node), boxed ? Math.floor((wide - 12) / 6.6) : 16);
  const text = draw(group, "text", { x: boxed ? x + 7 : x + 14, y: y + 4, class: boxed ? "" : "hx-tiny" }, name);
  group.addEventListener("click", (event) => view.pick(node, event.shiftKey));
  return { group, shape, text, title, boxed };
}

function colorNodes(view, graph, statuses) {
  const colors = colorsOf(view);
  const { store } = view;
  const lit = new Set([...view.selected].map((row) => store.node[row]));
  graph.nodes.forEach(({ group, shape, text, title, boxed }, node) => {
    shape.setAttribute("fill", colors[statuses[node]]);
    if (boxed) text.style.fill = statuses[node] === RUNNING ? "#ffffff" : DARK_INK;
    write(title, `${nameOf(store, node)}: ${statusWord(statuses[node])}, wave ${store.nodeWave[node]}`);
    group.classList.toggle("hx-lit", lit.has(node));
    group.classList.toggle("hx-critical", store.done && store.critical.includes(node));
  });
}

function buildWaves(view, graph, counts) {
  const [stepX, stepY, wide] = [116, 62, 98];
  const columns = Math.max(3, Math.min(10, Math.floor((view.width || 1000) / stepX)));
  const shown = [...counts.keys()].slice(0, MOST_WAVES);
  const rows = Math.ceil(shown.length / columns);
  const svg = svgOf(graph, columns * stepX + 8, rows * stepY + 6, `Graph folded to ${counts.size} waves`);
  graph.nodes = shown.map((wave, k) => {
    const [x, y] = [6 + (k % columns) * stepX, 18 + Math.floor(k / columns) * stepY];
    draw(svg, "text", { x, y: y - 5, class: "hx-faint" }, `wave ${wave}`);
    const total = draw(svg, "text", { x: x + wide, y: y - 5, class: "hx-faint", "text-anchor": "end" });
    if (k % columns < columns - 1 && k < shown.length - 1) draw(svg, "path", { d: `M${x + wide + 3} ${y + 16}h10m-4 -4l4 4l-4 4`, class: "hx-edge" });
    const group = draw(svg, "g", {});
    const bars = SHARES.map(() => draw(group, "rect", { y, height: 32 }));
    return { wave, x, total, bars, title: draw(group, "title", {}) };
  });
  graph.wide = wide;
}

function colorWaves(view, graph, counts) {
  const colors = colorsOf(view);
  for (const { wave, x, total, bars, title } of graph.nodes) {
    const byStatus = counts.get(wave) ?? [];
    const sum = byStatus.reduce((a, b) => a + b, 0);
    let left = x;
    bars.forEach((bar, place) => {
      const status = SHARES[place];
      const width = sum ? (graph.wide * byStatus[status]) / sum : 0;
      for (const [name, value] of [["x", left], ["width", width], ["fill", colors[status]]]) bar.setAttribute(name, String(value));
      left += width;
    });
    write(total, formatCount(sum));
    write(title, byStatus.map((n, status) => (n ? `${n} ${statusWord(status)}` : "")).filter(Boolean).join(", "));
  }
}
