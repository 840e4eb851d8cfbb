// Answers on standard output: what comes in one turn is written together, and a reader that is slow is waited for.

import { stdout } from "./stdio.ts";

export class BufferedStdout {
  readonly #batch: boolean;
  #chunks: Uint8Array[] = [];
  /** Until what was printed last is taken. */
  #full: Promise<void> | undefined;

  /** `batch`: collect what one turn prints. Without it every answer is printed at once, as a line editor needs. */
  constructor(batch: boolean) {
    this.#batch = batch;
  }

  /** Prints `parts`, one after the other. A promise asks the caller to wait before the next. */
  print(...parts: (string | Uint8Array)[]): Promise<void> | undefined {
    if (this.#batch && this.#chunks.length === 0) queueMicrotask(() => this.#write());
    for (const part of parts) this.#chunks.push(typeof part === "string" ? Buffer.from(part) : part);
    if (!this.#batch) this.#write();
    return this.#full;
  }

  /** Resolves when everything is written. @throws {ParleyError} `failed` when it cannot be. */
  async flush(): Promise<void> {
    this.#write();
    await stdout.flush();
  }

  #write(): void {
    if (this.#chunks.length === 0) return;
    const bytes = Buffer.concat(this.#chunks);
    this.#chunks = [];
    const full = stdout.write(bytes);
    if (full === undefined) return;
    const waiting = full.then(() => {
      if (this.#full === waiting) this.#full = undefined;
    });
    this.#full = waiting;
  }
}
