// What holds for every module in hexviz/widgets/static: node reads it, and nothing in it makes markup from data.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

const folder = new URL("../../hexviz/widgets/static/", import.meta.url);
const modules = readdirSync(folder).filter((name) => name.endsWith(".mjs"));

for (const name of modules) {
  const source = readFileSync(new URL(name, folder), "utf8");

  test(`${name} is read by node, strictly`, () => {
    execFileSync(process.execPath, ["--check", new URL(name, folder).pathname]);
  });

  test(`${name} writes no markup, loads nothing and keeps its imports to one line each`, () => {
    assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function/);
    assert.doesNotMatch(source.replaceAll("http://www.w3.org/2000/svg", ""), /fetch\(|XMLHttpRequest|https?:|import\(/);
    for (const line of source.split("\n").filter((text) => /^import\b/.test(text))) assert.match(line, /^import \{ [^}]+ \} from "\.\/[a-z]+\.mjs";$/);
  });

  test(`${name} uses what it imports, and defines nothing that nobody uses`, () => {
    const imported = [...source.matchAll(/^import \{ ([^}]+) \}/gm)].flatMap((match) => match[1].split(", "));
    const defined = [...source.matchAll(/^(?:async )?function (\w+)|^const (\w+)/gm)].map((match) => match[1] ?? match[2]);
    for (const word of [...imported, ...defined]) assert.ok(source.split(new RegExp(`\\b${word}\\b`)).length > 2, `${word} in ${name}`);
  });

  test(`${name} has a line that says what it is for, and stays short`, () => {
    assert.match(source, /^\/\/ /);
    assert.ok(source.split("\n").length <= 400);
  });
}
