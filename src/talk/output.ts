// Standard output for answers: what comes in one turn is written together, and a reader that is slow is waited for.

import { ParleyError, systemCode } from "../errors.ts";

export class Output {
  readonly #batch: boolean;
  #chunks: (string | Uint8Array)[] = [];
  #full: Promise<void> | undefined;
  #written: Promise<void> = Promise.resolve();
  #failed: ParleyError | undefined;
  readonly #closed = Promise.withResolvers<ParleyError>();

  /** `batch`: collect what one turn prints. Without it every answer is printed at once, as a line editor needs. */
  constructor(batch: boolean) {
    this.#batch = batch;
    process.stdout.on("error", (error: unknown) => {
      const broken = systemCode(error) === "EPIPE";
      const reason = broken ? "its reader has left" : (systemCode(error) ?? "it failed");
      this.#failed ??= new ParleyError(
        "failed",
        `standard output is closed (${reason}): not every answer was printed`,
      );
      this.#closed.resolve(this.#failed);
    });
  }

  /** Resolves, once, when standard output can take no more. */
  get closed(): Promise<ParleyError> {
    return this.#closed.promise;
  }

  /** Prints `parts`, one after the other. A promise asks the caller to wait before the next. */
  print(...parts: (string | Uint8Array)[]): Promise<void> | undefined {
    if (this.#batch && this.#chunks.length === 0) queueMicrotask(() => this.#flush());
    this.#chunks.push(...parts);
    if (!this.#batch) this.#flush();
    return this.#full;
  }

  /** Resolves when everything is written. @throws {ParleyError} when it cannot be. */
  async flush(): Promise<void> {
    this.#flush();
    await Promise.race([this.#written, this.closed]);
    if (this.#failed !== undefined) throw this.#failed;
  }

  #flush(): void {
    if (this.#chunks.length === 0) return;
    const chunks = this.#chunks;
    this.#chunks = [];
    if (this.#failed !== undefined) return;
    const bytes = Buffer.concat(
      chunks.map((chunk) => (typeof chunk === "string" ? Buffer.from(chunk) : chunk)),
    );
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#written = promise;
    // The callback, not `drain` or an empty write: only that says that these bytes are out (measured).
    if (process.stdout.write(bytes, () => resolve())) return;
    this.#full ??= Promise.race([promise, this.closed.then(() => undefined)]).then(() => {
      this.#full = undefined;
    });
  }
}
