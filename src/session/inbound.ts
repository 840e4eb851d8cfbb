// The input of a session from its client: messages for the service's hook, acknowledgements, and the end of input.
//
//     open → ended (the client has sent `end` or FIN) → over (later input gets no answer)
//
// It is the receiver of the session's connection. A message is delivered while the send window has room and no hook runs;
// otherwise it waits: in the reader, or, when acknowledgements must be read meanwhile, in the input queue.

import type { ByteBudget } from "../base/byte-budget.ts";
import type { AckTracker } from "../delivery/ack-tracker.ts";
import type { Connection } from "../net/connection.ts";
import type { Receiver } from "../net/reader.ts";
import { decodeControl, encodeMessage, MessageError, readAck } from "../wire/codec.ts";
import type { ReceivedMessage } from "../wire/received-message.ts";
import type { HookRunner } from "./hook-runner.ts";
import { InputQueue } from "./input-queue.ts";
import { OutputTurn } from "./output-turn.ts";
import type { SlowReaders } from "./slow-readers.ts";

/** The state of the output, on which the input depends. */
export interface Outbound {
  readonly connection: Connection;
  readonly acks: AckTracker | undefined;
  /** True when the send window is full, and messages wait that would be answered. */
  readonly holdsInput: boolean;
  /** True when `bye` was sent. */
  readonly isOver: boolean;
  /** True when control frames must be read while a hook runs: it waits for room in the send window, or the client is a terminal. */
  readonly readsOn: boolean;
  /** Called for an acknowledgement of `received` payloads. @throws {MessageError} when fewer were sent. */
  acknowledged(received: number): void;
}

/** The events of the input, which may end the session or its connection. */
export interface InboundEvents extends Required<Pick<Receiver, "end" | "fail" | "disconnected" | "close">> {
  /** The client has sent `bye`. */
  leave(): void;
  /** The client has left too much output unread. */
  overBacklog(): void;
}

/** The parts that all sessions of a server share. */
export interface SharedLimits {
  /** Memory of all clients. */
  budget: ByteBudget;
  slowReaders: SlowReaders;
  /** Bytes that a client may leave unacknowledged. */
  window: number;
}

export class Inbound implements Receiver {
  /** Payloads received from the client. */
  received = 0;
  readonly #hooks: HookRunner;
  readonly #outbound: Outbound;
  readonly #events: InboundEvents;
  readonly #limits: SharedLimits;
  /** Undefined until a message has caused output that is queued. */
  #turn: OutputTurn | undefined;
  #state: "open" | "ended" | "over" = "open";
  /** The number of payloads that were processed when `bye` was sent. */
  #final: number | undefined;
  /** True when the fast path must be skipped: the input has ended or is queued, or the send window is full. */
  #slowPath = false;
  #queue: InputQueue | undefined;

  constructor(hooks: HookRunner, outbound: Outbound, events: InboundEvents, limits: SharedLimits) {
    this.#limits = limits;
    this.#hooks = hooks;
    this.#outbound = outbound;
    this.#events = events;
  }

  /** True when no more input is delivered to the service. */
  get hasEnded(): boolean {
    return this.#state !== "open";
  }

  /** The number of payloads that the service has processed. */
  get processed(): number {
    return this.#final ?? (this.#hooks.isProcessingMessage ? this.received - 1 : this.received);
  }

  /** Called when `bye` is sent: payloads that are not processed now never count as processed. */
  freeze(): void {
    this.#final ??= this.processed;
    this.discard();
  }

  /** True while a hook runs, or input is held back or queued. */
  get hasWork(): boolean {
    const { connection } = this.#outbound;
    return connection.isInputHeld || this.#hooks.running !== undefined || this.#queue?.isInUse === true;
  }

  // --- for the connection ---

  message(message: ReceivedMessage): void | Promise<void> {
    if (this.#slowPath) return this.#messageSlow(message);
    const hook = this.#deliver(message);
    return hook === undefined ? undefined : this.pauseUntil(hook);
  }

  /** Delivers a message to the service, at once or from the queue. There is no other way to the service. */
  #deliver(message: ReceivedMessage): Promise<void> | undefined {
    this.received++;
    const { budget } = this.#limits;
    const { queued } = budget;
    const hook = this.#hooks.message(message);
    const grown = budget.queued - queued;
    if (grown === 0) return hook;
    this.#turn ??= new OutputTurn(this.#limits.slowReaders);
    const turn = this.#turn.add(grown);
    return hook === undefined || turn === undefined ? (hook ?? turn) : hook.then(() => turn);
  }

