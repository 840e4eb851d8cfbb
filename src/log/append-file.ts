// A file, pipe or terminal to which the log is appended. It never blocks and never throws on a write: a line that cannot be
// written is lost, the number of lost lines is written with the next line that can be, and `onLoss` says why lines get lost.
//
//     lines → (end of the turn) → bytes → write, or wait for a slow pipe, or lose
//
// log.ts makes one for each log.

import { closeSync, constants, fsyncSync, fstatSync, openSync, writeSync } from "node:fs";
import { ParleyError, reasonOf, systemCode } from "../base/errors.ts";
import { openOrCreate } from "../files/create.ts";
import { whyRefused } from "../files/file-error.ts";
import { isSpecial, resolveSymlinks } from "../files/private-file.ts";
import { Rights } from "../os/rights.ts";

const { O_WRONLY, O_APPEND, O_NONBLOCK } = constants;
/** Standard streams by name. Under systemd they are sockets, which cannot be opened by name. */
const OWN_DESCRIPTORS: Readonly<Record<string, number>> = { "/dev/stdout": 1, "/dev/stderr": 2 };

/** Opens the file so that neither opening nor writing waits for the reader of a pipe (fifo(7)). @throws {ParleyError} `failed`. */
function openForAppending(path: string): number {
  try {
    return openOrMake(path, O_WRONLY | O_APPEND | O_NONBLOCK);
  } catch (error) {
    if (error instanceof ParleyError) throw error;
    const code = systemCode(error);
    const own = OWN_DESCRIPTORS[path];
    if (code === "ENXIO" && own !== undefined && fstatSync(own).isSocket()) return own;
    const reason = code === "ENXIO" ? "it is a socket, or a pipe without a reader" : whyRefused(error);
    throw new ParleyError("failed", `cannot write the log ${path}: ${reason}`, {
      hint: "choose another file with --log FILE",
      cause: error,
    });
  }
}

/** Opens a device as it is, and a file with the rights of the user who controls its path. A new file has mode 0600. */
function openOrMake(path: string, flags: number): number {
  if (isSpecial(path)) return openSync(path, flags);
  const rights = Rights.over(path);
  return rights.use(() => openOrCreate(resolveSymlinks(path, rights.person), flags, 0o600));
}

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);
/** Bytes that may wait for a slow reader of a pipe; beyond that, lines are lost. */
const MAX_BEHIND_BYTES = 1024 * 1024;
/** Milliseconds between two tries to write to a full pipe. */
const BEHIND_MS = 20;
/** Milliseconds between two tries to open the path again. */
const REOPEN_MS = 1000;
/** Failures for want of room, which the next write may not have. After any other failure the path is opened again. */
const NO_ROOM = new Set(["ENOSPC", "EDQUOT", "EFBIG", "EAGAIN"]);

export class AppendFile {
  readonly #path: string;
  readonly #formatLoss: (lines: number) => string;
  readonly #onLoss: ((reason: string) => void) | undefined;
  /** Undefined after `close`. */
  #fd: number | undefined;
  #lines: string[] = [];
  /** Bytes that a full pipe has not accepted yet. */
  #bytes = NOTHING;
  #retry: Timer | undefined;
  /** Lost lines that no written or waiting line reports. */
  #lost = 0;
  /** Lost lines that a line in `#bytes` reports. */
  #reported = 0;
  /** True when the file ends in the middle of a line. */
  #endsMidLine = false;
  /** When to open the path again, by `performance.now`: after a failed `reopen`, or because the file fails. */
  #reopenAt = Infinity;

  /**
   * @param formatLoss the line that reports a number of lost lines.
   * @param onLoss called when lines begin to be lost, with the reason.
   * @throws {ParleyError} `failed` when the file cannot be opened.
   */
  constructor(
    path: string,
    formatLoss: (lines: number) => string,
    onLoss: ((reason: string) => void) | undefined,
  ) {
    this.#path = path;
    this.#formatLoss = formatLoss;
    this.#onLoss = onLoss;
    this.#fd = openForAppending(path);
  }

  /** Writes `line` at the end of this turn of the event loop. */
  append(line: string): void {
    if (this.#lines.length === 0) setImmediate(() => this.#write());
    this.#lines.push(line);
  }

  /** Writes what waits. @param isLast lose what a pipe has no room for, rather than try again. */
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
      this.#reported = 0;
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

  /** Loses the bytes that wait. @param isCut true when the last write ended in the middle of a line. */
  #dropBytes(reason: string, isCut: boolean): void {
    const beginsWithNewline = this.#bytes[0] === NEWLINE; // it was to end a line that was cut before
    const isFirstLoss = this.#reported === 0;
    const lines = this.#bytes.filter((byte) => byte === NEWLINE).length;
    this.#lose(
      lines - Number(beginsWithNewline) - Number(!isFirstLoss) + this.#reported,
      reason,
      isFirstLoss,
    );
    this.#endsMidLine = isCut || beginsWithNewline;
    this.#bytes = NOTHING;
    this.#reported = 0;
  }

  /** Turns the collected lines into bytes; loses them when the reader is too far behind. */
  #collect(): void {
    const lines = this.#lines;
    if (lines.length === 0) return;
    this.#lines = [];
    if (this.#bytes.length > MAX_BEHIND_BYTES) return this.#lose(lines.length, "EAGAIN", true);
    if (this.#lost > 0) {
      lines.unshift(this.#formatLoss(this.#lost));
      this.#reported += this.#lost;
      this.#lost = 0;
    }
    const text = Buffer.from(`${this.#endsMidLine ? "\n" : ""}${lines.join("\n")}\n`);
    this.#endsMidLine = false;
    this.#bytes = this.#bytes.length === 0 ? text : Buffer.concat([this.#bytes, text]);
  }

  #lose(lines: number, reason: string, isFirstLoss: boolean): void {
    if (this.#lost === 0 && isFirstLoss) this.#onLoss?.(reason);
    this.#lost += lines;
  }

  /**
   * Opens the path again, after a rotation.
   *
   * @throws {ParleyError} `failed` when it cannot be opened: the old file stays in use, and later writes try again.
   */
  reopen(): void {
    try {
      const fd = openForAppending(this.#path);
      this.#write(true); // earlier lines belong to the old file
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
      if (!(error instanceof ParleyError)) throw error; // the first failure was reported
    }
  }

  #replace(fd: number): void {
    this.#closeFile();
    this.#fd = fd;
    this.#endsMidLine = false;
    this.#reopenAt = Infinity;
  }

  /** Writes what waits, and closes the file. Later lines are dropped. */
  close(): void {
    this.#write(true);
    this.#closeFile();
    this.#reopenAt = Infinity;
  }

  #closeFile(): void {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined;
    try {
      fsyncSync(fd);
    } catch (error) {
      // /dev/null, pipes and terminals cannot be synced.
      const reason = reasonOf(error);
      if (reason !== "EINVAL" && reason !== "ENOTSUP") this.#onLoss?.(reason);
    } finally {
      if (fd > 2) closeSync(fd);
    }
  }
}
