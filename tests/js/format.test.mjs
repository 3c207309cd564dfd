// Unit tests of static/format.mjs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import * as js from "../../hexviz/widgets/static/format.mjs";

test("durations are written for people", () => {
  const cases = JSON.parse(readFileSync(new URL("durations.json", import.meta.url))); // the kernel's half is held to the same
  for (const [ms, text] of cases) assert.equal(js.formatMs(Math.round(ms * 1000) / 1000), text); // as it is sent
});

test("a moment in a list is short", () => {
  assert.deepEqual([412, 59999, 187200, 7511000].map(js.formatAt), ["412 ms", "60.0 s", "3:07.2", "2:05:11"]);
});

test("thousands are set apart", () => {
  assert.deepEqual([7, 1234, 100000, 1234567].map(js.formatCount), ["7", "1,234", "100,000", "1,234,567"]);
});

test("ticks are round, in order, in one unit and not too close", () => {
  for (const to of [0.02, 1, 17, 905, 4380, 61000, 3600000, 1e9]) {
    const found = js.ticks(0, to, 800);
    assert.ok(found.length >= 1 && found.length <= 12, `${found.length} ticks up to ${to}`);
    assert.equal(new Set(found.map((t) => t.label)).size, found.length);
    assert.equal(new Set(found.map((t) => t.label.split(" ")[1])).size, 1);
  }
});

test("the axis ends beyond now and stands still between its steps", () => {
  for (let now = 0; now < 100000; now += 37) assert.ok(js.axisEnd(now) >= now);
  assert.equal(js.axisEnd(2100), js.axisEnd(2900));
});

test("an estimate of the rest is given when there is something to go by, and roughly", () => {
  assert.equal(js.restMs(50, 100, 10000), 10000);
  assert.deepEqual([js.restMs(1, 100, 10000), js.restMs(50, 100, 500), js.restMs(100, 100, 9999)], [-1, -1, -1]);
  assert.deepEqual([400, 7300, 43000, 247000].map(js.roughly), ["less than 1 s", "about 7 s", "about 45 s", "about 4 min 10 s"]);
});

test("a long name keeps both ends", () => {
  assert.equal(js.shortened("a".repeat(30) + "z".repeat(30), 10), "aaaaa…zzzz");
});
