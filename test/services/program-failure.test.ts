// What a program says, and cannot be passed on: the program is ended, and its conversation then, as failed.

import { expect, test } from "bun:test";
import { program } from "../../src/services/program/program.ts";
import type { Session } from "../../src/services/service.ts";
import { within } from "../support/attack.ts";
import { remember } from "../support/program.ts";

/** Goes on for as long as it is not killed. */
const FOREVER = "exec sleep 600";

test.each([
  ["output", `echo said; ${FOREVER}`, "send"],
  ["standard error, while its output is read on", `echo said >&2; ${FOREVER}`, "sendStderr"],
])("its %s", async (_, script, broken) => {
  const { log } = remember();
  const ended = Promise.withResolvers<unknown>();
  const session = {
    id: 1,
    user: null,
    tags: [],
    peer: "127.0.0.1:1",
    send: () => undefined,
    sendStderr: () => true,
    writable: () => undefined,
    finish: () => ended.resolve("finished"),
    fail: (error: unknown) => ended.resolve(error),
    [broken]: () => {
      throw new Error("no way");
    },
  } as unknown as Session;
  const service = program({
    argv: ["sh", "-c", script],
    io: "lines",
    stderr: "client",
    pty: false,
    passEnv: [],
    maxMessage: 100,
    log,
  });
  await service.open?.(session);
  expect(await within("the end", ended.promise)).toMatchObject({
    name: "ParleyError",
    message: "the program's output was cut off: no way",
  });
  await service.stop?.(true);
});
