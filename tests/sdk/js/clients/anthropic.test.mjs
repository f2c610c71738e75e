// Anthropic's npm library.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import * as fh from "./freehold.mjs";

const client = new Anthropic({ baseURL: fh.root, apiKey: "none", maxRetries: 0 });
const say = (content) => [{ role: "user", content }];
const brief = { model: "claude-haiku-4-5", max_tokens: 8, temperature: 0, messages: say(fh.colours) };
const tools = [{ name: "get_weather", description: "The weather", input_schema: fh.weather }];
const forced = { ...brief, max_tokens: 60, tools, tool_choice: { type: "any" } };

test("chat", async () => {
  const answer = await client.messages.create({ ...brief, system: "Be brief." });
  assert.ok(answer.content[0].text.trim());
});

test("stream", async () => {
  const whole = await client.messages.create(brief);
  assert.equal(await client.messages.stream(brief).finalText(), whole.content[0].text);
});

test("usage", async () => {
  const { model, messages } = brief;
  const counted = await client.messages.countTokens({ model, messages });
  const { usage } = await client.messages.stream(brief).finalMessage();
  assert.equal(usage.input_tokens + usage.cache_read_input_tokens, counted.input_tokens);
});

test("tools", async () => {
  const answer = await client.messages.create(forced);
  const call = answer.content.find((block) => block.type === "tool_use");
  assert.ok(["Paris", "London"].includes(call.input.city));
  const messages = [...brief.messages, { role: "assistant", content: answer.content }, ...say([{ type: "tool_result", tool_use_id: call.id, content: "rain" }])];
  assert.ok((await client.messages.create({ ...brief, tools, tool_choice: { type: "none" }, messages })).content[0].text);
});

test("toolstream", async () => {
  const final = await client.messages.stream(forced).finalMessage();
  assert.ok(["Paris", "London"].includes(final.content.at(-1).input.city));
});

test("vision", async () => {
  const picture = [{ type: "image", source: { type: "base64", media_type: "image/png", data: fh.png } }];
  await assert.rejects(client.messages.create({ ...brief, messages: say(picture) }), Anthropic.BadRequestError);
});

test("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(fh.realChat));
});

test("errors", async () => {
  await assert.rejects(client.messages.create({ ...brief, model: "nobody" }), Anthropic.NotFoundError);
  await assert.rejects(client.messages.create({ ...brief, max_tokens: 0 }), Anthropic.BadRequestError);
  await assert.rejects(client.messages.create({ ...brief, model: "fake", messages: say(fh.fails) }), Anthropic.InternalServerError);
  await assert.rejects(client.messages.stream({ ...brief, model: "fake", messages: say(fh.breaks) }).finalMessage(), Anthropic.APIError);
});

test("retry", async () => {
  const ask = { model: "single", max_tokens: 50, messages: say("one two") };
  const answer = await fh.whileBusy(() => client.messages.create(ask, { maxRetries: 3 }));
  assert.equal(answer.content[0].text, "one two");
});

test("timeout", async () => {
  const ask = { model: "fake", max_tokens: 50, messages: say(fh.hangs) };
  await assert.rejects(client.messages.create(ask, { timeout: 300 }), Anthropic.APIConnectionTimeoutError);
  await fh.until(() => fh.idle());
});

test("leaving", async () => {
  const stream = await client.messages.create({ model: "fake", max_tokens: 900, messages: say(fh.slow), stream: true });
  for await (const event of stream) if (event.type === "content_block_delta") break;
  await fh.until(() => fh.idle());
});