  control(payload: Uint8Array): void | Promise<void> {
    const received = readAck(payload);
    if (received !== undefined) return this.#outbound.acknowledged(received);
    const message = decodeControl(payload);
    switch (message?.type) {
      case "end":
        return this.endInput();
      case "ping":
        return this.#outbound.connection.sendControl(encodeMessage({ type: "pong", n: message.n }));
      case "ack":
        return this.#outbound.acknowledged(message.received);
      case "bye":
        return this.#events.leave();
      case "window":
        return this.#hooks.window(message);
    }
  }

  turnEnded(): void {
    this.#turn?.ended();
    const { acks } = this.#outbound;
    if (acks === undefined) return;
    acks.turnEnded();
    // Checking once a batch is enough: the client's window bounds the answers to one batch.
    if (acks.retransmit.isWindowFull) this.#slowPath = true;
  }

  end(): void | Promise<void> {
    return this.#events.end();
  }

  overBacklog(): void {
    this.#events.overBacklog();
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

  /** Called when the client has ended its input: the service gets the end after the queued messages. */
  endInput(): void | Promise<void> {
    if (this.#state !== "open") return;
    this.#state = "ended";
    this.#slowPath = true;
    if (this.#queue?.isInUse === true) return this.#queue.addEnd();
    return this.pauseUntil(this.#endService());
  }

  /** Ends the input from this side; the service gets the end, unless the client has ended it before. */
  stop(): void {
    const isNews = this.#state === "open";
    this.discard();
    if (isNews) this.#hooks.stop();
  }

  /** Stops delivering. */
  discard(): void {
    this.#state = "over";
    this.#slowPath = true;
  }

  /** Drops the queue of an ended session. */
  forget(): void {
    this.#queue?.clear();
  }

  /** Called when the connection is released: the client sends undelivered messages again, and its `end` after them. */
  detach(): void {
    if (this.#queue?.clear() === true && this.#state === "ended") this.#state = "open";
    this.keepReading(); // the reader that waited for the running hook is closed
  }

  /** Memory of the queue, in bytes. */
  get allocated(): number {
    return this.#queue?.bytes ?? 0;
  }

  // --- holding back ---

  /** Holds the input back until `hook` settles, unless control frames must be read meanwhile. */
  pauseUntil(hook: Promise<void> | undefined): Promise<void> | undefined {
    const held = this.#hooks.pauseInputUntil(hook);
    if (held !== undefined && this.#outbound.readsOn) this.keepReading();
    return held;
  }

  /** Continues to read while a hook runs, so that control frames arrive, and queues messages. */
  keepReading(): void {
    this.#slowPath = true;
    if (this.#hooks.running === undefined) return;
    void this.#inputQueue().pump();
    this.#hooks.resumeInput();
  }

  /** Delivers the queue, since the send window has room. */
  windowOpened(): void {
    if (this.#queue?.isInUse === true) void this.#queue.pump();
  }

  #messageSlow(message: ReceivedMessage): void | Promise<void> {
    if (this.#state === "over") return undefined;
    if (this.#state === "ended") {
      throw new MessageError("bad_message", "a message came after the end", AFTER_END);
    }
    if (this.#queue?.isInUse === true || this.#outbound.holdsInput) return this.#inputQueue().add(message);
    this.#slowPath = false;
    return this.message(message);
  }

  #endService(): Promise<void> | undefined {
    return this.#outbound.isOver ? undefined : this.#hooks.end(); // or the service has finished
  }

  #inputQueue(): InputQueue {
    return (this.#queue ??= new InputQueue(
      {
        runningHook: () => this.#hooks.running,
        hasRoom: () => !this.#outbound.isOver && !this.#outbound.holdsInput,
        message: (message) => this.#deliver(message),
        end: () => this.#endService(),
        pumped: () => this.#outbound.acks?.turnEnded(),
        fail: (error) => this.fail(error),
      },
      this.#limits.budget,
      2 * this.#limits.window,
    ));
  }
}

const AFTER_END = { peerMessage: "a message came after the end" };
