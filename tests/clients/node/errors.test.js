// Each way to fail, as the client's own class, and how often the client tries.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI, { toFile } from "openai";
import { Server, tone, until } from "./server.js";

const ROUTE = "/v1/audio/transcriptions";

/** Runs `body` with a server that is stopped afterwards. */
async function serving(options, body) {
  const server = await Server.start(options);
  try {
    return await body(server);
  } finally {
    await server.stop();
  }
}

/** A client that writes down when it sent what, and the statuses of the answers. */
function counting(server, options = {}) {
  const attempts = { sent: [], statuses: [] };
  const counted = async (...request) => {
    // The client asks once what `fetch` can do, with an address that is no server's.
    if (String(request[0]).startsWith("data:")) return fetch(...request);
    attempts.sent.push(performance.now());
    const answer = await fetch(...request);
    attempts.statuses.push(answer.status);
    return answer;
  };
  return [server.client({ maxRetries: 2, fetch: counted, ...options }), attempts];
}

const wav = async (seconds) => toFile(tone(seconds), "tone.wav");
const create = (client, file, fields) =>
  client.audio.transcriptions.create({ model: "demo", file, ...fields });

/** Sends what fails in the same way each time; it must be sent once only. */
async function checkFailure(server, status, kind, file, fields = {}) {
  const [client, attempts] = counting(server);
  const counted = await server.requestsCounted(ROUTE, status);
  const error = await create(client, await file, fields).catch((error) => error);
  assert.ok(error instanceof kind, error);
  assert.equal(error.status, status);
  assert.deepEqual(attempts.statuses, [status], "sent more than once");
  assert.equal(error.headers.get("x-should-retry"), "false");
  assert.deepEqual(Object.keys(error.error).sort(), ["code", "message", "param", "type"]);
  assert.ok(error.requestID);
  assert.equal(await server.requestsCounted(ROUTE, status), counted + 1);
  return error;
}

describe("errors that would repeat are sent once", () => {
  let server;
  before(async () => {
    server = await Server.start({ engine: "fake:none" });
  });
  after(() => server.stop());

  test("400 for an empty file", async () => {
    const error = await checkFailure(
      server,
      400,
      OpenAI.BadRequestError,
      toFile(Buffer.of(), "a.wav"),
    );
    assert.equal(error.code, "empty_file");
  });

  test("400 for an unknown model", async () => {
    const error = await checkFailure(server, 400, OpenAI.BadRequestError, wav(1), {
      model: "gpt-9",
    });
    assert.deepEqual([error.param, error.code], ["model", "model_not_found"]);
  });

  test("404 for an unknown model", async () => {
    await assert.rejects(server.client().models.retrieve("gpt-9"), OpenAI.NotFoundError);
  });

  test("404 for an unknown address", async () => {
    const error = await server
      .client()
      .embeddings.create({ model: "demo", input: "x" })
      .catch((e) => e);
    assert.ok(error instanceof OpenAI.NotFoundError, error);
    assert.equal(error.code, "not_found");
  });

  test("415 for no audio format", async () => {
    const file = toFile(Buffer.from("%PDF-1.7 ".repeat(100)), "a.wav");
    const error = await checkFailure(server, 415, OpenAI.APIError, file);
    assert.equal(error.code, "unsupported_audio");
  });

  test("422 for a file without samples", async () => {
    const error = await checkFailure(server, 422, OpenAI.UnprocessableEntityError, wav(0));
    assert.equal(error.code, "no_audio");
  });
});

test("413 for an upload that is too large", () =>
  serving({ engine: "fake:none", options: ["--max-upload-bytes", "100000"] }, async (server) => {
    const error = await checkFailure(server, 413, OpenAI.APIError, wav(10));
    assert.match(error.message, /--max-upload-bytes/);
  }));

test("422 for audio that crashes the engine", () =>
  serving({ engine: "fake:abort,chunk=0" }, async (server) => {
    const error = await checkFailure(server, 422, OpenAI.UnprocessableEntityError, wav(1));
    assert.equal(error.code, "audio_quarantined");
  }));

