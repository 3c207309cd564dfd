// The columns of a message: what hexviz/widgets/wire.py packs. A column of one value for all rows travels as that value.

const u4 = Uint32Array, u2 = Uint16Array, u1 = Uint8Array, f4 = Float32Array;
const SECTIONS = [
  ["fresh", [["row", u4], ["node", u4], ["attempt", u2], ["lane", u2], ["status", u1], ["wait", f4], ["start", f4], ["end", f4]]],
  ["changed", [["row", u4], ["status", u1], ["end", f4]]],
  ["backoffs", [["row", u4], ["ms", f4]]],
  ["placed", [["row", u4], ["worker", u2], ["start", f4]]],
  ["nodes", [["node", u4], ["status", u1], ["settled", f4]]],
  ["waves", [["index", u4], ["nodes", u4], ["lanes", u4], ["start", f4], ["end", f4]]],
  ["spans", [["first", u4], ["count", u4], ["wave", u4]]],
  ["names", []],
  ["edges", [["parent", u4], ["child", u4]]],
  ["marks", [["at", f4], ["signal", u1]]],
];

/** A typed array of `length` over a copy of `view` (its bytes may lie at any offset); one value stands for all. */
export function column(view, Type, length) {
  const bytes = Math.min(length, Math.floor(view.byteLength / Type.BYTES_PER_ELEMENT)) * Type.BYTES_PER_ELEMENT;
  const values = new Type(view.buffer.slice(view.byteOffset, view.byteOffset + bytes));
  return values.length === 1 && length > 1 ? new Type(length).fill(values[0]) : values;
}

/** `{fresh: {length, row, node, ...}, changed: {...}, ...}` and the bytes of the names. */
export function unpack(sizes, buffers) {
  const tables = {};
  let at = 0;
  SECTIONS.forEach(([name, columns], k) => {
    const table = (tables[name] = { length: sizes[k] });
    for (const [word, Type] of columns) table[word] = column(buffers[at++], Type, sizes[k]);
  });
  tables.text = column(buffers[at], u1, buffers[at].byteLength);
  return tables;
}

/** The names in `bytes`: of each how many bytes it shares with the one before, how many follow, and those. */
export function readNames(bytes, count, before = new u1(0)) {
  const decoder = new TextDecoder();
  const names = [];
  let [at, last] = [0, before];
  for (let k = 0; k < count; k++) {
    const [shared, length] = [bytes[at], bytes[at + 1] | (bytes[at + 2] << 8)];
    const whole = new u1(shared + length);
    whole.set(last.subarray(0, shared));
    whole.set(bytes.subarray(at + 3, at + 3 + length), shared);
    names.push(decoder.decode(whole));
    at += 3 + length;
    last = whole;
  }
  return names;
}

export function grown(old, Type, length, fill = 0) {
  const wider = new Type(length);
  wider.set(old);
  if (fill) wider.fill(fill, old.length);
  return wider;
}
