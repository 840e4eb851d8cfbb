// What only the passing of time tells of a conversation: a frame that never becomes whole, a peer that is gone without a
// word, one that says nothing any more. One look at all of them every second or so, nothing for each message.

import { FRAME_MIN_RATE_BYTES, MAX_MISSED_PINGS, sayDuration } from "./limits.ts";
import { ConnectionError } from "./net/connection-error.ts";
import type { Session } from "./session.ts";
import { encodeMessage } from "./wire/message.ts";

export interface VigilOptions {
  frameTimeoutMs: number;
  keepaliveMs: number;
  /** Undefined: silence is no reason to end a conversation. */
  idleTimeoutMs: number | undefined;
}

/** What was seen of a session at the last looks; instants by `performance.now`. */
interface Sighting {
  heardAt: number;
  /** Pings sent since then. */
  pings: number;
  talkedAt: number;
  received: number;
  /** Bytes of a frame that is not whole yet. */
  partial: number;
  written: number;
  frame: number;
  frameAt: number;
}

export class Vigil {
  readonly #sessions: ReadonlySet<Session>;
  readonly #options: VigilOptions;
  readonly #sightings = new WeakMap<Session, Sighting>();
  readonly #timer: Timer;

  constructor(sessions: ReadonlySet<Session>, options: VigilOptions) {
    this.#sessions = sessions;
    this.#options = options;
    const shortest = Math.min(options.frameTimeoutMs, options.keepaliveMs, options.idleTimeoutMs ?? Infinity);
    this.#timer = setInterval(() => this.#look(), Math.max(25, Math.min(1000, shortest / 4)));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    for (const session of this.#sessions) {
      if (session.connection.finishing) continue;
      const seen = this.#sightings.get(session);
      if (seen === undefined) {
        this.#sightings.set(session, {
          heardAt: now,
          pings: 0,
          talkedAt: now,
          received: session.received,
          partial: 0,
          written: session.connection.written,
          frame: 0,
          frameAt: now,
        });
        continue;
      }
      this.#checkFrame(session, seen, now);
      this.#checkAlive(session, seen, now);
      this.#checkIdle(session, seen, now);
    }
  }

  #checkFrame(session: Session, seen: Sighting, now: number): void {
    const { connection } = session;
    const { partialFrames, partialLength } = connection.decoder;
    // While input is held back, the rest may long be here.
    if (partialLength === 0 || partialFrames !== seen.frame || connection.busy) {
      seen.frame = partialFrames;
      seen.frameAt = now;
      return;
    }
    const allowed = this.#options.frameTimeoutMs + (partialLength / FRAME_MIN_RATE_BYTES) * 1000;
    if (now - seen.frameAt < allowed) return;
    const message = `a frame was not whole within ${sayDuration(allowed)}`;
    session.fail(new ConnectionError("stalled", message, { peerMessage: message }));
  }

  #checkAlive(session: Session, seen: Sighting, now: number): void {
    const { connection } = session;
    // Whoever is held back cannot be heard, and for one who does not read there is the kernel's own patience.
    if (connection.heard || connection.busy || connection.queued > 0) {
      connection.heard = false;
      seen.heardAt = now;
      seen.pings = 0;
      return;
    }
    const { keepaliveMs } = this.#options;
    if (!session.arrival.control || now - seen.heardAt < keepaliveMs * (seen.pings + 1)) return;
    if (seen.pings < MAX_MISSED_PINGS) {
      seen.pings++;
      connection.sendControl(encodeMessage({ type: "ping", n: seen.pings }));
      return;
    }
    session.fail(
      new ConnectionError("silent", `the peer did not answer ${MAX_MISSED_PINGS} pings: it is gone`),
    );
  }

  #checkIdle(session: Session, seen: Sighting, now: number): void {
    const { idleTimeoutMs } = this.#options;
    const { connection } = session;
    const { received } = session;
    const { written, decoder } = connection;
    const isStuck = connection.awaitsReader && written === seen.written;
    const hasMore = received !== seen.received || decoder.partialLength !== seen.partial;
    if (hasMore || (connection.busy && !isStuck)) {
      seen.talkedAt = now;
    } else if (idleTimeoutMs !== undefined && now - seen.talkedAt >= idleTimeoutMs) {
      // What waits to be read would keep a `bye` from arriving.
      if (isStuck) session.fail(new ConnectionError("too_slow", "the peer has read nothing for too long"));
      else session.sayBye("idle", "nothing was said for too long");
    }
    seen.received = received;
    seen.partial = decoder.partialLength;
    seen.written = written;
  }
}
