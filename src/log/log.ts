// Service messages: one event a line, through consola, to a file.
//
//     2026-11-21T10:00:00.000Z info  logged-in conn=7 peer=127.0.0.1:50122 user=ann
//     {"time":"2026-11-21T10:00:00.000Z","level":"info","event":"logged-in","conn":7,"peer":"127.0.0.1:50122","user":"ann"}
//
// Lines are collected for one turn of the event loop and written together; `flush` writes at once. A log that cannot be
// written (a full disk) never stops the server: what it lost is counted, and said when it can be.

import { closeSync, constants, fsyncSync, fstatSync, openSync, writeSync } from "node:fs";
import { createConsola, type ConsolaReporter, type LogObject } from "consola/core";
import { ParleyError, reasonOf, systemCode } from "../base/errors.ts";
import { escapeLine } from "../base/escape.ts";
import { openOrCreate } from "../files/create.ts";
import { whyRefused } from "../files/file-error.ts";
import { resolveSymlinks, isSpecial } from "../files/private-file.ts";
import { Rights } from "../os/rights.ts";

export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ["text", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** The events of a server's log; outside tools rely on these names. */
export type LogEvent =
  | "listening"
  | "metrics-listening"
  | "port-taken"
  | "connected"
  | "disconnected"
  | "logged-in"
  | "login-refused"
  | "registered"
  | "greeted"
  | "lost"
  | "resumed"
  | "session-expired"
  | "refused"
  | "dropped"
  | "tls-failed"
  | "key-refused"
  | "users-changed"
  | "users-failed"
  | "users-flawed"
  | "service-failed"
  | "service-busy"
  | "handler-failed"
  | "handler-reloaded"
  | "program-started"
  | "program-ended"
  | "program-stderr"
  | "internal-error"
  | "log-lost"
  | "stopping"
  | "stopped";

/** Facts of an event, in the order they are to be read. Undefined ones are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Logger {
  debug(event: LogEvent, fields?: LogFields): void;
  info(event: LogEvent, fields?: LogFields): void;
  warn(event: LogEvent, fields?: LogFields): void;
  error(event: LogEvent, fields?: LogFields): void;
  /** An event that gets no line of its own: one says later how many there were. */
  suppressed?(event: LogEvent, fields: LogFields): void;
}

export interface LogFile extends Logger {
  /** Closes the file and opens its path anew: after a rotation. */
  reopen(): void;
  /** Writes what is collected, to the disk. */
  close(): void;
}

export interface LogFileOptions {
  path: string;
  level: LogLevel;
  format: LogFormat;
  /** Told once when lines begin to be lost, and why. */
  onLoss?: (reason: string) => void;
}

/**
 * Opens a log file for appending, mode 0600 when it is new.
 *
 * @throws {ParleyError} `failed` when it cannot be opened.
 */
