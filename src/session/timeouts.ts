// Timeouts of established sessions: a partial frame, keepalive, idleness, and the end of a closing connection. One timer
// scans all sessions, once a second at most; there is no work for each message.

import {
  FINISH_TIMEOUT_MS,
  FRAME_MIN_RATE_BYTES,
  LINGER_MS,
  MAX_MISSED_PINGS,
  STALL_TIMEOUT_MS,
} from "../base/limits.ts";
import { sayDuration } from "../base/units.ts";
import { ConnectionError } from "../net/connection-error.ts";
import type { Connection } from "../net/connection.ts";
import type { ServerSession } from "./session.ts";
import { encodeMessage } from "../wire/codec.ts";

export interface SessionTimeoutOptions {
  frameTimeoutMs: number;
  keepaliveMs: number;
  /** How long a hook may run after its client has left. */
  abandonedHookMs: number;
  /** Undefined: idle sessions do not end. */
  idleTimeoutMs: number | undefined;
  /** Called with a session that was detached for too long. */
  expired(session: ServerSession): void;
  /** Called with a session whose hook has run for too long after its client has left. */
  hookAbandoned(session: ServerSession): void;
}

export class SessionTimeouts {
  readonly #sessions: Iterable<ServerSession>;
  readonly #options: SessionTimeoutOptions;
  readonly #timer: Timer;
  /** By connection, since a resumed session starts again. */
  readonly #activities = new WeakMap<Connection, Activity>();

