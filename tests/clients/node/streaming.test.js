// Answers as server-sent events.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI, { toFile } from "openai";
import { Server, TEXT, clip, tone } from "./server.js";

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

/** Deltas, then one `done` that says the same. */
function checkEvents(events, text) {
  const deltas = events.slice(0, -1);
  const done = events.at(-1);
  assert.ok(
    deltas.length > 0 && deltas.every(({ type }) => type === "transcript.text.delta"),
    events,
  );
  assert.equal(done.type, "transcript.text.done");
  assert.equal(deltas.map(({ delta }) => delta).join(""), done.text);
  assert.equal(done.text, text);
  return { deltas, done };
}

describe("streaming", () => {
  let server, client;
  before(async () => {
    server = await Server.start();
    client = server.client();
  });
  after(() => server.stop());

  const stream = (fields = {}, file = clip()) =>
    client.audio.transcriptions.create({ model: "demo", file, stream: true, ...fields });

  test("deltas make up the text", async () => {
    const { done } = checkEvents(await collect(await stream()), TEXT);
    assert.deepEqual(done.usage, { type: "duration", seconds: 4 });
  });

  test("a stream says what a plain answer says", async () => {
    const file = () => clip("29.flac");
    const { text } = await client.audio.transcriptions.create({ model: "demo", file: file() });
    const { deltas } = checkEvents(await collect(await stream({}, file())), text);
    assert.ok(deltas.length > 3);
  });

  test("log probabilities", async () => {
    const { deltas } = checkEvents(await collect(await stream({ include: ["logprobs"] })), TEXT);
    for (const { delta, logprobs } of deltas) {
      // Tokens keep the spaces that the text is trimmed of.
      assert.equal(logprobs.map(({ token }) => token).join("").trim(), delta.trim());
    }
  });

  test("the raw stream ends in [DONE]", async () => {
    const response = await stream().asResponse();
    assert.match(response.headers.get("content-type"), /^text\/event-stream/);
    const lines = (await response.text())
      .split("\n")
      .filter((line) => line && !line.startsWith(":"));
    assert.ok(
      lines.every((line) => line.startsWith("data: ")),
      lines.join("\n"),
    );
    assert.equal(lines.at(-1), "data: [DONE]");
  });

  test("a stream can be shared between two readers", async () => {
    const [left, right] = (await stream()).tee();
    const [first, second] = await Promise.all([collect(left), collect(right)]);
    checkEvents(first, TEXT);
    assert.deepEqual(first, second);
  });

  test("what is wrong from the start is no stream", async () => {
    const error = await stream({ language: "klingon" }).catch((error) => error);
    assert.ok(error instanceof OpenAI.BadRequestError, error);
    assert.equal(error.param, "language");
  });

  test("a file that is no audio is no stream", async () => {
    const error = await stream(
      {},
      await toFile(Buffer.from("%PDF-1.7 ".repeat(100)), "a.pdf"),
    ).catch((e) => e);
    assert.equal(error.status, 415);
  });
});

test("a failure in the middle is an error of the stream", async () => {
  const server = await Server.start({ engine: "fake:error,chunk=0,prompt=doom" });
  try {
    const file = await toFile(tone(90), "tone.wav");
    const fields = { model: "demo", file, stream: true, prompt: "doom" };
    const error = await server
      .client()
      .audio.transcriptions.create(fields)
      .then(collect)
      .catch((e) => e);
    assert.ok(error instanceof OpenAI.APIError, error);
    assert.equal(error.code, "engine_failed");
  } finally {
    await server.stop();
  }
});

test("deltas come while the rest is heard, and who leaves frees the slot", async () => {
  const server = await Server.start({ engine: "fake:none,speed=20", slots: 1 });
  try {
    const client = server.client();
    const file = await toFile(tone(120), "tone.wav");
    const started = performance.now();
    for await (const event of await client.audio.transcriptions.create({
      model: "demo",
      file,
      stream: true,
    })) {
      assert.equal(event.type, "transcript.text.delta");
      break;
    }
    const short = await toFile(tone(5), "tone.wav");
    assert.ok((await client.audio.transcriptions.create({ model: "demo", file: short })).text);
    assert.ok(performance.now() - started < 5000, "the whole file was waited for");
  } finally {
    await server.stop();
  }
});
