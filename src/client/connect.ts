// From a host and a port to a conversation: dial, trust, key, login; and again where the server has no room at the moment.
//
//     dial → (TLS, pin) → (key) → hello → credential → login → welcome → Client

import { setTimeout as delay } from "node:timers/promises";
import type { SharedKey } from "../auth/shared-key.ts";
import { parseToken, proveToken, RESUME_LABEL, type TokenParts } from "../auth/token.ts";
import { Client } from "./client.ts";
import type { ReconnectOptions } from "./reconnect.ts";
import { messageOf } from "../base/errors.ts";
import { ServerError } from "../handshake/errors.ts";
import { logIn, proveKey, readHello, tokenLogin } from "../handshake/client.ts";
import {
  DIAL_TIMEOUT_MS,
  HELLO_TIMEOUT_MS,
  LOGIN_ANSWER_TIMEOUT_MS,
  MAX_ANSWER_BYTES,
  MAX_LOGIN_FRAME_BYTES,
  BUSY_RETRY_MS,
  SILENT_RESET_RETRY_MS,
} from "../base/limits.ts";
import { sayDuration } from "../base/units.ts";
import type { Connection } from "../net/connection.ts";
import { Cork } from "../net/cork.ts";
import { DialError, dial } from "../net/dial.ts";
import type { TlsDemand } from "../net/tls.ts";
import type { Hello, Login, Refused, Welcome } from "../wire/message.ts";

/** What a client can log in with. */
export type Credential =
  | { method: "none" }
  | { method: "ip" }
  | { method: "name"; user: string }
  | { method: "password" | "register"; user: string; password: string }
  | { method: "token"; token: TokenParts; logout?: boolean };

/** What a client does before the conversation, in this order; `tls` and `key` only where they are asked for. */
export type Step = "tcp" | "tls" | "key" | "hello" | "login";

export interface ClientOptions {
  host: string;
  port: number;
  /** Frames only, on both sides. */
  bare?: boolean;
  /** Undefined: plain text. */
  tls?: TlsDemand;
  /** Over TLS: whether this is the right server. Needed unless an authority vouches for it. */
  trust?: Trust;
  /** What both sides must prove before anything else. */
  key?: SharedKey;
  /** How long to wait for a server that is not there yet, or says when to come back, in milliseconds. */
  waitMs?: number;
  /** How long to wait for each answer before the conversation, in milliseconds. */
  timeoutMs?: number;
  /** Whether the server should issue a session token. */
  wantsToken?: boolean;
  /** Coming back after a loss; undefined: not at all. */
  retry?: Retry;
  tap?: (direction: "in" | "out", bytes: Uint8Array) => void;
  /**
   * What to log in with, asked once and again after each refusal. It may take its time: a connection that the server
   * gave up meanwhile is dialled anew.
   */
  credential?(hello: Hello, refused: Refused | undefined): Promise<Credential>;
  /** What was given to log in with, without a question: tried when the token of a session that is gone is refused. */
  givenCredential?(): Promise<Credential | undefined>;
  /** Called after a login that began a new session, because the old one was gone. */
  onNewLogin?(hello: Hello, welcome: Welcome): Promise<void>;
  /** Told before each connection that is made. */
  onDial?(): void;
  /** Told as each step is done. */
  onStep?(step: Step): void;
  /** Told once when the server is not there yet. */
  onWait?(): void;
  /** Told what the server said to have us come back, before trying again in so many seconds. */
  onTurnedAway?(message: string, seconds: number): void;
  /** Told when a server does not ask for the key at once. */
  onNoChallenge?(): void;
  /** Told what the server says beside the conversation: a line of a program's standard error. */
  onAside?(text: string): void;
  /** Told when the connection is up, before the login. */
  onConnected?(hello: Hello | undefined): void;
}

export type Retry = Pick<ReconnectOptions, "times" | "forMs" | "resend" | "onLost" | "onResumed">;

/** Decides whether the key behind a TLS channel is the right server's. */
export interface Trust {
  /** Is this pin known to be right? @throws {ParleyError} when it is known to be wrong. */
  check(pin: string): boolean;
  /**
   * Takes a server that is not known yet, or asks.
   *
   * @param vouched it has proven that it has the shared key, on this very channel.
   * @throws {ParleyError} when it is not to be trusted.
   */
  confirmNew(pin: string, vouched: boolean): Promise<void>;
}

