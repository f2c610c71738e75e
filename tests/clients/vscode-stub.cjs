"use strict";
// A stand-in for the module `vscode`: as much of its API as the extension uses.

class Position {
  constructor(line, character) {
    Object.assign(this, { line, character });
  }
}

class Range {
  constructor(start, end) {
    Object.assign(this, { start, end });
  }
}

class InlineCompletionItem {
  constructor(insertText, range) {
    Object.assign(this, { insertText, range });
  }
}

class Document {
  constructor(path, text, languageId = "python") {
    const address = `file://${path}`;
    Object.assign(this, { text, languageId, isClosed: false, uri: { path, scheme: "file", toString: () => address } });
  }

  getText() {
    return this.text;
  }

  offsetAt({ line, character }) {
    const lines = this.text.split("\n");
    return lines.slice(0, line).reduce((sum, each) => sum + each.length + 1, 0) + character;
  }

  positionAt(offset) {
    const lines = this.text.slice(0, offset).split("\n");
    return new Position(lines.length - 1, lines.at(-1).length);
  }
}

class Token {
  constructor() {
    this.isCancellationRequested = false;
    this._listeners = [];
  }

  onCancellationRequested(listener) {
    this._listeners.push(listener);
    return { dispose: () => (this._listeners = this._listeners.filter((each) => each !== listener)) };
  }

  cancel() {
    this.isCancellationRequested = true;
    for (const listener of this._listeners) listener();
  }
}

function create(defaults) {
  const settings = { ...defaults };
  const commands = new Map();
  const item = { text: "", tooltip: "", show() {}, dispose() {} };
  const messages = [];
  const secrets = new Map();
  const nothing = { dispose() {} };
  const vscode = {
    InlineCompletionItem,
    Position,
    Range,
    StatusBarAlignment: { Left: 1, Right: 2 },
    ConfigurationTarget: { Global: 1 },
    commands: { registerCommand: (name, run) => (commands.set(name, run), nothing) },
    languages: { registerInlineCompletionItemProvider: () => nothing },
    window: {
      activeTextEditor: undefined,
      visibleTextEditors: [],
      createStatusBarItem: () => item,
      onDidChangeActiveTextEditor: () => nothing,
      showInformationMessage: (text) => messages.push(text),
      showWarningMessage: (text) => messages.push(text),
      showInputBox: async () => vscode.test.typed,
    },
    workspace: {
      textDocuments: [],
      asRelativePath: (uri) => uri.path.replace("/project/", ""),
      getConfiguration: () => ({ get: (name) => settings[name], update: async (name, value) => (settings[name] = value) }),
    },
    test: {
      settings,
      commands,
      item,
      messages,
      typed: "",
      context: { subscriptions: [], secrets: { get: async (name) => secrets.get(name), store: async (name, value) => secrets.set(name, value) } },
    },
  };
  return vscode;
}

module.exports = { Document, Position, Token, create };
