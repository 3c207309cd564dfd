// node asyncapi.mjs FILE: fails where the official parser of AsyncAPI finds an error in the document.

import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const errors = diagnostics.filter((found) => found.severity === 0);
for (const { code, message, path } of errors) console.error(`${code}: ${message} at ${path.join(".")}`);
if (!document || errors.length) process.exit(1);
console.log(`${process.argv[2]}: ${document.channels().all().length} channels, ${document.messages().all().length} messages`);