test("500 is not sent again", () =>
  serving({ engine: "fake:error,chunk=0" }, async (server) => {
    const error = await checkFailure(server, 500, OpenAI.InternalServerError, wav(1));
    assert.equal(error.code, "engine_failed");
  }));

test("401 for a wrong key, and an answer for a right one", () =>
  serving(
    { engine: "fake:none", variables: { AURIS_API_KEYS: "first-key-1234567,second-key-123456" } },
    async (server) => {
      const wrong = await create(server.client({ apiKey: "wrong" }), await wav(1)).catch((e) => e);
      assert.ok(wrong instanceof OpenAI.AuthenticationError, wrong);
      assert.equal(wrong.code, "invalid_api_key");
      assert.ok((await create(server.client({ apiKey: "second-key-123456" }), await wav(1))).text);
    },
  ));

for (const [options, status, kind, code] of [
  [[], 429, OpenAI.RateLimitError, "rate_limit_exceeded"],
  [["--caller-share", "1"], 503, OpenAI.InternalServerError, "overloaded"],
]) {
  test(`${status} for too much at once, and the client comes again`, () => {
    const settings = {
      engine: "fake:none,speed=60",
      slots: 1,
      options: ["--max-queue-minutes", "0.5", ...options],
    };
    return serving(settings, async (server) => {
      const long = create(server.client(), await wav(120));
      await until(() => server.busySlots(), "the long file has started");
      const error = await create(server.client(), await wav(5)).catch((error) => error);
      assert.ok(error instanceof kind, error);
      assert.deepEqual([error.status, error.code], [status, code]);
      const retryAfter = Number(error.headers.get("retry-after"));
      assert.ok(retryAfter >= 1 && retryAfter <= 3, `Retry-After: ${retryAfter}`);

      const [client, { sent, statuses }] = counting(server);
      assert.ok((await create(client, await wav(5))).text);
      assert.deepEqual([statuses[0], statuses.at(-1)], [status, 200]);
      assert.ok(sent[1] - sent[0] >= 1000, "Retry-After was not obeyed");
      assert.ok((await long).text);
    });
  });
}

test("503 is tried three times", () =>
  serving({ engine: "fake:load-bad", ready: false }, async (server) => {
    const [client, { sent, statuses }] = counting(server);
    const error = await create(client, await wav(1)).catch((error) => error);
    assert.ok(error instanceof OpenAI.InternalServerError, error);
    assert.equal(error.code, "model_unavailable");
    assert.deepEqual(statuses, [503, 503, 503]);
    const wait = Number(error.headers.get("retry-after")) * 1000;
    for (let n = 1; n < sent.length; n++) {
      assert.ok(sent[n] - sent[n - 1] >= wait - 5, `Retry-After ${wait} ms: sent at ${sent}`);
    }
  }));

test("a client that gives up leaves nothing behind", () =>
  serving({ engine: "fake:none,speed=10", slots: 1 }, async (server) => {
    const client = server.client({ timeout: 1000 });
    await assert.rejects(create(client, await wav(300)), OpenAI.APIConnectionTimeoutError);
    await until(async () => (await server.busySlots()) === 0, "the slot is free again");
    assert.ok((await create(server.client(), await wav(1))).text);
  }));

test("a request that is aborted leaves nothing behind", () =>
  serving({ engine: "fake:none,speed=10", slots: 1 }, async (server) => {
    const abort = new AbortController();
    const fields = { model: "demo", file: await wav(300) };
    const answer = server.client().audio.transcriptions.create(fields, { signal: abort.signal });
    const rejected = assert.rejects(answer, OpenAI.APIUserAbortError);
    await until(() => server.busySlots(), "the file has started");
    abort.abort();
    await rejected;
    await until(async () => (await server.busySlots()) === 0, "the slot is free again");
  }));
