// What a service may call on a session, and the output of that session.
//
//     connection ── payload ──→ Inbound ──→ service.message(session, payload) ──→ session.send ──→ connection
//
//     open ⇄ kept (there is no connection: what is sent goes to the retransmit buffer) → over (`bye` is said)
//
// Its ServerSession gives it a connection, takes that away, and ends it.

import { Condition } from "../base/condition.ts";
import { TimeSlice } from "../base/yield.ts";
import { AckTracker, type DelayedAckTimer } from "../delivery/ack-tracker.ts";
import { windowFor } from "../delivery/window.ts";
import type { LoginResult } from "../handshake/server.ts";
import type { Connection } from "../net/connection.ts";
import { SessionClosedError, type Room } from "../services/service.ts";
import { decodeText, encodeAck, encodeMessage, MessageError } from "../wire/codec.ts";
import { HookRunner, type HookTarget, type HooksContext } from "./hook-runner.ts";
import type { ByteBudget } from "../base/byte-budget.ts";
import { Inbound, type InboundEvents, type Outbound, type SharedLimits } from "./inbound.ts";

/** What a conversation reports to its session. */
export interface ConversationEvents extends InboundEvents {
  /** The service has finished. */
  finish(status: number, message: string): void;
  /** The retransmit buffer has more in it than it may. */
  overflow(): void;
}

export interface ConversationContext extends HooksContext, SharedLimits {
  /** Memory that is kept for clients without a connection; a part of `budget`. */
  detachedBudget: ByteBudget;
  ackTimer: DelayedAckTimer;
  /** Most bytes in the retransmit buffer; a few windows at least. */
  maxBacklog: number;
  /** How long a hook may run after the end of its session until `send` throws in it. */
  abandonedHookMs: number;
}

export class Conversation implements HookTarget, Outbound {
  readonly id: number;
  readonly user: string | null;
  data: unknown = undefined;
  /** The present connection, or the last one. */
  connection: Connection;
  readonly inbound: Inbound;
  /** Payloads sent to the client, and those that it has acknowledged; both count only without a retransmit buffer. */
  #sent = 0;
  #acknowledgedCount = 0;
  /** Undefined where nothing is acknowledged. */
  acks: AckTracker | undefined;
  /** Has the client acknowledged anything, or promised to? No acknowledgement is waited for from another client. */
  peerAcks: boolean;

  readonly #hooks: HookRunner;
  readonly #events: ConversationEvents;
  readonly #abandonedHookMs: number;
  readonly #budget: ByteBudget;
  readonly #detachedBudget: ByteBudget;
  /** May control frames be sent? */
  readonly #control: boolean;
  readonly #isStream: boolean;
  #output: "open" | "kept" | "over" = "open";
  /** Has the service ended its output? That is said again over each further connection. */
  #outputEnded = false;
  /** The `bye` that was said; it is said again over each further connection. */
  #byeMessage: string | undefined;
  /** Where hooks wait for room in the send window. */
  #room: Condition | undefined;
  #share: TimeSlice | undefined;
  #isOpen = true;
  /** Has a hook run for `abandonedHookMs` after the end? */
  #hookAbandoned = false;
  #abort: AbortController | undefined;

