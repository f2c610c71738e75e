// OpenAI's npm client as a browser would use it: the key goes into a subprotocol, for a page cannot set headers.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";

const baseURL = process.env.FREEHOLD_FAKE_BASE_URL;

test("a session is opened with a client secret, written to and answered", async () => {
  const server = new OpenAI({ baseURL, apiKey: "none" });
  const secret = await server.realtime.clientSecrets.create({
    session: { type: "realtime", model: "gpt-realtime", output_modalities: ["text"] },
  });
  assert.match(secret.value, /^ek_/);
  const browser = new OpenAI({ baseURL, apiKey: secret.value, dangerouslyAllowBrowser: true });
  const onURL = (url) => void (url.protocol = "ws"); // its own is wss, whatever the base URL says
  const session = new OpenAIRealtimeWebSocket({ model: "gpt-realtime", onURL, dangerouslyAllowBrowser: true }, browser);
  const done = new Promise((resolve, reject) => {
    session.on("error", reject);
    session.on("response.done", resolve);
  });
  const content = [{ type: "input_text", text: "one two three" }];
  session.on("session.created", () => {
    session.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    session.send({ type: "response.create" });
  });
  const { response } = await done;
  assert.equal(response.status, "completed");
  assert.equal(response.output[0].content[0].text, "one two three");
  session.close();
});
