// A conversation, from the client's side: what is sent, what comes, and how it ended. client-connect.ts begins it.
//
//     send … end → bye
//
// Where the server keeps sessions, the conversation outlives its connection: lost without a `bye`, the client comes back,
// and both send again what the other has not received.

import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "./errors.ts";
import { Gate } from "./gate.ts";
import { ServerError } from "./handshake/failure.ts";
import { isChallenge } from "./handshake/key-exchange.ts";
import { AckClock, Ledger } from "./ledger.ts";
import { MAX_MISSED_PINGS, RETRY_AT_ONCE_MS, RETRY_FIRST_MS, RETRY_HELD_MS, RETRY_MAX_MS } from "./limits.ts";
import type { Connection } from "./net/connection.ts";
import { DialError } from "./net/dial.ts";
import type { Receiver } from "./net/inbox.ts";
import {
  decodeControl,
  encodeAck,
  encodeMessage,
  readAck,
  type Hello,
  type Welcome,
} from "./wire/message.ts";

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

/** A connection on which the conversation can go on. */
export interface Return {
  connection: Connection;
  /** `resumed`, or of a new session because the old one was gone. */
  welcome: Welcome;
}

/** How a conversation is come back to. */
export interface Durability {
  /** How often it is tried, at most, and for how long after a loss, in milliseconds. */
  times: number;
  forMs: number;
  /** Sends what was never confirmed again when the old session was gone: at least once, for services where that is right. */
  resend: boolean;
  /** Dials and logs in: with what `welcome` gave to come back with, and how many payloads were received. */
  comeBack(welcome: Welcome, received: number): Promise<Return>;
  onLost(reason: string): void;
  /** `again`: messages sent once more; `isNew`: the session was gone; `unconfirmed`: what nobody confirmed of that. */
  onResumed(event: { afterMs: number; again: number; unconfirmed: number; isNew: boolean }): void;
}

export interface ClientParts {
  connection: Connection;
  /** Undefined for bare frames, and so is `welcome`. */
  hello?: Hello;
  welcome?: Welcome;
  /** Undefined: a lost connection is the end. */
  durability?: Durability;
  onAside?(text: string): void;
}

/** Pings are not sent more often than this, in milliseconds, whatever the server asks for. */
const MIN_PING_MS = 1000;

export class Client {
  readonly hello: Hello | undefined;
  /** Of the session that is going on. */
  welcome: Welcome | undefined;
  /** Messages sent and received in the conversation. */
  sent = 0;
  received = 0;
  /** Messages of sessions that were gone, which nobody ever confirmed. */
  unconfirmed = 0;
  /** Was a session gone, before it was done, that had confirmed messages? What it had to answer, nobody knows. */
  isBroken = false;
  readonly #parts: ClientParts;
  readonly #acks = new AckClock();
  readonly #outcome = Promise.withResolvers<Outcome>();
  #connection: Connection;
  /** Since when it has that, by `performance.now`. */
  #since = performance.now();
  /** How far the conversation was at the last loss. */
  #progressBefore = 0;
  /** Undefined where nothing is acknowledged. */
  #ledger: Ledger | undefined;
  #receive: (payload: Uint8Array) => void | Promise<void> = () => undefined;
  /** What was received last, while it is dealt with. */
  #dealing: Promise<void> | undefined;
  /** Those of sessions that were gone. */
  #receivedBefore = 0;
  #isAway = false;
  /** Was the session brought to its end, all that there was to answer said? */
  #isComplete = false;
  #over = false;
  #inputEnded = false;
  #pings = 0;
  #missed = 0;
  // What was heard of the server, and taken by it, when it was last looked for.
  #chunks = 0;
  #written = 0;
  #wasQueued = false;
  #keepalive: Timer | undefined;
  readonly #room = new Gate();

