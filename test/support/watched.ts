// Text that grows, and waiting for something to appear in it.

/** How long to wait before saying what was there instead. */
const PATIENCE_MS = 30_000;

export class Watched {
  text = "";
  #ended = false;
  readonly #checks = new Set<() => void>();

  append(text: string): void {
    this.text += text;
    this.#wake();
  }

  /** Has all come that will? */
  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Nothing more will come. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Resolves once `wanted` is in the text, at `from` or later, with the position after it. */
  see(wanted: string | RegExp, from = 0, patienceMs = PATIENCE_MS): Promise<number> {
    return new Promise((resolve, reject) => {
      const settle = (done: () => void) => {
        this.#checks.delete(check);
        clearTimeout(timer);
        done();
      };
      const fail = (why: string) =>
        settle(() =>
          reject(new Error(`${why} ${String(wanted)} in ${JSON.stringify(this.text.slice(from))}`)),
        );
      const check = () => {
        const end = endOf(this.text.slice(from), wanted);
        if (end !== undefined) settle(() => resolve(from + end));
        else if (this.#ended) fail("it ended without");
      };
      const timer = setTimeout(() => fail("waited in vain for"), patienceMs);
      this.#checks.add(check);
      check();
    });
  }

  #wake(): void {
    for (const check of this.#checks) check();
  }
}

function endOf(text: string, wanted: string | RegExp): number | undefined {
  if (typeof wanted === "string") {
    const at = text.indexOf(wanted);
    return at === -1 ? undefined : at + wanted.length;
  }
  const match = wanted.exec(text);
  return match === null ? undefined : match.index + match[0].length;
}
