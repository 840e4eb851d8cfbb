// The calls of a service on its session, and the output of that session.
//
//     connection ── payload ──→ Inbound ──→ service.message(session, message) ──→ session.send ──→ connection
//
//     open ⇄ kept (without a connection: output goes to the retransmit buffer) → over (`bye` is sent)
//
// Its ServerSession gives it a connection, takes the connection away, and ends the conversation.

import { Condition } from "../base/condition.ts";
import { TimeSlice } from "../base/yield.ts";
import { AckTracker, type DelayedAckTimer } from "../delivery/ack-tracker.ts";
import type { LoginResult } from "../handshake/server.ts";
import type { Connection } from "../net/connection.ts";
import { checkStatus, checkText } from "../services/arguments.ts";
import { payloadOf } from "../services/sendable.ts";
import { MisuseError, SessionClosedError, type Room, type Sendable } from "../services/service.ts";
import { encodeAck, encodeMessage, MessageError } from "../wire/codec.ts";
import { DONE_MESSAGE, type ClientTerminal } from "../wire/message.ts";
import { ReceivedMessage } from "../wire/received-message.ts";
import { HookRunner, type HookTarget, type HooksContext } from "./hook-runner.ts";
import type { ByteBudget } from "../base/byte-budget.ts";
import { Inbound, type InboundEvents, type Outbound, type SharedLimits } from "./inbound.ts";

/** The events of a conversation, for its session. */
export interface ConversationEvents extends InboundEvents {
  /** The service has finished. */
  finish(status: number, message: string): void;
  /** The retransmit buffer exceeds its limit. */
  overflow(): void;
}

export interface ConversationContext extends HooksContext, SharedLimits {
  /** Memory for clients without a connection; a part of `budget`. */
  detachedBudget: ByteBudget;
  ackTimer: DelayedAckTimer;
  /** The tags of a user, as they are now. */
  tagsOf: (login: LoginResult) => readonly string[];
  /** The limit of the retransmit buffer, in bytes; at least a few windows. */
  maxBacklog: number;
  /** How long a hook may run after the end of its session until `send` throws in it. */
  abandonedHookMs: number;
}

export class Conversation implements HookTarget, Outbound {
  readonly id: number;
  readonly user: string | null;
  data: unknown = undefined;
  /** The current connection, or the last one. */
  connection: Connection;
  readonly inbound: Inbound;
  /** Payloads sent to the client, and payloads that it has acknowledged. Both count only without a retransmit buffer. */
  #sent = 0;
  #acknowledgedCount = 0;
  /** Undefined in a session without acknowledgements. */
  acks: AckTracker | undefined;
  /** True when the client has acknowledged a message or has promised to. The session awaits no acknowledgement from other clients. */
  peerAcks: boolean;

  readonly #login: LoginResult;
  readonly #context: ConversationContext;
  readonly #hooks: HookRunner;
  readonly #events: ConversationEvents;
  /** Are its messages a stream of bytes? */
  readonly isStream: boolean;
  /** The client's terminal at its login. */
  readonly terminal: ClientTerminal | undefined;
  #output: "open" | "kept" | "over" = "open";
  /** True when the service was informed that its client is away. */
  #isAway = false;
  /** True when the service has ended its output; `end` is sent again over each later connection. */
  #outputEnded = false;
  /** The `bye` that was sent; it is sent again over each later connection. */
  #byeMessage: string | undefined;
  /** Notified when the send window has room; hooks wait for it. */
  #room: Condition | undefined;
  #share: TimeSlice | undefined;
  #isOpen = true;
  /** True when a hook has run for `abandonedHookMs` after the end. */
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
    this.#login = arrival;
    this.#context = context;
    this.terminal = arrival.terminal;
    this.isStream = context.service.messages === "bytes" || arrival.terminal !== undefined;
    this.#hooks = new HookRunner(context, this);
    this.inbound = new Inbound(this.#hooks, this, events, context);
    this.#events = events;
    this.peerAcks = arrival.resumption?.isWanted === true;
    if (arrival.resumption === undefined) return;
    this.acks = new AckTracker(context.ackTimer, {
      processed: () => this.inbound.processed,
      bytesReceived: () => this.connection.bytes,
      sendAck: (received) => this.connection.sendControl(encodeAck(received)),
    });
    // A whole window may be unacknowledged when a batch is answered, perhaps with longer messages.
    this.acks.retransmit.window = arrival.window;
    this.acks.retransmit.limit = Math.max(context.maxBacklog, 4 * arrival.window);
    this.acks.retransmit.overflow = () => events.overflow();
    this.acks.retransmit.budget = context.budget;
  }

