// One, and more than one.

import { expect, test } from "bun:test";
import { plural } from "../../src/base/plural.ts";

test("says one of something as one, and none and more as many", () => {
  expect([0, 1, 2].map((count) => plural(count, "message"))).toEqual([
    "0 messages",
    "1 message",
    "2 messages",
  ]);
});

test("lets what follows agree with it", () => {
  const agreed = [0, 1, 2].map((count) => plural(count, "login", ["was", "were"]));
  expect(agreed).toEqual(["0 logins were", "1 login was", "2 logins were"]);
});
