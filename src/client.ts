// dial + introduce → a conversation, from the client's side.
//
//     dial → hello → credential → login → welcome → send … end → bye

import { setTimeout as delay } from "node:timers/promises";
import type { SharedKey } from "./auth/key.ts";
import type { TokenParts } from "./auth/token.ts";
import { messageOf } from "./errors.ts";
import { DialError, dial } from "./net/dial.ts";
import { ServerError } from "./handshake/failure.ts";
import { logIn, proveKey, readHello, tokenLogin } from "./handshake/introduce.ts";
import { isChallenge } from "./handshake/key-exchange.ts";
import {
  HELLO_TIMEOUT_MS,
  LOGIN_ANSWER_TIMEOUT_MS,
  MAX_ANSWER_BYTES,
  MAX_LOGIN_FRAME_BYTES,
  MAX_MISSED_PINGS,
  sayDuration,
} from "./limits.ts";
import type { Connection } from "./net/connection.ts";
import type { TlsDemand } from "./net/tls.ts";
import type { Receiver } from "./net/inbox.ts";
import { Cork } from "./net/cork.ts";
import {
  decodeControl,
  encodeMessage,
  type Hello,
  type Login,
  type Refused,
  type Welcome,
} from "./wire/message.ts";

/** What a client can log in with. */
export type Credential =
  | { method: "none" }
  | { method: "ip" }
  | { method: "name"; user: string }
  | { method: "password" | "register"; user: string; password: string }
  | { method: "token"; token: TokenParts; logout?: boolean };

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
  tap?: (direction: "in" | "out", bytes: Uint8Array) => void;
  /**
   * What to log in with, asked once and again after each refusal. It may take its time: a connection that the server
   * gave up meanwhile is dialled anew.
   */
  credential?(hello: Hello, refused: Refused | undefined): Promise<Credential>;
  /** Told before each connection that is made. */
  onDial?(): void;
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
  meet(pin: string, vouched: boolean): Promise<void>;
}

/** How a conversation ended. */
export type Outcome =
  /** `early`: before we had said that no more is coming. */
  | { kind: "bye"; code: string; message: string; status: number | undefined; early: boolean }
  /** The peer ended its side between two frames; without control frames that is all there is to say. */
  | { kind: "ended"; early: boolean }
  | { kind: "lost"; reason: string }
  /** We left. */
  | { kind: "left" };

/** A server that is short of room for so long, in seconds, is asked again unbidden, so many times. */
const SHORT_WAIT_SECONDS = 2;
const MAX_SHORT_WAITS = 10;
/** Pings are not sent more often than this, in milliseconds, whatever the server asks for. */
const MIN_PING_MS = 1000;
/** A server that has not asked for the key after so long, in milliseconds, perhaps never will. */
const CHALLENGE_DUE_MS = 900;

/** Between two dials while waiting for a server. */
const WAIT_STEP_MS = 100;

export class Client {
  /** Undefined for bare frames. */
  readonly hello: Hello | undefined;
  readonly welcome: Welcome | undefined;
  /** Messages sent and received in the conversation. */
  sent = 0;
  received = 0;
  readonly #connection: Connection;
  readonly #outcome = Promise.withResolvers<Outcome>();
  #over = false;
  #inputEnded = false;
  #pings = 0;
  #missed = 0;
  #keepalive: Timer | undefined;
  readonly #onAside: ((text: string) => void) | undefined;

  /** Takes over a connection that has been welcomed, or is bare. Use {@link Client.connect}. */
  constructor(
    connection: Connection,
    hello: Hello | undefined,
    welcome: Welcome | undefined,
    onAside?: (text: string) => void,
  ) {
    this.#onAside = onAside;
    this.#connection = connection;
    this.hello = hello;
    this.welcome = welcome;
  }

