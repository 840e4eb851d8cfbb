// Signals during a conversation: it is left as with Ctrl-D, so that the others see who leaves, and what was sent is
// confirmed.

import type { Client } from "../../client/client.ts";
import { ParleyError } from "../../base/errors.ts";
import { LINGER_MS } from "../../base/limits.ts";
import { onEndingSignal, type EndingSignal } from "../../os/signals.ts";
import type { Terminal } from "../../terminal/terminal.ts";

/** A second signal within this is the same one: `bun run` passes each on twice (measured). In milliseconds. */
const SAME_SIGNAL_MS = 500;

const CODES = { SIGINT: "interrupted", SIGTERM: "terminated", SIGHUP: "hung_up" } as const;

export class LeavingSignals implements Disposable {
  readonly #client: Client;
  readonly #terminal: Terminal;
  readonly #unlisten: () => void;
  #first: { signal: EndingSignal; at: number } | undefined;
  #patience: Timer | undefined;

  constructor(client: Client, terminal: Terminal) {
    this.#client = client;
    this.#terminal = terminal;
    this.#unlisten = onEndingSignal((signal) => this.#leave(signal));
  }

  /** What to end the process with, when a signal has ended the conversation, or its terminal was closed. */
  get error(): ParleyError | undefined {
    const signal = this.#first?.signal ?? (this.#terminal.hasHungUp ? "SIGHUP" : undefined);
    return signal && new ParleyError(CODES[signal], `ended by ${signal}`);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#patience);
    this.#unlisten();
  }

  /** The first one asks; the second one, or a server that takes too long, ends the conversation at once. */
  #leave(signal: EndingSignal): void {
    const now = performance.now();
    if (this.#first !== undefined) {
      if (now - this.#first.at >= SAME_SIGNAL_MS) this.#client.leave();
      return;
    }
    this.#first = { signal, at: now };
    this.#client.end();
    this.#patience = setTimeout(() => this.#client.leave(), LINGER_MS);
  }
}
