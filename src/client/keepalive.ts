// The client's keepalive: sends pings, and notices when the server has stopped answering. client.ts starts one for a session that
// asks for pings.

import { MAX_MISSED_PINGS } from "../base/limits.ts";
import type { Connection } from "../net/connection.ts";
import { encodeMessage } from "../wire/codec.ts";

/** The shortest time between two pings, in milliseconds, whatever the server asks for. */
const MIN_PING_MS = 1000;

export class Keepalive {
  readonly #connection: () => Connection | undefined;
  readonly #onTimeout: () => void;
  readonly #timer: Timer;
  #pings = 0;
  /** Ticks in a row without a sign of the server. */
  #missed = 0;
  // The connection and its counters at the last tick.
  #lastConnection: Connection | undefined;
  #chunks = 0;
  #written = 0;
  #wasQueued = false;

  /**
   * @param connection returns the present connection; undefined while there is none.
   * @param onTimeout called when the server has answered none of the last {@link MAX_MISSED_PINGS} pings.
   */
  constructor(periodMs: number, connection: () => Connection | undefined, onTimeout: () => void) {
    this.#connection = connection;
    this.#onTimeout = onTimeout;
    this.#timer = setInterval(() => this.#tick(), Math.min(Math.max(periodMs, MIN_PING_MS), 2 ** 31 - 1));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const connection = this.#connection();
    if (connection === undefined) return;
    // A server that accepts queued output is alive, even if its answers are queued behind other data. While input is paused the
    // client reads no answer, and no ping is missed.
    const isNew = connection !== this.#lastConnection;
    const hasAccepted = this.#wasQueued && connection.written !== this.#written;
    const hasReceived = connection.chunks !== this.#chunks;
    this.#lastConnection = connection;
    this.#chunks = connection.chunks;
    this.#written = connection.written;
    this.#wasQueued = connection.queued > 0;
    const isAlive = isNew || hasReceived || hasAccepted || connection.isInputHeld;
    this.#missed = isAlive ? 0 : this.#missed + 1;
    if (this.#missed > MAX_MISSED_PINGS) return this.#onTimeout();
    // Behind other output a ping asks for nothing sooner.
    if (!this.#wasQueued) connection.sendControl(encodeMessage({ type: "ping", n: ++this.#pings }));
  }
}
