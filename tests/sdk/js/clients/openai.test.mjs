// OpenAI's npm library.
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import * as fh from "./freehold.mjs";

const client = new OpenAI({ baseURL: fh.baseURL, apiKey: "none", maxRetries: 0 });
const say = (content) => [{ role: "user", content }];
const brief = { model: fh.chat, temperature: 0, max_tokens: 8, messages: say(fh.colours) };
const tools = [{ type: "function", function: { name: "get_weather", strict: true, parameters: fh.weather } }];
const forced = { ...brief, max_tokens: 60, tools, tool_choice: "required" };
const Verdict = z.object({ answer: z.enum(["yes", "no"]), sure: z.boolean() });

test("chat", async () => {
  const parts = [{ type: "text", text: "Name" }, { type: "text", text: " a colour." }];
  const answer = await client.chat.completions.create({ ...brief, messages: [{ role: "system", content: "Be brief." }, ...say(parts)] });
  assert.ok(answer.choices[0].message.content.trim());
});

test("stream", async () => {
  const whole = await client.chat.completions.create(brief);
  assert.equal(await client.chat.completions.stream(brief).finalContent(), whole.choices[0].message.content);
});

test("usage", async () => {
  const whole = await client.chat.completions.create(brief);
  let last;
  for await (const chunk of await client.chat.completions.create({ ...brief, stream: true, stream_options: { include_usage: true } })) last = chunk;
  assert.equal(last.usage.total_tokens, whole.usage.total_tokens);
});

test("tools", async () => {
  const { message } = (await client.chat.completions.create(forced)).choices[0];
  const [call] = message.tool_calls;
  assert.ok(["Paris", "London"].includes(JSON.parse(call.function.arguments).city));
  const messages = [...say(fh.colours), message, { role: "tool", tool_call_id: call.id, content: "rain" }];
  assert.ok((await client.chat.completions.create({ ...brief, tools, tool_choice: "none", messages })).choices[0].message.content);
});

test("toolstream", async () => {
  const final = await client.chat.completions.stream(forced).finalChatCompletion();
  assert.ok(["Paris", "London"].includes(final.choices[0].message.tool_calls[0].function.parsed_arguments.city));
});

test("schema", async () => {
  const answer = await client.chat.completions.parse({ ...brief, max_tokens: 100, response_format: zodResponseFormat(Verdict, "verdict") });
  assert.equal(typeof answer.choices[0].message.parsed.sure, "boolean");
  const response = await client.responses.parse({ model: fh.chat, input: fh.colours, max_output_tokens: 100, text: { format: zodTextFormat(Verdict, "verdict") } });
  assert.equal(typeof response.output_parsed.sure, "boolean");
});

test("vision", async () => {
  const picture = [{ type: "image_url", image_url: { url: `data:image/png;base64,${fh.png}` } }];
  await assert.rejects(client.chat.completions.create({ ...brief, messages: say(picture) }), OpenAI.BadRequestError);
});

test("embeddings", async () => {
  const answer = await client.embeddings.create({ model: fh.embedding, input: ["a cat", "a dog"] });
  assert.deepEqual(answer.data.map((item) => item.embedding.length), [384, 384]);
});

test("responses", async () => {
  const ask = { model: fh.chat, input: fh.colours, max_output_tokens: 24, temperature: 0 };
  const whole = await client.responses.create(ask);
  const streamed = await client.responses.stream(ask).finalResponse();
  assert.equal(streamed.output_text ?? streamed.output[0].content[0].text, whole.output_text);
});

test("state", async () => {
  const first = await client.responses.create({ model: fh.chat, input: "I am Ada.", max_output_tokens: 16 });
  const second = await client.responses.create({ model: fh.chat, input: "Who?", previous_response_id: first.id, max_output_tokens: 16 });
  assert.equal((await client.responses.inputItems.list(second.id)).data.length, 3);
  const conversation = await client.conversations.create();
  await client.responses.create({ model: fh.chat, input: "Hello", conversation: conversation.id, max_output_tokens: 16 });
  assert.equal((await client.conversations.items.list(conversation.id)).data.length, 2);
  await client.responses.delete(first.id);
  await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
});

test("fim", async () => {
  const answer = await client.completions.create({ model: "coder", prompt: "def add(a, b):\n    ", suffix: "\nprint(1)", max_tokens: 8 });
  assert.ok(answer.usage.completion_tokens > 0);
});

test("speech", async () => {
  const spoken = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "Hello.", response_format: "wav" });
  assert.equal(Buffer.from(await spoken.arrayBuffer()).subarray(0, 4).toString(), "RIFF");
});

test("hearing", async () => {
  const heard = await client.audio.transcriptions.create({ model: "whisper-1", file: createReadStream(fh.clip) });
  assert.match(heard.text.toLowerCase(), /no matter/);
});

test("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(fh.realChat));
});

test("errors", async () => {
  const failing = async (fields, kind, code) => {
    await assert.rejects(client.chat.completions.create({ ...brief, model: "fake", ...fields }), (error) => {
      assert.ok(error instanceof kind, String(error));
      if (code) assert.equal(error.code, code);
      return true;
    });
  };
  await failing({ model: "nobody" }, OpenAI.NotFoundError, "model_not_found");
  await failing({ temperature: 9 }, OpenAI.BadRequestError);
  await failing({ messages: say(fh.fails) }, OpenAI.InternalServerError);
  const stream = await client.chat.completions.create({ model: "fake", messages: say(fh.breaks), stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, OpenAI.APIError);
});

test("retry", async () => {
  const ask = { model: "single", messages: say("one two") };
  const answer = await fh.whileBusy(() => client.chat.completions.create(ask, { maxRetries: 3 }));
  assert.equal(answer.choices[0].message.content, "one two");
});

test("timeout", async () => {
  const ask = { model: "fake", messages: say(fh.hangs) };
  await assert.rejects(client.chat.completions.create(ask, { timeout: 300 }), OpenAI.APIConnectionTimeoutError);
  await fh.until(() => fh.idle());
});

test("leaving", async () => {
  const stream = await client.chat.completions.create({ model: "fake", messages: say(fh.slow), stream: true });
  for await (const _ of stream) break;
  await fh.until(() => fh.idle());
});
