// The lines that were typed in earlier conversations, in a file. Several conversations may go on at once: each adds its lines
// to those of the others.

import { messageOf } from "../../base/errors.ts";
import { FileError } from "../../files/file-error.ts";
import { LockedFile } from "../../files/locked-file.ts";

/** Lines that are kept. */
export const MAX_HISTORY_LINES = 500;

export class History {
  readonly #path: string;
  readonly #failed: (message: string) => void;
  /** Lines that are not written yet. */
  #added: string[] = [];
  #writing: Promise<void> | undefined;

  /** @param failed called with the reason when the file cannot be read or written; the conversation goes on without it. */
  constructor(path: string, failed: (message: string) => void) {
    this.#path = path;
    this.#failed = failed;
  }

  /** Earlier lines, the latest first, as readline wants them. */
  read(): string[] {
    try {
      return linesOf(new LockedFile(this.#path).read().text).reverse();
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.#failed(`history not loaded: ${messageOf(error)}`);
      return [];
    }
  }

  add(line: string): void {
    this.#added.push(line);
    this.#writing ??= this.#write();
  }

  /** Resolves when every line is written, or could not be. */
  async written(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    try {
      const file = new LockedFile(this.#path);
      while (this.#added.length > 0) {
        await file.update(({ text }) => {
          const lines = [...linesOf(text), ...this.#added].slice(-MAX_HISTORY_LINES);
          this.#added = [];
          return `${lines.join("\n")}\n`;
        });
      }
    } catch (error) {
      this.#added = [];
      this.#failed(`history not saved: ${messageOf(error)}`);
    } finally {
      this.#writing = undefined;
    }
  }
}

function linesOf(text: string | null): string[] {
  return (text ?? "")
    .split("\n")
    .filter((line) => line !== "")
    .slice(-MAX_HISTORY_LINES);
}
