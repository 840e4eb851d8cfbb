// A pipe for the output of a process, which is read only when the test says so.

import { closeSync, constants, openSync, read } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { tempFolder } from "./folder.ts";

const readDescriptor = promisify(read);

export class UnreadPipe implements Disposable {
  /** The end to write to, and to read from: a FIFO that is open for both never blocks its opener. */
  readonly fd: number;
  readonly #folder = tempFolder();

  constructor() {
    const path = join(this.#folder.path, "pipe");
    const { exitCode, stderr } = Bun.spawnSync(["mkfifo", path]);
    if (exitCode !== 0) throw new Error(`mkfifo: ${stderr.toString()}`);
    this.fd = openSync(path, constants.O_RDWR);
  }

  /** Reads `bytes` bytes. */
  async read(bytes: number): Promise<Buffer> {
    const all = Buffer.alloc(bytes);
    for (let at = 0; at < bytes;) {
      const { bytesRead } = await readDescriptor(this.fd, all, at, bytes - at, null);
      at += bytesRead;
    }
    return all;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
    this.#folder[Symbol.dispose]();
  }
}
