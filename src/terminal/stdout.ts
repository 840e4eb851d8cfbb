// Messages on standard output. Messages of one turn of the event loop are written together, and a slow reader makes the caller
// wait. `parley connect` prints through it.

import { stdout } from "./stdio.ts";

export class BufferedStdout {
  readonly #batch: boolean;
  #chunks: Uint8Array[] = [];
  /** Resolves when the reader has caught up; undefined when it has. */
  #caughtUp: Promise<void> | undefined;

  /** @param batch write the messages of one turn together. False: write each at once, as a line editor needs. */
  constructor(batch: boolean) {
    this.#batch = batch;
  }

  /** Prints `parts`, one after the other. @returns a promise when the caller should wait before the next message. */
  print(...parts: (string | Uint8Array)[]): Promise<void> | undefined {
    if (this.#batch && this.#chunks.length === 0) queueMicrotask(() => this.#write());
    for (const part of parts) this.#chunks.push(typeof part === "string" ? Buffer.from(part) : part);
    if (!this.#batch) this.#write();
    return this.#caughtUp;
  }

  /** Resolves when everything is written. @throws {ParleyError} `failed` when a write has failed. */
  async flush(): Promise<void> {
    this.#write();
    await stdout.flush();
  }

  /** Ends standard output for its reader, once everything is written. */
  end(): Promise<void> {
    this.#write();
    return stdout.end();
  }

  #write(): void {
    if (this.#chunks.length === 0) return;
    const bytes = Buffer.concat(this.#chunks);
    this.#chunks = [];
    const written = stdout.write(bytes);
    if (written === undefined) return;
    const caughtUp = written.then(() => {
      if (this.#caughtUp === caughtUp) this.#caughtUp = undefined;
    });
    this.#caughtUp = caughtUp;
  }
}
