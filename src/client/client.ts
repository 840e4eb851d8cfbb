// A conversation, from the client's side: what is sent, what comes, and how it ended. client-connect.ts begins it.
//
//     send … end → bye
//
// Where the server keeps sessions, the conversation outlives its connection: lost without a `bye`, the client comes back,
// and both send again what the other has not received.

import { Reconnector, type ReconnectOptions, type ReconnectFailed, type Reconnected } from "./reconnect.ts";
import { messageOf } from "../base/errors.ts";
import { Condition } from "../base/condition.ts";
import { isChallenge } from "../handshake/shared-key.ts";
import { DelayedAckTimer, AckTracker } from "../delivery/ack-tracker.ts";
import { MAX_MISSED_PINGS } from "../base/limits.ts";
import { isLoss } from "../net/connection-error.ts";
import type { Connection } from "../net/connection.ts";
import type { Receiver } from "../net/reader.ts";
import type { RetransmitBuffer } from "../delivery/retransmit-buffer.ts";
import { Keepalive } from "./keepalive.ts";
import { FrameError, HEADER_BYTES, tlsRecord } from "../wire/frame.ts";
import { decodeControl, encodeAck, encodeMessage, readAck } from "../wire/codec.ts";
import type { Hello, Welcome } from "../wire/message.ts";

/** How a conversation ended. */
export type Outcome =
  /** `early`: before we had said that no more is coming. */
  | { kind: "bye"; code: string; message: string; status: number | undefined; early: boolean }
  /** The peer ended its side between two frames; without control frames that is all there is to say. */
  | { kind: "ended"; early: boolean }
  /** `noReturn`: where coming back was tried, why it could not be. */
  | { kind: "lost"; reason: string; noReturn?: ReconnectFailed }
  /** It never began: the server speaks otherwise than we do. */
  | { kind: "misfit"; reason: string }
  /** We left. */
  | { kind: "left" };

