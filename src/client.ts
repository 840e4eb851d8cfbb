// A conversation, from the client's side: what is sent, what comes, and how it ended. client-connect.ts begins it.
//
//     send … end → bye

import { messageOf } from "./errors.ts";
import { isChallenge } from "./handshake/key-exchange.ts";
import { MAX_MISSED_PINGS } from "./limits.ts";
import type { Connection } from "./net/connection.ts";
import type { Receiver } from "./net/inbox.ts";
import { decodeControl, encodeMessage, type Hello, type Welcome } from "./wire/message.ts";

/** How a conversation ended. */
export type Outcome =
  /** `early`: before we had said that no more is coming. */
  | { kind: "bye"; code: string; message: string; status: number | undefined; early: boolean }
  /** The peer ended its side between two frames; without control frames that is all there is to say. */
  | { kind: "ended"; early: boolean }
  | { kind: "lost"; reason: string }
  /** It never began: the server speaks otherwise than we do. */
  | { kind: "misfit"; reason: string }
  /** We left. */
  | { kind: "left" };

/** Pings are not sent more often than this, in milliseconds, whatever the server asks for. */
const MIN_PING_MS = 1000;

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
  // What was heard of the server, and taken by it, when it was last looked for.
  #chunks = 0;
  #written = 0;
  #wasQueued = false;
  #keepalive: Timer | undefined;
  readonly #onAside: ((text: string) => void) | undefined;

  /** Takes over a connection that has been welcomed, or is bare. See {@link connectClient}. */
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
          if (demand !== undefined) return this.#settle({ kind: "misfit", reason: demand });
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
    // … and one that still takes what we have to say is there, even if its answers wait behind that.
    const isTaking = this.#wasQueued && connection.written !== this.#written;
    const isHeard = connection.chunks !== this.#chunks;
    this.#chunks = connection.chunks;
    this.#written = connection.written;
    this.#wasQueued = connection.queued > 0;
    this.#missed = isHeard || isTaking || connection.busy ? 0 : this.#missed + 1;
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

/** What a server wants that begins bare talk with something other than the conversation; undefined when it does not. */
function demandOf(payload: Uint8Array): string | undefined {
  if (isChallenge(payload)) return "the server requires a shared key: say --key-file FILE";
  const start = Buffer.from(payload.subarray(0, HELLO_START.length)).toString();
  return start === HELLO_START ? "the server wants a login: leave --bare out" : undefined;
}

const HELLO_START = '{"type":"hello","protocol":"parley/';
