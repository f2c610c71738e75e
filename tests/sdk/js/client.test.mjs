// OpenAI's npm client against a running Freehold: FREEHOLD_BASE_URL on the starter models, FREEHOLD_FAKE_BASE_URL on the fake engine.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const open = (baseURL) => new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 120_000 });
const client = open(process.env.FREEHOLD_BASE_URL);
const fake = open(process.env.FREEHOLD_FAKE_BASE_URL);

const model = "gpt-4o";
const messages = [{ role: "user", content: "Name three colours." }];
const brief = { model, messages, temperature: 0, max_tokens: 12 };
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string", enum: ["Paris", "London"] } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};
const add = (usage) => usage.prompt_tokens + usage.completion_tokens;

test("a chat answer has the fields that the types promise", async () => {
  const answer = await client.chat.completions.create(brief);
  assert.equal(answer.object, "chat.completion");
  assert.match(answer.id, /^chatcmpl-/);
  assert.ok(Number.isInteger(answer.created));
  const [choice] = answer.choices;
  assert.equal(choice.index, 0);
  assert.equal(choice.logprobs, null);
  assert.equal(choice.message.refusal, null);
  assert.ok(choice.message.content.trim());
  assert.equal(add(answer.usage), answer.usage.total_tokens);
  assert.ok(answer._request_id);
});

test("a stream says what the whole answer says, and counts the same", async () => {
  const whole = await client.chat.completions.create(brief);
  let text = "";
  let usage;
  for await (const chunk of await client.chat.completions.create({ ...brief, stream: true, stream_options: { include_usage: true } })) {
    assert.equal(chunk.object, "chat.completion.chunk");
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.total_tokens, whole.usage.total_tokens);
});

test("a stream shows no usage unless asked", async () => {
  for await (const chunk of await client.chat.completions.create({ ...brief, stream: true })) {
    assert.ok(!chunk.usage);
    assert.equal(chunk.choices.length, 1);
  }
});

test("the stream helper accumulates the answer", async () => {
  const whole = await client.chat.completions.create(brief);
  const stream = client.chat.completions.stream(brief);
  assert.equal(await stream.finalContent(), whole.choices[0].message.content);
});

test("a reader may leave a stream and ask again", async () => {
  const stream = await client.chat.completions.create({ ...brief, max_tokens: 400, stream: true });
  for await (const _ of stream) break;
  assert.ok((await client.chat.completions.create({ ...brief, max_tokens: 2 })).choices.length);
});

test("a schema binds the answer", async () => {
  const schema = { type: "object", properties: { sure: { type: "boolean" } }, required: ["sure"], additionalProperties: false };
  const answer = await client.chat.completions.create({
    ...brief,
    max_tokens: 40,
    response_format: { type: "json_schema", json_schema: { name: "verdict", strict: true, schema } },
  });
  assert.equal(typeof JSON.parse(answer.choices[0].message.content).sure, "boolean");
});

test("a required tool call is well-formed, whole and streamed", async () => {
  const ask = { ...brief, max_tokens: 80, tools: [weather], tool_choice: "required" };
  const whole = await client.chat.completions.create(ask);
  const [call] = whole.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.ok(["Paris", "London"].includes(JSON.parse(call.function.arguments).city));
  const final = await client.chat.completions.stream(ask).finalChatCompletion();
  const [streamed] = final.choices[0].message.tool_calls;
  assert.equal(streamed.function.name, "get_weather");
  assert.deepEqual(JSON.parse(streamed.function.arguments), JSON.parse(call.function.arguments));
});

test("a tool's result is answered", async () => {
  const [call] = (await client.chat.completions.create({ ...brief, max_tokens: 80, tools: [weather], tool_choice: "required" }))
    .choices[0].message.tool_calls;
  const answer = await client.chat.completions.create({
    ...brief,
    tools: [weather],
    tool_choice: "none",
    messages: [
      ...messages,
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", tool_call_id: call.id, content: '{"celsius": 21}' },
    ],
  });
  assert.ok(answer.choices[0].message.content.trim());
});

test("text completions work, several prompts at once", async () => {
  const answer = await client.completions.create({ model, prompt: ["One, two,", "Red, green,"], max_tokens: 4, temperature: 0 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
  assert.equal(add(answer.usage), answer.usage.total_tokens);
});

test("embeddings are numbers, in both encodings the same", async () => {
  const ask = { model: "text-embedding-3-small", input: ["a cat", "a dog"] };
  const decoded = await client.embeddings.create(ask);
  const floats = await client.embeddings.create({ ...ask, encoding_format: "float" });
  assert.equal(decoded.data.length, 2);
  decoded.data.forEach((item, index) => {
    assert.equal(item.embedding.length, 384);
    item.embedding.forEach((value, i) => assert.ok(Math.abs(value - floats.data[index].embedding[i]) < 1e-6));
  });
});

test("models are listed and retrieved", async () => {
  const names = [];
  for await (const item of client.models.list()) names.push(item.id);
  assert.ok(names.includes("smollm2:135m"));
  assert.equal((await client.models.retrieve("smollm2:135m")).object, "model");
});

test("a bad parameter is a BadRequestError that names it", async () => {
  await assert.rejects(fake.chat.completions.create({ ...brief, temperature: 9 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    return true;
  });
});

test("an unknown model is a NotFoundError", async () => {
  await assert.rejects(fake.chat.completions.create({ ...brief, model: "nobody" }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
});

test("an engine's failure is an InternalServerError", async () => {
  const failing = [{ role: "user", content: '[[fake:{"status": 500}]]' }];
  await assert.rejects(fake.chat.completions.create({ ...brief, messages: failing }), OpenAI.InternalServerError);
});

test("an engine's failure in a stream is thrown where the text ends", async () => {
  const failing = [{ role: "user", content: '[[fake:{"error_at_token": 2, "token_delay_s": 0.05}]] a b c' }];
  const words = [];
  await assert.rejects(async () => {
    for await (const chunk of await fake.chat.completions.create({ ...brief, messages: failing, stream: true })) {
      if (chunk.choices[0]?.delta?.content) words.push(chunk.choices[0].delta.content);
    }
  }, OpenAI.APIError);
  assert.deepEqual(words, ["a", " b"]);
});
