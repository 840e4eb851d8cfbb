// dial + introduce → a conversation, from the client's side.
//
//     dial → hello → credential → login → welcome → send … end → bye

import type { TokenParts } from "./auth/token.ts";
import { DialError, dial } from "./net/dial.ts";
import { logIn, readHello, ServerError, tokenLogin } from "./handshake.ts";
import { HELLO_TIMEOUT_MS, MAX_ANSWER_BYTES, sayDuration } from "./limits.ts";
import type { Connection, Receiver } from "./net/connection.ts";
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
  /** Told when the connection is up, before the login. */
  onConnected?(hello: Hello | undefined): void;
}

/** How a conversation ended. */
export type Outcome =
  | { kind: "bye"; code: string; message: string; status: number | undefined }
  /** The peer ended its side between two frames; without control frames that is all there is to say. */
  | { kind: "ended" }
  | { kind: "lost"; reason: string }
  /** We left. */
  | { kind: "left" };

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
    let credential: Credential | undefined;
    for (;;) {
      const connection = await dialPatiently(options);
      try {
        const client = await introduce(connection, options, credential);
        if (client instanceof Client) return client;
        credential = client.credential; // it took so long that the server has given up
      } catch (error) {
        connection.finish();
        throw error;
      }
    }
  }

  /** Longest message the server takes, in bytes. */
  get maxFrame(): number {
    return this.hello?.max_frame ?? Number.MAX_SAFE_INTEGER;
  }

  get peer(): string {
    return this.#connection.peer;
  }

  /** Has the conversation ended? */
  get over(): boolean {
    return this.#over;
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
    if (this.welcome?.control === true) this.#connection.sendControl(encodeMessage({ type: "end" }));
    else this.#connection.endSending();
  }

  /** Leaves at once; what was sent is still delivered. */
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
        this.received++;
        return receive(payload);
      },
      control: (payload) => this.#control(payload),
      end: () => {
        if (this.welcome?.control === true)
          this.#settle({ kind: "lost", reason: "the server closed the connection" });
        else this.#settle({ kind: "ended" });
      },
      fail: (error) => {
        if (error instanceof Error) this.#settle({ kind: "lost", reason: error.message });
        else this.#settle({ kind: "lost", reason: String(error) });
      },
      close: (error) => {
        this.#settle({
          kind: "lost",
          reason: error === undefined ? "the connection was closed" : "the connection was reset",
        });
      },
    };
    this.#connection.deliver(receiver);
    return this.#outcome.promise;
  }

  #control(payload: Uint8Array): void {
    const message = decodeControl(payload);
    if (message?.type === "ping") this.#connection.sendControl(encodeMessage({ type: "pong", n: message.n }));
    if (message?.type !== "bye") return;
    const { code, message: text, status } = message;
    this.#settle({ kind: "bye", code, message: text, status });
  }

  #settle(outcome: Outcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#outcome.resolve(outcome);
    this.#connection.finish();
  }
}

/** Logs in over `connection`; when it was lost while the credential was asked for, gives that back instead. */
async function introduce(
  connection: Connection,
  options: ClientOptions,
  known: Credential | undefined,
): Promise<Client | { credential: Credential }> {
  if (options.bare === true) {
    connection.decoder.limit = MAX_ANSWER_BYTES;
    options.onConnected?.(undefined);
    return new Client(connection, undefined, undefined);
  }
  const hello = await within(connection, HELLO_TIMEOUT_MS, () => readHello(connection));
  if (known === undefined) options.onConnected?.(hello);
  let credential = known;
  let refused: Refused | undefined;
  for (;;) {
    credential ??= (await options.credential?.(hello, refused)) ?? { method: "none" };
    if (connection.over) return { credential };
    const login: Login = { ...asLogin(hello, credential), control: true };
    if (options.wantsToken === false) login.token = false;
    const answer = await logIn(connection, hello, login);
    if (answer.type === "welcome") return new Client(connection, hello, answer);
    refused = answer;
    credential = undefined;
  }
}

function asLogin(hello: Hello, credential: Credential): Login {
  if (credential.method !== "token") return { type: "login", ...credential };
  const login = tokenLogin(hello, credential.token);
  return credential.logout === true ? { ...login, logout: true } : login;
}

async function within<T>(connection: Connection, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const timer = setTimeout(() => {
    connection.abort(
      new ServerError(
        "timeout",
        "timeout",
        `${connection.peer} accepted the connection but said nothing for ${sayDuration(timeoutMs)}`,
        {
          hint: "is it a parley server? one that runs with --bare says nothing: use --bare here too",
        },
      ),
    );
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
    await new Promise((resolve) => setTimeout(resolve, WAIT_STEP_MS));
  }
}
