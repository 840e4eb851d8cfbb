// The names that Tab completes in a chat.

import { expect, test } from "bun:test";
import { ChatNames } from "../../../src/cli/connect/chat-names.ts";

test("are those of who speaks, of who is spoken to and of who is here", () => {
  const names = new ChatNames(false);
  for (const line of ["ann: hello", "bob → chris: psst", "* dora joined", "* ann left"]) names.show(line);
  expect(names.complete("")[0]).toEqual([]);
  expect(["a", "b", "c", "d"].map((word) => names.complete(word)[0])).toEqual([
    [],
    ["bob: "],
    ["chris: "],
    ["dora: "],
  ]);
  names.show("* here: eve");
  expect([names.complete("b")[0], names.complete("e")[0]]).toEqual([[], ["eve: "]]);
});

test("are at most 1000, the latest ones", () => {
  const names = new ChatNames(false);
  for (let n = 0; n < 5000; n++) names.show(`n${n}: hello`);
  const [found] = names.complete("n");
  expect([found.length, found[0], found.at(-1)]).toEqual([1000, "n4000: ", "n4999: "]);
  names.show(`* here: ${Array.from({ length: 3000 }, (_, n) => `m${n}`).join(", ")}`);
  expect([names.complete("m")[0].length, names.complete("n")[0].length]).toEqual([1000, 0]);
});
