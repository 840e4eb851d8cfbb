// Shows the server that the client is here, and looks whether the server is.

import { MAX_MISSED_PINGS } from "../base/limits.ts";
import type { Connection } from "../net/connection.ts";
import { encodeMessage } from "../wire/codec.ts";

/** Pings are not sent more often than this, in milliseconds, whatever the server asks for. */
const MIN_PING_MS = 1000;

export class Keepalive {
  readonly #connection: () => Connection | undefined;
  readonly #onTimeout: () => void;
  readonly #timer: Timer;
  #pings = 0;
  #missed = 0;
  // What was heard of the server, and taken by it, when it was last looked for.
  #last: Connection | undefined;
  #chunks = 0;
  #written = 0;
  #wasQueued = false;

  /**
   * @param connection the present one, if there is any.
   * @param silent told when the server has answered none of the last pings.
   */
  constructor(periodMs: number, connection: () => Connection | undefined, silent: () => void) {
    this.#connection = connection;
    this.#onTimeout = silent;
    this.#timer = setInterval(() => this.#tick(), Math.min(Math.max(periodMs, MIN_PING_MS), 2 ** 31 - 1));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const connection = this.#connection();
    if (connection === undefined) return;
    // One that still takes what we have to say is there, even if its answers wait behind that; and while an answer waits
    // to be printed nothing is read, so that it cannot be heard.
    const isNew = connection !== this.#last;
    const isTaking = this.#wasQueued && connection.written !== this.#written;
    const isHeard = connection.chunks !== this.#chunks;
    this.#last = connection;
    this.#chunks = connection.chunks;
    this.#written = connection.written;
    this.#wasQueued = connection.queued > 0;
    this.#missed = isNew || isHeard || isTaking || connection.isInputHeld ? 0 : this.#missed + 1;
    if (this.#missed > MAX_MISSED_PINGS) return this.#onTimeout();
    connection.sendControl(encodeMessage({ type: "ping", n: ++this.#pings }));
  }
}
