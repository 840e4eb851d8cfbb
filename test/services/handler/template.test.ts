// The types that --init writes are those of service.ts, in a handler's words.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { HANDLER_TYPES } from "../../../src/services/handler/template.ts";

/** Members of an exported interface, without comments, in a handler's words. */
function members(source: string, name: string): string[] {
  const body = new RegExp(`export interface ${name} \\{([^]*?)\\n\\}`).exec(source)?.[1] ?? "";
  return body
    .replaceAll(/\/\*\*[^]*?\*\//g, "")
    .replaceAll("Conversation", "Session")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

const OURS = readFileSync(join(import.meta.dir, "../../../src/services/service.ts"), "utf8");

test.each([
  ["Session", "Session"],
  ["Room", "Room"],
])("%s is what a handler knows as %s", (ours, theirs) => {
  expect(members(HANDLER_TYPES, theirs).length).toBeGreaterThan(3);
  const shared = members(OURS, ours).filter(
    (member) => !/^(?:fail\(|endOutput\(|readonly (?:local|terminal))/.test(member),
  ); // for what has another end
  expect(members(HANDLER_TYPES, theirs)).toEqual(shared);
});

test("Handler is Service without what only a server calls", () => {
  const shared = members(OURS, "Service").filter(
    (member) =>
      !/^(?:stop\?|disconnected\?|window\?|readonly (?:messages|terminal|acksOnHandOff|keepsInput|descriptors))/.test(
        member,
      ),
  );
  expect(members(HANDLER_TYPES, "Handler")).toEqual(shared);
});
