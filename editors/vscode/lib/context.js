"use strict";
// What the model is shown: the text around the cursor, and pieces of other open files. No part of VS Code is needed here.

const BEFORE = 12000; // characters before the cursor; the server keeps what stands next to it where that is too many
const AFTER = 4000;
const PIECE = 2000; // characters of another file
const SECRET = /(^|[\\/])(\.env(\..*)?|\.netrc|\.npmrc|\.pypirc|id_[a-z0-9]+|credentials|.*\.(pem|key|p12|pfx|kdbx))$/i;

/** Whether a file is one that people keep secrets in: it is neither completed nor shown to the model. */
function isSecret(path) {
  return SECRET.test(path);
}

/** The text around an offset: whole lines at its far ends. */
function around(text, offset) {
  const far = Math.max(0, offset - BEFORE);
  const line = far > 0 ? text.indexOf("\n", far) + 1 : 0;
  const start = line > 0 && line <= offset ? line : far;
  let end = Math.min(text.length, offset + AFTER);
  if (end < text.length) {
    const last = text.lastIndexOf("\n", end - 1);
    if (last > offset) end = last;
  }
  return { prefix: text.slice(start, offset), suffix: text.slice(offset, end) };
}

/** A piece of a file around a line: whole lines, as many as fit. */
function piece(text, line) {
  if (text.length <= PIECE) return text;
  const lines = text.split("\n");
  let first = Math.min(Math.max(line, 0), lines.length - 1);
  let last = first;
  let size = lines[first].length + 1;
  if (size > PIECE) return "";
  for (let grew = true; grew; ) {
    grew = false;
    if (first > 0 && size + lines[first - 1].length + 1 <= PIECE) (size += lines[--first].length + 1), (grew = true);
    if (last < lines.length - 1 && size + lines[last + 1].length + 1 <= PIECE) (size += lines[++last].length + 1), (grew = true);
  }
  return lines.slice(first, last + 1).join("\n");
}

/**
 * Pieces of other open files for `input_extra`: those seen last come last, for they count most.
 * `files` are {path, text, line}, the one seen first at the front.
 */
function extras(files, path, count) {
  const pieces = files
    .filter((file) => file.path !== path && !isSecret(file.path))
    .map((file) => ({ filename: file.path, text: piece(file.text, file.line) }))
    .filter((file) => file.text.trim());
  return count > 0 ? pieces.slice(-count) : [];
}

module.exports = { around, extras, isSecret, piece };