  constructor(
    id: number,
    connection: Connection,
    arrival: LoginResult,
    context: ConversationContext,
    events: ConversationEvents,
  ) {
    this.id = id;
    this.user = arrival.user;
    this.connection = connection;
    this.#isStream = context.service.messages === "bytes";
    const window = windowFor(context.service.messages);
    this.#hooks = new HookRunner(context, this);
    this.inbound = new Inbound(this.#hooks, this, events, { ...context, window });
    this.#budget = context.budget;
    this.#detachedBudget = context.detachedBudget;
    this.#events = events;
    this.#abandonedHookMs = context.abandonedHookMs;
    this.#control = arrival.control;
    this.peerAcks = arrival.resumption?.isWanted === true;
    if (arrival.resumption === undefined) return;
    this.acks = new AckTracker(context.ackTimer, {
      processed: () => this.inbound.processed,
      bytesReceived: () => this.connection.bytes,
      sendAck: (received) => this.connection.sendControl(encodeAck(received)),
    });
    // A whole window may be unconfirmed when what came at once is answered, in capital letters perhaps.
    this.acks.retransmit.window = arrival.window;
    this.acks.retransmit.limit = Math.max(context.maxBacklog, 4 * arrival.window);
    this.acks.retransmit.overflow = () => events.overflow();
    this.acks.retransmit.budget = context.budget;
  }

  get peer(): string {
    return this.connection.peer;
  }

  get local(): string | undefined {
    return this.connection.local;
  }

  get isOver(): boolean {
    return this.#output === "over";
  }

  /** Memory that is held for the client, in bytes. */
  get allocated(): number {
    return this.connection.allocated + (this.acks?.retransmit.allocated ?? 0) + this.inbound.allocated;
  }

  /** Is more waiting for the client, so many times, than it may leave? */
  isOverLimit(times: number): boolean {
    const { connection, acks } = this;
    if (connection.queued > times * connection.maxBacklog) return true;
    return acks !== undefined && acks.retransmit.bytes > times * acks.retransmit.limit;
  }

  /** Since when the client has fallen behind, by `performance.now`. */
  get behindSince(): number {
    const now = performance.now();
    return Math.min(this.connection.backedUpSince ?? now, this.acks?.retransmit.fullSince ?? now);
  }

  get hasWaiters(): boolean {
    return this.#room?.hasWaiters === true;
  }

  /** Does the client acknowledge, and is something that was sent not acknowledged? */
  get awaitsFinalAck(): boolean {
    if (!this.peerAcks || this.acks === undefined) return false;
    return this.connection.tracksUnacked
      ? this.acks.retransmit.frames > 0
      : this.#acknowledgedCount < this.#sent;
  }

  /** Is the send window full, so that the client has to acknowledge before it is answered? */
  get awaitsAck(): boolean {
    return this.acks?.retransmit.isWindowFull === true && this.peerAcks;
  }

  /** A stream of bytes goes on in one direction while the other one waits; answers wait for what they answer. */
  get holdsInput(): boolean {
    return this.awaitsAck && !this.#isStream;
  }

  /** Opens the service, and begins to deliver. @param keeps whether what is sent is kept until it is acknowledged. */
  start(keeps: boolean): void {
    if (keeps) this.connection.trackUnacked(this.acks?.retransmit);
    // Its credential may have ended just now, and `bye` been said.
    this.connection.deliver(this.inbound, () =>
      this.#isOpen ? this.inbound.pauseUntil(this.#hooks.open()) : undefined,
    );
  }

  // --- for the service ---

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (!this.#isOpen) this.#abort.abort(new SessionClosedError());
    }
    return this.#abort.signal;
  }

