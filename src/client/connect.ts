// Makes a Client from a host and a port. Starts over when the server is busy, or closes the connection while the user answers a
// question. `parley connect` and its `--check` call `connectClient`.
//
//     dial → (TLS, pin) → (key) → hello → credential → login → welcome → Client

import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../base/errors.ts";
import {
  BUSY_RETRY_MS,
  MAX_ANSWER_BYTES,
  MAX_RETRY_JITTER_MS,
  SILENT_RESET_RETRY_MS,
} from "../base/limits.ts";
import { MAX_TIMER_MS, writeDuration } from "../base/units.ts";
import { ServerError } from "../handshake/errors.ts";
import type { Connection } from "../net/connection.ts";
import { DialError } from "../net/dial.ts";
import type { Refused } from "../wire/message.ts";
import { Client } from "./client.ts";
import { DialLimiter } from "./dial-limiter.ts";
import { dialOnce, dialWithRetry } from "./dial-with-retry.ts";
import { logInWith, receiveHello, secureChannel } from "./login.ts";
import type { ClientOptions, Credential, Retry } from "./options.ts";
import { Relogin } from "./relogin.ts";
import { makeReconnect } from "./resume.ts";

/** The longest `retry_after`, in seconds, that is waited for without `--wait`. */
const SHORT_WAIT_SECONDS = 2;

/**
 * Connects and logs in.
 *
 * @throws {DialError} when the server cannot be reached, or is not trusted.
 * @throws {ServerError} when the server refuses the connection or the login.
 */
export async function connectClient(options: ClientOptions): Promise<Client> {
  const login: PendingLogin = { credential: undefined };
  const limiter = new DialLimiter();
  let hasSaid = false;
  const began = performance.now();
  const giveUpAt = began + (options.waitMs ?? 0);
  for (let tries = 1; ; tries++) {
    let connection: Connection | undefined;
    try {
      connection = await dialWithRetry(options, limiter, giveUpAt);
      const client = await logInOver(connection, options, limiter, login);
      if (client !== undefined) return client;
      connection.finish(); // the server has closed it during a question
    } catch (error) {
      connection?.finish();
      const asked = secondsToWait(error);
      if (asked === undefined) throw error;
      const left = (giveUpAt - performance.now()) / 1000;
      // A place may be free before the server expects it: one more try at the end of `--wait`.
      const seconds =
        left > LAST_TRY_SECONDS && left < asked && isCrowded(error) ? left - LAST_TRY_SECONDS / 2 : asked;
      // After the budget, and for longer waits, `--wait` and `--retry` decide.
      const isShort = seconds <= SHORT_WAIT_SECONDS && performance.now() - began < retryBudget(error);
      const isInTime =
        performance.now() + seconds * 1000 <= giveUpAt || mayRetry(options.retry, tries, seconds);
      if (!isShort && !isInTime) throw withWaitHint(error, seconds);
      if (!hasSaid) options.onTurnedAway?.(messageOf(error), seconds);
      hasSaid = true;
      const jitter = seconds < asked ? 0 : Math.random() * Math.min(seconds * 500, MAX_RETRY_JITTER_MS);
      await delay(Math.min(seconds * 1000 + jitter, MAX_TIMER_MS));
    }
  }
}

function mayRetry(retry: Retry | undefined, tries: number, seconds: number): boolean {
  return retry?.fromStart === true && tries <= retry.times && seconds * 1000 <= retry.forMs;
}

/** A last try at the end of `--wait` comes so many seconds after the one before, at least. */
const LAST_TRY_SECONDS = 0.5;

/** Added to the seconds that the hint of an error names: it takes a while to read it. */
const HINT_SECONDS = 5;

/** `error`, and which flag would have waited. */
function withWaitHint(error: unknown, seconds: number): unknown {
  if (!(error instanceof ServerError) || error.hint !== undefined || seconds * 1000 > MAX_TIMER_MS / 2)
    return error;
  const { code, serverCode, message, retryAfter } = error;
  const hint = `wait until then with --wait ${writeDuration((Math.ceil(seconds) + HINT_SECONDS) * 1000)}`;
  return new ServerError(code, serverCode, message, { hint, retryAfter, cause: error });
}

/** Milliseconds for which to try again without `--wait`. A server that reset the connection silently may be no parley server. */
function retryBudget(error: unknown): number {
  const hasAnswered = error instanceof ServerError && error.serverCode !== "reset";
  return hasAnswered ? BUSY_RETRY_MS : SILENT_RESET_RETRY_MS;
}

function isCrowded(error: unknown): boolean {
  return error instanceof ServerError && ["full", "too_many_from_address", "busy"].includes(error.serverCode);
}

/** Seconds after which another attempt may succeed; undefined when it would not. */
function secondsToWait(error: unknown): number | undefined {
  if (error instanceof ServerError) return error.retryAfter;
  return error instanceof DialError && error.code === "lost" ? 1 : undefined;
}

/** The credential of a login that got no answer, for the next connection. */
interface PendingLogin {
  credential: Credential | undefined;
}

/** Logs in over `connection`; undefined when the connection was lost during a question. */
async function logInOver(
  connection: Connection,
  options: ClientOptions,
  limiter: DialLimiter,
  login: PendingLogin,
): Promise<Client | undefined> {
  const { bare = false } = options;
  const onAside: ClientOptions["onAside"] = (text) => options.onAside?.(text);
  const isOpen = await secureChannel(connection, options);
  if (!isOpen) return undefined;
  if (bare) {
    connection.decoder.limit = options.maxFrame ?? MAX_ANSWER_BYTES;
    options.onConnected?.(undefined);
    return new Client({ connection, onAside });
  }
  const hello = await receiveHello(connection, options);
  if (login.credential === undefined) options.onConnected?.(hello);
  let refused: Refused | undefined;
  for (;;) {
    if (login.credential === undefined) {
      login.credential = (await options.credential?.(hello, refused)) ?? { method: "none" };
      if (connection.inputEnded) return undefined;
    }
    const answer = await logInWith(connection, options, hello, login.credential);
    if (answer.type === "welcome") {
      options.onStep?.("login");
      const reconnect = options.retry && {
        ...options.retry,
        onTurnedAway: (message: string, seconds: number) => options.onTurnedAway?.(message, seconds),
        reconnect: makeReconnect(
          options,
          () => dialOnce(options, limiter),
          new Relogin(options, login.credential, answer),
        ),
      };
      return new Client({ connection, hello, welcome: answer, reconnect, onAside });
    }
    refused = answer;
    login.credential = undefined;
  }
}
