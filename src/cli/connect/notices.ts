// Lines about the connections of a forwarder, on standard error, and with `--json` as events. Of each kind there is one line in
// FORWARD_NOTICE_MS at most; then the number of those that were left out is said.

import { FORWARD_NOTICE_MS } from "../../base/limits.ts";
import { plural } from "../../base/plural.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import type { Printer, PrinterEvent } from "./printer.ts";

type Fields = Readonly<Record<string, unknown>>;

interface Kind {
  timer: Timer;
  /** Lines that were left out, and the last of them. */
  more: number;
  last: () => void;
}

export class Notices {
  readonly #terminal: Pick<Terminal, "say" | "note" | "isWatched">;
  readonly #printer: Pick<Printer, "event">;
  readonly #kinds = new Map<string, Kind>();

  constructor(terminal: Pick<Terminal, "say" | "note" | "isWatched">, printer: Pick<Printer, "event">) {
    this.#terminal = terminal;
    this.#printer = printer;
  }

  /** Says `line`, wherever standard error leads. */
  say(kind: string, event: PrinterEvent, line: string, fields: Fields): void {
    this.#limit(kind, (more) => {
      this.#terminal.say(line + sayMore(more));
      void this.#printer.event(event, more === 0 ? fields : { ...fields, more });
    });
  }

  /** Says `line` where a person reads it. */
  note(event: PrinterEvent, line: string, fields: Fields): void {
    this.#limit(event, (more) => {
      if (this.#terminal.isWatched) this.#terminal.note(line + sayMore(more));
      void this.#printer.event(event, more === 0 ? fields : { ...fields, more });
    });
  }

  /** Says what was left out. */
  stop(): void {
    for (const { timer, more, last } of this.#kinds.values()) {
      clearTimeout(timer);
      if (more > 0) last();
    }
    this.#kinds.clear();
  }

  #limit(name: string, print: (more: number) => void): void {
    const kind = this.#kinds.get(name);
    if (kind === undefined) {
      print(0);
      this.#wait(name);
      return;
    }
    kind.more++;
    const { more } = kind;
    kind.last = () => print(more - 1);
  }

  #wait(name: string): void {
    const timer = setTimeout(() => {
      const kind = this.#kinds.get(name);
      this.#kinds.delete(name);
      if (kind === undefined || kind.more === 0) return;
      kind.last();
      this.#wait(name);
    }, FORWARD_NOTICE_MS);
    this.#kinds.set(name, { timer, more: 0, last: () => undefined });
  }
}

function sayMore(more: number): string {
  return more === 0 ? "" : ` (and ${plural(more, "line")} like this before it)`;
}
