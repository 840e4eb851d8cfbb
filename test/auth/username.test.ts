// Names: what is one, and that each has one form only.

import { describe, expect, test } from "bun:test";
import { displayName, normalizeName } from "../../src/auth/username.ts";

test.each([
  ["ann", "ann", "ann"],
  ["Ann", "ann", "Ann"],
  ["7of9", "7of9", "7of9"],
  ["a.b-c_d", "a.b-c_d", "a.b-c_d"],
  ["JÖRG", "jörg", "JÖRG"],
  ["jo\u0308rg", "j\u00f6rg", "j\u00f6rg"],
  ["J\u030cana", "\u01f0ana", "J\u030cana"], // composes only as a small letter
  ["Ａｎｎ", "ann", "Ann"],
  ["ﬁn", "fin", "fin"],
  ["Ольга", "ольга", "Ольга"],
  ["अनीता", "अनीता", "अनीता"],
  ["constructor", "constructor", "constructor"],
])("%s is kept as %s and shown as %s", (given, kept, shown) => {
  expect(normalizeName(given)).toBe(kept);
  expect(displayName(given)).toBe(shown);
});

describe("no name", () => {
  test.each([
    ["nothing", ""],
    ["a space", "ann bee"],
    ["space around", " ann"],
    ["a line end", "ann\n"],
    ["a dash first", "-ann"],
    ["a dot first", ".ann"],
    ["an underscore first", "__proto__"],
    ["a mark first", "\u0308ann"],
    ["a slash", "a/b"],
    ["an at sign", "ann@host"],
    ["an escape", "a\x1b[31m"],
    ["an override of direction", "ann\u202e"],
    ["a zero-width space", "an\u200bn"],
    ["a variation selector", "ann\ufe0f"],
    ["a combining grapheme joiner", "ann\u034f"],
    ["a blank letter", "\u3164"],
    ["an emoji", "ann😀"],
    ["half a character", "ann\ud83d"],
  ])("%s", (_, name) => {
    expect(normalizeName(name)).toBeUndefined();
    expect(displayName(name)).toBeUndefined();
  });
});

test("has at most 32 characters, however many bytes", () => {
  for (const letter of ["a", "ö", "𝒳"]) {
    expect(displayName(letter.repeat(32))).toBeString();
    expect(normalizeName(letter.repeat(32))).toBeString();
    expect(displayName(letter.repeat(33))).toBeUndefined();
    expect(normalizeName(letter.repeat(33))).toBeUndefined();
  }
  expect(normalizeName("ﬁ".repeat(16))).toBe("fi".repeat(16));
  expect(normalizeName("ﬁ".repeat(17))).toBeUndefined();
});

test("the one form of a name is its own form, whichever character is in it", () => {
  const unstable: string[] = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    for (const form of [normalizeName, displayName]) {
      const once = form(`a${String.fromCodePoint(code)}`);
      if (once !== undefined && form(once) !== once) unstable.push(code.toString(16));
    }
  }
  expect(unstable).toEqual([]);
});
