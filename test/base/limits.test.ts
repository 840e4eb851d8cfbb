// Durations and sizes as people write them.

import { expect, test } from "bun:test";
import { parseDuration, parseSize, sayDuration } from "../../src/base/units.ts";

test.each([
  ["0ms", 0],
  ["500ms", 500],
  ["30s", 30_000],
  ["5m", 300_000],
  ["2h", 7_200_000],
  ["7d", 604_800_000],
  ["1.5s", 1500],
  ["0.001s", 1],
  ["10S", 10_000],
])("the duration %s is %d ms", (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(["", "30", "s", "-1s", "+1s", "1 s", " 1s", "1s\n", "1e3s", "0x1s", "1.s", ".5s", "1.0001s", "1w"])(
  "%j is an invalid duration",
  (text) => expect(parseDuration(text)).toBeUndefined(),
);

test.each(["1kb", "1constructor", "1__proto__", "1000000000000s", "999999999999d"])(
  "%j is an invalid duration",
  (text) => {
    expect(parseDuration(text)).toBeUndefined();
  },
);

test.each([
  ["0", 0],
  ["4096", 4096],
  ["1b", 1],
  ["64kb", 65_536],
  ["1mb", 1_048_576],
  ["1GB", 1_073_741_824],
  ["1.5kb", 1536],
])("the size %s is %d bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each([
  "",
  "kb",
  "-1",
  "1 kb",
  "1k",
  "1kib",
  "1tb",
  "1s",
  "1e3",
  "1,5kb",
  "0x10",
  "Infinity",
  "999999999999gb",
])("%j is an invalid size", (text) => expect(parseSize(text)).toBeUndefined());

test.each([
  [0, "0 ms"],
  [250, "250 ms"],
  [1000, "1 s"],
  [3049, "3 s"],
  [3050, "3.1 s"],
  [119_900, "119.9 s"],
  [120_000, "2 min"],
])("%d ms is said as %s", (ms, said) => {
  expect(sayDuration(ms)).toBe(said);
});
