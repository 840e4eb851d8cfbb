// Opens a connection to the server. connect.ts waits for a server that is not up yet; resume.ts dials once for each attempt.

import { setTimeout as delay } from "node:timers/promises";
import { DIAL_TIMEOUT_MS, MAX_LOGIN_FRAME_BYTES } from "../base/limits.ts";
import type { Connection } from "../net/connection.ts";
import { Cork } from "../net/cork.ts";
import { DialError, dial } from "../net/dial.ts";
import type { DialLimiter } from "./dial-limiter.ts";
import type { ClientOptions } from "./options.ts";

/** Codes of DialError after which the server, or its network, may still come up. */
const RETRYABLE: readonly string[] = ["refused", "unreachable", "timeout"];
/** Milliseconds between two attempts, at least. */
const RETRY_STEP_MS = 100;

/**
 * Connects to the server, and tries again while it is not up.
 *
 * @param giveUpAt the time of the last attempt, by `performance.now`.
 * @throws {DialError} as {@link dialOnce}.
 */
export async function dialWithRetry(
  options: ClientOptions,
  limiter: DialLimiter,
  giveUpAt: number,
): Promise<Connection> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await dialOnce(options, limiter);
    } catch (error) {
      const isRetryable = error instanceof DialError && RETRYABLE.includes(error.code);
      if (!isRetryable || performance.now() >= giveUpAt) throw error;
    }
    if (attempt === 1) options.onWait?.();
    await delay(RETRY_STEP_MS);
  }
}

/** Connects to the server once, when `limiter` allows it. @throws {DialError} when it cannot be reached, or TLS fails. */
export async function dialOnce(options: ClientOptions, limiter: DialLimiter): Promise<Connection> {
  await limiter.wait();
  return dialServer(options);
}

/** Connects to the server at once. @throws {DialError} when it cannot be reached, or TLS fails. */
export async function dialServer(options: ClientOptions): Promise<Connection> {
  const { host, port, tls, framing, tap, cork = new Cork(), timeoutMs = Infinity } = options;
  options.onDial?.();
  const connection = await dial({
    host,
    port,
    tls,
    framing,
    tap,
    onTcp: () => options.onStep?.("tcp"),
    timeoutMs: Math.min(DIAL_TIMEOUT_MS, timeoutMs),
    cork,
    maxFrame: MAX_LOGIN_FRAME_BYTES,
    maxBacklog: Infinity,
  });
  if (tls !== undefined) options.onStep?.("tls");
  return connection;
}
