// The server under test, as a library's program sees it: its address, and what can be seen of it from outside.
import assert from "node:assert/strict";

export const root = process.env.FREEHOLD_ROOT;
export const baseURL = `${root}/v1`;
export const chat = "gpt-4o";
export const realChat = "smollm2:135m";
export const embedding = "text-embedding-3-small";
export const colours = "Name three colours.";
export const slow = '[[fake:{"tokens": 5000, "token_delay_s": 0.02}]] a b c';
export const hangs = '[[fake:{"hang": true}]] a';
export const fails = '[[fake:{"status": 500}]] a';
export const breaks = '[[fake:{"error_at_token": 2, "token_delay_s": 0.05}]] a b c d';
export const png =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const clip = process.env.FREEHOLD_CLIP;
export const weather = {
  type: "object",
  properties: { city: { type: "string", enum: ["Paris", "London"] } },
  required: ["city"],
  additionalProperties: false,
};

export async function until(condition, within = 20_000) {
  const deadline = Date.now() + within;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `the condition did not come true within ${within} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Whether no place of a model is taken.
export async function idle(model = "fake") {
  const { workers } = await (await fetch(`${root}/api/ps`)).json();
  return workers.every((worker) => worker.model !== model || worker.busy === 0);
}

async function refused() {
  const text = await (await fetch(`${root}/metrics`)).text();
  const found = text.matchAll(/^freehold_requests_total\{.*status="429".*\} (\S+)$/gm);
  return [...found].reduce((sum, [, count]) => sum + Number(count), 0);
}

// Asks while the one place of the model "single" is taken, so that the answer comes when the server is asked again.
export async function whileBusy(ask, seconds = 0.8) {
  await until(() => idle("single"));
  const before = await refused();
  const content = `[[fake:{"first_token_delay_s": ${seconds}}]] held`;
  const holder = fetch(`${baseURL}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "single", messages: [{ role: "user", content }] }),
  });
  await until(async () => !(await idle("single")));
  const answer = await ask();
  await (await holder).text();
  assert.ok((await refused()) > before, "nobody was refused");
  return answer;
}
