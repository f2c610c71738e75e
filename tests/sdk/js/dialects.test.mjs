// Anthropic's and Ollama's npm clients against a running Freehold: FREEHOLD_BASE_URL on the starter models.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { Ollama } from "ollama";

const root = (url) => url.replace(/\/v1$/, "");
const anthropic = new Anthropic({ baseURL: root(process.env.FREEHOLD_BASE_URL), apiKey: "none", maxRetries: 0 });
const ollama = new Ollama({ host: root(process.env.FREEHOLD_BASE_URL) });
const fakeAnthropic = new Anthropic({ baseURL: root(process.env.FREEHOLD_FAKE_BASE_URL), apiKey: "none", maxRetries: 0 });

const messages = [{ role: "user", content: "Name three colours." }];
const brief = { model: "claude-haiku-5-5", max_tokens: 12, messages };
const light = {
  name: "switch_light",
  input_schema: { type: "object", properties: { on: { type: "boolean" } }, required: ["on"] },
};

test("Anthropic: a stream adds up to the whole message", async () => {
  const fields = { ...brief, temperature: 0 };
  const whole = await anthropic.messages.create(fields);
  assert.equal(whole.type, "message");
  assert.ok(whole._request_id);
  const final = await anthropic.messages.stream(fields).finalMessage();
  assert.deepEqual(final.content.map((block) => block.text), whole.content.map((block) => block.text));
  assert.equal(final.stop_reason, whole.stop_reason);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
});

test("Anthropic: a forced tool streams its input", async () => {
  const fields = { ...brief, max_tokens: 60, tools: [light], tool_choice: { type: "tool", name: "switch_light" } };
  const final = await anthropic.messages.stream(fields).finalMessage();
  assert.equal(final.stop_reason, "tool_use");
  assert.equal(typeof final.content[0].input.on, "boolean");
});

test("Anthropic: tokens are counted and models listed", async () => {
  const { max_tokens, ...prompt } = brief;
  assert.ok((await anthropic.messages.countTokens(prompt)).input_tokens > 5);
  const ids = [];
  for await (const model of anthropic.models.list()) ids.push(model.id);
  assert.ok(ids.includes("smollm2:135m"));
});

test("Anthropic: errors are of the client's own classes", async () => {
  await assert.rejects(anthropic.messages.create({ ...brief, model: "no-such-model" }), Anthropic.NotFoundError);
  await assert.rejects(anthropic.messages.create({ ...brief, max_tokens: 0 }), Anthropic.BadRequestError);
  const text = '[[fake:{"tokens": 9, "error_at_token": 3}]] one two three four five';
  const stream = fakeAnthropic.messages.stream({ model: "fake", max_tokens: 50, messages: [{ role: "user", content: text }] });
  await assert.rejects(stream.finalMessage());
});

test("Ollama: a stream adds up to the whole answer", async () => {
  const fields = { model: "smollm2:135m", messages, options: { temperature: 0, num_predict: 12 } };
  const whole = await ollama.chat(fields);
  let text = "";
  let last;
  for await (const part of await ollama.chat({ ...fields, stream: true })) {
    text += part.message.content;
    last = part;
  }
  assert.equal(text, whole.message.content);
  assert.equal(last.done, true);
  assert.equal(last.eval_count, whole.eval_count);
});

test("Ollama: texts are embedded and models shown", async () => {
  const answer = await ollama.embed({ model: "all-minilm:22m", input: ["a cat", "a dog"] });
  assert.deepEqual(answer.embeddings.map((vector) => vector.length), [384, 384]);
  assert.ok((await ollama.show({ model: "smollm2:135m" })).capabilities.includes("completion"));
  assert.ok((await ollama.list()).models.some((model) => model.name === "smollm2:135m"));
  assert.ok((await ollama.ps()).models.length > 0);
});

test("Ollama: an error is the server's own sentence", async () => {
  await assert.rejects(ollama.chat({ model: "no-such-model", messages }), /no-such-model/);
});