  /**
   * Connects and logs in.
   *
   * @throws {DialError} when nobody is there.
   * @throws {ServerError} when the server does not let us in.
   */
  static async connect(options: ClientOptions): Promise<Client> {
    const login: PendingLogin = { credential: undefined };
    const giveUpAt = performance.now() + (options.waitMs ?? 0);
    for (let shortWaits = 0; ;) {
      const connection = await dialPatiently(options, giveUpAt);
      try {
        const client = await introduce(connection, options, login);
        if (client !== undefined) return client;
        connection.finish(); // asking took so long that the server has given up
      } catch (error) {
        connection.finish();
        const seconds = error instanceof ServerError ? error.retryAfter : undefined;
        if (!(error instanceof ServerError) || seconds === undefined) throw error;
        const isShort = seconds <= SHORT_WAIT_SECONDS && ++shortWaits <= MAX_SHORT_WAITS;
        if (!isShort && performance.now() + seconds * 1000 > giveUpAt) throw error;
        options.onTurnedAway?.(error.message, seconds);
        await delay(seconds * 1000);
      }
    }
  }

  /** Longest message the server takes, in bytes. */
  get maxFrame(): number {
    return this.hello?.max_frame ?? Number.MAX_SAFE_INTEGER;
  }

  /** Has the conversation ended? */
  get over(): boolean {
    return this.#over;
  }

  /** Was it said that no more is coming? */
  get inputEnded(): boolean {
    return this.#inputEnded;
  }

  /** Sends one message; wait for `writable` before the next when there is much to send. */
  send(message: string | Uint8Array): void {
    this.sent++;
    this.#connection.send(message);
  }

  /** Resolves when more can be sent without piling up; undefined when it can be now. */
  writable(): Promise<void> | undefined {
    return this.#connection.writable();
  }

  /** Says that no more is coming: the server answers what it has, and the conversation ends. */
  end(): void {
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    if (this.welcome?.control === true) this.#connection.sendControl(encodeMessage({ type: "end" }));
    else this.#connection.endSending();
  }

  /** Leaves at once: what is still on its way, in either direction, may be lost. */
  leave(): void {
    this.#settle({ kind: "left" });
  }

  /**
   * Hands each message to `receive` until the conversation is over, and says how that came about. A promise from
   * `receive` holds the next message back.
   */
  converse(receive: (payload: Uint8Array) => void | Promise<void>): Promise<Outcome> {
    const receiver: Receiver = {
      payload: (payload) => {
        if (this.received === 0 && this.hello === undefined) {
          const demand = demandOf(payload);
          if (demand !== undefined) return this.#settle({ kind: "lost", reason: demand });
        }
        this.received++;
        return receive(payload);
      },
      control: (payload) => this.#control(payload),
      end: () => this.#closed("the server closed the connection"),
      fail: (error) => this.#settle({ kind: "lost", reason: messageOf(error) }),
      close: (error) => {
        const how = error === undefined ? "closed" : "reset";
        this.#settle({ kind: "lost", reason: `the connection was ${how}` });
      },
    };
    const { keepalive } = this.welcome ?? {};
    if (keepalive !== undefined && keepalive > 0) {
      const period = Math.min(Math.max(keepalive * 1000, MIN_PING_MS), 2 ** 31 - 1);
      this.#keepalive = setInterval(() => this.#ping(), period);
    }
    this.#connection.deliver(receiver);
    return this.#outcome.promise;
  }

  /** Shows the server that we are here, and looks whether it is. */
  #ping(): void {
    const connection = this.#connection;
    // While an answer waits to be printed nothing is read, and the server cannot be heard.
    const isHeard = connection.heard || connection.busy;
    connection.heard = false;
    this.#missed = isHeard ? 0 : this.#missed + 1;
    if (this.#missed > MAX_MISSED_PINGS) {
      return this.#settle({ kind: "lost", reason: `the server did not answer ${MAX_MISSED_PINGS} pings` });
    }
    connection.sendControl(encodeMessage({ type: "ping", n: ++this.#pings }));
  }

  /** The peer said no more, between two frames. With control frames it should have said `bye`. */
  #closed(reason: string): void {
    if (this.welcome?.control === true) this.#settle({ kind: "lost", reason });
    else this.#settle({ kind: "ended", early: !this.#inputEnded });
  }

  #control(payload: Uint8Array): void {
    const message = decodeControl(payload);
    if (message?.type === "ping") this.#connection.sendControl(encodeMessage({ type: "pong", n: message.n }));
    if (message?.type === "stderr") this.#onAside?.(message.text);
    if (message?.type !== "bye") return;
    const { code, message: text, status } = message;
    this.#settle({ kind: "bye", code, message: text, status, early: !this.#inputEnded });
  }

