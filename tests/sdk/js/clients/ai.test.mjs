// Vercel's AI SDK, by its providers for OpenAI (both of its APIs), for what is like OpenAI, and for Anthropic.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import * as ai from "ai";
import { z } from "zod";
import * as fh from "./freehold.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL: fh.baseURL, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "freehold", baseURL: fh.baseURL, includeUsage: true, supportsStructuredOutputs: true });
const anthropic = createAnthropic({ baseURL: fh.baseURL, apiKey: "none" });
const models = { chat: openai.chat(fh.chat), responses: openai.responses(fh.chat), compatible: compatible(fh.chat), anthropic: anthropic("claude-haiku-4-5") };
const brief = { prompt: fh.colours, maxOutputTokens: 16, maxRetries: 0 };
const Verdict = z.object({ sure: z.boolean() });
const tools = { switch_light: ai.tool({ description: "Switches the light", inputSchema: z.object({ on: z.boolean() }) }) };
const forced = { ...brief, maxOutputTokens: 60, tools, toolChoice: "required" };
const each = async (check, names = Object.keys(models)) => {
  for (const name of names) await check(models[name], name);
};
const quiet = { onError: () => {} };

test("chat", () =>
  each(async (model) => {
    const messages = [{ role: "user", content: "Hello" }, { role: "assistant", content: "Hello." }, { role: "user", content: fh.colours }];
    const { text } = await ai.generateText({ model, system: "Be brief.", messages, maxOutputTokens: 16, maxRetries: 0 });
    assert.ok(text.trim());
  }));

test("stream", () =>
  each(async (model, name) => {
    const ask = { ...brief, model, temperature: 0 };
    const parts = [];
    for await (const part of ai.streamText({ ...ask, ...quiet }).textStream) parts.push(part);
    assert.ok(parts.length > 2);
    assert.equal(parts.join(""), (await ai.generateText(ask)).text, name);
  }));

test("usage", () =>
  each(async (model, name) => {
    const usage = await ai.streamText({ ...brief, model, ...quiet }).usage;
    assert.ok(usage.inputTokens > 5 && usage.outputTokens > 0, name);
  }));

test("tools", () =>
  each(async (model) => {
    const { toolCalls } = await ai.generateText({ ...forced, model });
    assert.equal(typeof toolCalls[0].input.on, "boolean");
  }));

test("tools: their results are answered", async () => {
  const answering = { switch_light: { ...tools.switch_light, execute: async () => "done" } };
  const choice = ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : "required" });
  const ask = { ...forced, model: models.chat, tools: answering, stopWhen: ai.stepCountIs(2), prepareStep: choice };
  assert.equal((await ai.generateText(ask)).steps.length, 2);
});

test("toolstream", () =>
  each(async (model, name) => {
    const [call] = await ai.streamText({ ...forced, model, ...quiet }).toolCalls;
    assert.equal(typeof call.input.on, "boolean", name);
  }));

test("schema", () =>
  each(async (model, name) => {
    const ask = { ...brief, model, maxOutputTokens: 60, output: ai.Output.object({ schema: Verdict }) };
    assert.equal(typeof (await ai.streamText({ ...ask, ...quiet }).output).sure, "boolean", name);
  }));

test("schema: together with tools", () =>
  each(async (model, name) => {
    const ask = { ...brief, model, tools, maxOutputTokens: 60, output: ai.Output.object({ schema: Verdict }) };
    const result = await ai.generateText(ask);
    if (result.finishReason === "tool-calls") assert.equal(typeof result.toolCalls[0].input.on, "boolean", name);
    else assert.equal(typeof result.output.sure, "boolean", name);
  }, ["chat", "responses"]));

test("vision", () =>
  each(async (model, name) => {
    const messages = [{ role: "user", content: [{ type: "image", image: Buffer.from(fh.png, "base64") }] }];
    await assert.rejects(ai.generateText({ model, messages, maxRetries: 0 }), (error) => ai.APICallError.isInstance(error) && error.statusCode === 400, name);
  }));

test("embeddings", async () => {
  for (const model of [openai.embedding(fh.embedding), compatible.embeddingModel(fh.embedding)]) {
    const { embeddings, usage } = await ai.embedMany({ model, values: ["a cat", "a dog"], maxRetries: 0 });
    assert.deepEqual(embeddings.map((vector) => vector.length), [384, 384]);
    assert.ok(usage.tokens > 2);
  }
});

test("responses", async () => {
  const result = await ai.generateText({ ...brief, model: models.responses });
  assert.match(result.providerMetadata.openai.responseId, /^resp_/);
});

test("state", async () => {
  const first = await ai.generateText({ ...brief, model: models.responses, prompt: "I am Ada." });
  const previousResponseId = first.providerMetadata.openai.responseId;
  const second = await ai.generateText({ ...brief, model: models.responses, prompt: "Who?", providerOptions: { openai: { previousResponseId } } });
  assert.ok(second.text.trim());
});

test("fim", async () => {
  const model = createOpenAICompatible({ name: "freehold", baseURL: fh.baseURL }).completionModel("coder");
  const providerOptions = { freehold: { suffix: "\nprint(1)" } };
  const { usage } = await ai.generateText({ model, prompt: "def add(a, b):\n    ", maxOutputTokens: 8, maxRetries: 0, providerOptions });
  assert.ok(usage.outputTokens > 0);
});

test("speech", async () => {
  const { audio } = await ai.experimental_generateSpeech({ model: openai.speech("tts-1"), text: "Hello.", voice: "alloy" });
  assert.ok(audio.uint8Array.length > 1000);
});

test("hearing", async () => {
  const { text } = await ai.experimental_transcribe({ model: openai.transcription("whisper-1"), audio: await readFile(fh.clip) });
  assert.match(text.toLowerCase(), /no matter/);
});

test("errors", async () => {
  for (const model of [openai.chat("nobody"), openai.responses("nobody"), compatible("nobody"), anthropic("nobody")]) {
    await assert.rejects(ai.generateText({ model, prompt: "Hello", maxRetries: 0 }), (error) => error.statusCode === 404 && /nobody/.test(error.message));
  }
  for (const model of [openai.chat("fake"), openai.responses("fake"), compatible("fake"), anthropic("fake")]) {
    let seen;
    const stream = ai.streamText({ model, prompt: fh.breaks, maxRetries: 0, onError: ({ error }) => (seen = error) });
    await stream.consumeStream();
    assert.match(JSON.stringify(seen) + String(seen), /middle/);
  }
});

test("retry", async () => {
  const { text } = await fh.whileBusy(() => ai.generateText({ model: openai.chat("single"), prompt: "one two", maxRetries: 3 }));
  assert.equal(text, "one two");
});

test("timeout", async () => {
  const asked = ai.generateText({ model: openai.chat("fake"), prompt: fh.hangs, maxRetries: 0, abortSignal: AbortSignal.timeout(300) });
  await assert.rejects(asked, { name: "TimeoutError" });
  await fh.until(() => fh.idle());
});

test("leaving", async () => {
  const leave = new AbortController();
  const stream = ai.streamText({ model: openai.chat("fake"), prompt: fh.slow, maxRetries: 0, abortSignal: leave.signal, ...quiet });
  for await (const _ of stream.textStream) {
    leave.abort();
    break;
  }
  await fh.until(() => fh.idle());
});
