// Jobs through the client's plain `post` and `get`, the webhooks that end them, load and a crash.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { Server, TEXT, bytes, clip, until } from "./server.js";

const SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";

describe("jobs", () => {
  let server, client;
  before(async () => {
    server = await Server.start({
      options: ["--webhook-allow-private", "--webhook-secret", SECRET],
    });
    client = server.client({ webhookSecret: SECRET });
  });
  after(() => server.stop());

  /** Starts a job; gives the answer as it came. */
  function start(fields = {}, headers = {}) {
    const body = new FormData();
    for (const [name, value] of Object.entries({ model: "demo", ...fields }))
      body.append(name, value);
    body.append("file", new Blob([bytes()]), "clip.flac");
    return client.post("/jobs", { body, headers }).asResponse();
  }

  const id = async (answer) => (await (await answer).json()).id;
  const end = (job) =>
    until(async () => {
      const now = await client.get(`/jobs/${job}`);
      return ["finished", "failed", "cancelled"].includes(now.state) && now;
    }, `job ${job} has ended`);

  test("a job is accepted and finished", async () => {
    const answer = await start();
    const job = await answer.json();
    assert.equal(answer.status, 202);
    assert.equal(answer.headers.get("location"), `/v1/jobs/${job.id}`);
    const { state, text, error } = await end(job.id);
    assert.deepEqual({ state, text, error }, { state: "finished", text: TEXT, error: null });
  });

  test("a transcript as subtitles", async () => {
    const job = await id(start());
    await end(job);
    const answer = await client.get(`/jobs/${job}/transcript`, {
      query: { response_format: "srt" },
    });
    assert.match(answer, /^1\n00:00:/);
  });

  test("the events of a job", async () => {
    const job = await id(start());
    const events = [];
    for await (const event of await client.get(`/jobs/${job}/events`, { stream: true }))
      events.push(event);
    assert.equal(events.at(-1).type, "transcript.text.done");
    assert.equal(events.at(-1).text, TEXT);
  });

  test("a transcription can become a job", async () => {
    const headers = { prefer: "respond-async" };
    const fields = { model: "demo", file: clip() };
    const answer = await client.audio.transcriptions.create(fields, { headers }).asResponse();
    assert.equal(answer.status, 202);
    assert.equal(answer.headers.get("preference-applied"), "respond-async");
    assert.equal((await end(await id(answer))).text, TEXT);
  });

  test("the same key is the same job", async () => {
    const headers = { "idempotency-key": "once-only" };
    assert.equal(await id(start({}, headers)), await id(start({}, headers)));
  });

  test("an ended job is removed", async () => {
    const job = await id(start());
    await end(job);
    assert.equal((await client.delete(`/jobs/${job}`).asResponse()).status, 204);
    await assert.rejects(client.get(`/jobs/${job}`), OpenAI.NotFoundError);
  });

  test("a wrong field is refused at once", async () => {
    const error = await start({ language: "klingon" }).catch((error) => error);
    assert.ok(error instanceof OpenAI.BadRequestError, error);
    assert.equal(error.param, "language");
  });

  test("the client verifies our webhooks", async () => {
    const receiver = http.createServer().listen(0, "127.0.0.1");
    await once(receiver, "listening");
    try {
      const arrival = once(receiver, "request");
      const job = await id(
        start({ webhook_url: `http://127.0.0.1:${receiver.address().port}/hook` }),
      );
      const [request, response] = await arrival;
      const body = (await request.setEncoding("utf8").toArray()).join("");
      response.end();
      const event = await client.webhooks.unwrap(body, request.headers);
      assert.ok(JSON.stringify(event).includes(job), body);
      const forged = client.webhooks.unwrap(body.replace(job, "another"), request.headers);
      await assert.rejects(forged, OpenAI.InvalidWebhookSignatureError);
    } finally {
      receiver.close();
    }
  });

  test("twenty at once", async () => {
    const names = Array.from({ length: 20 }, (_, n) => (n % 2 ? "00.flac" : "01.flac"));
    const answers = await Promise.all(
      names.map((name) => client.audio.transcriptions.create({ model: "demo", file: clip(name) })),
    );
    const expected = names.map((name) =>
      name === "00.flac" ? TEXT : "Turn off the office radio.",
    );
    assert.deepEqual(
      answers.map(({ text }) => text),
      expected,
    );
  });
});

test("a killed worker costs no answer", async () => {
  const server = await Server.start({ slots: 1 });
  try {
    const client = server.client();
    const create = () =>
      client.audio.transcriptions.create({ model: "demo", file: clip("29.flac") });
    const { text } = await create();
    const answer = create().withResponse();
    await until(() => server.busySlots(), "the file has started");
    for (const worker of server.workers()) process.kill(worker, "SIGKILL");
    const { data, response } = await answer;
    assert.equal(data.text, text);
    assert.ok(response.headers.has("x-fallback-reason"));
  } finally {
    await server.stop();
  }
});