  send(message: string | Uint8Array): void {
    if (typeof message !== "string" && !(message instanceof Uint8Array)) {
      throw new TypeError(`a message is text or bytes, not ${typeof message}`); // a handler may send anything
    }
    if (this.#output === "open") {
      this.#sent++;
      return this.connection.send(message);
    }
    if (this.#output === "over") {
      // The only way to stop a hook that sends in a loop and heeds no signal.
      if (this.#hookAbandoned && this.#hooks.running !== undefined) throw new SessionClosedError();
      return;
    }
    const bytes = typeof message === "string" ? Buffer.from(message) : message;
    this.#budget.queued += bytes.length;
    this.acks?.retransmit.add(bytes);
  }

  text(payload: Uint8Array): string {
    return decodeText(payload);
  }

  writable(): Promise<void> | undefined {
    if (!this.#isOpen) return Promise.reject(new SessionClosedError());
    const waiting = this.#whenWritable();
    return waiting?.then(() => {
      if (!this.#isOpen) throw new SessionClosedError();
    });
  }

  #whenWritable(): Promise<void> | undefined {
    const isDetached = this.#output === "kept";
    if (this.awaitsAck || (isDetached && this.acks?.retransmit.isWindowFull === true)) {
      this.inbound.keepReading();
      return (this.#room ??= new Condition()).wait();
    }
    if (isDetached) return undefined;
    return this.connection.writable() ?? (this.#share ??= new TimeSlice()).yieldIfExpired();
  }

  sendStderr(text: string): boolean {
    if (!this.#control || this.connection.finishing) return false;
    for (let start = 0; start === 0 || start < text.length; start += MAX_STDERR_LENGTH) {
      const piece = text.slice(start, start + MAX_STDERR_LENGTH);
      this.connection.sendControl(encodeMessage({ type: "stderr", text: piece }));
    }
    return true;
  }

  room(name: string): Room {
    return this.#hooks.room(name);
  }

  endOutput(): void {
    if (this.#outputEnded || this.isOver) return;
    this.#outputEnded = true;
    if (this.#output === "open") this.#sendEnd();
  }

  #sendEnd(): void {
    if (this.#control) this.connection.sendLast(END);
    else this.connection.endSending(); // no frame says it to such a client
  }

  finish(status = 0, message = OVER): void {
    this.#hooks.finishing();
    this.#events.finish(status, message);
  }

  finishByDefault(): void {
    this.#events.finish(0, OVER);
  }

  // --- for the session ---

  fail(error: unknown): void {
    this.#events.fail(error);
  }

  /** Says `bye`, now or when the client is back. Nothing is delivered or sent behind it. */
  sendBye(bye: string): void {
    const isDetached = this.#output === "kept";
    this.#output = "over";
    this.inbound.freeze();
    this.#byeMessage = bye;
    this.markClosed();
    if (isDetached) return;
    this.acks?.acknowledge();
    if (this.#control) this.connection.sendLast(bye);
  }

  /** Lets go of the connection; what the service sends from now on is kept. */
  detach(): void {
    this.connection.detach();
    if (this.#output === "open") this.#output = "kept";
    this.inbound.detach();
    if (this.acks !== undefined) this.acks.retransmit.budget = this.#detachedBudget;
  }

  /** Goes on over `connection`, whose client has `received` payloads. */
  resume(connection: Connection, received: number): void {
    const { acks } = this;
    if (acks === undefined) return;
    acks.retransmit.acknowledge(received);
    acks.retransmit.budget = this.#budget;
    acks.reconnected(0); // `welcome.received` confirms nothing
    this.connection = connection;
    acks.acknowledge();
    connection.sendAgain(acks.retransmit);
    if (this.#output === "kept") this.#output = "open";
    if (this.#outputEnded) this.#sendEnd();
    if (this.#byeMessage !== undefined) connection.sendLast(this.#byeMessage);
    this.inbound.keepReading(); // a hook that still runs is not joined by another
    connection.deliver(this.inbound);
    this.#onWindowOpen();
  }

  /** Keeps nothing for the client any more. */
  stopTracking(): void {
    this.connection.trackUnacked(undefined);
    this.acks?.retransmit.clear();
    this.acks = undefined;
  }

  /** The session has ended: gives its memory back. */
  forget(): void {
    this.connection.trackUnacked(undefined);
    this.acks?.retransmit.clear();
    this.inbound.forget();
  }

  /** The client hears nothing any more: aborts the signal, and ends the waiting in `writable`. */
  markClosed(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#abort?.abort(new SessionClosedError());
    this.#room?.notifyAll();
  }

  /** The client is gone while a hook runs: tells the service. */
  notifyDisconnect(): void {
    this.#hooks.disconnected();
  }

  /** Closes the session for the service. */
  closeService(): void {
    this.#output = "over";
    this.markClosed();
    if (this.#hooks.running !== undefined)
      setTimeout(() => (this.#hookAbandoned = true), this.#abandonedHookMs).unref();
    this.#hooks.close();
  }

  // --- acknowledgements ---

  acknowledged(received: number): void {
    const { acks } = this;
    if (acks === undefined) return;
    this.peerAcks = true;
    if (!this.connection.tracksUnacked) {
      if (received > this.#sent) throw neverSent();
      this.#acknowledgedCount = Math.max(this.#acknowledgedCount, received);
      return; // nothing is kept for it
    }
    if (!acks.retransmit.acknowledge(received)) throw neverSent();
    this.#onWindowOpen();
  }

  /** Something was acknowledged: what waited for room in the send window goes on. */
  #onWindowOpen(): void {
    if (this.awaitsAck) return;
    this.#room?.notifyAll();
    this.inbound.windowOpened();
  }
}

const OVER = "the conversation is over";
const END = encodeMessage({ type: "end" });
/** In characters; as JSON they fit a control frame, however they are escaped. */
const MAX_STDERR_LENGTH = 8000;

function neverSent(): MessageError {
  const details = { peerMessage: "this acknowledges more than was sent" };
  return new MessageError("bad_message", "an acknowledgement of what was never sent", details);
}
