// The log of a server: one event a line, through consola, to a file.
//
//     2026-11-21T10:00:00.000Z info  logged-in conn=7 peer=127.0.0.1:50122 user=ann
//     {"time":"2026-11-21T10:00:00.000Z","level":"info","event":"logged-in","conn":7,"peer":"127.0.0.1:50122","user":"ann"}
//
// Lines of one turn of the event loop are written together. A log that cannot be written (a full disk) never stops the server:
// see append-file.ts. `parley serve` opens the log; the server, the login handler and the services write to it.

import { createConsola, type ConsolaReporter, type LogObject } from "consola/core";
import { escapeLine } from "../base/escape.ts";
import { AppendFile } from "./append-file.ts";

export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ["text", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** The events of a server's log. Tools outside parley rely on these names. */
export const LOG_EVENTS = [
  "listening",
  "metrics-listening",
  "port-taken",
  "connected",
  "disconnected",
  "logged-in",
  "login-refused",
  "registered",
  "greeted",
  "lost",
  "resumed",
  "session-expired",
  "refused",
  "dropped",
  "tls-failed",
  "key-refused",
  "users-changed",
  "users-edited",
  "users-failed",
  "store-lost",
  "store-found",
  "store-rolled-back",
  "users-flawed",
  "service-failed",
  "service-busy",
  "target-failed",
  "handler-failed",
  "handler-reloaded",
  "program-started",
  "program-ended",
  "program-stderr",
  "internal-error",
  "log-lost",
  "stopping",
  "stopped",
] as const;
export type LogEvent = (typeof LOG_EVENTS)[number];

/** The facts of an event, in the order in which they are written. Undefined ones are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Logger {
  debug(event: LogEvent, fields?: LogFields): void;
  info(event: LogEvent, fields?: LogFields): void;
  warn(event: LogEvent, fields?: LogFields): void;
  error(event: LogEvent, fields?: LogFields): void;
}

export interface LogFile extends Logger {
  /** Bytes of all lines so far. */
  readonly bytes: number;
  /** Closes the file and opens its path again, after a rotation. @throws {ParleyError} `failed`: the old file stays in use. */
  reopen(): void;
  /** Writes the collected lines to the disk, and closes the file. */
  close(): void;
}

export interface LogFileOptions {
  path: string;
  level: LogLevel;
  format: LogFormat;
  /** Called when lines begin to be lost, with the reason. */
  onLoss?: (reason: string) => void;
}

/**
 * Opens a log file for appending, mode 0600 when it is new.
 *
 * @throws {ParleyError} `failed` when it cannot be opened.
 */
export function openLog(options: LogFileOptions): LogFile {
  const format = options.format === "json" ? jsonLine : textLine;
  const formatLoss = (lines: number) =>
    format({ date: new Date(), type: "warn", level: 1, tag: "", args: ["log-lost", { lines }] });
  const file = new AppendFile(options.path, formatLoss, options.onLoss);
  let bytes = 0;
  const reporter: ConsolaReporter = {
    log(entry) {
      const line = format(entry);
      bytes += Buffer.byteLength(line) + 1;
      file.append(line);
    },
  };
  const consola = createConsola({
    level: { error: 0, warn: 1, info: 3, debug: 4 }[options.level],
    reporters: [reporter],
    // consola's throttle drops equal lines; an event that happened twice is two lines.
    throttle: 0,
  });
  return {
    // The event is the first argument: consola interprets an object in that place.
    debug: (event, fields) => consola.debug(event, fields),
    info: (event, fields) => consola.info(event, fields),
    warn: (event, fields) => consola.warn(event, fields),
    error: (event, fields) => consola.error(event, fields),
    get bytes() {
      return bytes;
    },
    reopen: () => file.reopen(),
    close: () => file.close(),
  };
}

function parts(entry: LogObject): { time: string; event: string; fields: LogFields } {
  const [event, fields] = entry.args as [string, LogFields | undefined];
  return { time: entry.date.toISOString(), event, fields: fields ?? {} };
}

function textLine(entry: LogObject): string {
  const { time, event, fields } = parts(entry);
  let line = `${time} ${entry.type.padEnd(5)} ${event}`;
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) line += ` ${name}=${typeof value === "string" ? quote(value) : value}`;
  }
  return line;
}

/** `text` as the value of one field: escaped, and in quotes when it holds a space, a quote or `=`. */
function quote(text: string): string {
  if (/^[^\s"=]+$/.test(text)) return escapeLine(text);
  // Quotes and backslashes first: those that escapeLine adds are not escaped again.
  return `"${escapeLine(text.replace(/["\\]/g, "\\$&"))}"`;
}

function jsonLine(entry: LogObject): string {
  const { time, event, fields } = parts(entry);
  return JSON.stringify({ time, level: entry.type, event, ...fields }, (_, value: unknown) =>
    typeof value === "string" ? escapeLine(value) : value,
  );
}
