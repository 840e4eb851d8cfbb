// The steps of a login over one connection: trust and shared key, then hello, then login. Each waits for its answer for a limited
// time. connect.ts and resume.ts take these steps.

import { exporterIn } from "../base/bindings.ts";
import {
  HELLO_TIMEOUT_MS,
  LOGIN_ANSWER_TIMEOUT_MS,
  MAX_ANSWER_BYTES,
  MAX_UNACKNOWLEDGED_STREAM_BYTES,
} from "../base/limits.ts";
import { sayDuration } from "../base/units.ts";
import { logIn, proveKey, readHello, tokenLogin } from "../handshake/client.ts";
import { ServerError } from "../handshake/errors.ts";
import type { Connection } from "../net/connection.ts";
import { DialError } from "../net/dial.ts";
import type { Hello, Login, Refused, Welcome } from "../wire/message.ts";
import type { ClientOptions, Credential } from "./options.ts";

/** The client reads what the server sends, or leaves it in the kernel: it has room for the longest window. */
const WINDOW = MAX_UNACKNOWLEDGED_STREAM_BYTES;

/** Milliseconds without a challenge after which the user learns that the server may have no shared key. */
const CHALLENGE_DUE_MS = 900;

/**
 * Decides whether the server's key is trusted, and proves the shared key; each where it is asked for.
 *
 * @returns false when the connection was lost during a question.
 * @throws {DialError} `tls` when a server that is to be trusted has no certificate; or what `Trust` and `proveKey` throw.
 */
export async function secureChannel(connection: Connection, options: ClientOptions): Promise<boolean> {
  const { key, trust } = options;
  const { pin } = connection;
  if (trust !== undefined && pin === undefined)
    throw new DialError("tls", `${connection.peer} sent no certificate`);
  const isKnown = trust === undefined || pin === undefined || trust.check(pin);
  if (key !== undefined) {
    const notice = setTimeout(() => options.onNoChallenge?.(), CHALLENGE_DUE_MS);
    try {
      await within(connection, answerMs(options), () => proveKey(connection, key));
      options.onStep?.("key");
    } finally {
      clearTimeout(notice);
    }
  }
  if (isKnown) return true;
  await trust.confirmNew(pin, key !== undefined);
  return !connection.inputEnded;
}

/** Waits for `hello`. @throws {ServerError} when the server sends something else, or nothing. */
export async function receiveHello(connection: Connection, options: ClientOptions): Promise<Hello> {
  const hello = await within(connection, answerMs(options), () => readHello(connection));
  options.onStep?.("hello");
  return hello;
}

/** Logs in with a credential. @throws {ServerError} as {@link sendLogin}. */
export function logInWith(
  connection: Connection,
  options: ClientOptions,
  hello: Hello,
  credential: Credential,
): Promise<Welcome | Refused> {
  const terminal = options.terminal?.(hello);
  if (credential.method !== "token") {
    return sendLogin(connection, options, { type: "login", ...credential, terminal });
  }
  const login = tokenLogin(hello, credential.token, exporterIn(connection.bindings));
  if (credential.logout === true) login.logout = true;
  login.terminal = terminal;
  return sendLogin(connection, options, login);
}

/** Sends `login` with the options that every login has, and waits for the answer. @throws {ServerError} when there is none. */
export function sendLogin(
  connection: Connection,
  options: ClientOptions,
  login: Login,
): Promise<Welcome | Refused> {
  const { wantsToken, retry, timeoutMs = Infinity, maxFrame = MAX_ANSWER_BYTES } = options;
  const forSeconds = Math.ceil(Math.min(retry?.forMs ?? 0, 2 ** 31) / 1000);
  const message: Login = { ...login, control: true, resume_for: forSeconds, window: WINDOW };
  if (wantsToken === false) message.token = false;
  return within(connection, Math.min(LOGIN_ANSWER_TIMEOUT_MS, timeoutMs), () =>
    logIn(connection, message, maxFrame),
  );
}

function answerMs({ timeoutMs = Infinity }: ClientOptions): number {
  return Math.min(HELLO_TIMEOUT_MS, timeoutMs);
}

/** Does `work`, and aborts the connection when it takes longer than `timeoutMs`. */
async function within<T>(connection: Connection, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const message = `no answer from ${connection.peer} within ${sayDuration(timeoutMs)}`;
  const hint = "check that it is a parley server; use --bare if it was started with --bare";
  const timer = setTimeout(() => {
    connection.abort(new ServerError("timeout", "timeout", message, { hint }));
  }, timeoutMs);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
  }
}
