"use strict";
// Freehold in VS Code: suggestions as you type, from a server of your own.

const vscode = require("vscode");
const { Completer, ask } = require("./lib/completer");
const { isSecret } = require("./lib/context");

const ICONS = { ready: "$(check)", asking: "$(sync~spin)", down: "$(debug-disconnect)", refused: "$(warning)", off: "$(circle-slash)" };
const KEY = "freehold.key";

class Provider {
  constructor(secrets) {
    this._secrets = secrets;
    this._key = "";
    this._seen = []; // addresses of files, the one that was looked at last at the end
    this._completer = new Completer(() => this.options(), (state, text) => this.say(state, text));
    this._item = vscode.window.createStatusBarItem(vscode.StatusBarAlignment.Right, 10);
    this._item.command = "freehold.status";
    this.say(this.settings().get("enabled") ? "ready" : "off", "");
    this._item.show();
  }

  settings() {
    return vscode.workspace.getConfiguration("freehold");
  }

  options() {
    const settings = this.settings();
    const names = ["url", "model", "debounce", "maxTokens", "openFiles"];
    return { key: this._key, ...Object.fromEntries(names.map((name) => [name, settings.get(name)])) };
  }

  async readKey() {
    this._key = (await this._secrets.get(KEY)) || "";
  }

  say(state, text) {
    this._item.text = `${ICONS[state]} Freehold`;
    this._item.tooltip = `Freehold: ${state}${text ? ` (${text})` : ""}`;
  }

  see(editor) {
    if (!editor) return;
    const address = editor.document.uri.toString();
    this._seen = [...this._seen.filter((other) => other !== address), address].slice(-50);
  }

  /** VS Code's InlineCompletionItemProvider. */
  async provideInlineCompletionItems(document, position, context, token) {
    if (!this.wanted(document)) return [];
    const info = context.selectedCompletionInfo;
    const start = info ? info.range.start : position;
    const offset = document.offsetAt(start);
    const chosen = info ? info.text : "";
    const whole = document.getText();
    const text = whole.slice(0, offset) + chosen + whole.slice(document.offsetAt(position));
    const gone = new AbortController();
    const watch = token.onCancellationRequested(() => gone.abort());
    if (token.isCancellationRequested) gone.abort();
    try {
      const file = { path: pathOf(document), text, offset: offset + chosen.length };
      const written = await this._completer.complete(file, this.others(document), gone.signal);
      if (!written || token.isCancellationRequested) return [];
      return [new vscode.InlineCompletionItem(chosen + written, new vscode.Range(start, position))];
    } finally {
      watch.dispose();
    }
  }

  wanted(document) {
    const settings = this.settings();
    const languages = settings.get("languages") || {};
    const language = languages[document.languageId] ?? languages["*"] ?? true;
    return settings.get("enabled") && language && !isSecret(document.uri.path);
  }

  /** Other open files, with the line that is in sight. */
  others(document) {
    const lines = new Map(vscode.window.visibleTextEditors.map((e) => [e.document.uri.toString(), e.visibleRanges[0]?.start.line ?? 0]));
    const rank = (other) => this._seen.indexOf(other.uri.toString());
    return vscode.workspace.textDocuments
      .filter((other) => other !== document && ["file", "vscode-remote"].includes(other.uri.scheme) && !other.isClosed)
      .sort((one, other) => rank(one) - rank(other))
      .map((other) => ({ path: pathOf(other), text: other.getText(), line: lines.get(other.uri.toString()) ?? 0 }));
  }

  async status() {
    const options = this.options();
    try {
      const signal = AbortSignal.timeout(5000);
      const version = await ask(options, "/api/version", undefined, signal);
      const models = await ask(options, "/v1/models", undefined, signal);
      const fills = (models.data || []).filter((model) => model.capabilities && model.capabilities.fim).map((model) => model.id);
      const what = fills.length ? `fills in with ${options.model || fills.join(", ")}` : "has no model that fills in: freehold pull qwen2.5-coder:1.5b";
      this.say(fills.length ? "ready" : "refused", what);
      vscode.window.showInformationMessage(`Freehold ${version.version} at ${options.url} ${what}.`);
    } catch (error) {
      this.say(error.kind || "down", error.message);
      vscode.window.showWarningMessage(`Freehold: ${error.message}`);
    }
  }

  async toggle() {
    const on = !this.settings().get("enabled");
    await this.settings().update("enabled", on, vscode.ConfigurationTarget.Global);
    this.say(on ? "ready" : "off", "");
  }

  async setKey() {
    const key = await vscode.window.showInputBox({ prompt: "Key of your Freehold server; empty for none", password: true });
    if (key === undefined) return;
    await this._secrets.store(KEY, key);
    this._key = key;
  }

  dispose() {
    this._item.dispose();
  }
}

/** A file's name as the model sees it: below the workspace's folder. */
function pathOf(document) {
  return vscode.workspace.asRelativePath(document.uri, false);
}

async function activate(context) {
  const provider = new Provider(context.secrets);
  await provider.readKey();
  provider.see(vscode.window.activeTextEditor);
  context.subscriptions.push(
    provider,
    vscode.languages.registerInlineCompletionItemProvider({ pattern: "**" }, provider),
    vscode.window.onDidChangeActiveTextEditor((editor) => provider.see(editor)),
    ...["toggle", "status", "setKey"].map((name) => vscode.commands.registerCommand(`freehold.${name}`, () => provider[name]())),
  );
  return provider;
}

module.exports = { activate, deactivate() {} };