export interface ClientParts {
  connection: Connection;
  /** Undefined for bare frames, and so is `welcome`. */
  hello?: Hello;
  welcome?: Welcome;
  /** Undefined: a lost connection is the end. */
  durability?: ReconnectOptions;
  onAside?(text: string): void;
}

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
  answersMayBeMissing = false;
  readonly #parts: ClientParts;
  readonly #ackTimer = new DelayedAckTimer();
  readonly #outcome = Promise.withResolvers<Outcome>();
  #connection: Connection;
  readonly #reconnector = new Reconnector();
  /** Undefined where nothing is acknowledged. */
  #acks: AckTracker | undefined;
  #receive: (payload: Uint8Array) => void | Promise<void> = () => undefined;
  /** What was received last, while it is dealt with. */
  #receiving: Promise<void> | undefined;
  /** Those of sessions that were gone. */
  #receivedBefore = 0;
  #isReconnecting = false;
  /** The last ones of those that are kept: said while there was no connection, so that they never reached anybody. */
  #unsent = 0;
  /** Was the session brought to its end, all that there was to answer said? */
  #isComplete = false;
  #over = false;
  #inputEnded = false;
  #keepalive: Keepalive | undefined;
  readonly #writable = new Condition();

  /** Takes over a connection that has been welcomed, or is bare. See {@link connectClient}. */
  constructor(parts: ClientParts) {
    this.#parts = parts;
    this.hello = parts.hello;
    this.welcome = parts.welcome;
    this.#connection = parts.connection;
    this.#startAckTracking();
  }

  /** Longest message the server takes, in bytes. */
  get maxFrame(): number {
    return this.hello?.max_frame ?? Number.MAX_SAFE_INTEGER;
  }

  /** Has the conversation ended? */
  get over(): boolean {
    return this.#over;
  }

  /** Is the connection lost, and not back yet? What is sent meanwhile waits. */
  get isReconnecting(): boolean {
    return this.#isReconnecting;
  }

  /** Was it said that no more is coming? */
  get inputEnded(): boolean {
    return this.#inputEnded;
  }

  /** Messages sent that the server has not confirmed; undefined where it confirms none. */
  get unacknowledged(): number | undefined {
    return this.#acks?.retransmit.frames;
  }

  /** Those messages. */
  unacknowledgedMessages(): Uint8Array[] {
    return messagesIn(this.#acks?.retransmit);
  }

  /** Sends one message; wait for `writable` before the next when there is much to send. */
  send(message: string | Uint8Array): void {
    this.sent++;
    if (!this.#isReconnecting) return this.#connection.send(message);
    this.#unsent++;
    this.#acks?.retransmit.add(typeof message === "string" ? Buffer.from(message) : message);
  }

  /** Resolves when more can be sent without piling up; undefined when it can be now. */
  writable(): Promise<void> | undefined {
    if (this.#over) return undefined;
    const isFull = this.#acks?.retransmit.isWindowFull === true;
    if (!isFull && !this.#isReconnecting) return this.#connection.writable();
    return this.#writable.wait();
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
    if (this.#acks === undefined || this.#isReconnecting) return;
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
      this.#keepalive = new Keepalive(
        keepalive * 1000,
        () => (this.#isReconnecting ? undefined : this.#connection),
        () => this.#lost(`the server did not answer ${MAX_MISSED_PINGS} pings`),
      );
    }
    this.#connection.deliver(this.#receiver());
    return this.#outcome.promise;
  }

  // --- what comes ---

  #receiver(): Receiver {
    const ledger = this.#acks;
    return {
      payload: (payload) => this.#payload(payload),
      control: (payload) => this.#control(payload),
      turnEnded: ledger && (() => ledger.turnEnded()),
      disconnected: () => {
        // What waits in the old connection is sent again over the new one.
        if (this.#parts.durability !== undefined && ledger !== undefined)
          this.#lost("the connection was lost");
      },
      end: () => this.#closed("the server closed the connection"),
      fail: (error) => this.#failed(error),
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
      this.#receiving = undefined;
    });
    return (this.#receiving = dealing);
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
        this.#acks?.acknowledge();
        this.#isComplete = status !== undefined; // a service that was cut short has none
        // Somebody restarts it: it will be back, if not with this session.
        if (code === "shutting_down" && this.#parts.durability !== undefined) return this.#lost(text);
        this.#sayBye();
        return this.#settle({ kind: "bye", code, message: text, status, early: !this.#inputEnded });
      }
    }
  }

  #acknowledged(received: number): void {
    const retention = this.#acks?.retransmit;
    if (retention === undefined) return;
    if (!retention.acknowledge(received)) return this.#lost("the server acknowledged what was never sent");
    if (!retention.isWindowFull) this.#writable.notifyAll();
  }

  /** The peer said no more, between two frames. With control frames it should have said `bye`. */
  #closed(reason: string): void {
    if (this.welcome?.control === true) this.#lost(reason);
    else this.#settle({ kind: "ended", early: !this.#inputEnded });
  }

  /** What the server says cannot be taken, or dealt with: over another connection it would be the same again. */
  #failed(error: unknown): void {
    if (isLoss(error)) return this.#lost(messageOf(error));
    const isBareAndNew = this.received === 0 && this.hello === undefined;
    if (isBareAndNew && error instanceof FrameError && tlsRecord(error) !== undefined) {
      return this.#settle({ kind: "misfit", reason: "the server speaks TLS: say --tls" });
    }
    if (!this.#over) this.#sayBye();
    this.#settle({ kind: "lost", reason: messageOf(error) });
  }

  // --- coming back ---

  #lost(reason: string): void {
    const { durability } = this.#parts;
    if (this.#over || this.#isReconnecting) return;
    if (durability === undefined || durability.times === 0 || this.welcome?.session === undefined) {
      return this.#settle({ kind: "lost", reason });
    }
    this.#isReconnecting = true;
    this.#connection.detach();
    this.#connection.terminate();
    durability.onLost(reason);
    void this.#reconnect(durability, this.welcome, reason);
  }

  async #reconnect(durability: ReconnectOptions, welcome: Welcome, reason: string): Promise<void> {
    const lostAt = performance.now();
    const found = await this.#reconnector.find(durability, {
      progress: this.received + (this.#acks?.retransmit.acknowledged ?? 0),
      welcome,
      received: this.received - this.#receivedBefore,
      isOver: () => this.#over,
    });
    if ("connection" in found) this.#resumeOver(found, performance.now() - lostAt, durability);
    else this.#settle({ kind: "lost", reason, noReturn: found });
  }

  #resumeOver({ connection, welcome }: Reconnected, afterMs: number, durability: ReconnectOptions): void {
    const { resend } = durability;
    if (this.#over) {
      connection.sendControl(GOODBYE); // or the server would keep the session for somebody who has left
      return connection.finish();
    }
    const kept = this.#acks?.retransmit;
    const isSame = welcome.resumed === true;
    const received = welcome.received ?? 0;
    if (isSame && (kept?.canResumeFrom(received) !== true || !kept.acknowledge(received))) {
      connection.finish();
      return this.#settle({ kind: "lost", reason: "the server has received more than was sent" });
    }
    // A new session gets what never reached the old one, and the rest where the user wants that twice rather than not at all.
    const all = isSame ? [] : messagesIn(kept);
    const lost = isSame || resend ? [] : all.slice(0, all.length - this.#unsent);
    const again = (isSame ? (kept?.frames ?? 0) : all.length - lost.length) - this.#unsent;
    this.unconfirmed += lost.length;
    this.#unsent = 0;
    this.answersMayBeMissing ||= !isSame && !this.#isComplete && kept !== undefined && kept.acknowledged > 0;
    this.#isComplete = false;
    this.#connection = connection;
    this.#isReconnecting = false;
    const { resume_key } = this.welcome ?? {};
    this.welcome = { resume_key, ...welcome };
    if (!isSame) this.#startAckTracking();
    const ledger = this.#acks;
    if (isSame && ledger !== undefined) {
      ledger.reconnected(this.received - this.#receivedBefore);
      connection.sendAgain(ledger.retransmit);
    } else {
      for (const message of all.slice(lost.length)) connection.send(message);
    }
    if (this.#inputEnded) this.#sayEnd();
    durability.onResumed({ afterMs, again, lost, isNew: !isSame });
    connection.deliver(this.#receiver(), () => this.#receiving);
    if (ledger?.retransmit.isWindowFull !== true) this.#writable.notifyAll();
  }

  /** A session begins: nothing is owed by anybody. */
  #startAckTracking(): void {
    this.#acks = undefined;
    if (this.welcome?.session === undefined) return;
    this.#receivedBefore = this.received;
    this.#acks = new AckTracker(this.#ackTimer, {
      // What is dealt with may still be the last answer of the session before.
      processed: () =>
        Math.max(0, this.received - this.#receivedBefore - (this.#receiving === undefined ? 0 : 1)),
      bytesReceived: () => this.#connection.bytes,
      sendAck: (received) => this.#connection.sendControl(encodeAck(received)),
    });
    this.#connection.trackUnacked(this.#acks.retransmit);
  }

  #sayEnd(): void {
    if (this.#isReconnecting) return; // it is said when we are back
    if (this.welcome?.control === true) this.#connection.sendControl(encodeMessage({ type: "end" }));
    else this.#connection.endSending();
  }

  #settle(outcome: Outcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#keepalive?.stop();
    this.#ackTimer.stop();
    this.#writable.notifyAll();
    this.#outcome.resolve(outcome);
    this.#connection.finish();
  }
}

/** What is kept, without headers; copies, since it changes with the next acknowledgement. */
function messagesIn(retention: RetransmitBuffer | undefined): Uint8Array[] {
  return [...(retention?.unacknowledged() ?? [])].map((frame) => Buffer.from(frame.subarray(HEADER_BYTES)));
}

const GOODBYE = encodeMessage({ type: "bye", code: "left", message: "the client has left" });

/** What a server wants that begins bare talk with something other than the conversation; undefined when it does not. */
function demandOf(payload: Uint8Array): string | undefined {
  if (isChallenge(payload)) return "the server requires a shared key: say --key-file FILE";
  const start = Buffer.from(payload.subarray(0, HELLO_START.length)).toString();
  return start === HELLO_START ? "the server wants a login: leave --bare out" : undefined;
}

const HELLO_START = '{"type":"hello","protocol":"parley/';
