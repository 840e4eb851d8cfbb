// Reads the files of one log, the current one and the rotated ones, line by line.
//
//     parley.log   parley.log.1   parley.log.2.gz   parley.log-20261126.gz

import { closeSync, createReadStream, fstatSync, openSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { systemCode } from "../base/errors.ts";
import { NEWLINE } from "../base/line-splitter.ts";
import { FileError, unreadable, whyRefused } from "../files/file-error.ts";
import { isSpecial } from "../files/private-file.ts";
import { Rights } from "../os/rights.ts";

/** Longest line, in bytes. Lines of a log are shorter; any other one is cut. */
const MAX_LINE_BYTES = 1024 * 1024;
/** How often the files are listed again when they are rotated meanwhile. */
const MAX_LISTINGS = 100;

interface Opened {
  path: string;
  fd: number;
}

export class LogFiles implements Disposable {
  readonly #files: Opened[];
  /** Rotated files with a compression other than gzip, which are not read. */
  readonly unsupported: readonly string[];
  /** Error messages for files that could not be read to their end. */
  readonly failures: string[] = [];

  private constructor(files: Opened[], unsupported: readonly string[] = []) {
    this.#files = files;
    this.unsupported = unsupported;
  }

  /**
   * Opens the log at `path` and the rotated files beside it. All are open before one is read, so that a rotation meanwhile does
   * not matter.
   *
   * @throws {FileError} `unreadable` when one cannot be opened, or there is none.
   */
  static open(path: string): LogFiles {
    try {
      if (isSpecial(path)) return new LogFiles([openFile(path)]);
      return Rights.over(path).use(() => LogFiles.#openAll(path));
    } catch (error) {
      if (systemCode(error) === undefined || error instanceof FileError) throw error;
      if (systemCode(error) !== "ENOENT") throw unreadable(path, error);
      throw new FileError("unreadable", `there is no log ${path}`, { cause: error });
    }
  }

  static #openAll(path: string): LogFiles {
    for (let listings = 1; ; listings++) {
      const { files, unsupported } = list(path);
      const opened: Opened[] = [];
      try {
        for (const file of files.length > 0 ? files : [path]) opened.push(openFile(file));
        const isSame = Bun.deepEquals(list(path).files, files) && opened.every(isThere);
        if (isSame) return new LogFiles(opened, unsupported);
        closeAll(opened);
      } catch (error) {
        closeAll(opened);
        const wasRotated = systemCode(error) === "ENOENT" && listings < MAX_LISTINGS;
        if (!wasRotated) throw error;
      }
    }
  }

  /** The lines of all files, some at a time. A file that is damaged ends early: see {@link failures}. */
  async *lines(): AsyncGenerator<string[]> {
    for (let file = this.#files.shift(); file !== undefined; file = this.#files.shift()) {
      const { path, fd } = file;
      const bytes = createReadStream(path, { fd }); // closes it
      try {
        yield* linesOf(path.endsWith(".gz") ? pipeline(bytes, createGunzip(), () => undefined) : bytes);
      } catch (error) {
        if (systemCode(error) === undefined) throw error;
        this.failures.push(`cannot read ${path} to its end: ${whyRefused(error)}`);
      }
    }
  }

  [Symbol.dispose](): void {
    closeAll(this.#files.splice(0));
  }
}

function closeAll(files: readonly Opened[]): void {
  for (const { fd } of files) closeSync(fd);
}

function openFile(path: string): Opened {
  const fd = openSync(path, "r");
  if (!fstatSync(fd).isDirectory()) return { path, fd };
  closeSync(fd);
  throw new FileError("unreadable", `cannot read ${path}: it is a folder`);
}

/** The files of the log at `path`, and those whose compression is not supported. */
function list(path: string): { files: string[]; unsupported: string[] } {
  const name = basename(path);
  const files: string[] = [];
  const unsupported: string[] = [];
  for (const other of readdirSync(dirname(path)).sort()) {
    if (!other.startsWith(name)) continue;
    const rotated = /^(?:[.-]\d[\d-]*)?(?:\.([a-z]\w*))?$/.exec(other.slice(name.length));
    if (rotated === null) continue;
    const [rest, compression = "gz"] = rotated;
    if (rest.startsWith(".") && !/^\.\d/.test(rest)) continue; // such as parley.log.bak
    (compression === "gz" ? files : unsupported).push(join(dirname(path), other));
  }
  return { files, unsupported };
}

/** True when the file is still at the path where it was opened. */
function isThere({ path, fd }: Opened): boolean {
  const [there, opened] = [statSync(path), fstatSync(fd)];
  return there.ino === opened.ino && there.dev === opened.dev;
}

async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string[]> {
  let rest = Buffer.alloc(0);
  for await (const chunk of chunks) {
    const end = chunk.lastIndexOf(NEWLINE);
    if (end !== -1) {
      yield Buffer.concat([rest, chunk.subarray(0, end)])
        .toString()
        .split("\n");
      rest = Buffer.alloc(0);
    }
    const kept = Buffer.concat([rest, chunk.subarray(end + 1)]);
    rest = kept.length > MAX_LINE_BYTES ? kept.subarray(0, MAX_LINE_BYTES) : kept;
  }
  if (rest.length > 0) yield [rest.toString()];
}
