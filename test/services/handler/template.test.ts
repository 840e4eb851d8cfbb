// The types that --init writes are those of service.ts, in a handler's words.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import type { Handler, Room, Server, Session } from "../../../examples/parley.d.ts";
import { HANDLER_TYPES } from "../../../src/services/handler/template.ts";

/** Members of an exported interface, without comments, in a handler's words. */
function members(source: string, name: string): string[] {
  const body = new RegExp(`export interface ${name}(?:<[^>]*>)? \\{([^]*?)\\n\\}`).exec(source)?.[1] ?? "";
  return body
    .replaceAll(/\/\*\*[^]*?\*\//g, "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

const OURS = readFileSync(join(import.meta.dir, "../../../src/services/service.ts"), "utf8");

test.each([
  ["Session", "Session"],
  ["Room", "Room"],
  ["Message", "Message"],
  ["Server", "Server"],
])("%s is what a handler knows as %s", (ours, theirs) => {
  expect(members(HANDLER_TYPES, theirs).length).toBeGreaterThan(3);
  const shared = members(OURS, ours).filter(
    (member) => !/^(?:fail\(|endOutput\(|readonly (?:local|terminal))/.test(member),
  ); // for what has another end
  expect(members(HANDLER_TYPES, theirs)).toEqual(shared);
});

test("Handler is SessionHooks, with what a server calls", () => {
  const theirs = members(HANDLER_TYPES, "Handler").map((member) =>
    member.replace("Session<Data>", "Session"),
  );
  expect(theirs.filter((member) => /^st(?:art|op)\?\(server: Server<Data>\)/.test(member)).length).toBe(2);
  expect(theirs.slice(2)).toEqual(members(OURS, "SessionHooks"));
});

test("Conversation is SessionHooks without the session", () => {
  const shared = members(OURS, "SessionHooks").map((member) => member.replace(/session: Session(?:, )?/, ""));
  expect(members(HANDLER_TYPES, "Conversation")).toEqual(shared);
});

test("the examples have the same types", () => {
  const copy = join(import.meta.dir, "../../../examples/parley.d.ts");
  expect(readFileSync(copy, "utf8")).toBe(HANDLER_TYPES);
});

test("the members of a room have the data that a handler names, without a cast", () => {
  const counter = {
    points: 0,
    start(server: Server<{ points: number }>) {
      for (const { data } of server.sessions) this.points += data.points;
    },
    message(session) {
      for (const { data } of session.join("hall").members) this.points += data.points;
    },
  } satisfies Handler<{ points: number }> & { points: number };
  const session = { data: { points: 7 } } as Session<{ points: number }>;
  session.join = () => ({ members: new Set([session]) }) as unknown as Room<{ points: number }>;
  counter.message(session);
  counter.start({ sessions: new Set([session]) } as unknown as Server<{ points: number }>);
  expect(counter.points).toBe(14);
});
