// Coming back after a loss: how soon it is tried, how often, and for how long.

import { setTimeout as delay } from "node:timers/promises";
import { messageOf, ParleyError } from "../base/errors.ts";
import { ServerError } from "../handshake/errors.ts";
import { RETRY_AT_ONCE_MS, RETRY_FIRST_MS, RETRY_HELD_MS, RETRY_MAX_MS } from "../base/limits.ts";
import type { Connection } from "../net/connection.ts";
import { DialError } from "../net/dial.ts";
import type { Welcome } from "../wire/message.ts";

/** A connection on which the conversation can go on. */
export interface Reconnected {
  connection: Connection;
  /** `resumed`, or of a new session because the old one was gone. */
  welcome: Welcome;
}

/** There is no coming back. */
export interface ReconnectFailed {
  /** As the end of a sentence that began with the loss; undefined when nobody wanted it back any more. */
  why: string | undefined;
  hint?: string;
}

/** How a conversation is come back to. */
export interface ReconnectOptions {
  /** How often it is tried, at most, and for how long after a loss, in milliseconds. */
  times: number;
  forMs: number;
  /** Sends what was never confirmed again when the old session was gone: at least once, for services where that is right. */
  resend: boolean;
  /** Dials and logs in: with what `welcome` gave to come back with, and how many payloads were received. */
  reconnect(welcome: Welcome, received: number): Promise<Reconnected>;
  onLost(reason: string): void;
  /** `again`: messages sent once more; `isNew`: the session was gone; `lost`: what of that was never confirmed. */
  onResumed(event: { afterMs: number; again: number; lost: readonly Uint8Array[]; isNew: boolean }): void;
}

/** A timer cannot wait for longer, and is over at once if it is asked to. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** What was lost. */
export interface LostConnection {
  /** How far the conversation had come, in messages of either side. */
  progress: number;
  welcome: Welcome;
  /** Payloads received in the session. */
  received: number;
  /** Does nobody want it back any more? */
  isOver: () => boolean;
}

/** One client's way back. */
export class Reconnector {
  /** Since when there was a connection, by `performance.now`. */
  #since = performance.now();
  /** How far the conversation was at the last loss. */
  #progressBefore = 0;

  /** Comes back, if that can be; otherwise says why not. */
  async find(durability: ReconnectOptions, loss: LostConnection): Promise<Reconnected | ReconnectFailed> {
    const { progress, welcome, received, isOver } = loss;
    const lostAt = performance.now();
    // A way that worked will work again, most likely; one that only ever breaks is not tried in a loop.
    const hasWorked = progress !== this.#progressBefore || lostAt - this.#since >= RETRY_HELD_MS;
    this.#progressBefore = progress;
    let pause = Math.random() * (hasWorked ? RETRY_AT_ONCE_MS : RETRY_FIRST_MS);
    for (let tries = 0; tries < durability.times && !isOver(); tries++) {
      const left = lostAt + durability.forMs - performance.now();
      if (left <= 0) break;
      await delay(Math.min(pause, left));
      if (isOver()) return { why: undefined };
      try {
        const found = await durability.reconnect(welcome, received);
        this.#since = performance.now();
        return found;
      } catch (error) {
        const wait = waitAfter(error);
        if (wait === undefined) return noReturn(error);
        const longer = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** tries) * (0.5 + Math.random() / 2);
        pause = Math.min(Math.max(wait, longer), MAX_TIMER_MS);
      }
    }
    return { why: "the server could not be reached again" };
  }
}

function noReturn(error: unknown): ReconnectFailed {
  return { why: messageOf(error), hint: error instanceof ParleyError ? error.hint : undefined };
}

/** How long to wait at least before the next try, in milliseconds; undefined when there should be none. */
function waitAfter(error: unknown): number | undefined {
  if (error instanceof DialError) return error.code === "tls" ? undefined : 0;
  if (!(error instanceof ServerError)) return undefined;
  if (error.retryAfter !== undefined) return error.retryAfter * 1000;
  // One that is shutting down may come up again; one that was cut off is the loss over again.
  return ["shutting_down", "busy", "reset", "closed", "timeout"].includes(error.serverCode) ? 0 : undefined;
}
