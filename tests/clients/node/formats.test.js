// What comes back in each format.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { Server, TEXT, clip } from "./server.js";

describe("formats", () => {
  let server, client;
  before(async () => {
    server = await Server.start();
    client = server.client();
  });
  after(() => server.stop());

  const transcribe = (fields = {}, file = clip()) =>
    client.audio.transcriptions.create({ model: "demo", file, ...fields });

  test("JSON by default", async () => {
    const answer = await transcribe({ model: "whisper-1" });
    const usage = { type: "duration", seconds: 4 };
    assert.deepEqual({ ...answer }, { text: TEXT, languages: [{ code: "en" }], usage });
  });

  for (const [response_format, pattern] of [
    ["text", /^How is the weather in Boston tomorrow\?\n$/],
    ["srt", /^1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\nHow is the weather in Boston tomorrow\?\n$/],
    [
      "vtt",
      /^WEBVTT\n\n00:00:0\d\.\d{3} --> 00:00:0\d\.\d{3}\nHow is the weather in Boston tomorrow\?\n$/,
    ],
  ]) {
    test(`${response_format} comes as it is`, async () => {
      assert.match(await transcribe({ response_format }), pattern);
    });
  }

  for (const response_format of ["tsv", "lrc"]) {
    test(`${response_format}, which the client does not know`, async () => {
      assert.match(
        await transcribe({ response_format }),
        /How is the weather in Boston tomorrow\?/,
      );
    });
  }

  test("verbose_json with its types", async () => {
    const answer = await transcribe({ response_format: "verbose_json" });
    assert.equal(answer.text, TEXT);
    assert.equal(answer.language, "english");
    assert.equal(typeof answer.duration, "number");
    assert.equal(answer.words, undefined);
    assert.deepEqual(answer.usage, { type: "duration", seconds: 4 });
  });

  test("every segment has every field", async () => {
    const { segments, duration } = await transcribe(
      { response_format: "verbose_json" },
      clip("28.flac"),
    );
    const numbers = [
      "id",
      "seek",
      "start",
      "end",
      "temperature",
      "avg_logprob",
      "compression_ratio",
      "no_speech_prob",
    ];
    assert.ok(segments.length > 1);
    let end = 0;
    for (const segment of segments) {
      for (const name of numbers) assert.equal(typeof segment[name], "number", name);
      assert.equal(typeof segment.text, "string");
      assert.ok(Array.isArray(segment.tokens));
      assert.ok(end <= segment.start && segment.start < segment.end && segment.end <= duration);
      end = segment.end;
    }
  });

  for (const [granularities, hasSegments, hasWords] of [
    [["segment"], true, false],
    [["word"], false, true],
    [["word", "segment"], true, true],
  ]) {
    test(`times of ${granularities.join(" and ")}`, async () => {
      const answer = await transcribe({
        response_format: "verbose_json",
        timestamp_granularities: granularities,
      });
      assert.equal(Boolean(answer.segments?.length), hasSegments, "segments");
      assert.equal(Boolean(answer.words?.length), hasWords, "words");
      if (hasWords)
        assert.deepEqual(
          answer.words.map(({ word }) => word),
          TEXT.split(" "),
        );
      assert.ok((answer.segments ?? []).every((segment) => !("words" in segment)));
    });
  }

  test("words need verbose_json", async () => {
    const error = await transcribe({ timestamp_granularities: ["word"] }).catch((error) => error);
    assert.ok(error instanceof OpenAI.BadRequestError, error);
    assert.equal(error.param, "timestamp_granularities[]");
  });

  test("log probabilities", async () => {
    const { logprobs } = await transcribe({ include: ["logprobs"] });
    assert.equal(
      logprobs
        .map(({ token }) => token)
        .join("")
        .trim(),
      TEXT,
    );
    for (const { token, bytes, logprob } of logprobs) {
      assert.ok(logprob <= 0);
      assert.equal(Buffer.from(bytes).toString(), token);
    }
  });

  test("lines as long as asked for", async () => {
    const answer = await transcribe(
      { response_format: "srt", max_line_length: 20 },
      clip("28.flac"),
    );
    const lines = answer.split("\n").filter((line) => !line.includes("-->"));
    assert.ok(Math.max(...lines.map((line) => line.length)) <= 20, answer);
  });

  for (const response_format of ["json", "verbose_json", "text", "srt", "vtt"]) {
    test(`a translation as ${response_format}`, async () => {
      const answer = await client.audio.translations.create({
        model: "whisper-1",
        file: clip("24.flac"),
        response_format,
      });
      const text = typeof answer === "string" ? answer : answer.text;
      assert.match(text, /Ravi lives in Mumbai\./);
      if (response_format === "verbose_json") assert.equal(typeof answer.duration, "number");
    });
  }
});
