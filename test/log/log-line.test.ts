// What log.ts writes is read again, in both forms, whatever a field holds; what is cut or from elsewhere is not.

import { readFileSync } from "node:fs";
import { expect, test } from "bun:test";
import fc from "fast-check";
import { escapeLine } from "../../src/base/escape.ts";
import { LOG_FORMATS, openLog, type LogFields, type LogFormat } from "../../src/log/log.ts";
import { parseLogLine } from "../../src/log/log-line.ts";
import { tempFolder } from "../support/folder.ts";

function written(format: LogFormat, fields: LogFields): string {
  using folder = tempFolder();
  const path = `${folder.path}/log`;
  const log = openLog({ path, level: "info", format });
  log.warn("login-refused", fields);
  log.close();
  return readFileSync(path, "utf8").slice(0, -1);
}

const ALL = () => true;

test.each([...LOG_FORMATS])("%s: every field comes back, escaped once", (format) => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme-ascii" }), (user, reason) => {
      const line = written(format, { conn: 7, peer: "[::1]:5", user, code: undefined, reason });
      const { time, event, fields } = parseLogLine(line, ALL) ?? {};
      expect({ event, length: time?.length }).toEqual({ event: "login-refused", length: 24 });
      expect(fields).toMatchObject({
        peer: "[::1]:5",
        user: escapeLine(user),
        reason: escapeLine(reason),
      });
      expect(Number(fields?.["conn"])).toBe(7);
    }),
    { numRuns: 200 },
  );
});

test.each([...LOG_FORMATS])("%s: a line that is cut within a field is none", (format) => {
  const line = written(format, { conn: 7, peer: "127.0.0.1:5", reason: 'wrong "password" or user' });
  const whole = line.lastIndexOf("wrong");
  for (let end = whole; end < line.length; end++) {
    expect([end, parseLogLine(line.slice(0, end), ALL)]).toEqual([end, undefined]);
  }
});

test.each([
  "",
  "rubbish",
  "{",
  "null",
  "root:x:0:0:root:/root:/bin/bash",
  "2026-11-26T10:00:00.000Z warn  no-event of=parley",
  "2026-11-26T10:00:00Z warn  refused code=full",
  " 2026-11-26T10:00:00.000Z warn  refused code=full",
  "2026-11-26T10:00:00.000Z warn  refused code=full and more",
  '{"level":"warn","event":"refused"}',
])("%j is no line of a log", (text) => expect(parseLogLine(text, ALL)).toBeUndefined());

test("of an event that is not wanted the fields are not looked at", () => {
  const line = "2026-11-26T10:00:00.000Z info  connected conn=";
  expect(parseLogLine(line, () => false)).toMatchObject({ event: "connected", fields: {} });
  expect(parseLogLine(line, ALL)).toBeUndefined();
});
