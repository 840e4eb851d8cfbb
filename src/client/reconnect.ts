// Decides when to reconnect after a loss, how often, and for how long. client.ts keeps one Reconnector; resume.ts makes the
// function that dials and logs in.

import { setTimeout as delay } from "node:timers/promises";
import { messageOf, ParleyError } from "../base/errors.ts";
import { ServerError } from "../handshake/errors.ts";
import {
  RETRY_AT_ONCE_MS,
  RETRY_FIRST_MS,
  RETRY_HELD_MS,
  RETRY_MAX_MS,
  RETRY_PROVEN_MS,
} from "../base/limits.ts";
import { MAX_TIMER_MS } from "../base/units.ts";
import type { Connection } from "../net/connection.ts";
import { DialError } from "../net/dial.ts";
import type { Welcome } from "../wire/message.ts";

/** A new connection of a client. */
export interface Reconnected {
  connection: Connection;
  /** Its `resumed` says whether the session was resumed. Otherwise the session was gone, and this is a new one. */
  welcome: Welcome;
}

/** The reason why a client could not reconnect. */
export interface ReconnectFailed {
  /** The text after the reason of the loss and `; `; undefined when the client was ended meanwhile. */
  why: string | undefined;
  hint?: string;
}

export interface ReconnectOptions {
  /** The largest number of attempts in a row, those included whose connection carried nothing new. */
  times: number;
  /** Milliseconds without a connection in which attempts may begin; those before a connection that carried nothing new count. */
  forMs: number;
  /** True: when the session is gone, send its unconfirmed messages again in the new one. The service may get them twice. */
  resend: boolean;
  /** True: when the session is gone, or its server shuts down, the client ends. A new session would begin in the middle of a stream. */
  sameSession?: boolean;
  /** True: `reconnect` waits for its turn. No pause is made before it, but for the one that a server asks for. */
  isPaced?: boolean;
  /**
   * Dials and logs in.
   *
   * @param welcome the one of the lost session.
   * @param received the number of payloads received in that session.
   * @param giveUpAt when to wait no longer for a turn, by `performance.now`.
   */
  reconnect(welcome: Welcome, received: number, giveUpAt: number): Promise<Reconnected>;
  /** Called for each loss, before the first attempt, which waits for a promise. */
  onLost(reason: string): void | Promise<void>;
  /** Called once for each loss, when the server turns the client away for some seconds. */
  onTurnedAway?(message: string, seconds: number): void;
  /** Called after each reconnection. */
  onResumed(event: Resumed): void;
}

export interface LostConnection {
  /** The number of messages received and of messages acknowledged, together, in all sessions: it never falls. */
  progress: number;
  welcome: Welcome;
  /** Payloads received in the session. */
  received: number;
  /** True when the client was ended, and need not reconnect. */
  isOver: () => boolean;
}

/** How a reconnection went. */
export interface Resumed {
  /** From the loss to the welcome, in milliseconds. */
  afterMs: number;
  /** The number of messages that were sent again. */
  again: number;
  /** Was the session gone, so that this is a new one? */
  isNew: boolean;
  /** Messages of the session that is gone, which were neither confirmed nor sent again. */
  lost: readonly Uint8Array[];
  /** Was the session gone before the server had said that it was done? */
  answersMayBeMissing: boolean;
}

/** Reconnects one client, again and again. */
export class Reconnector {
  /** The time of the last connection, by `performance.now`. */
  #since = performance.now();
  /** `progress` at the last loss. */
  #lastProgress = 0;
  /** Attempts since a connection carried something new, or was proven. */
  #tries = 0;
  /** Milliseconds without a connection in these attempts. */
  #awayMs = 0;

  /** Reconnects. Never rejects: returns the reason when that is impossible, or the attempts are used up. */
  async reconnect(options: ReconnectOptions, loss: LostConnection): Promise<Reconnected | ReconnectFailed> {
    const { progress, welcome, received, isOver } = loss;
    const lostAt = performance.now();
    const heldMs = lostAt - this.#since;
    const isFurther = progress > this.#lastProgress;
    this.#lastProgress = progress;
    if (isFurther || heldMs >= RETRY_PROVEN_MS) this.#tries = this.#awayMs = 0;
    const endAt = lostAt + options.forMs - this.#awayMs;
    // At once when the lost connection made progress or lasted RETRY_HELD_MS; otherwise after a pause, to prevent a busy loop.
    const wasHealthy = isFurther || heldMs >= RETRY_HELD_MS;
    let pause = Math.random() * (options.isPaced || wasHealthy ? RETRY_AT_ONCE_MS : RETRY_FIRST_MS);
    let failures = 0;
    while (this.#tries < options.times && !isOver()) {
      const left = endAt - performance.now();
      if (left <= 0) break;
      await delay(Math.min(pause, left, MAX_TIMER_MS));
      if (isOver()) return { why: undefined };
      this.#tries++;
      try {
        const reconnected = await options.reconnect(welcome, received, endAt);
        this.#since = performance.now();
        this.#awayMs += this.#since - lostAt;
        return reconnected;
      } catch (error) {
        const wait = waitAfter(error);
        if (wait === undefined || performance.now() + wait > endAt) return failure(error);
        if (wait > 0 && failures === 0) options.onTurnedAway?.(messageOf(error), wait / 1000);
        const longer = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** failures++) * (0.5 + Math.random() / 2);
        pause = options.isPaced ? wait : Math.max(wait, longer);
      }
    }
    const isNoFurther = failures === 0 && this.#tries > 0;
    return { why: isNoFurther ? NO_FURTHER : "the server could not be reached" };
  }
}

const NO_FURTHER = "later connections delivered nothing new";

function failure(error: unknown): ReconnectFailed {
  return { why: messageOf(error), hint: error instanceof ParleyError ? error.hint : undefined };
}

/** Milliseconds to wait at least before the next attempt; undefined when another attempt would fail in the same way. */
export function waitAfter(error: unknown): number | undefined {
  if (error instanceof DialError) return error.code === "tls" ? undefined : 0;
  if (!(error instanceof ServerError)) return undefined;
  if (error.retryAfter !== undefined) return error.retryAfter * 1000;
  // A server that shuts down may be started again, and a busy one may have room soon. The other codes are further losses.
  return PASSING.includes(error.serverCode) ? 0 : undefined;
}

/** What may be over soon. */
const PASSING: readonly string[] = [
  "shutting_down",
  "busy",
  "full",
  "too_many_from_address",
  "penalised",
  "reset",
  "closed",
  "timeout",
];
