// The messages between one client and one service, in both directions. This is the object that a service calls a session.
//
//     connection ── payload ──→ service.message(session, payload) ──→ session.send ──→ connection, or retransmit buffer
//                ── end ──────→ service.end, or finish
//
//     input     open → ended (the client has said `end`) → over (what comes is too late to be answered)
//     output    open ⇄ kept (there is no connection) → over (`bye` is said)
//
// Its ServerSession gives it a connection, takes that away, and ends it.

import { Condition } from "../base/condition.ts";
import type { LoginResult } from "../handshake/server.ts";
import { HookRunner, type HookTarget, type HooksContext } from "./hook-runner.ts";
import { AckTracker, type DelayedAckTimer } from "../delivery/ack-tracker.ts";
import { MAX_UNACKNOWLEDGED_BYTES } from "../base/limits.ts";
import type { Connection } from "../net/connection.ts";
import type { Receiver } from "../net/reader.ts";
import { InputQueue } from "./input-queue.ts";
import { SessionClosedError, type Room } from "../services/service.ts";
import { TimeSlice } from "../base/yield.ts";
import {
  decodeControl,
  decodeText,
  encodeAck,
  encodeMessage,
  MessageError,
  readAck,
} from "../wire/message.ts";

/** What a conversation reports to its session: events that may end it, or its connection. */
export interface ConversationEvents extends Required<
  Pick<Receiver, "end" | "fail" | "disconnected" | "close">
> {
  /** The service has finished. */
  finish(status: number, message: string): void;
  /** The client has said `bye`. */
  leave(): void;
  /** The retransmit buffer has more in it than it may. */
  overflow(): void;
}

export interface ConversationContext extends HooksContext {
  ackTimer: DelayedAckTimer;
  /** Most bytes in the retransmit buffer; a few windows at least. */
  maxBacklog: number;
  /** How long a hook may run after the end of its session until `send` throws in it. */
  abandonedHookMs: number;
}

export class Conversation implements HookTarget, Receiver {
  readonly id: number;
  readonly user: string | null;
  data: unknown = undefined;
  /** The present connection, or the last one. */
  connection: Connection;
  /** Payloads received from the client. */
  received = 0;
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
  /** May control frames be sent? */
  readonly #control: boolean;
  /** Must the fast path be skipped? Set when the input has ended or is queued, or the send window is full. */
  #slowPath = false;
  #input: "open" | "ended" | "over" = "open";
  #output: "open" | "kept" | "over" = "open";
  /** The `bye` that was said; it is said again over each further connection. */
  #byeMessage: string | undefined;
  #queue: InputQueue | undefined;
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
    this.#hooks = new HookRunner(context, this);
    this.#events = events;
    this.#abandonedHookMs = context.abandonedHookMs;
    this.#control = arrival.control;
    this.peerAcks = arrival.resumption?.isWanted === true;
    if (arrival.resumption === undefined) return;
    this.acks = new AckTracker(context.ackTimer, {
      processed: () => (this.#hooks.isProcessingMessage ? this.received - 1 : this.received),
      bytesReceived: () => this.connection.bytes,
      sendAck: (received) => this.connection.sendControl(encodeAck(received)),
    });
    // A whole window may be unconfirmed when what came at once is answered, in capital letters perhaps.
    this.acks.retransmit.limit = Math.max(context.maxBacklog, 4 * MAX_UNACKNOWLEDGED_BYTES);
    this.acks.retransmit.overflow = () => events.overflow();
  }

  get peer(): string {
    return this.connection.peer;
  }

  /** Does a hook run, or is input held back or queued? */
  get hasWork(): boolean {
    return this.connection.isInputHeld || this.#hooks.running !== undefined || this.#queue?.isInUse === true;
  }

