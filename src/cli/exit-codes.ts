// The code and the exit code of every error, and its event with `--json`. Which error the end of a conversation is, is decided
// in connect/outcome.ts.

import { messageOf, ParleyError } from "../base/errors.ts";
import { EngineError } from "../engine/engine-error.ts";
import { FileError } from "../files/file-error.ts";
import { ServerError } from "../handshake/errors.ts";
import { ConnectionError } from "../net/connection-error.ts";
import { DialError } from "../net/dial.ts";
import { HandlerError } from "../services/handler/handler.ts";

/** The `code` of each error event, its exit code, and its meaning; docs/scripting.md has them as a table. */
export const ERROR_CODES = {
  usage: { exit: 2, meaning: "a flag, an argument or a key of the configuration file is wrong" },
  login_refused: { exit: 3, meaning: "the server refused the login" },
  timeout: { exit: 4, meaning: "the server did not answer in time" },
  turned_away: { exit: 5, meaning: "the server is full, stopping, or has ended this user's session" },
  unconfirmed: { exit: 6, meaning: "messages were sent, and the server did not confirm them" },
  network: { exit: 1, meaning: "the server cannot be reached, or the connection was lost" },
  tls: { exit: 1, meaning: "no TLS connection, or its certificate is not valid" },
  pin_unknown: { exit: 1, meaning: "the server's key is not known yet" },
  pin_changed: { exit: 1, meaning: "the server's key is not the known one" },
  listen: { exit: 1, meaning: "the server cannot listen: the port is busy, or the address is not allowed" },
  file: { exit: 1, meaning: "a file of parley cannot be used: unreadable, damaged, or not private" },
  store: { exit: 1, meaning: "the store of --store cannot be reached, refuses, or is not the one of before" },
  handler: { exit: 1, meaning: "the handler file cannot be loaded" },
  unknown: { exit: 1, meaning: "there is no such user, session or address" },
  exists: { exit: 1, meaning: "the user or the name exists already" },
  failed: { exit: 1, meaning: "any other failure; the message says which" },
  internal: { exit: 1, meaning: "a fault of parley" },
  hung_up: { exit: 129, meaning: "SIGHUP: the terminal was closed; not an event" },
  interrupted: { exit: 130, meaning: "SIGINT; not an event" },
  terminated: { exit: 143, meaning: "SIGTERM; not an event" },
} as const satisfies Record<string, { exit: number; meaning: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export function exitCodeOf(error: unknown): number {
  return ERROR_CODES[codeOf(error)].exit;
}

/** Has a signal ended the command? Then its sender knows, and nothing is printed. */
export function isBySignal(error: unknown): boolean {
  return exitCodeOf(error) > 128;
}

/** The error as an event for `--json`. `server_code` is the protocol's code, where the server is the reason. */
export function errorEvent(error: unknown): Readonly<Record<string, unknown>> {
  return {
    event: "error",
    code: codeOf(error),
    ...(error instanceof ServerError ? { server_code: error.serverCode } : {}),
    message: messageOf(error),
    hint: error instanceof ParleyError ? (error.hint ?? null) : null,
  };
}

function codeOf(error: unknown): ErrorCode {
  if (!(error instanceof ParleyError)) return "internal";
  if (isErrorCode(error.code)) return error.code;
  if (error instanceof DialError || error instanceof ConnectionError) return "network";
  if (error instanceof FileError) return "file";
  if (error instanceof EngineError) return "store";
  if (error instanceof HandlerError) return "handler";
  return "failed";
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}
