// Signals during a conversation. The client leaves as with Ctrl-D: what was sent is confirmed, and the others in a chat see
// who leaves. On a joined terminal Ctrl-D is a key for the program: there it leaves at once.

import type { Client } from "../../client/client.ts";
import { ParleyError } from "../../base/errors.ts";
import { LINGER_MS, SAME_SIGNAL_MS } from "../../base/limits.ts";
import { onEndingSignal, type EndingSignal } from "../../os/signals.ts";
import type { Terminal } from "../../terminal/terminal.ts";

const CODES = { SIGINT: "interrupted", SIGTERM: "terminated", SIGHUP: "hung_up" } as const;

export class LeavingSignals implements Disposable {
  readonly #client: Client;
  readonly #terminal: Terminal;
  readonly #atOnce: boolean;
  readonly #unlisten: () => void;
  #first: { signal: EndingSignal; at: number } | undefined;
  #patience: Timer | undefined;

  constructor(client: Client, terminal: Terminal, { atOnce }: { atOnce: boolean }) {
    this.#atOnce = atOnce;
    this.#client = client;
    this.#terminal = terminal;
    this.#unlisten = onEndingSignal((signal) => this.#leave(signal));
  }

  /** The error that a signal ends the process with; undefined: no signal came, and the terminal was not closed. */
  get error(): ParleyError | undefined {
    const signal = this.#first?.signal ?? (this.#terminal.hasHungUp ? "SIGHUP" : undefined);
    return signal && new ParleyError(CODES[signal], `ended by ${signal}`);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#patience);
    this.#unlisten();
  }

  /** Asks the server to end; on the second signal, or where the server takes too long, the client leaves at once. */
  #leave(signal: EndingSignal): void {
    const now = performance.now();
    if (this.#first !== undefined) {
      if (now - this.#first.at >= SAME_SIGNAL_MS) this.#client.leave();
      return;
    }
    this.#first = { signal, at: now };
    if (this.#atOnce) return this.#client.leave();
    this.#client.end();
    this.#patience = setTimeout(() => this.#client.leave(), LINGER_MS);
  }
}