/** A server that is short of room for so long, in seconds, is asked again unbidden. */
const SHORT_WAIT_SECONDS = 2;
/** A server that has not asked for the key after so long, in milliseconds, perhaps never will. */
const CHALLENGE_DUE_MS = 900;
/** A server that could not be connected to for these reasons may only not be up yet, or its network. */
const MAY_COME: readonly string[] = ["refused", "unreachable", "timeout"];
/** Between two dials while waiting for a server. */
const WAIT_STEP_MS = 100;

/**
 * Connects and logs in.
 *
 * @throws {DialError} when nobody is there.
 * @throws {ServerError} when the server does not let us in.
 */
export async function connectClient(options: ClientOptions): Promise<Client> {
  const login: PendingLogin = { credential: undefined };
  const began = performance.now();
  const giveUpAt = began + (options.waitMs ?? 0);
  for (;;) {
    let connection: Connection | undefined;
    try {
      connection = await dialWithRetry(options, giveUpAt);
      const client = await logInOver(connection, options, login);
      if (client !== undefined) return client;
      connection.finish(); // asking took so long that the server has given up
    } catch (error) {
      connection?.finish();
      const seconds = secondsToWait(error);
      if (seconds === undefined) throw error;
      // Longer ones, and the last of the short ones, only where the user allows for it.
      const isShort = seconds <= SHORT_WAIT_SECONDS && performance.now() - began < retryBudget(error);
      if (!isShort && performance.now() + seconds * 1000 > giveUpAt) throw error;
      options.onTurnedAway?.(messageOf(error), seconds);
      // Many that were turned away together shall not come back together.
      await delay(seconds * 1000 * (1 + Math.random() / 2));
    }
  }
}

/** How long it is asked again, in milliseconds: one that has not said a word may be no parley server at all. */
function retryBudget(error: unknown): number {
  const hasSpoken = error instanceof ServerError && error.serverCode !== "reset";
  return hasSpoken ? BUSY_RETRY_MS : SILENT_RESET_RETRY_MS;
}

/** After how many seconds it makes sense to try again, if it does. */
function secondsToWait(error: unknown): number | undefined {
  if (error instanceof ServerError) return error.retryAfter;
  return error instanceof DialError && error.code === "lost" ? 1 : undefined;
}

/** What a login that did not come to an answer would have been, for the next connection. */
interface PendingLogin {
  credential: Credential | undefined;
}

/** Logs in over `connection`; undefined when that was lost while a question was asked. */
async function logInOver(
  connection: Connection,
  options: ClientOptions,
  login: PendingLogin,
): Promise<Client | undefined> {
  const { bare = false } = options;
  const onAside = (text: string) => options.onAside?.(text);
  const isPatient = await secureChannel(connection, options);
  if (!isPatient) return undefined;
  if (bare) {
    connection.decoder.limit = MAX_ANSWER_BYTES;
    options.onConnected?.(undefined);
    return new Client({ connection, onAside });
  }
  const hello = await receiveHello(connection, options);
  if (login.credential === undefined) options.onConnected?.(hello);
  let refused: Refused | undefined;
  for (;;) {
    login.credential ??= (await options.credential?.(hello, refused)) ?? { method: "none" };
    if (connection.inputEnded) return undefined;
    const answer = await tryLogin(
      connection,
      options,
      hello,
      toLogin(hello, login.credential, connection.binding),
    );
    if (answer.type === "welcome") {
      options.onStep?.("login");
      const durability = options.retry && {
        ...options.retry,
        reconnect: reconnecting(options, login.credential, answer),
      };
      return new Client({ connection, hello, welcome: answer, durability, onAside });
    }
    refused = answer;
    login.credential = undefined;
  }
}

/** Trust and key; false when the connection was lost while a question was asked. */
async function secureChannel(connection: Connection, options: ClientOptions): Promise<boolean> {
  const { key, trust } = options;
  const { pin } = connection;
  if (trust !== undefined && pin === undefined)
    throw new DialError("tls", `${connection.peer} showed no certificate`);
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
  return !connection.inputEnded; // it took a while to answer
}

async function receiveHello(connection: Connection, options: ClientOptions): Promise<Hello> {
  const hello = await within(connection, answerMs(options), () => readHello(connection));
  options.onStep?.("hello");
  return hello;
}

function tryLogin(
  connection: Connection,
  options: ClientOptions,
  hello: Hello,
  login: Login,
): Promise<Welcome | Refused> {
  const { wantsToken, retry, timeoutMs = Infinity } = options;
  const forSeconds = Math.ceil(Math.min(retry?.forMs ?? 0, 2 ** 31) / 1000);
  const message: Login = { ...login, control: true, resume_for: forSeconds };
  if (wantsToken === false) message.token = false;
  return within(connection, Math.min(LOGIN_ANSWER_TIMEOUT_MS, timeoutMs), () =>
    logIn(connection, hello, message),
  );
}

