// The code of each error, its exit code, and its event.

import { describe, expect, test } from "bun:test";
import { AccountError } from "../../src/auth/accounts.ts";
import { ParleyError, usageError } from "../../src/base/errors.ts";
import { ERROR_CODES, errorEvent, exitCodeOf, isBySignal } from "../../src/cli/exit-codes.ts";
import { EngineError } from "../../src/engine/engine-error.ts";
import { FileError } from "../../src/files/file-error.ts";
import { ServerError } from "../../src/handshake/errors.ts";
import { ConnectionError } from "../../src/net/connection-error.ts";
import { DialError } from "../../src/net/dial.ts";
import { HandlerError } from "../../src/services/handler/handler.ts";
import { FrameError } from "../../src/wire/frame.ts";

describe("an error has its code and its exit code:", () => {
  test.each<[string, number, Error]>([
    ["usage", 2, usageError("x")],
    ["failed", 1, new ParleyError("failed", "x")],
    ["unconfirmed", 6, new ParleyError("unconfirmed", "x")],
    ["pin_changed", 1, new ParleyError("pin_changed", "x")],
    ["login_refused", 3, new ServerError("login_refused", "bad_credentials", "x")],
    ["turned_away", 5, new ServerError("turned_away", "full", "x")],
    ["timeout", 4, new DialError("timeout", "x")],
    ["tls", 1, new DialError("tls", "x")],
    ["network", 1, new DialError("refused", "x")],
    ["network", 1, new DialError("unknown_host", "x")],
    ["network", 1, new ConnectionError("silent", "x")],
    ["file", 1, new FileError("unsafe", "x")],
    ["store", 1, new EngineError("unreachable", "x")],
    ["handler", 1, new HandlerError("unusable", "x")],
    ["exists", 1, new AccountError("exists", "x")],
    ["unknown", 1, new AccountError("unknown", "x")],
    ["failed", 1, new AccountError("full", "x")],
    ["failed", 1, new FrameError("frame_cut", "x")],
    ["internal", 1, new TypeError("x")],
  ])("%s, %d", (code, exit, error) => {
    expect(errorEvent(error)).toMatchObject({ event: "error", code, message: "x", hint: null });
    expect(exitCodeOf(error)).toBe(exit);
    expect(isBySignal(error)).toBe(false);
  });

  test("those of signals are 128 and the signal's number", () => {
    const bySignal = (["hung_up", "interrupted", "terminated"] as const).map(
      (code) => new ParleyError(code, "x"),
    );
    expect(bySignal.map(exitCodeOf)).toEqual([129, 130, 143]);
    expect(bySignal.every(isBySignal)).toBe(true);
  });
});

test("the event has the hint, and the protocol's code where the server is the reason", () => {
  const error = new ServerError("turned_away", "penalised", "wait", { hint: "use --wait" });
  expect(errorEvent(error)).toEqual({
    event: "error",
    code: "turned_away",
    server_code: "penalised",
    message: "wait",
    hint: "use --wait",
  });
});

test("no exit code is one of another meaning: 2 to 6 belong to one code each", () => {
  const exits = Object.values(ERROR_CODES)
    .map(({ exit }) => exit)
    .filter((exit) => exit !== 1);
  expect(new Set(exits).size).toBe(exits.length);
});
