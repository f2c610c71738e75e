"use strict";
// When the server is asked, and what of its answer is shown. No part of VS Code is needed here.

const { around, extras } = require("./context");

const LONGEST_ANSWER = 1 << 20; // bytes

/** What the server refused, or that none answers. `kind` is "down", "refused" or "superseded". */
class Failed extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/** Resolves to true after so many milliseconds, to false at once when the signal is aborted. */
function waited(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false);
    const stop = () => (clearTimeout(timer), resolve(false));
    const timer = setTimeout(() => (signal.removeEventListener("abort", stop), resolve(true)), milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** One request to the server: its JSON. Follows no redirect. Throws Failed, or what the signal was aborted with. */
async function ask(options, path, body, signal) {
  let address;
  try {
    address = new URL(options.url.replace(/\/+$/, "").replace(/\/v1$/, "") + path);
  } catch {
    throw new Failed("down", `${options.url} is not an address`);
  }
  const headers = { "Content-Type": "application/json", "User-Agent": "freehold-vscode" };
  if (options.key) headers.Authorization = `Bearer ${options.key}`;
  let answer;
  let text;
  try {
    const init = { method: body ? "POST" : "GET", headers, redirect: "error", signal };
    answer = await fetch(address, body ? { ...init, body: JSON.stringify(body) } : init);
    text = await answer.text();
  } catch (error) {
    if (signal && signal.aborted) throw error;
    throw new Failed("down", `No server answers at ${address.origin}.`);
  }
  let value;
  try {
    value = text.length > LONGEST_ANSWER ? undefined : JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (!answer.ok) {
    const error = value && value.error ? value.error : {};
    const kind = error.code === "superseded" ? "superseded" : "refused";
    throw new Failed(kind, error.message || `The server answered with status ${answer.status}.`);
  }
  if (value === undefined || value === null) throw new Failed("refused", "What answers there is not Freehold.");
  return value;
}

/** Completions for one window. `options()` gives the settings of the moment, `said(state, text)` is told what goes on. */
class Completer {
  constructor(options, said = () => {}) {
    this._options = options;
    this._said = said;
    this._last = undefined; // the last suggestion: typing along it needs no server
  }

  /**
   * The text to insert at `offset` of `text`, "" for none.
   * `file` is {path, text, offset}; `others` are the other open files, as `extras` takes them. A newer call is the caller's
   * to announce: by aborting the signal of the one before.
   */
  async complete(file, others, signal) {
    const options = this._options();
    const { prefix, suffix } = around(file.text, file.offset);
    if (!prefix.trim() && !suffix.trim()) return "";
    const typed = this._typedAlong(file.path, prefix, suffix);
    if (typed) return typed;
    if (!(await waited(options.debounce, signal))) return "";
    this._said("asking", "");
    const began = Date.now();
    try {
      const answer = await ask(options, "/infill", this._body(options, file, prefix, suffix, others), signal);
      const text = shown(typeof answer.content === "string" ? answer.content : "", suffix);
      this._said("ready", `${Date.now() - began} ms`);
      this._last = { path: file.path, prefix, suffix, text };
      return text;
    } catch (error) {
      const quiet = signal.aborted || error.kind === "superseded";
      this._said(quiet ? "ready" : error.kind || "refused", quiet ? "" : error.message);
      return "";
    }
  }

  _body(options, file, prefix, suffix, others) {
    const line = prefix.lastIndexOf("\n") + 1;
    const body = {
      input_prefix: prefix.slice(0, line),
      prompt: prefix.slice(line),
      input_suffix: suffix,
      input_extra: extras(others, file.path, options.openFiles),
      n_predict: options.maxTokens,
      stream: false,
    };
    if (midLine(suffix)) body.stop = ["\n"];
    if (options.model) body.model = options.model;
    return body;
  }

  /** What is left of the last suggestion when the user has typed its beginning. */
  _typedAlong(path, prefix, suffix) {
    const last = this._last;
    if (!last || last.path !== path || last.suffix !== suffix) return "";
    if (!prefix.startsWith(last.prefix)) return "";
    const typed = prefix.slice(last.prefix.length);
    return last.text.startsWith(typed) ? last.text.slice(typed.length) : "";
  }
}

/** Whether code follows on the cursor's line: then a suggestion is one line. Closing brackets do not count. */
function midLine(suffix) {
  const rest = suffix.split("\n", 1)[0];
  return /[^\s)\]}'"`;,:]/.test(rest);
}

/** An answer as it is shown: without blank ends, and one line where code follows. */
function shown(text, suffix) {
  const kept = midLine(suffix) ? text.split("\n", 1)[0] : text.replace(/\s+$/, "");
  return kept.trim() ? kept.replace(/\r/g, "") : "";
}

module.exports = { Completer, Failed, ask, midLine, shown, waited };
