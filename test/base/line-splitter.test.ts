// Bytes → lines: the same ones wherever the stream is cut, and none longer than allowed.

import { describe, expect, test } from "bun:test";
import { ParleyError } from "../../src/base/errors.ts";
import { LineSplitter, NEWLINE, NUL } from "../../src/base/line-splitter.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (line: Uint8Array): string => new TextDecoder().decode(line);

/** The lines of a stream in pieces, read only after the last piece: none may be changed by a later one. */
function split(pieces: Uint8Array[], delimiter = NEWLINE, maxBytes = 100): string[] {
  const splitter = new LineSplitter(delimiter, maxBytes);
  const lines = pieces.flatMap((piece) => [...splitter.push(piece)]);
  const last = splitter.end();
  return [...lines, ...(last === undefined ? [] : [last])].map(text);
}

const streams: [name: string, stream: string, delimiter: number, lines: string[]][] = [
  ["nothing", "", NEWLINE, []],
  ["one line", "one\n", NEWLINE, ["one"]],
  ["a last line without its newline", "one\ntwo", NEWLINE, ["one", "two"]],
  ["empty lines, first and last too", "\n\none\n\n", NEWLINE, ["", "", "one", ""]],
  ["CRLF and LF", "one\r\n\r\ntwo\nthree\r\n", NEWLINE, ["one", "", "two", "three"]],
  ["a carriage return inside", "one\rtwo\r\r\n", NEWLINE, ["one\rtwo\r"]],
  ["NUL inside a line", "one\0two\n", NEWLINE, ["one\0two"]],
  ["characters of several bytes", "jörg\n😀\n", NEWLINE, ["jörg", "😀"]],
  ["lines that end with NUL", "one\0\0two\nthree\r\n\0four", NUL, ["one", "", "two\nthree\r\n", "four"]],
  ["a carriage return before NUL", "one\r\0", NUL, ["one\r"]],
];

describe.each(streams)("%s", (_, stream, delimiter, lines) => {
  const bytes = utf8(stream);

  test("gives the same lines in one piece and byte by byte", () => {
    expect(split([bytes], delimiter)).toEqual(lines);
    expect(
      split(
        Array.from(bytes, (byte) => Uint8Array.of(byte)),
        delimiter,
      ),
    ).toEqual(lines);
  });

  test("gives the same lines from any three pieces", () => {
    for (let first = 0; first <= bytes.length; first++) {
      for (let second = first; second <= bytes.length; second++) {
        const pieces = [bytes.slice(0, first), bytes.slice(first, second), bytes.slice(second)];
        expect(split(pieces, delimiter)).toEqual(lines);
      }
    }
  });
});

test("gives each line as soon as its end is there", () => {
  const splitter = new LineSplitter(NEWLINE, 100);
  expect([...splitter.push(utf8("one"))]).toEqual([]);
  expect([...splitter.push(utf8("\ntwo\nth"))].map(text)).toEqual(["one", "two"]);
  expect([...splitter.push(utf8("ree\n"))].map(text)).toEqual(["three"]);
  expect(splitter.end()).toBeUndefined();
});

describe("a line over the limit", () => {
  test.each([
    ["12345678\n", NEWLINE, true],
    ["12345678\r\n", NEWLINE, true],
    ["12345678", NEWLINE, true],
    ["12345678\0", NUL, true],
    ["123456789\n", NEWLINE, false],
    ["123456789\r\n", NEWLINE, false],
    ["123456789", NEWLINE, false],
    ["12345678\r\0", NUL, false],
    ["1234567890", NEWLINE, false],
  ])("%j, of at most 8 bytes, wherever it is cut", (stream, delimiter, fits) => {
    const bytes = utf8(stream);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const reading = () => split([bytes.slice(0, cut), bytes.slice(cut)], delimiter, 8);
      if (fits) expect(reading()).toEqual([delimiter === NUL ? stream.slice(0, 8) : stream.trimEnd()]);
      else expect(reading).toThrow(ParleyError);
    }
  });

  test("is refused with its number and the limit, after those before it were given", () => {
    const given: string[] = [];
    const reading = () => {
      for (const line of new LineSplitter(NEWLINE, 4).push(utf8("one\ntwo\nthree\nfour\n")))
        given.push(text(line));
    };
    expect(reading).toThrow("line 3 is longer than 4 bytes");
    expect(given).toEqual(["one", "two"]);
  });

  test("has its number right too when only the last byte is too many", () => {
    const whole = new LineSplitter(NEWLINE, 4);
    expect(() => [...whole.push(utf8("one\nthree\n"))]).toThrow("line 2 is longer than 4 bytes");
    const unended = new LineSplitter(NEWLINE, 4);
    expect([...unended.push(utf8("one\nthree"))].map(text)).toEqual(["one"]);
    expect(() => unended.end()).toThrow("line 2 is longer than 4 bytes");
  });

  test("is refused before its end comes, so that memory is bounded", () => {
    const splitter = new LineSplitter(NEWLINE, 8);
    expect([...splitter.push(utf8("123456789"))]).toEqual([]); // the ninth may be a carriage return
    expect(() => [...splitter.push(utf8("0"))]).toThrow("line 1 is longer than 8 bytes");
  });
});