  constructor(sessions: Iterable<ServerSession>, options: SessionTimeoutOptions) {
    this.#sessions = sessions;
    this.#options = options;
    const { frameTimeoutMs, keepaliveMs, abandonedHookMs: leftHookMs, idleTimeoutMs = Infinity } = options;
    const shortest = Math.min(frameTimeoutMs, keepaliveMs, leftHookMs, idleTimeoutMs);
    this.#timer = setInterval(() => this.#scan(), Math.max(25, Math.min(1000, shortest / 4)));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #scan(): void {
    const now = performance.now();
    for (const session of this.#sessions) {
      const { detachedSince, disconnectedSince, connection } = session;
      if (detachedSince !== undefined) {
        if (now - detachedSince >= (session.login.resumption?.forMs ?? 0)) this.#options.expired(session);
        continue;
      }
      if (disconnectedSince !== undefined && now - disconnectedSince >= this.#options.abandonedHookMs)
        this.#options.hookAbandoned(session);
      if (connection.finishing) continue;
      let sighting = this.#activities.get(connection);
      if (sighting === undefined) {
        connection.keepAlive();
        sighting = new Activity(session, now);
        this.#activities.set(connection, sighting);
      }
      sighting.check(now, this.#options);
    }
  }
}

/** The results of the last scans for one connection; times by `performance.now`. */
class Activity {
  readonly #session: ServerSession;
  /** When input was last read, or reading was paused. */
  #lastReadAt: number;
  #chunks = 0;
  #pings = 0;
  /** Time of the last ping while reading was paused. */
  #lastPingAt: number;
  /** When a message or a part of it was last received. */
  #lastMessageAt: number;
  #received = 0;
  #partialBytes = 0;
  #written = 0;
  /** Bytes that the peer's kernel has not acknowledged; checked while closing. */
  #unsent: number | undefined;
  /** The number of the partial frame, and when it began. */
  #frame = 0;
  #frameAt: number;

  constructor(session: ServerSession, now: number) {
    this.#session = session;
    this.#lastReadAt = this.#lastPingAt = this.#lastMessageAt = this.#frameAt = now;
  }

  check(now: number, options: SessionTimeoutOptions): void {
    if (this.#session.isClosing) return this.#checkClosing(now, options.keepaliveMs);
    this.#checkFrame(now, options.frameTimeoutMs);
    this.#checkAlive(now, options.keepaliveMs);
    if (options.idleTimeoutMs !== undefined) this.#checkIdle(now, options.idleTimeoutMs);
  }

  /** After `bye`: ends the session when no data has moved for long. */
  #checkClosing(now: number, keepaliveMs: number): void {
    const session = this.#session;
    const { connection } = session;
    const { written, chunks, unsent } = connection;
    if (written !== this.#written || chunks !== this.#chunks || unsent !== this.#unsent) {
      this.#written = written;
      this.#chunks = chunks;
      this.#unsent = unsent;
      this.#lastReadAt = now;
      return;
    }
    const silentMs = now - this.#lastReadAt;
    if (connection.queued > 0) {
      if (silentMs >= STALL_TIMEOUT_MS) session.giveUp();
    } else if (session.awaitsFinalAck) {
      // It may be printing, and reads no ping meanwhile: it has the same time as a silent peer.
      if (silentMs >= keepaliveMs * (MAX_MISSED_PINGS + 1)) session.giveUp();
    } else if (silentMs >= (session.peerAcks ? LINGER_MS : FINISH_TIMEOUT_MS)) {
      connection.finish();
    }
  }

  #checkFrame(now: number, timeoutMs: number): void {
    const { connection } = this.#session;
    const { partialFrames, partialLength } = connection.decoder;
    // While input is held back, the rest of the frame may have arrived already.
    if (partialLength === 0 || partialFrames !== this.#frame || connection.isInputHeld) {
      this.#frame = partialFrames;
      this.#frameAt = now;
      return;
    }
    const allowed = timeoutMs + (partialLength / FRAME_MIN_RATE_BYTES) * 1000;
    if (now - this.#frameAt < allowed) return;
    const message = `a frame did not arrive completely within ${sayDuration(allowed)}`;
    this.#session.fail(new ConnectionError("stalled", message, { peerMessage: message }));
  }

  #checkAlive(now: number, keepaliveMs: number): void {
    const { connection, login: arrival } = this.#session;
    // No reads are expected while input is held back or output is queued: TCP keepalive covers these cases.
    const isHeldBack = connection.isInputHeld || connection.queued > 0;
    if (connection.chunks !== this.#chunks || isHeldBack) {
      this.#chunks = connection.chunks;
      this.#lastReadAt = now;
      this.#pings = 0;
      // The client's own pings stay unanswered behind a long frame or a running hook: ours show that we are alive.
      const isDeaf = connection.isInputHeld || connection.decoder.partialLength > 0;
      if (isDeaf && connection.queued === 0 && now - this.#lastPingAt >= keepaliveMs) this.#ping(now);
      return;
    }
    if (!arrival.control || now - this.#lastReadAt < keepaliveMs * (this.#pings + 1)) return;
    if (this.#pings < MAX_MISSED_PINGS) {
      this.#pings++;
      return this.#ping(now);
    }
    const message = `the peer did not answer ${MAX_MISSED_PINGS} pings`;
    this.#session.fail(new ConnectionError("silent", message));
  }

  #ping(now: number): void {
    const { connection, login: arrival } = this.#session;
    if (!arrival.control) return;
    this.#lastPingAt = now;
    connection.sendControl(encodeMessage({ type: "ping", n: this.#pings }));
  }

  #checkIdle(now: number, timeoutMs: number): void {
    const session = this.#session;
    const { connection, received } = session;
    const { written } = connection;
    const { partialLength } = connection.decoder;
    const isStill = written === this.#written;
    const isStuck = isStill && connection.isWriteBlocked;
    const isUnheeded = isStill && session.awaitsAck;
    const hasMore = received !== this.#received || partialLength !== this.#partialBytes;
    // A stream of bytes may go on for hours in one direction.
    const hasStreamed = !isStill && session.isStream;
    if (hasMore || hasStreamed || (session.hasWork && !isStuck && !isUnheeded)) {
      this.#lastMessageAt = now;
    } else if (now - this.#lastMessageAt >= timeoutMs) {
      // Output that the client does not read would keep `bye` from arriving.
      if (isStuck) session.fail(new ConnectionError("too_slow", "the peer has read nothing for too long"));
      else session.sayBye("idle", "the conversation was idle for too long");
    }
    this.#received = received;
    this.#partialBytes = partialLength;
    this.#written = written;
  }
}
