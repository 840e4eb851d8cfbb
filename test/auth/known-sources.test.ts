// Who is known from before is a stranger again after one wrong password.

import { expect, test } from "bun:test";
import { KnownSources } from "../../src/auth/known-sources.ts";

test("remembers those who were seen last, and no more than 4096", () => {
  const familiar = new KnownSources(["first", "second"]);
  for (let index = 0; index < 4094; index++) familiar.add(`${index}`);
  familiar.add("first");
  familiar.add("one more");
  expect([familiar.has("first"), familiar.has("second"), familiar.has("one more")]).toEqual([
    true,
    false,
    true,
  ]);
  familiar.remove("first");
  expect(familiar.has("first")).toBe(false);
});
