// Unit tests of static/page.mjs.
import assert from "node:assert/strict";
import test from "node:test";
import { pauseMs, unframed } from "../../hexviz/widgets/static/page.mjs";

function framed(message, buffers) {
  const head = new TextEncoder().encode(JSON.stringify({ ...message, lengths: buffers.map((buffer) => buffer.length) }));
  const bytes = new Uint8Array(4 + head.length + buffers.reduce((sum, buffer) => sum + buffer.length, 0));
  new DataView(bytes.buffer).setUint32(0, head.length, true);
  bytes.set(head, 4);
  let at = 4 + head.length;
  for (const buffer of buffers) {
    bytes.set(buffer, at);
    at += buffer.length;
  }
  return bytes.buffer;
}

test("a frame is taken apart into its message and its buffers", () => {
  const [message, buffers] = unframed(framed({ k: "d", title: "é😀" }, [Uint8Array.of(1, 2, 3), new Uint8Array(0), Uint8Array.of(9)]));
  assert.equal(message.title, "é😀");
  assert.deepEqual(buffers.map((buffer) => [...buffer]), [[1, 2, 3], [], [9]]);
});

test("tries to connect come seldomer and seldomer, and never more than five seconds apart", () => {
  assert.deepEqual([0, 1, 2, 3, 9].map(pauseMs), [500, 1000, 2000, 4000, 5000]);
});
