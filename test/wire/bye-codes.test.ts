// The codes of `bye` are in the protocol's page, in a case of the conformance suite, and known to the clients.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { conclude } from "../../src/cli/connect/outcome.ts";
import { exitCodeOf } from "../../src/cli/exit-codes.ts";
import { BYE_CODES } from "../../src/wire/message.ts";

const read = (path: string) => readFileSync(join(import.meta.dir, "../..", path), "utf8");
const FAILURES = BYE_CODES.filter((code) => code !== "done");

test("docs/protocol.md lists each of them, and no other", () => {
  const [paragraph = ""] = /^Codes of `bye`: [^]*?\n\n/m.exec(read("docs/protocol.md")) ?? [];
  const named = [...paragraph.matchAll(/`(\w+)`/g)].map(([, code]) => code).slice(1);
  expect(new Set(named)).toEqual(new Set(BYE_CODES));
});

test("the conformance suite has a case of each that is no success", () => {
  const cases = JSON.parse(read("clients/conformance/control.json")) as { name: string }[];
  const names = cases.map(({ name }) => name);
  expect(FAILURES.filter((code) => !names.includes(`bye: ${code}`))).toEqual([]);
});

test("the client in Python has the same exit code for each as parley connect", () => {
  const [, list = ""] = /^AWAY = \(([^)]*)\)/m.exec(read("clients/python/parley.py")) ?? [];
  const away = [...list.matchAll(/"(\w+)"/g)].map(([, code]) => code);
  const counts = {
    sent: 0,
    received: 0,
    unacknowledged: 0,
    unconfirmed: 0,
    answersMayBeMissing: false,
    inputEnded: true,
  };
  const wishes = { byHand: false, isKeys: false, count: undefined, wantsStatus: false };
  const exits = FAILURES.map((code) => {
    try {
      return [
        code,
        conclude({ kind: "bye", code, message: "", status: undefined, early: false }, counts, wishes),
      ];
    } catch (error) {
      return [code, exitCodeOf(error)];
    }
  });
  expect(exits).toEqual(FAILURES.map((code) => [code, away.includes(code) ? 5 : 1]));
});