export function openLog(options: LogFileOptions): LogFile {
  const format = options.format === "json" ? jsonLine : textLine;
  const sayLost = (lines: number) =>
    format({ date: new Date(), type: "warn", level: 1, tag: "", args: ["log-lost", { lines }] });
  const file = new AppendFile(options.path, sayLost, options.onLoss);
  const reporter: ConsolaReporter = { log: (entry) => file.append(format(entry)) };
  const consola = createConsola({
    level: { error: 0, warn: 1, info: 3, debug: 4 }[options.level],
    reporters: [reporter],
    // consola's throttle swallows equal lines; an event that happened twice is two lines.
    throttle: 0,
  });
  return {
    // The event first: an object in first place would be taken apart by consola.
    debug: (event, fields) => consola.debug(event, fields),
    info: (event, fields) => consola.info(event, fields),
    warn: (event, fields) => consola.warn(event, fields),
    error: (event, fields) => consola.error(event, fields),
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

/** Text that cannot be mistaken for two fields: escaped, and in quotes where it holds a space, a quote or `=`. */
function quote(text: string): string {
  if (/^[^\s"=]+$/.test(text)) return escapeLine(text);
  // First what acts in quotes: escapeLine's own backslashes are not to be escaped again.
  return `"${escapeLine(text.replace(/["\\]/g, "\\$&"))}"`;
}

function jsonLine(entry: LogObject): string {
  const { time, event, fields } = parts(entry);
  return JSON.stringify({ time, level: entry.type, event, ...fields }, (_, value: unknown) =>
    typeof value === "string" ? escapeLine(value) : value,
  );
}

const { O_WRONLY, O_APPEND, O_NONBLOCK } = constants;
/** Descriptors that are sockets cannot be opened by name, and under systemd these are. */
const OWN_DESCRIPTORS: Readonly<Record<string, number>> = { "/dev/stdout": 1, "/dev/stderr": 2 };

/** Opens a log, and waits for nobody: not for a reader of a pipe, neither here nor in a write (fifo(7)). */
function openForAppending(path: string): number {
  try {
    return openOrMake(path, O_WRONLY | O_APPEND | O_NONBLOCK);
  } catch (error) {
    if (error instanceof ParleyError) throw error;
    const code = systemCode(error);
    const own = OWN_DESCRIPTORS[path];
    if (code === "ENXIO" && own !== undefined && fstatSync(own).isSocket()) return own;
    const reason = code === "ENXIO" ? "it is a pipe that nobody reads, or a socket" : whyRefused(error);
    throw new ParleyError("failed", `cannot write the log ${path}: ${reason}`, {
      hint: "choose another place with --log FILE",
      cause: error,
    });
  }
}

/** Links are followed as for any file, but for those that stand for open files of a process. */
function openOrMake(path: string, flags: number): number {
  if (isSpecial(path)) return openSync(path, flags);
  const rights = Rights.over(path);
  return rights.use(() => openOrCreate(resolveSymlinks(path, rights.person), flags, 0o600));
}

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);
/** How far the reader of a pipe may be behind before lines are lost, in bytes … */
const MAX_BEHIND_BYTES = 1024 * 1024;
/** … and when it is asked again, in milliseconds. */
const BEHIND_MS = 20;
/** Between two tries to open a file anew that could not be opened, in milliseconds. */
const REOPEN_MS = 1000;
/** What says that there is no room for more, and may be over with the next write. Any other failure is the file's own. */
const NO_ROOM = new Set(["ENOSPC", "EDQUOT", "EFBIG", "EAGAIN"]);

class AppendFile {
  readonly #path: string;
  readonly #sayLost: (lines: number) => string;
  readonly #onLoss: ((reason: string) => void) | undefined;
  #fd: number | undefined;
  #lines: string[] = [];
  /** What is written next: all of it, unless a pipe has no room. */
  #bytes = NOTHING;
  #retry: Timer | undefined;
  #lost = 0;
  /** How many of the lost ones `#bytes` tells of. */
  #told = 0;
  /** Does the file end in the middle of a line? */
  #torn = false;
  /** When the path is to be opened anew, by `performance.now`: that was asked for and failed, or the file fails. */
  #reopenAt = Infinity;

  constructor(
    path: string,
    sayLost: (lines: number) => string,
    onLoss: ((reason: string) => void) | undefined,
  ) {
    this.#path = path;
    this.#sayLost = sayLost;
    this.#onLoss = onLoss;
    this.#fd = openForAppending(path);
  }

  append(line: string): void {
    if (this.#lines.length === 0) setImmediate(() => this.#write());
    this.#lines.push(line);
  }

  /** @param isLast what a pipe has no room for now is lost. */
  #write(isLast = false): void {
    this.#reopenIfDue();
    this.#collect();
    if (this.#fd === undefined || this.#bytes.length === 0) return;
    clearTimeout(this.#retry);
    const bytes = this.#bytes;
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#fd, bytes, written);
      this.#bytes = NOTHING;
      this.#told = 0;
    } catch (error) {
      const reason = reasonOf(error);
      this.#bytes = bytes.subarray(written);
      if (reason === "EAGAIN" && !isLast) {
        this.#retry = setTimeout(() => this.#write(), BEHIND_MS);
        return;
      }
      this.#dropBytes(reason, written > 0 && bytes[written - 1] !== NEWLINE);
      if (!NO_ROOM.has(reason)) this.#reopenAt = Math.min(this.#reopenAt, performance.now() + REOPEN_MS);
    }
  }

  /** @param isTorn were they cut off in the middle of a line? It must not run into the next one. */
  #dropBytes(reason: string, isTorn: boolean): void {
    const isMarked = this.#bytes[0] === NEWLINE; // a line that was torn before still is
    const isNews = this.#told === 0;
    const lines = this.#bytes.filter((byte) => byte === NEWLINE).length;
    this.#lose(lines - Number(isMarked) - Number(!isNews) + this.#told, reason, isNews);
    this.#torn = isTorn || isMarked;
    this.#bytes = NOTHING;
    this.#told = 0;
  }

  /** Makes bytes of the lines, if the reader is not too far behind. */
  #collect(): void {
    const lines = this.#lines;
    if (lines.length === 0) return;
    this.#lines = [];
    if (this.#bytes.length > MAX_BEHIND_BYTES) return this.#lose(lines.length, "EAGAIN", true);
    if (this.#lost > 0) {
      lines.unshift(this.#sayLost(this.#lost));
      this.#told += this.#lost;
      this.#lost = 0;
    }
    const text = Buffer.from(`${this.#torn ? "\n" : ""}${lines.join("\n")}\n`);
    this.#torn = false;
    this.#bytes = this.#bytes.length === 0 ? text : Buffer.concat([this.#bytes, text]);
  }

  #lose(lines: number, reason: string, isNews: boolean): void {
    if (this.#lost === 0 && isNews) this.#onLoss?.(reason);
    this.#lost += lines;
  }

  /** @throws {ParleyError} `failed`: the old file goes on, and the path is tried again with later lines. */
  reopen(): void {
    try {
      const fd = openForAppending(this.#path);
      this.#write(true); // what was said before belongs to the old file
      this.#replace(fd);
    } catch (error) {
      this.#reopenAt = performance.now() + REOPEN_MS;
      throw error;
    }
  }

  #reopenIfDue(): void {
    if (performance.now() < this.#reopenAt) return;
    this.#reopenAt = performance.now() + REOPEN_MS;
    try {
      this.#replace(openForAppending(this.#path));
    } catch (error) {
      if (!(error instanceof ParleyError)) throw error; // that it cannot be opened was said when it began
    }
  }

  #replace(fd: number): void {
    this.#closeFile();
    this.#fd = fd;
    this.#torn = false;
    this.#reopenAt = Infinity;
  }

  close(): void {
    this.#write(true);
    this.#closeFile();
    this.#reopenAt = Infinity;
  }

  #closeFile(): void {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined; // what comes later has nowhere to go
    try {
      fsyncSync(fd);
    } catch (error) {
      // /dev/null, pipes and terminals cannot be synced, and need not be.
      const reason = reasonOf(error);
      if (reason !== "EINVAL" && reason !== "ENOTSUP") this.#onLoss?.(reason);
    } finally {
      if (fd > 2) closeSync(fd);
    }
  }
}