/** What brings a lost conversation back; where its session is gone, a new one with the credential that is at hand. */
function reconnecting(
  options: ClientOptions,
  first: Credential,
  issued: Welcome,
): ReconnectOptions["reconnect"] {
  const byHand = reloginCredential(first);
  let credential = tokenOf(issued) ?? byHand;
  const logInAnew = async (connection: Connection, hello: Hello): Promise<Welcome> => {
    const attempt = (login: Credential) =>
      tryLogin(connection, options, hello, toLogin(hello, login, connection.binding));
    let answer = await attempt(credential);
    if (answer.type === "refused" && answer.code === "token_refused") {
      const other = byHand.method === "token" ? await options.givenCredential?.() : byHand;
      if (other !== undefined) answer = await attempt(other);
    }
    const welcome = expectWelcome(answer);
    credential = tokenOf(welcome) ?? credential;
    await options.onNewLogin?.(hello, welcome);
    return welcome;
  };
  return async (welcome, received) => {
    options.onDial?.();
    const connection = await dialOnce(options);
    try {
      await secureChannel(connection, options);
      const hello = await receiveHello(connection, options);
      const { session = "", resume_key = "" } = welcome;
      const nonce = Buffer.from(hello.nonce, "base64");
      const secret = Buffer.from(resume_key, "base64");
      const proof = proveToken(secret, RESUME_LABEL, nonce, connection.binding).toString("base64");
      const resume: Login = { type: "login", method: "resume", session, proof, received };
      const answer = await tryLogin(connection, options, hello, resume);
      if (answer.type === "welcome") return { connection, welcome: answer };
      if (answer.code !== "session_gone")
        throw new ServerError("login_refused", answer.code, `coming back was refused: ${answer.message}`);
      return { connection, welcome: await logInAnew(connection, hello) };
    } catch (error) {
      connection.finish();
      throw error;
    }
  };
}

/** The token that was issued, as what to log in with. */
function tokenOf({ token }: Welcome): Credential | undefined {
  const parts = token === undefined ? undefined : parseToken(token);
  return parts && { method: "token", token: parts };
}

/** What logs in once more; a password is kept for nothing else. The account that `register` made is there by now. */
function reloginCredential(first: Credential): Credential {
  return first.method === "register" ? { ...first, method: "password" } : first;
}

/** The answer to a new login. @throws {ServerError} that says that it was no use, and what is. */
function expectWelcome(answer: Welcome | Refused): Welcome {
  if (answer.type === "welcome") return answer;
  throw new ServerError("login_refused", answer.code, `a new login was refused: ${answer.message}`, {
    hint: "the session is gone: start parley connect again, and log in",
  });
}

function answerMs({ timeoutMs = Infinity }: ClientOptions): number {
  return Math.min(HELLO_TIMEOUT_MS, timeoutMs);
}

function toLogin(hello: Hello, credential: Credential, binding: Uint8Array): Login {
  if (credential.method !== "token") return { type: "login", ...credential };
  const login = tokenLogin(hello, credential.token, binding);
  return credential.logout === true ? { ...login, logout: true } : login;
}

async function within<T>(connection: Connection, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const message = `${connection.peer} said nothing for ${sayDuration(timeoutMs)}`;
  const hint = "is it a parley server? one that runs with --bare says nothing first: use --bare here too";
  const timer = setTimeout(() => {
    connection.abort(new ServerError("timeout", "timeout", message, { hint }));
  }, timeoutMs);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
  }
}

async function dialWithRetry(options: ClientOptions, giveUpAt: number): Promise<Connection> {
  let told = false;
  for (;;) {
    try {
      options.onDial?.();
      return await dialOnce(options);
    } catch (error) {
      const mayCome = error instanceof DialError && MAY_COME.includes(error.code);
      if (!mayCome || performance.now() >= giveUpAt) throw error;
    }
    if (!told) options.onWait?.();
    told = true;
    await delay(WAIT_STEP_MS);
  }
}

async function dialOnce(options: ClientOptions): Promise<Connection> {
  const { host, port, tls, tap, timeoutMs = Infinity } = options;
  const connection = await dial({
    host,
    port,
    tls,
    tap,
    onTcp: () => options.onStep?.("tcp"),
    timeoutMs: Math.min(DIAL_TIMEOUT_MS, timeoutMs),
    cork: new Cork(),
    maxFrame: MAX_LOGIN_FRAME_BYTES,
    maxBacklog: Infinity,
  });
  if (tls !== undefined) options.onStep?.("tls");
  return connection;
}
