// LangChain.js, by its package for OpenAI.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HumanMessage, SystemMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";
import * as fh from "./freehold.mjs";

const where = { apiKey: "none", maxRetries: 0, configuration: { baseURL: fh.baseURL } };
const chat = (fields = {}) => new ChatOpenAI({ ...where, model: fh.chat, temperature: 0, maxTokens: 16, ...fields });
const light = tool(async () => "done", { name: "switch_light", description: "Switches the light", schema: z.object({ on: z.boolean() }) });

test("chat", async () => {
  assert.ok((await chat().invoke([new SystemMessage("Be brief."), new HumanMessage(fh.colours)])).content.trim());
});

test("stream", async () => {
  let text = "";
  for await (const part of await chat().stream(fh.colours)) text += part.content;
  assert.equal(text, (await chat().invoke(fh.colours)).content);
});

test("usage", async () => {
  const { usage_metadata: usage } = await chat().invoke(fh.colours);
  assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
  let told;
  for await (const part of await chat().stream(fh.colours)) told = part.usage_metadata ?? told;
  assert.equal(told.total_tokens, usage.total_tokens);
});

test("tools", async () => {
  const answer = await chat({ maxTokens: 60 }).bindTools([light], { tool_choice: "required" }).invoke(fh.colours);
  const [call] = answer.tool_calls;
  assert.equal(typeof call.args.on, "boolean");
  const turns = [new HumanMessage(fh.colours), answer, new ToolMessage({ content: "done", tool_call_id: call.id })];
  assert.ok(await chat().bindTools([light]).invoke(turns));
});

test("schema", async () => {
  for (const method of ["jsonSchema", "functionCalling"]) {
    const bound = chat({ maxTokens: 60 }).withStructuredOutput(z.object({ sure: z.boolean() }), { method });
    assert.equal(typeof (await bound.invoke(fh.colours)).sure, "boolean");
  }
});

test("embeddings", async () => {
  const vectors = await new OpenAIEmbeddings({ ...where, model: fh.embedding }).embedDocuments(["a cat", "a dog"]);
  assert.deepEqual(vectors.map((vector) => vector.length), [384, 384]);
});

test("responses", async () => {
  const answer = await chat({ useResponsesApi: true }).invoke(fh.colours);
  assert.match(answer.response_metadata.id ?? answer.id, /^(resp|msg)_/);
});

test("errors", async () => {
  await assert.rejects(chat({ model: "nobody" }).invoke("Hello"), { status: 404 });
});