  /** Takes over a connection that has been welcomed, or is bare. See {@link connectClient}. */
  constructor(parts: ClientParts) {
    this.#parts = parts;
    this.hello = parts.hello;
    this.welcome = parts.welcome;
    this.#connection = parts.connection;
    this.#openBooks();
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

  /** Messages sent that the server has not confirmed; undefined where it confirms none. */
  get awaited(): number | undefined {
    return this.#ledger?.retention.frames;
  }

  /** Sends one message; wait for `writable` before the next when there is much to send. */
  send(message: string | Uint8Array): void {
    this.sent++;
    if (!this.#isAway) return this.#connection.send(message);
    this.#ledger?.retention.add(typeof message === "string" ? Buffer.from(message) : message);
  }

  /** Resolves when more can be sent without piling up; undefined when it can be now. */
  writable(): Promise<void> | undefined {
    if (this.#over) return undefined;
    const isFull = this.#ledger?.retention.isFull === true;
    if (!isFull && !this.#isAway) return this.#connection.writable();
    return this.#room.wait();
  }

  /** Says that no more is coming: the server answers what it has, and the conversation ends. */
  end(): void {
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    this.#sayEnd();
  }

  /** Leaves at once, for good: what is still on its way, in either direction, may be lost. */
  leave(): void {
    if (this.#over) return;
    this.#sayBye();
    this.#settle({ kind: "left" });
  }

  /** We will not come back: the server need keep nothing for us. */
  #sayBye(): void {
    if (this.#ledger === undefined || this.#isAway) return;
    this.#connection.sendControl(GOODBYE);
  }

  /**
   * Hands each message to `receive` until the conversation is over, and says how that came about. A promise from
   * `receive` holds the next message back.
   */
  converse(receive: (payload: Uint8Array) => void | Promise<void>): Promise<Outcome> {
    this.#receive = receive;
    const { keepalive } = this.welcome ?? {};
    if (keepalive !== undefined && keepalive > 0) {
      const period = Math.min(Math.max(keepalive * 1000, MIN_PING_MS), 2 ** 31 - 1);
      this.#keepalive = setInterval(() => this.#ping(), period);
    }
    this.#connection.deliver(this.#receiver());
    return this.#outcome.promise;
  }

  // --- what comes ---

  #receiver(): Receiver {
    const ledger = this.#ledger;
    return {
      payload: (payload) => this.#payload(payload),
      control: (payload) => this.#control(payload),
      turnEnded: ledger && (() => ledger.turnEnded()),
      cut: () => {
        // What waits in the old connection is sent again over the new one.
        if (this.#parts.durability !== undefined && ledger !== undefined)
          this.#lost("the connection was lost");
      },
      end: () => this.#closed("the server closed the connection"),
      fail: (error) => this.#lost(messageOf(error)),
      close: (error) => this.#lost(`the connection was ${error === undefined ? "closed" : "reset"}`),
    };
  }

  #payload(payload: Uint8Array): void | Promise<void> {
    if (this.received === 0 && this.hello === undefined) {
      const demand = demandOf(payload);
      if (demand !== undefined) return this.#settle({ kind: "misfit", reason: demand });
    }
    this.received++;
    const pending = this.#receive(payload);
    if (pending === undefined) return undefined;
    const dealing = pending.then(() => {
      this.#dealing = undefined;
    });
    return (this.#dealing = dealing);
  }

  #control(payload: Uint8Array): void {
    const received = readAck(payload);
    if (received !== undefined) return this.#acknowledged(received);
    const message = decodeControl(payload);
    switch (message?.type) {
      case "ping":
        return this.#connection.sendControl(encodeMessage({ type: "pong", n: message.n }));
      case "ack":
        return this.#acknowledged(message.received);
      case "stderr":
        return this.#parts.onAside?.(message.text);
      case "bye": {
        const { code, message: text, status } = message;
        this.#ledger?.acknowledge();
        // Somebody restarts it: it will be back, if not with this session.
        this.#isComplete = status !== undefined; // a service that was cut short has none
        if (code === "shutting_down" && this.#parts.durability !== undefined) return this.#lost(text);
        this.#sayBye();
        return this.#settle({ kind: "bye", code, message: text, status, early: !this.#inputEnded });
      }
    }
  }

  #acknowledged(received: number): void {
    const retention = this.#ledger?.retention;
    if (retention === undefined) return;
    if (!retention.acknowledge(received)) return this.#lost("the server acknowledged what was never sent");
    if (!retention.isFull) this.#room.open();
  }

  /** The peer said no more, between two frames. With control frames it should have said `bye`. */
  #closed(reason: string): void {
    if (this.welcome?.control === true) this.#lost(reason);
    else this.#settle({ kind: "ended", early: !this.#inputEnded });
  }

  // --- coming back ---

  #lost(reason: string): void {
    const { durability } = this.#parts;
    if (this.#over || this.#isAway) return;
    if (durability === undefined || durability.times === 0 || this.#ledger === undefined) {
      return this.#settle({ kind: "lost", reason });
    }
    this.#isAway = true;
    this.#connection.detach();
    this.#connection.terminate();
    durability.onLost(reason);
    void this.#comeBack(durability, reason);
  }

  async #comeBack(durability: Durability, reason: string): Promise<void> {
    const lostAt = performance.now();
    // A way that worked will work again, most likely; one that only ever breaks is not tried in a loop.
    const progress = this.#progress;
    const hasWorked = progress !== this.#progressBefore || lostAt - this.#since >= RETRY_HELD_MS;
    this.#progressBefore = progress;
    let pause = Math.random() * (hasWorked ? RETRY_AT_ONCE_MS : RETRY_FIRST_MS);
    for (let tries = 0; tries < durability.times && !this.#over; tries++) {
      const left = lostAt + durability.forMs - performance.now();
      if (left <= 0) break;
      await delay(Math.min(pause, left));
      if (this.#over || this.welcome === undefined) return;
      try {
        const found = await durability.comeBack(this.welcome, this.received - this.#receivedBefore);
        return this.#goOn(found, performance.now() - lostAt, durability);
      } catch (error) {
        const wait = waitAfter(error);
        if (wait === undefined) return this.#settle({ kind: "lost", reason: messageOf(error) });
        pause = Math.max(
          wait,
          Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** tries) * (0.5 + Math.random() / 2),
        );
      }
    }
    this.#settle({ kind: "lost", reason: `${reason}, and the server could not be reached again` });
  }

  #goOn({ connection, welcome }: Return, afterMs: number, durability: Durability): void {
    const { resend } = durability;
    if (this.#over) {
      connection.sendControl(GOODBYE); // or the server would keep the session for somebody who has left
      return connection.finish();
    }
    const kept = this.#ledger?.retention;
    const isSame = welcome.resumed === true;
    const received = welcome.received ?? 0;
    if (isSame && (kept?.accepts(received) !== true || !kept.acknowledge(received))) {
      connection.finish();
      return this.#settle({ kind: "lost", reason: "the server has received more than was sent" });
    }
    const again = kept?.frames ?? 0;
    const unconfirmed = isSame || resend ? 0 : again;
    this.unconfirmed += unconfirmed;
    this.isBroken ||= !isSame && !this.#isComplete && kept !== undefined && kept.acknowledged > 0;
    this.#isComplete = false;
    this.#connection = connection;
    this.#since = performance.now();
    this.#isAway = false;
    this.#missed = 0;
    const { resume_key } = this.welcome ?? {};
    this.welcome = { resume_key, ...welcome };
    if (!isSame) this.#openBooks();
    const ledger = this.#ledger;
    if (isSame && ledger !== undefined) {
      ledger.moved(this.received - this.#receivedBefore);
      connection.sendAgain(ledger.retention);
    } else if (resend && kept !== undefined) {
      for (const frame of kept.unacknowledged()) connection.send(frame.subarray(4));
    }
    if (this.#inputEnded) this.#sayEnd();
    durability.onResumed({ afterMs, again: again - unconfirmed, unconfirmed, isNew: !isSame });
    connection.deliver(this.#receiver(), () => this.#dealing);
    if (ledger?.retention.isFull !== true) this.#room.open();
  }

  /** What both sides have got through, in messages: it grows with each that is new. */
  get #progress(): number {
    return this.received + (this.#ledger?.retention.acknowledged ?? 0);
  }

  /** A session begins: nothing is owed by anybody. */
  #openBooks(): void {
    this.#ledger = undefined;
    if (this.welcome?.session === undefined) return;
    this.#receivedBefore = this.received;
    this.#ledger = new Ledger(this.#acks, {
      taken: () => this.received - this.#receivedBefore - (this.#dealing === undefined ? 0 : 1),
      bytes: () => this.#connection.bytes,
      tell: (received) => this.#connection.sendControl(encodeAck(received)),
    });
    this.#connection.retain(this.#ledger.retention);
  }

  #sayEnd(): void {
    if (this.#isAway) return; // it is said when we are back
    if (this.welcome?.control === true) this.#connection.sendControl(encodeMessage({ type: "end" }));
    else this.#connection.endSending();
  }

  /** Shows the server that we are here, and looks whether it is. */
  #ping(): void {
    if (this.#isAway) return;
    const connection = this.#connection;
    // One that still takes what we have to say is there, even if its answers wait behind that; and while an answer waits
    // to be printed nothing is read, so that it cannot be heard.
    const isTaking = this.#wasQueued && connection.written !== this.#written;
    const isHeard = connection.chunks !== this.#chunks;
    this.#chunks = connection.chunks;
    this.#written = connection.written;
    this.#wasQueued = connection.queued > 0;
    this.#missed = isHeard || isTaking || connection.busy ? 0 : this.#missed + 1;
    if (this.#missed > MAX_MISSED_PINGS) {
      return this.#lost(`the server did not answer ${MAX_MISSED_PINGS} pings`);
    }
    connection.sendControl(encodeMessage({ type: "ping", n: ++this.#pings }));
  }

  #settle(outcome: Outcome): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#keepalive);
    this.#acks.stop();
    this.#room.open();
    this.#outcome.resolve(outcome);
    this.#connection.finish();
  }
}

const GOODBYE = encodeMessage({ type: "bye", code: "left", message: "the client has left" });

/** How long to wait at least before the next try, in milliseconds; undefined when there should be none. */
function waitAfter(error: unknown): number | undefined {
  if (error instanceof DialError) return error.code === "tls" ? undefined : 0;
  if (!(error instanceof ServerError)) return undefined;
  if (error.retryAfter !== undefined) return error.retryAfter * 1000;
  // One that is shutting down may come up again; one that was cut off is the loss over again.
  return ["shutting_down", "busy", "reset", "closed", "timeout"].includes(error.serverCode) ? 0 : undefined;
}

/** What a server wants that begins bare talk with something other than the conversation; undefined when it does not. */
function demandOf(payload: Uint8Array): string | undefined {
  if (isChallenge(payload)) return "the server requires a shared key: say --key-file FILE";
  const start = Buffer.from(payload.subarray(0, HELLO_START.length)).toString();
  return start === HELLO_START ? "the server wants a login: leave --bare out" : undefined;
}

const HELLO_START = '{"type":"hello","protocol":"parley/';
