// The lines that were typed in earlier conversations, in a file of the user's own. Several conversations may go on at once:
// each adds its lines to what the others have added.

import { messageOf } from "../../base/errors.ts";
import { FileError } from "../../files/file-error.ts";
import { LockedFile } from "../../files/locked-file.ts";

/** Lines that are kept. */
export const MAX_HISTORY_LINES = 500;

export class History {
  readonly #path: string;
  readonly #failed: (message: string) => void;
  /** Typed, and not written yet. */
  #added: string[] = [];
  #writing: Promise<void> | undefined;

  /** @param failed called when the file cannot be read or written, with why: the conversation goes on without it. */
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
      this.#failed(`no history: ${messageOf(error)}`);
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
      this.#failed(`not in the history: ${messageOf(error)}`);
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
