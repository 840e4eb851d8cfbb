// What the flags of parley serve ask of a server: each option reaches it, from its flag or as its default.

import { describe, expect, test } from "bun:test";
import { Flags } from "../../../src/cli/flags.ts";
import type { Arguments } from "../../../src/cli/parse.ts";
import { MAX_FRAME_BYTES } from "../../../src/base/limits.ts";
import { planMetrics, planServer, type ServerPlan } from "../../../src/cli/serve/plan.ts";
import { optionEntries } from "../../../src/server/option-table.ts";

const plan = (args: Arguments): ServerPlan => planServer(new Flags(args), undefined);

/** What a flag is given, by the hint of its kind: never its default. */
const GIVEN = {
  TIME: "9s",
  SIZE: "9mb",
  N: "9",
  LIST: "tls-exporter",
  CIDR: ["10.0.0.0/8", "::1"],
  "on|off": "off",
};

describe("a server gets", () => {
  test.each([...optionEntries])(
    "%s from its flag, or its default",
    (name, { flag, kind, default: byDefault }) => {
      const given = GIVEN[(kind.choices?.join("|") ?? kind.hint) as keyof typeof GIVEN];
      const wanted = kind.read(flag, ...[given].flat());
      expect(wanted).not.toEqual(byDefault);
      const valueIn = (options: ServerPlan) => new Map<string, unknown>(Object.entries(options)).get(name);
      expect(valueIn(plan({ [flag]: given }))).toEqual(wanted);
      expect(valueIn(plan({}))).toEqual(byDefault);
    },
  );

  test("no other port where it must not", () => {
    expect(
      [plan({}), plan({ check: true }), plan({ "strict-port": true })].map((one) => one.strictPort),
    ).toEqual([false, false, true]);
  });

  test("no longer messages than its headers can say", () => {
    const longest = (args: Arguments) => plan({ bare: true, ...args }).maxFrame;
    expect([longest({}), longest({ framing: "uint32" }), longest({ framing: "decimal:10" })]).toEqual(
      Array.from({ length: 3 }, () => MAX_FRAME_BYTES),
    );
    expect(longest({ framing: "decimal:3" })).toBe(999);
    expect(longest({ framing: "decimal:3", "max-frame": "100" })).toBe(100);
    expect(plan({ bare: true, framing: "decimal:3" }).framing?.name).toBe("decimal:3");
  });

  test("the socket that was handed over, and then no host and port", () => {
    const socket = { host: "127.0.0.1", port: 7, fd: 3 };
    expect(planServer(new Flags({}), socket)).toMatchObject(socket);
    for (const flag of ["host", "port"]) {
      const words = `--${flag}: the service manager passed a socket (LISTEN_FDS) that listens on 127.0.0.1:7`;
      expect(() => planServer(new Flags({ [flag]: flag === "host" ? "::1" : "8" }), socket)).toThrow(words);
    }
  });
});

describe("it is a usage error", () => {
  test.each<[Arguments, string]>([
    [{ bare: true, host: "0.0.0.0" }, "--bare lets anyone in: not allowed on 0.0.0.0"],
    [{ framing: "decimal:10" }, "--framing requires --bare"],
    [{ bare: true, framing: "decimal:10", host: "0.0.0.0" }, "--bare lets anyone in: not allowed on 0.0.0.0"],
    [{ host: "a b" }, '--host: invalid address "a b"'],
    [{ host: "fe80::1" }, "the link-local address fe80::1 has no zone"],
    [{ port: "65536" }, '--port: invalid port "65536"'],
    [{ allow: ["::1", "x"] }, '--allow: invalid network "x"'],
    [{ "resume-for": "-1s" }, '--resume-for: invalid duration "-1s"'],
    [{ keepalive: "0s" }, "--keepalive: 0s is too short"],
    [{ "max-frame": "63" }, "--max-frame: 63 is out of range (64 to 1073741824 bytes)"],
    [{ "hash-time": "11" }, '--hash-time: invalid number "11"'],
  ])("that %j", (args, message) => expect(() => plan(args)).toThrow(message));
});

describe("--metrics", () => {
  const metrics = (text: string) => planMetrics(new Flags({ metrics: text }), 13131);

  test.each([
    ["127.0.0.1:9113", { host: "127.0.0.1", port: 9113 }],
    ["[::1]:0", { host: "::1", port: 0 }],
    ["localhost:1", { host: "localhost", port: 1 }],
  ])("%s is a place", (text, place) => expect(metrics(text)).toEqual(place));

  test.each(["9113", "127.0.0.1", "::1:9113", "example.org:1", "127.0.0.1:65536", ""])("%j is none", (text) =>
    expect(() => metrics(text)).toThrow(`--metrics: invalid ADDRESS:PORT ${JSON.stringify(text)}`),
  );

  test("is not the port of the server", () => {
    expect(() => metrics("127.0.0.1:13131")).toThrow("--metrics: port 13131 is the port of the server");
    expect(planMetrics(new Flags({}), 13131)).toBeUndefined();
  });
});
