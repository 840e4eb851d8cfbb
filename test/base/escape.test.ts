// What a peer sent, made harmless: every character that acts is shown, and none is dropped.

import { describe, expect, test } from "bun:test";
import { escapeJson, escapeLine, escapeText, escapeBytes } from "../../src/base/escape.ts";

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

test.each([
  "",
  "plain ~ text",
  "jörg",
  "日本語",
  "مرحبا",
  "😀",
  "e\u0308",
  "❤️",
  "❤︎",
  "葛\u{e0100}",
  "1️⃣",
  "नि",
  "\\u{1b}",
])("%j is left alone", (text) => {
  expect(escapeLine(text)).toBe(text);
  expect(escapeText(text)).toBe(text);
});

describe("a joiner stays where it is part of the writing:", () => {
  test.each([
    ["a family", "👨\u200d👩\u200d👧"],
    ["a skin tone before it", "👩🏽\u200d💻"],
    ["a picture made one by a selector", "🏳️\u200d🌈"],
    ["the same, both sides", "🕵️\u200d♂️"],
    ["Persian", "می\u200cخواهم"],
    ["Persian, with vowels", "مِی\u200cخَواهم"],
    ["Syriac", "ܒ\u200cܒ"],
    ["Hindi, joined", "क्\u200dष"],
    ["Hindi, parted", "क्\u200cष"],
    ["a dot below and the virama", "क़्\u200dष"],
    ["Sinhala", "ශ්\u200dරී"],
    ["Malayalam, at the end", "അവന്\u200d"],
    ["Bengali, before the virama", "র\u200d্যাম"],
  ])("%s", (_, text) => {
    expect(escapeLine(text)).toBe(text);
    expect(escapeText(`a\n${text}`)).toBe(`a\n${text}`);
  });
});

describe("a joiner is shown", () => {
  test.each([
    ["between Latin letters", "an\u200dn", "an\\u{200d}n"],
    ["between Cyrillic ones", "а\u200cб", "а\\u{200c}б"],
    ["at the start", "\u200dann", "\\u{200d}ann"],
    ["at the end", "ann\u200c", "ann\\u{200c}"],
    ["at the end of a Persian word", "می\u200c", "می\\u{200c}"],
    ["before one", "\u200cمی", "\\u{200c}می"],
    ["doubled, in a Persian word", "می\u200c\u200cخ", "می\\u{200c}\\u{200c}خ"],
    ["doubled, after a virama", "क्\u200d\u200dष", "क्\\u{200d}\\u{200d}ष"],
    ["doubled, between emoji", "👨\u200d\u200d👩", "👨\\u{200d}\\u{200d}👩"],
    ["a joiner between Persian letters", "م\u200dی", "م\\u{200d}ی"],
    ["a non-joiner between emoji", "👨\u200c👩", "👨\\u{200c}👩"],
    ["after an emoji", "👨\u200d", "👨\\u{200d}"],
    ["between an emoji and a letter", "👨\u200da", "👨\\u{200d}a"],
    ["between digits", "1\u200d2", "1\\u{200d}2"],
    ["between a Latin and a Persian letter", "a\u200cم", "a\\u{200c}م"],
    ["after a virama on a Latin letter", "a\u094d\u200d", "a\u094d\\u{200d}"],
    ["between Indic letters without a virama", "क\u200dष", "क\\u{200d}ष"],
    ["after a place for a later emoji", "\u{1fc00}\u200d👩", "\\u{1fc00}\\u{200d}👩"],
  ])("%s", (_, text, expected) => {
    expect(escapeLine(text)).toBe(expected);
    expect(escapeText(text)).toBe(expected);
  });
});

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

test("bytes are shown in printable ASCII, each in one way", () => {
  const all = Array.from({ length: 256 }, (_, byte) => escapeBytes(Uint8Array.of(byte)));
  expect(all.filter((text) => !/^(?:[ !#-[\]-~]|\\x[0-9a-f]{2})$/.test(text))).toEqual([]);
  expect(new Set(all).size).toBe(256);
  expect(escapeBytes(Buffer.from('a"\\\n\u00e9'))).toBe("a\\x22\\x5c\\x0a\\xc3\\xa9");
});
