// The JavaScript in README.md works as it stands.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT, Server, TEXT } from "./server.js";

const README = fs.readFileSync(path.join(ROOT, "README.md"), "utf8");
const EXAMPLES = [...README.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);

describe("README.md", () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.stop());

  test("there is an example", () => assert.ok(EXAMPLES.length > 0));

  for (const [n, example] of EXAMPLES.entries()) {
    test(`example ${n + 1} prints the text`, async () => {
      const code = example.replaceAll("http://127.0.0.1:8000", server.url);
      // In this folder, where the client is installed; files are named from the repository's root.
      const file = path.join(import.meta.dirname, `.readme-${process.pid}-${n}.mjs`);
      fs.writeFileSync(file, code);
      try {
        const child = spawn(process.execPath, [file], {
          cwd: ROOT,
          stdio: ["ignore", "pipe", "inherit"],
        });
        const ended = once(child, "close");
        const printed = (await child.stdout.setEncoding("utf8").toArray()).join("");
        assert.deepEqual((await ended)[0], 0);
        assert.ok(printed.includes(TEXT), printed);
      } finally {
        fs.rmSync(file);
      }
    });
  }
});