  get tags(): readonly string[] {
    return this.#context.tagsOf(this.#login);
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

  /** Memory for the client, in bytes. */
  get allocated(): number {
    return this.connection.allocated + (this.acks?.retransmit.allocated ?? 0) + this.inbound.allocated;
  }

  /** True when the unread output exceeds this multiple of the client's limit. */
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

  get readsOn(): boolean {
    return this.terminal !== undefined || this.#room?.hasWaiters === true;
  }

  /** True when the client acknowledges, and has not acknowledged all output. */
  get awaitsFinalAck(): boolean {
    if (!this.peerAcks || this.acks === undefined) return false;
    return this.connection.tracksUnacked
      ? this.acks.retransmit.frames > 0
      : this.#acknowledgedCount < this.#sent;
  }

  /** True when the send window is full: the client must acknowledge before it is answered. */
  get awaitsAck(): boolean {
    return this.acks?.retransmit.isWindowFull === true && this.peerAcks;
  }

  /** A stream of bytes goes on in one direction while the other one waits; answers wait for what they answer. */
  get holdsInput(): boolean {
    return this.awaitsAck && !this.isStream;
  }

  /** Opens the service, and begins to deliver. @param keeps true: output is kept until it is acknowledged. */
  start(keeps: boolean): void {
    if (keeps) this.connection.trackUnacked(this.acks?.retransmit);
    // Its credential may have ended just now, so that `bye` was sent.
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

  get attached(): boolean {
    return !this.#isAway;
  }

  send(message: Sendable): void {
    const payload = payloadOf(message);
    if (this.#output === "open") {
      this.#sent++;
      return this.connection.send(payload);
    }
    if (this.#output === "over") {
      // Only this stops a hook that sends in a loop and ignores the signal.
      if (this.#hookAbandoned && this.#hooks.running !== undefined) throw new SessionClosedError();
      return;
    }
    const bytes = bytesOf(payload);
    this.#context.budget.queued += bytes.length;
    this.acks?.retransmit.add(bytes);
  }

  /** For handler files of an earlier version. */
  text(): never {
    throw new MisuseError("session.text(payload) is message.text() now");
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
    checkText("what sendStderr sends", text);
    if (!this.#login.control || this.connection.finishing) return false;
    for (let start = 0; start === 0 || start < text.length; start += MAX_STDERR_LENGTH) {
      const piece = text.slice(start, start + MAX_STDERR_LENGTH);
      this.connection.sendControl(encodeMessage({ type: "stderr", text: piece }));
    }
    return true;
  }

  join(name: string): Room {
    return this.#hooks.join(name);
  }

  leave(name: string): void {
    this.#hooks.leave(name);
  }

  /** For handler files of an earlier version. */
  room(): never {
    throw new MisuseError(
      "session.room(name) is session.join(name) now; server.room(name) looks without joining",
    );
  }

  after(ms: number, callback: () => unknown): () => void {
    return this.#hooks.timers.after(ms, callback);
  }

  every(ms: number, callback: () => unknown): () => void {
    return this.#hooks.timers.every(ms, callback);
  }

  /** What `console.log(session)` in a handler prints: none of parley's own fields, which also hold the bindings of TLS. */
  [Bun.inspect.custom](): object {
    const { id, user, tags, peer, attached, data } = this;
    return { id, user, tags, peer, attached, data };
  }

  endOutput(): void {
    if (this.#outputEnded || this.isOver) return;
    this.#outputEnded = true;
    if (this.#output === "open") this.#sendEnd();
  }

  #sendEnd(): void {
    if (this.#login.control) this.connection.sendLast(END);
    else this.connection.endSending(); // no frame says it to such a client
  }

  finish(status = 0, message = DONE_MESSAGE): void {
    checkStatus(status);
    checkText("the reason of finish", message);
    this.#hooks.finishing();
    this.#events.finish(status, message);
  }

  finishByDefault(): void {
    this.#events.finish(0, DONE_MESSAGE);
  }

  // --- for the session ---

  fail(error: unknown): void {
    this.#events.fail(error);
  }

  /** Sends `bye`, now or when the client has reconnected. After it no message is delivered or sent. */
  sendBye(bye: string): void {
    const isDetached = this.#output === "kept";
    this.#output = "over";
    this.inbound.freeze();
    this.#byeMessage = bye;
    this.markClosed();
    if (isDetached) return;
    this.acks?.acknowledge();
    if (this.#login.control) this.connection.sendLast(bye);
  }

  /** Releases the connection; later output of the service is kept. */
  detach(): void {
    this.connection.detach();
    if (this.#output === "open") this.#output = "kept";
    this.inbound.detach();
    if (this.acks !== undefined) this.acks.retransmit.budget = this.#context.detachedBudget;
  }

  /** Continues over `connection`, whose client has `received` payloads. */
  resume(connection: Connection, received: number): void {
    const { acks } = this;
    if (acks === undefined) return;
    acks.retransmit.acknowledge(received);
    acks.retransmit.budget = this.#context.budget;
    acks.reconnected(0); // `welcome.received` is no acknowledgement
    this.connection = connection;
    acks.acknowledge();
    connection.sendAgain(acks.retransmit);
    if (this.#output === "kept") this.#output = "open";
    if (this.#outputEnded) this.#sendEnd();
    if (this.#byeMessage !== undefined) connection.sendLast(this.#byeMessage);
    this.inbound.keepReading(); // no second hook runs beside one that still runs
    connection.deliver(this.inbound);
    this.#onWindowOpen();
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#hooks.attached();
  }

  /** Informs the service that its client has lost the connection, and may come back. */
  notifyAway(): void {
    this.#isAway = true;
    this.#hooks.detached();
  }

  /** Stops keeping output for the client. */
  stopTracking(): void {
    this.connection.trackUnacked(undefined);
    this.acks?.stop();
    this.acks = undefined;
  }

  /** Frees the memory of an ended session. */
  forget(): void {
    this.connection.trackUnacked(undefined);
    this.acks?.stop();
    this.inbound.forget();
  }

  /** Ends the output: aborts the signal, and rejects each wait in `writable`. */
  markClosed(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#abort?.abort(new SessionClosedError());
    this.#room?.notifyAll();
  }

  /** Informs the service that the client has left while a hook runs. */
  notifyDisconnect(): void {
    this.#hooks.disconnected();
  }

  /** Closes the session for the service. */
  closeService(): void {
    this.#output = "over";
    this.markClosed();
    if (this.#hooks.running !== undefined)
      setTimeout(() => (this.#hookAbandoned = true), this.#context.abandonedHookMs).unref();
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
      return; // no output is kept for this client
    }
    if (!acks.retransmit.acknowledge(received)) throw neverSent();
    this.#onWindowOpen();
  }

  /** Called after an acknowledgement: input and hooks that waited for the send window continue. */
  #onWindowOpen(): void {
    if (this.awaitsAck) return;
    this.#room?.notifyAll();
    this.inbound.windowOpened();
  }
}

const END = encodeMessage({ type: "end" });
/** In characters. As JSON they fit into a control frame with any escapes. */
const MAX_STDERR_LENGTH = 8000;

function bytesOf(message: string | Uint8Array | ReceivedMessage): Uint8Array {
  if (typeof message === "string") return Buffer.from(message);
  return message instanceof ReceivedMessage ? message.bytes : message;
}

function neverSent(): MessageError {
  const details = { peerMessage: "an acknowledgement of messages that were not sent" };
  return new MessageError("bad_message", "an acknowledgement of messages that were not sent", details);
}
