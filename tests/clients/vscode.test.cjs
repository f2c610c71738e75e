"use strict";
// The VS Code extension under node's own test runner: with a server that records what it is asked, and with a running Freehold.

const assert = require("node:assert/strict");
const http = require("node:http");
const Module = require("node:module");
const path = require("node:path");
const { after, before, beforeEach, test } = require("node:test");

const stub = require("./vscode-stub.cjs");

const EXTENSION = path.join(__dirname, "..", "..", "editors", "vscode");
const manifest = require(path.join(EXTENSION, "package.json"));
const properties = manifest.contributes.configuration.properties;
const defaults = Object.fromEntries(Object.entries(properties).map(([name, value]) => [name.slice("freehold.".length), value.default]));

let vscode;
const load = Module._load;
Module._load = (request, ...rest) => (request === "vscode" ? vscode : load(request, ...rest));

const asked = []; // {url, body, headers, left} of each request
let answer = () => ({ status: 200, body: { content: "a + b" } });
const server = http.createServer((request, response) => {
  let text = "";
  request.on("data", (data) => (text += data));
  request.on("end", async () => {
    const one = { url: request.url, headers: request.headers, body: text ? JSON.parse(text) : undefined, left: false };
    response.on("close", () => (one.left = !response.writableEnded));
    asked.push(one);
    const { status, body, headers } = await answer(one);
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
});

before(() => new Promise((resolve) => server.listen(0, "127.0.0.1", resolve)));
after(() => (server.closeAllConnections(), server.close()));
beforeEach(() => {
  asked.length = 0;
  answer = () => ({ status: 200, body: { content: "a + b" } });
});

async function start(settings = {}) {
  vscode = stub.create({ ...defaults, debounce: 1, url: `http://127.0.0.1:${server.address().port}`, ...settings });
  delete require.cache[require.resolve(path.join(EXTENSION, "extension.js"))];
  return require(path.join(EXTENSION, "extension.js")).activate(vscode.test.context);
}

function opened(text, name = "/project/add.py", language = "python") {
  const offset = text.indexOf("|");
  const document = new stub.Document(name, text.replace("|", ""), language);
  vscode.workspace.textDocuments.push(document);
  return { document, position: document.positionAt(offset) };
}

const items = (provider, { document, position }, token = new stub.Token(), context = {}) =>
  provider.provideInlineCompletionItems(document, position, context, token);

async function until(condition) {
  const deadline = Date.now() + 5000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, "the condition did not come true");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("a suggestion is asked for by llama.cpp's route and shown at the cursor", async () => {
  const provider = await start({ model: "coder" });
  const at = opened("def add(a, b):\n    return |\n\nprint(add(1, 2))\n");
  const [item] = await items(provider, at);
  assert.equal(item.insertText, "a + b");
  assert.deepEqual(item.range, new vscode.Range(at.position, at.position));
  const { url, body } = asked[0];
  assert.equal(url, "/infill");
  assert.equal(body.input_prefix, "def add(a, b):\n");
  assert.equal(body.prompt, "    return ");
  assert.equal(body.input_suffix, "\n\nprint(add(1, 2))\n");
  assert.equal(body.model, "coder");
  assert.equal(body.stop, undefined);
  assert.match(vscode.test.item.tooltip, /ready/);
});

test("code behind the cursor makes it one line", async () => {
  const provider = await start();
  answer = () => ({ status: 200, body: { content: "a + b\nmore" } });
  const [item] = await items(provider, opened("x = |if y else z\n"));
  assert.equal(item.insertText, "a + b");
  assert.deepEqual(asked[0].body.stop, ["\n"]);
});

test("what is typed along a suggestion needs no second request", async () => {
  const provider = await start();
  await items(provider, opened("s = |\n"));
  const [item] = await items(provider, opened("s = a +|\n"));
  assert.equal(item.insertText, " b");
  assert.equal(asked.length, 1);
  await items(provider, opened("s = a -|\n"));
  assert.equal(asked.length, 2);
});

test("keys that follow soon ask once, and one that leaves hangs up", async () => {
  const provider = await start({ debounce: 40 });
  const [first, second] = [new stub.Token(), new stub.Token()];
  const one = items(provider, opened("a = |\n"), first);
  first.cancel();
  answer = () => new Promise(() => {});
  const other = items(provider, opened("ab = |\n"), second);
  await until(() => asked.length === 1);
  assert.equal(asked[0].body.prompt, "ab = ");
  second.cancel();
  assert.deepEqual([await one, await other], [[], []]);
  await until(() => asked[0].left);
});

test("other open files come along, the last seen last; secrets do not", async () => {
  const provider = await start({ openFiles: 2 });
  const first = opened("def old(): pass\n|", "/project/old.py");
  opened("KEY=1\n|", "/project/.env", "dotenv");
  const sub = opened("def sub(a, b): return a - b\n|", "/project/sub.py");
  const mul = opened("def mul(a, b): return a * b\n|", "/project/mul.py");
  for (const { document } of [first, mul, sub]) provider.see({ document });
  await items(provider, opened("from sub import |\n"));
  assert.deepEqual(asked[0].body.input_extra.map((extra) => extra.filename), ["mul.py", "sub.py"]);
  assert.deepEqual(await items(provider, opened("KEY=|\n", "/project/.env.local", "shellscript")), []);
  assert.equal(asked.length, 1);
});

test("long files are cut at lines", () => {
  const { around, piece } = require(path.join(EXTENSION, "lib", "context.js"));
  const text = Array.from({ length: 5000 }, (_, number) => `line ${number}`).join("\n");
  const offset = text.indexOf("line 2500");
  const { prefix, suffix } = around(text, offset);
  assert.ok(prefix.startsWith("line ") && prefix.endsWith("\n") && prefix.length <= 12000);
  assert.ok(suffix.startsWith("line 2500\n") && suffix.length <= 4000);
  assert.ok(text.includes(`${suffix}\n`));
  const part = piece(text, 2500);
  assert.ok(part.includes("line 2500\n") && part.length <= 2000);
  assert.equal(piece("x".repeat(9000), 0), "");
  const long = "x".repeat(30000);
  assert.deepEqual(around(long, 20000), { prefix: "x".repeat(12000), suffix: "x".repeat(4000) });
});

test("a word chosen from the list of names is part of the question and of the suggestion", async () => {
  const provider = await start();
  const at = opened("pri|\n");
  const range = new vscode.Range(new stub.Position(0, 0), at.position);
  const [item] = await items(provider, at, new stub.Token(), { selectedCompletionInfo: { range, text: "print" } });
  assert.equal(asked[0].body.prompt, "print");
  assert.equal(item.insertText, "printa + b");
  assert.equal(item.range.start.character, 0);
});

test("switched off, for a language or for all, nothing is asked", async () => {
  const provider = await start();
  assert.deepEqual(await items(provider, opened("Dear |\n", "/project/a.txt", "plaintext")), []);
  await vscode.test.commands.get("freehold.toggle")();
  assert.deepEqual(await items(provider, opened("s = |\n")), []);
  assert.match(vscode.test.item.tooltip, /off/);
  assert.equal(asked.length, 0);
});

test("errors become a state and no suggestion", async () => {
  const provider = await start();
  const at = opened("s = |\n");
  const refusal = (status, code) => () => ({ status, body: { error: { message: "said so", code } } });
  for (const [given, state] of [
    [refusal(400, "not_supported"), /refused \(said so\)/],
    [refusal(409, "superseded"), /ready/],
    [() => ({ status: 200, body: "<html>" }), /refused/],
    [() => ({ status: 302, body: "", headers: { Location: "http://127.0.0.1:1/" } }), /down/],
    [() => ({ status: 200, body: { content: 3 } }), /ready/],
    [() => ({ status: 200, body: { content: "  \n " } }), /ready/],
  ]) {
    answer = given;
    assert.deepEqual(await items(provider, at), []);
    assert.match(vscode.test.item.tooltip, state);
  }
  vscode.test.settings.url = "http://127.0.0.1:9";
  assert.deepEqual(await items(provider, at), []);
  assert.match(vscode.test.item.tooltip, /down \(No server answers at http:\/\/127.0.0.1:9/);
  vscode.test.settings.url = "nonsense";
  assert.deepEqual(await items(provider, at), []);
});

test("the key is kept by VS Code and sent as a bearer token", async () => {
  const provider = await start();
  vscode.test.typed = "secret";
  await vscode.test.commands.get("freehold.setKey")();
  await items(provider, opened("s = |\n"));
  assert.equal(asked[0].headers.authorization, "Bearer secret");
});

test("no address but the server's is ever asked, and no workspace can change it", () => {
  assert.equal(properties["freehold.url"].scope, "machine");
  assert.equal(manifest.dependencies, undefined);
});

test("a running Freehold is asked", { skip: !process.env.FREEHOLD_URL && "no server" }, async () => {
  const provider = await start({ url: process.env.FREEHOLD_URL, maxTokens: 8 });
  await vscode.test.commands.get("freehold.status")();
  assert.match(vscode.test.messages[0], /^Freehold \d.* fills in with coder\.$/);
  opened("def sub(a, b):\n    return a - b\n|", "/project/sub.py");
  const found = await items(provider, opened("def add(a, b):\n    return |\n\nprint(add(1, 2))\n"));
  assert.match(vscode.test.item.tooltip, /ready \(\d+ ms\)/);
  assert.ok(found.length <= 1 && found.every((item) => item.insertText));
});
