// What can be asked for, and how a wrong wish is answered.

import assert from "node:assert/strict";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import OpenAI, { toFile } from "openai";
import { CLIPS, Server, TEXT, bytes, clip } from "./server.js";
import { openAsBlob } from "node:fs";

const HINDI = "रवि मुंबई में रहता है।";

describe("fields", () => {
  let server, client;
  before(async () => {
    server = await Server.start();
    client = server.client();
  });
  after(() => server.stop());

  const transcribe = (fields = {}, file = clip()) =>
    client.audio.transcriptions.create({ model: "demo", file, ...fields });

  for (const [name, file] of [
    ["a stream", () => clip()],
    ["a buffer with an odd name", () => toFile(bytes(), 'नमस्ते "a"; b\\c.exe')],
    ["a buffer of a wrong type", () => toFile(bytes(), "a.mp3", { type: "video/x-wrong" })],
    ["a File", () => new File([bytes()], "clip.flac")],
    [
      "a blob of the disk",
      async () => toFile(await openAsBlob(path.join(CLIPS, "00.flac")), "clip"),
    ],
    ["an answer of fetch", () => toFile(new Response(bytes()), "clip.flac")],
  ]) {
    test(`a file can be ${name}`, async () => {
      assert.equal((await transcribe({}, await file())).text, TEXT);
    });
  }

  for (const [fields, name, expected] of [
    [{ language: "en" }, "00.flac", TEXT],
    [{ language: "Hindi" }, "24.flac", HINDI],
    [{ languages: ["en", "hi"] }, "24.flac", HINDI],
    [{ prompt: "Boston, Mumbai" }, "00.flac", TEXT],
    [{ keywords: ["Boston", "weather"] }, "00.flac", TEXT],
    [{ temperature: 0.2 }, "00.flac", TEXT],
    [{ chunking_strategy: "auto" }, "00.flac", TEXT],
    [
      { chunking_strategy: { type: "server_vad", threshold: 0.5, silence_duration_ms: 200 } },
      "00.flac",
      TEXT,
    ],
    [{ stream: false }, "00.flac", TEXT],
  ]) {
    test(`${JSON.stringify(fields)} is obeyed`, async () => {
      assert.equal((await transcribe(fields, clip(name))).text, expected);
    });
  }

  for (const [name, fields, expected] of [
    ["call.opus", { channel: "split" }, `${TEXT} Turn off the office radio.`],
    ["call.opus", { channel: "right" }, "Turn off the office radio."],
    ["tracks.mkv", { track: "2" }, HINDI],
  ]) {
    test(`${JSON.stringify(fields)} chooses a part of ${name}`, async () => {
      const file = await openAsBlob(path.join(CLIPS, "..", "codecs", name));
      assert.equal((await transcribe(fields, await toFile(file, name))).text, expected);
    });
  }

  for (const [param, fields] of [
    ["language", { language: "klingon" }],
    ["languages[]", { languages: ["en", "klingon"] }],
    ["response_format", { response_format: "xml" }],
    ["temperature", { temperature: "abc" }],
    ["temperature", { temperature: -1 }],
    ["timestamp_granularities[]", { timestamp_granularities: ["page"] }],
    ["include[]", { include: ["secrets"] }],
    ["chunking_strategy", { chunking_strategy: "sometimes" }],
    ["model", { model: "gpt-9" }],
    ["channel", { channel: "left" }],
    ["track", { track: "2" }],
  ]) {
    test(`${JSON.stringify(fields)} names its field`, async () => {
      const error = await transcribe(fields).catch((error) => error);
      assert.ok(error instanceof OpenAI.BadRequestError, error);
      assert.equal(error.param, param);
      assert.equal(error.type, "invalid_request_error");
      assert.ok(error.code && error.requestID, error);
    });
  }

  test("what is not known is told", async () => {
    const { data, response } = await transcribe({ wibble: "1" }).withResponse();
    assert.equal(data.text, TEXT);
    assert.equal(response.headers.get("x-ignored-fields"), "wibble");
  });

  test("models", async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.deepEqual(names, ["demo", "whisper-1"]);
    assert.equal((await client.models.retrieve("demo")).object, "model");
  });

  test("the answer tells where it was made", async () => {
    const { response, request_id } = await transcribe().withResponse();
    assert.equal(response.headers.get("x-device"), "cpu");
    assert.equal(response.headers.get("x-model"), "demo");
    assert.equal(Number(response.headers.get("x-audio-duration")), 3.332);
    assert.equal(request_id, response.headers.get("x-request-id"));
  });

  test("an answer has its request id", async () => {
    assert.ok((await transcribe())._request_id);
  });
});
