// Made-up messages, as hexviz/widgets/wire.py packs them.

const COLUMNS = [
  ["fresh", [Uint32Array, Uint32Array, Uint16Array, Uint16Array, Uint8Array, Float32Array, Float32Array, Float32Array]],
  ["changed", [Uint32Array, Uint8Array, Float32Array]], ["backoffs", [Uint32Array, Float32Array]], ["placed", [Uint32Array, Uint16Array, Float32Array]], ["nodes", [Uint32Array, Uint8Array, Float32Array]],
  ["waves", [Uint32Array, Uint32Array, Uint32Array, Float32Array, Float32Array]], ["spans", [Uint32Array, Uint32Array, Uint32Array]], ["names", []], ["edges", [Uint32Array, Uint32Array]],
  ["marks", [Float32Array, Uint8Array]],
];

const view = (array) => new DataView(array.buffer, array.byteOffset, array.byteLength);

/** `fresh`: [row, node, attempt, lane, status, wait, start, end], `names`: [name, wave], the others as their columns. */
export function message(seq, { fresh = [], changed = [], backoffs = [], placed = [], nodes = [], waves = [], names = [], edges = [], marks = [], ...more } = {}) {
  const tables = { fresh, changed, backoffs, placed, nodes, waves, spans: names.map(([, wave], node) => [node, 1, wave]), names, edges, marks };
  const buffers = COLUMNS.flatMap(([table, types]) => types.map((Type, at) => {
    const values = Type.from(tables[table].map((row) => row[at]));
    return view(values.byteLength ? values : new Uint8Array(1));
  }));
  const text = names.flatMap(([name]) => {
    const bytes = [...new TextEncoder().encode(name)];
    return [0, bytes.length & 255, bytes.length >> 8, ...bytes];
  });
  buffers.push(view(Uint8Array.from(text.length ? text : [0])));
  const head = {
    k: "d", seq, base: seq - 1, full: false, now: 10, end: 10, done: false, run: { nodes: 2 }, counts: [0, 0, 0, 0, 0, 0, 0, 0], firstRow: -1, firstName: 0,
    totals: { attempts: fresh.length, decisions: 0, failures: 0, calls: 0 }, sizes: COLUMNS.map(([table]) => tables[table].length),
    decisions: [], failures: [], calls: [], paused: false, ...more,
  };
  return [head, buffers];
}

export const RUNNING_ROW = [0, 0, 1, 0, 1, 2, 2, -1];
export const TWO_NODES = { names: [["a", 1], ["b", 2]], waves: [[1, 1, 1, 0, -1], [2, 1, 0, -1, -1]] };