  #settle(outcome: Outcome): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#keepalive);
    this.#outcome.resolve(outcome);
    this.#connection.finish();
  }
}

/** What a login that did not come to an answer would have been, for the next connection. */
interface PendingLogin {
  credential: Credential | undefined;
}

/** Logs in over `connection`; undefined when that was lost while a question was asked. */
async function introduce(
  connection: Connection,
  options: ClientOptions,
  login: PendingLogin,
): Promise<Client | undefined> {
  const { bare = false, key, trust, timeoutMs = Infinity } = options;
  const { pin } = connection;
  const isKnown = pin === undefined || trust === undefined || trust.check(pin);
  const answerMs = Math.min(HELLO_TIMEOUT_MS, timeoutMs);
  if (key !== undefined) {
    const notice = setTimeout(() => options.onNoChallenge?.(), CHALLENGE_DUE_MS);
    try {
      await within(connection, answerMs, () => proveKey(connection, key));
    } finally {
      clearTimeout(notice);
    }
  }
  if (!isKnown) await trust.meet(pin, key !== undefined);
  if (connection.over) return undefined;
  if (bare) {
    connection.decoder.limit = MAX_ANSWER_BYTES;
    options.onConnected?.(undefined);
    return new Client(connection, undefined, undefined);
  }
  const hello = await within(connection, answerMs, () => readHello(connection));
  if (login.credential === undefined) options.onConnected?.(hello);
  let refused: Refused | undefined;
  for (;;) {
    login.credential ??= (await options.credential?.(hello, refused)) ?? { method: "none" };
    if (connection.over) return undefined;
    const message: Login = { ...asLogin(hello, login.credential, connection.binding), control: true };
    if (options.wantsToken === false) message.token = false;
    const answer = await within(connection, Math.min(LOGIN_ANSWER_TIMEOUT_MS, timeoutMs), () =>
      logIn(connection, hello, message),
    );
    if (answer.type === "welcome") {
      return new Client(connection, hello, answer, (text) => options.onAside?.(text));
    }
    refused = answer;
    login.credential = undefined;
  }
}

function asLogin(hello: Hello, credential: Credential, binding: Uint8Array): Login {
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

async function dialPatiently(options: ClientOptions, giveUpAt: number): Promise<Connection> {
  const { host, port, tls, tap } = options;
  let told = false;
  for (;;) {
    try {
      options.onDial?.();
      return await dial({
        host,
        port,
        tls,
        tap,
        cork: new Cork(),
        maxFrame: MAX_LOGIN_FRAME_BYTES,
        maxBacklog: Infinity,
      });
    } catch (error) {
      if (!(error instanceof DialError) || error.code !== "refused" || performance.now() >= giveUpAt)
        throw error;
    }
    if (!told) options.onWait?.();
    told = true;
    await delay(WAIT_STEP_MS);
  }
}

/** What a server wants that begins bare talk with something other than the conversation; undefined when it does not. */
function demandOf(payload: Uint8Array): string | undefined {
  if (isChallenge(payload)) return "the server requires a shared key (--key-file)";
  const start = Buffer.from(payload.subarray(0, HELLO_START.length)).toString();
  return start === HELLO_START ? "the server wants a login (leave --bare out)" : undefined;
}

const HELLO_START = '{"type":"hello","protocol":"parley/';
