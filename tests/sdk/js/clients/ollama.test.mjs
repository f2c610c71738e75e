// Ollama's npm library.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ollama } from "ollama";
import * as fh from "./freehold.mjs";

const client = new Ollama({ host: fh.root });
const say = (content) => [{ role: "user", content }];
const brief = { model: fh.realChat, messages: say(fh.colours), options: { temperature: 0, num_predict: 8 } };

test("chat", async () => {
  assert.ok((await client.chat(brief)).message.content.trim());
  assert.ok((await client.generate({ model: fh.realChat, prompt: fh.colours, options: brief.options })).response.trim());
});

test("stream", async () => {
  const whole = await client.chat(brief);
  let text = "";
  for await (const part of await client.chat({ ...brief, stream: true })) text += part.message.content;
  assert.equal(text, whole.message.content);
});

test("usage", async () => {
  const whole = await client.chat(brief);
  assert.ok(whole.prompt_eval_count > 5 && whole.eval_count > 0 && whole.total_duration > 0);
  let last;
  for await (last of await client.chat({ ...brief, stream: true }));
  assert.deepEqual([last.prompt_eval_count, last.eval_count], [whole.prompt_eval_count, whole.eval_count]);
});

test("schema", async () => {
  const format = { type: "object", properties: { sure: { type: "boolean" } }, required: ["sure"] };
  const answer = await client.chat({ ...brief, format, options: { temperature: 0, num_predict: 60 } });
  assert.equal(typeof JSON.parse(answer.message.content).sure, "boolean");
});

test("embeddings", async () => {
  const { embeddings } = await client.embed({ model: "all-minilm:22m", input: ["a cat", "a dog"] });
  assert.deepEqual(embeddings.map((vector) => vector.length), [384, 384]);
});

test("fim", async () => {
  const answer = await client.generate({ model: "coder", prompt: "def add(a, b):\n    ", suffix: "\nprint(1)", options: { num_predict: 8 } });
  assert.ok(answer.eval_count > 0);
});

test("models", async () => {
  assert.ok((await client.list()).models.some((model) => model.name === fh.realChat));
  assert.ok((await client.show({ model: fh.realChat })).capabilities.includes("completion"));
});

test("errors", async () => {
  await assert.rejects(client.chat({ ...brief, model: "nobody" }), { name: "ResponseError", status_code: 404 });
  await assert.rejects(client.chat({ ...brief, options: { temperature: 9 } }), { status_code: 400 });
  await assert.rejects(async () => {
    for await (const _ of await client.chat({ model: "fake", messages: say(fh.breaks), stream: true }));
  });
});

test("leaving", async () => {
  const stream = await client.chat({ model: "fake", messages: say(fh.slow), stream: true });
  for await (const _ of stream) break;
  stream.abort();
  await fh.until(() => fh.idle());
});
