// The executable in a pseudo-terminal: what is typed, and what the terminal was told to show.

import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { cleanEnv, EXECUTABLE } from "./executable.ts";
import { tempFolder } from "./folder.ts";
import { Watched } from "./watched.ts";

export interface ScreenOptions {
  data?: string;
  env?: Record<string, string>;
  cols?: number;
  /** What a shell does with it there: `"$0" "$@"`. */
  script?: string;
}

export class Screen implements AsyncDisposable {
  /** Every byte that reached the terminal, as latin-1, so that none is lost or joined. */
  raw = "";
  /** The same as text, without the sequences that move the cursor. */
  readonly text = new Watched();
  /** Its exit code; everything that it showed is here by then. */
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess;
  readonly #folder = tempFolder();
  #seen = 0;

  constructor(argv: string[], options: ScreenOptions = {}) {
    const decoder = new TextDecoder();
    const shown = Promise.withResolvers<void>();
    const shell = options.script === undefined ? [] : ["/bin/sh", "-c", options.script];
    this.#child = Bun.spawn([...shell, EXECUTABLE, ...argv], {
      cwd: this.#folder.path,
      env: cleanEnv(options.data ?? join(this.#folder.path, "data"), { TERM: "xterm", ...options.env }),
      terminal: {
        cols: options.cols ?? 80,
        rows: 24,
        data: (_, bytes) => {
          this.raw += Buffer.from(bytes).toString("latin1");
          this.text.append(stripVTControlCharacters(decoder.decode(bytes, { stream: true })));
        },
        exit: () => shown.resolve(),
      },
    });
    this.exited = shown.promise.then(() => this.#child.exited);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Waits until `wanted` is shown, after what was waited for before. */
  async see(wanted: string | RegExp): Promise<void> {
    this.#seen = await this.text.see(wanted, this.#seen);
  }

  type(keys: string): void {
    this.#child.terminal?.write(keys);
  }

  /** The window has another size from now on. */
  resize(cols: number, rows = 24): void {
    this.#child.terminal?.resize(cols, rows);
  }

  /** The window is closed. */
  close(): void {
    this.#child.terminal?.close();
  }

  /** Types a line and Enter. */
  enter(line: string): void {
    this.type(`${line}\r`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.close();
    this.text.end();
    this.#folder[Symbol.dispose]();
  }
}
