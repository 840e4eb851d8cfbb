// What a peer sent, made harmless: every character that acts is shown, and none is dropped.

import { describe, expect, test } from "bun:test";
import { escapeJson, escapeLine, escapeText } from "../src/escape.ts";

describe("a character that acts is shown", () => {
  test.each([
    ["\x00", "^@"],
    ["\x07", "^G"],
    ["\x1b[31mred\x1b[0m", "^[[31mred^[[0m"],
    ["\x1b]0;title\x07", "^[]0;title^G"],
    ["a\x08b", "a^Hb"],
    ["\x1f", "^_"],
    ["\x7f", "^?"],
    ["\r", "\\r"],
    ["\u009b31m", "\\u{9b}31m"],
    ["\u00ad", "\\u{ad}"],
    ["\u200b", "\\u{200b}"],
    ["\u202e", "\\u{202e}"],
    ["\u2028\u2029", "\\u{2028}\\u{2029}"],
    ["\u2066", "\\u{2066}"],
    ["\ufeff", "\\u{feff}"],
    ["\u{e0041}", "\\u{e0041}"],
    ["\u{10ffff}", "\\u{10ffff}"],
    ["\ud83d!", "\\u{d83d}!"],
    ["\udc00", "\\u{dc00}"],
  ])("%j as %s", (text, shown) => {
    expect(escapeLine(text)).toBe(shown);
    expect(escapeText(text)).toBe(shown);
  });
});

test("line feeds and tabs are shown in a line, and stay in a text", () => {
  expect(escapeLine("a\n\tb")).toBe("a\\n\\tb");
  expect(escapeText("a\n\tb")).toBe("a\n\tb");
  expect(escapeText("a\r\nb")).toBe("a\\r\nb");
});

test.each(["", "plain ~ text", "jörg", "日本語", "مرحبا", "😀", "e\u0308", "\\u{1b}"])(
  "%j is left alone",
  (text) => {
    expect(escapeLine(text)).toBe(text);
    expect(escapeText(text)).toBe(text);
  },
);

test("no control, format, separator or half character is ever let through, and all others are", () => {
  const wrong: string[] = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    const character = String.fromCodePoint(code);
    const acts = /[\p{C}\p{Zl}\p{Zp}]/u.test(character) && !/\p{Co}/u.test(character);
    if ((escapeLine(character) === character) === acts) wrong.push(code.toString(16));
  }
  expect(wrong).toEqual([]);
});

describe("JSON", () => {
  test("is the same value to a program, and harmless to a terminal", () => {
    const value = { "a\u202e": ["\x1b[2J", "\u009b", "\u2028", "\u{e0041}", "\x7f", "😀", '"\\'], n: 1 };
    const json = escapeJson(value);
    expect(JSON.parse(json)).toEqual(value);
    expect(escapeLine(json)).toBe(json);
    expect(json).toContain("😀");
  });

  test("writes what acts as \\u…, one for each half", () => {
    expect(escapeJson("\u009b\u{e0041}")).toBe('"\\u009b\\udb40\\udc41"');
  });
});