  /** Is no further input delivered to the service? */
  get inputEnded(): boolean {
    return this.#input !== "open";
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

  /** Opens the service, and begins to deliver. @param keeps whether what is sent is kept until it is acknowledged. */
  start(keeps: boolean): void {
    if (keeps) this.connection.trackUnacked(this.acks?.retransmit);
    // Its credential may have ended just now, and `bye` been said.
    this.connection.deliver(this, () => (this.#isOpen ? this.#hold(this.#hooks.open()) : undefined));
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
    this.acks?.retransmit.add(typeof message === "string" ? Buffer.from(message) : message);
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
      this.#keepReading();
      return (this.#room ??= new Condition()).wait();
    }
    if (isDetached) return undefined;
    return this.connection.writable() ?? (this.#share ??= new TimeSlice()).yieldIfExpired();
  }

  sendStderr(text: string): boolean {
    if (!this.#control || this.connection.finishing) return false;
    for (let start = 0; start === 0 || start < text.length; start += MAX_ASIDE_LENGTH) {
      const piece = text.slice(start, start + MAX_ASIDE_LENGTH);
      this.connection.sendControl(encodeMessage({ type: "stderr", text: piece }));
    }
    return true;
  }

  room(name: string): Room {
    return this.#hooks.room(name);
  }

  finish(status = 0, message = OVER): void {
    this.#hooks.finishing();
    this.#events.finish(status, message);
  }

  finishByDefault(): void {
    this.#events.finish(0, OVER);
  }

  // --- for the connection ---

  payload(payload: Uint8Array): void | Promise<void> {
    if (this.#slowPath) return this.#payloadSlow(payload);
    this.received++;
    const hook = this.#hooks.message(payload);
    return hook === undefined ? undefined : this.#hold(hook);
  }

  control(payload: Uint8Array): void | Promise<void> {
    const received = readAck(payload);
    if (received !== undefined) return this.#acknowledged(received);
    const message = decodeControl(payload);
    switch (message?.type) {
      case "end":
        return this.endInput();
      case "ping":
        return this.connection.sendControl(encodeMessage({ type: "pong", n: message.n }));
      case "ack":
        return this.#acknowledged(message.received);
      case "bye":
        return this.#events.leave();
    }
  }

  turnEnded(): void {
    const ledger = this.acks;
    if (ledger === undefined) return;
    ledger.turnEnded();
    // Once a batch is enough: what one batch answers is bounded by what the client may leave unacknowledged.
    if (ledger.retransmit.isWindowFull) this.#slowPath = true;
  }

  end(): void | Promise<void> {
    return this.#events.end();
  }

  fail(error: unknown): void {
    this.#events.fail(error);
  }

  disconnected(error: Error | undefined): void {
    this.#events.disconnected(error);
  }

  close(error: Error | undefined): void {
    this.#events.close(error);
  }

  // --- for the session ---

  /** The client has ended its input: the service hears of it behind the messages that are queued. */
  endInput(): void | Promise<void> {
    if (this.#input !== "open") return;
    this.#input = "ended";
    this.#slowPath = true;
    if (this.#queue?.isInUse === true) return this.#queue.addEnd();
    return this.#hold(this.#endService());
  }

  /** Ends the input from this side; the service hears of it, unless the client has ended it before. */
  stopInput(): void {
    const isNews = this.#input === "open";
    this.#input = "over";
    this.#slowPath = true;
    if (isNews) this.#hooks.stop();
  }

  /** Says `bye`, now or when the client is back. Nothing is delivered or sent behind it. */
  sendBye(farewell: string): void {
    const isAway = this.#output === "kept";
    this.#input = this.#output = "over";
    this.#slowPath = true;
    this.#byeMessage = farewell;
    this.markClosed();
    if (isAway) return;
    this.acks?.acknowledge();
    if (this.#control) this.connection.sendControl(farewell);
  }

  /** Lets go of the connection; what the service sends from now on is kept. */
  detach(): void {
    this.connection.detach();
    if (this.#output === "open") this.#output = "kept";
    // The client sends again what was not delivered, and its `end` after it.
    if (this.#queue?.clear() === true && this.#input === "ended") this.#input = "open";
    this.#keepReading(); // the reader that waited for the running hook is gone
  }

  /** Goes on over `connection`, whose client has `received` payloads. */
  resume(connection: Connection, received: number): void {
    const ledger = this.acks;
    if (ledger === undefined) return;
    ledger.retransmit.acknowledge(received);
    ledger.reconnected(this.received);
    this.connection = connection;
    connection.sendAgain(ledger.retransmit);
    if (this.#output === "kept") this.#output = "open";
    if (this.#byeMessage !== undefined) connection.sendControl(this.#byeMessage);
    this.#keepReading(); // a hook that still runs is not joined by another
    connection.deliver(this);
    this.#onWindowOpen();
  }

  /** Keeps nothing for the client any more. */
  stopTracking(): void {
    this.acks = undefined;
    this.connection.trackUnacked(undefined);
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
    this.#hooks.cut();
  }

  /** Closes the session for the service. */
  closeService(): void {
    this.#output = "over";
    this.markClosed();
    if (this.#hooks.running !== undefined)
      setTimeout(() => (this.#hookAbandoned = true), this.#abandonedHookMs).unref();
    this.#hooks.close();
  }

  // --- queued input ---

  /** A hook is blocked in `writable`: reads on, so that acknowledgements arrive, and queues messages meanwhile. */
  #keepReading(): void {
    this.#slowPath = true;
    if (this.#hooks.running === undefined) return;
    void this.#inputQueue().pump();
    this.#hooks.resumeInput();
  }

  /** Holds the input back until `hook` is done, unless it waits for acknowledgements. */
  #hold(hook: Promise<void> | undefined): Promise<void> | undefined {
    const held = this.#hooks.pauseInputUntil(hook);
    if (held !== undefined && this.#room?.hasWaiters === true) this.#keepReading();
    return held;
  }

  #endService(): Promise<void> | undefined {
    return this.#output === "over" ? undefined : this.#hooks.end(); // or it has finished
  }

  #payloadSlow(payload: Uint8Array): void | Promise<void> {
    if (this.#input === "over") return undefined;
    if (this.#input === "ended")
      throw new MessageError("bad_message", "a message came after the end", AFTER_END);
    if (this.#queue?.isInUse === true || this.awaitsAck) return this.#inputQueue().add(payload);
    this.#slowPath = false;
    return this.payload(payload);
  }

  #inputQueue(): InputQueue {
    return (this.#queue ??= new InputQueue({
      runningHook: () => this.#hooks.running,
      hasRoom: () => this.#output !== "over" && !this.awaitsAck,
      message: (payload) => {
        this.received++;
        return this.#hooks.message(payload);
      },
      end: () => this.#endService(),
      pumped: () => this.acks?.turnEnded(),
      fail: (error) => this.fail(error),
    }));
  }

  #acknowledged(received: number): void {
    const ledger = this.acks;
    if (ledger === undefined) return;
    this.peerAcks = true;
    if (!this.connection.tracksUnacked) {
      this.#acknowledgedCount = Math.max(this.#acknowledgedCount, received);
      return; // nothing is kept for it
    }
    if (!ledger.retransmit.acknowledge(received)) {
      throw new MessageError("bad_message", "an acknowledgement of what was never sent", WRONG_ACK);
    }
    this.#onWindowOpen();
  }

  /** Something was acknowledged: what waited for room in the send window goes on. */
  #onWindowOpen(): void {
    if (this.awaitsAck) return;
    this.#room?.notifyAll();
    if (this.#queue?.isInUse === true) void this.#queue.pump();
  }
}

const OVER = "the conversation is over";
/** In characters; as JSON they fit a control frame, however they are escaped. */
const MAX_ASIDE_LENGTH = 8000;

const AFTER_END = { peerMessage: "a message came after the end" };
const WRONG_ACK = { peerMessage: "this acknowledges more than was sent" };
