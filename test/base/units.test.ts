// Durations and sizes, as flags take them and as sentences have them.

import { expect, test } from "bun:test";
import { parseDuration, parseSize, saySize, writeDuration, writeSize } from "../../src/base/units.ts";

test.each([
  [0, "0s"],
  [250, "250ms"],
  [1000, "1s"],
  [1500, "1500ms"],
  [30_000, "30s"],
  [60_000, "60s"],
  [90_000, "90s"],
  [120_000, "2m"],
  [3_600_000, "60m"],
  [7_200_000, "2h"],
  [604_800_000, "7d"],
])("a flag takes %d ms as %s", (ms, text) => {
  expect(writeDuration(ms)).toBe(text);
  expect(parseDuration(text)).toBe(ms);
});

test.each([
  [0, "0"],
  [1, "1b"],
  [1000, "1000b"],
  [1024, "1kb"],
  [65_536, "64kb"],
  [1_048_576, "1mb"],
  [1_048_577, "1048577b"],
  [1_073_741_824, "1gb"],
])("a flag takes %d bytes as %s", (bytes, text) => {
  expect(writeSize(bytes)).toBe(text);
  expect(parseSize(text)).toBe(bytes);
});

test.each([
  [256, "256 B"],
  [4096, "4 KiB"],
  [1_048_576, "1 MiB"],
  [67_108_864, "64 MiB"],
])("%d bytes are said as %s", (bytes, text) => {
  expect(saySize(bytes)).toBe(text);
});
