// dial + introduce → a conversation, from the client's side.
//
//     dial → hello → credential → login → welcome → send … end → bye

import { setTimeout as delay } from "node:timers/promises";
import type { TokenParts } from "./auth/token.ts";
import { messageOf } from "./errors.ts";
import { DialError, dial } from "./net/dial.ts";
import { logIn, readHello, ServerError, tokenLogin } from "./handshake.ts";
import { HELLO_TIMEOUT_MS, LOGIN_ANSWER_TIMEOUT_MS, MAX_ANSWER_BYTES, sayDuration } from "./limits.ts";
import type { Connection } from "./net/connection.ts";
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
  /** How long to wait for a server that is not there yet, in milliseconds. */
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
  /** Told when the server has too many logins waiting, before trying again. */
  onBusy?(): void;
  /** Told when the connection is up, before the login. */
  onConnected?(hello: Hello | undefined): void;
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

/** How often a login is tried again that the server had no time for, and how long it is waited for at most. */
const MAX_BUSY_RETRIES = 10;
const MAX_BUSY_WAIT_SECONDS = 10;

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

  /** Takes over a connection that has been welcomed, or is bare. Use {@link Client.connect}. */
  constructor(connection: Connection, hello: Hello | undefined, welcome: Welcome | undefined) {
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
    for (let busy = 0; ;) {
      const connection = await dialPatiently(options);
      try {
        const client = await introduce(connection, options, login);
        if (client !== undefined) return client;
        connection.finish(); // asking took so long that the server has given up
      } catch (error) {
        connection.finish();
        const wait =
          error instanceof ServerError && error.serverCode === "busy" ? error.retryAfter : undefined;
        if (wait === undefined || ++busy > MAX_BUSY_RETRIES) throw error;
        options.onBusy?.();
        await delay(Math.min(wait, MAX_BUSY_WAIT_SECONDS) * 1000);
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
        if (this.received === 0 && this.hello === undefined && isHello(payload)) {
          return this.#settle({ kind: "lost", reason: "the server wants a login (leave --bare out)" });
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
    this.#connection.deliver(receiver);
    return this.#outcome.promise;
  }

  /** The peer said no more, between two frames. With control frames it should have said `bye`. */
  #closed(reason: string): void {
    if (this.welcome?.control === true) this.#settle({ kind: "lost", reason });
    else this.#settle({ kind: "ended", early: !this.#inputEnded });
  }

  #control(payload: Uint8Array): void {
    const message = decodeControl(payload);
    if (message?.type === "ping") this.#connection.sendControl(encodeMessage({ type: "pong", n: message.n }));
    if (message?.type !== "bye") return;
    const { code, message: text, status } = message;
    this.#settle({ kind: "bye", code, message: text, status, early: !this.#inputEnded });
  }

  #settle(outcome: Outcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#outcome.resolve(outcome);
    this.#connection.finish();
  }
}

/** What a login that did not come to an answer would have been, for the next connection. */
interface PendingLogin {
  credential: Credential | undefined;
}

/** Logs in over `connection`; undefined when that was lost while the credential was asked for. */
async function introduce(
  connection: Connection,
  options: ClientOptions,
  login: PendingLogin,
): Promise<Client | undefined> {
  if (options.bare === true) {
    connection.decoder.limit = MAX_ANSWER_BYTES;
    options.onConnected?.(undefined);
    return new Client(connection, undefined, undefined);
  }
  const { timeoutMs = Infinity } = options;
  const hello = await within(connection, Math.min(HELLO_TIMEOUT_MS, timeoutMs), () => readHello(connection));
  if (login.credential === undefined) options.onConnected?.(hello);
  let refused: Refused | undefined;
  for (;;) {
    login.credential ??= (await options.credential?.(hello, refused)) ?? { method: "none" };
    if (connection.over) return undefined;
    const message: Login = { ...asLogin(hello, login.credential), control: true };
    if (options.wantsToken === false) message.token = false;
    const answer = await within(connection, Math.min(LOGIN_ANSWER_TIMEOUT_MS, timeoutMs), () =>
      logIn(connection, hello, message),
    );
    if (answer.type === "welcome") return new Client(connection, hello, answer);
    refused = answer;
    login.credential = undefined;
  }
}

function asLogin(hello: Hello, credential: Credential): Login {
  if (credential.method !== "token") return { type: "login", ...credential };
  const login = tokenLogin(hello, credential.token);
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

async function dialPatiently(options: ClientOptions): Promise<Connection> {
  const { host, port, tap, waitMs = 0 } = options;
  const deadline = performance.now() + waitMs;
  let told = false;
  for (;;) {
    try {
      options.onDial?.();
      return await dial({
        host,
        port,
        tap,
        cork: new Cork(),
        maxFrame: MAX_ANSWER_BYTES,
        maxBacklog: Infinity,
      });
    } catch (error) {
      if (!(error instanceof DialError) || error.code !== "refused" || performance.now() >= deadline)
        throw error;
    }
    if (!told) options.onWait?.();
    told = true;
    await delay(WAIT_STEP_MS);
  }
}

/** Does bare talk begin with what only a server with a session says? */
function isHello(payload: Uint8Array): boolean {
  return Buffer.from(payload.subarray(0, HELLO_START.length)).toString() === HELLO_START;
}

const HELLO_START = '{"type":"hello","protocol":"parley/';
