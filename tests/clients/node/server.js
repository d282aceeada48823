// Starts the server that the clients are checked with, and makes OpenAI's own client for it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";

export const ROOT = path.resolve(import.meta.dirname, "../../..");
export const CLIPS = path.join(ROOT, "tests/fixtures/eval");

// What is said in the clip 00.flac.
export const TEXT = "How is the weather in Boston tomorrow?";

const PATIENCE_MS = 60_000;

/** Asks again and again; gives the first answer that is true. */
export async function until(condition, what) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`after ${PATIENCE_MS} ms still not so: ${what}`);
    await sleep(20);
  }
}

/** A running `auris serve` on a free port, with a home folder of its own. */
export class Server {
  static async start({
    engine = "whisper",
    slots = 2,
    variables = {},
    ready = true,
    options = [],
  } = {}) {
    const home = fs.mkdtempSync(path.join(os.tmpdir(), "auris-clients-"));
    const log = fs.openSync(path.join(home, "log"), "w");
    // What the machine's user has set or stored is not the server's.
    const ours = /^(AURIS_|HF_|CUDA_|XDG_|OPENAI_|DEVICE$|GPU_AVAILABLE$)/;
    const inherited = Object.entries(process.env).filter(([name]) => !ours.test(name));
    const program = process.env.AURIS ?? path.join(ROOT, "target/debug/auris");
    const models = ["--models", "demo", "--models-dir", path.join(ROOT, "tests/fixtures/models"), "--offline"];
    // Threads that wait for each other are many times slower where the cores are shared.
    const speed = ["--slots", String(slots), "--threads", "1"];
    const isFake = engine.startsWith("fake:");
    if (isFake) {
      const fake = path.join(path.dirname(program), "auris-fake-worker");
      speed.push("--cpu-program", `'${fake}' '${engine.slice("fake:".length)}'`);
    }
    // The tones that are sent to it are no speech.
    const vad = isFake ? { AURIS_NO_VAD: "true" } : {};
    const child = spawn(
      program,
      ["serve", "--listen", "127.0.0.1:0", ...models, ...speed, ...options],
      {
        cwd: ROOT,
        env: { ...Object.fromEntries(inherited), HOME: home, TMPDIR: home, ...vad, ...variables },
        stdio: ["ignore", "pipe", log],
      },
    );
    fs.closeSync(log);
    const server = new Server();
    Object.assign(server, { child, home, ended: once(child, "exit") });
    const lines = createInterface({ input: child.stdout });
    const line = once(lines, "line").then(([text]) => text);
    const first = await Promise.race([
      line,
      server.ended.then(([status]) => `ended with ${status}`),
    ]);
    server.url = /listening on (http:\S+)/.exec(first)?.[1];
    if (!server.url) throw new Error(`the server did not start: ${first}\n${server.log()}`);
    if (ready)
      await until(async () => (await fetch(`${server.url}/readyz`)).ok, "the server is ready");
    return server;
  }

  log() {
    return fs.readFileSync(path.join(this.home, "log"), "utf8");
  }

  /** How often the server says that it has answered `route` with `status`. */
  async requestsCounted(route, status) {
    const metrics = await (await fetch(`${this.url}/metrics`)).text();
    const labels = `path="${route}",status="${status}"`;
    const lines = metrics.split("\n").filter((line) => line.includes(labels));
    const counts = lines.map((line) => /^auris_http_requests_total.* (\d+)$/.exec(line)?.[1] ?? 0);
    return counts.reduce((sum, count) => sum + Number(count), 0);
  }

  async busySlots() {
    const { devices } = await (await fetch(`${this.url}/v1/devices`)).json();
    return devices.reduce((sum, device) => sum + device.busy_slots, 0);
  }

  /** The ids of the worker processes. */
  workers() {
    const tasks = `/proc/${this.child.pid}/task`;
    const lists = fs
      .readdirSync(tasks)
      .map((task) => fs.readFileSync(`${tasks}/${task}/children`, "utf8"));
    return lists.flatMap((list) => list.split(/\s+/).filter(Boolean).map(Number));
  }

  /** OpenAI's client. It retries nothing, so that a check sees the first answer. */
  client(options = {}) {
    return new OpenAI({ baseURL: `${this.url}/v1`, apiKey: "unused", maxRetries: 0, ...options });
  }

  async stop() {
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    await this.ended;
    clearTimeout(timer);
    fs.rmSync(this.home, { recursive: true, force: true });
  }
}

export function clip(name = "00.flac") {
  return fs.createReadStream(path.join(CLIPS, name));
}

export function bytes(name = "00.flac") {
  return fs.readFileSync(path.join(CLIPS, name));
}

/** A mono WAV file of 16-bit samples at 16 kHz. */
export function tone(seconds) {
  const samples = Math.round(seconds * 16_000);
  const wav = Buffer.alloc(44 + samples * 2);
  wav.write("RIFF", 0);
  wav.writeUInt32LE(36 + samples * 2, 4);
  wav.write("WAVEfmt ", 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(16_000, 24);
  wav.writeUInt32LE(32_000, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write("data", 36);
  wav.writeUInt32LE(samples * 2, 40);
  for (let n = 0; n < samples; n++) wav.writeInt16LE((n * 37) % 199, 44 + n * 2);
  return wav;
}
