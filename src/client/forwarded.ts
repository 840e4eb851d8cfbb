// One forwarded connection: a local stream, and the conversation that carries it. forwarder.ts makes both; forward-state.ts has the
// states.
//
//     local program ── data, FIN ──→ messages, `end` ──→ server       not read while the window is full, or the server is away
//     local program ←── data, FIN ── messages, `end` ←── server       acknowledged when the local kernel has taken them
//
// A reset on one side is a reset on the other. Both sides read on while the other direction waits.

import { Condition } from "../base/condition.ts";
import type { ByteBudget } from "../base/byte-budget.ts";
import {
  LINGER_MS,
  MAX_FORWARD_MESSAGE_BYTES,
  MAX_UNACKNOWLEDGED_FRAMES,
  MAX_UNACKNOWLEDGED_STREAM_BYTES,
  SHORT_WINDOW_BYTES,
} from "../base/limits.ts";
import type { Stream, StreamEvents } from "../net/stream.ts";
import type { Client, Outcome, StreamCallbacks } from "./client.ts";
import type { DialRequest } from "./dial-queue.ts";
import { nextState, type ForwardEvent, type ForwardState } from "./forward-state.ts";
import type { Resumed } from "./reconnect.ts";

/** What a connection reports to its forwarder. */
export interface ForwardedEvents {
  lost(connection: Forwarded, reason: string): void;
  resumed(connection: Forwarded, event: Resumed): void;
  /** The conversation came to another end than its own: the local program has been reset. */
  cut(connection: Forwarded, why: Cut): void;
  closed(connection: Forwarded): void;
}

/** Why a local program was reset. */
export interface Cut {
  /** A code of `bye`, or `lost`, `unreachable`, `crowded` or `stopped`. */
  code: string;
  reason: string;
  /** Bytes of the local program that may not have arrived. */
  unconfirmed: number;
  /** Bytes for the local program that it has not got. */
  undelivered: number;
}

/** Received messages that may wait for the local kernel; a server that keeps to the window has half as many on their way. */
const MAX_WAITING_MESSAGES = 2 * MAX_UNACKNOWLEDGED_FRAMES;

export class Forwarded implements StreamEvents, StreamCallbacks {
  /** Its place among those that wait for their login. */
  readonly request: DialRequest;
  readonly #local: Stream;
  readonly #budget: ByteBudget;
  readonly #events: ForwardedEvents;
  #state: ForwardState = "waiting";
  #client: Client | undefined;
  /** Bytes received from the server so far. */
  #received = 0;
  /** Where messages end that the local kernel has not taken whole, counted in received bytes. */
  readonly #ends: number[] = [];
  /** Where the server's messages wait for the local kernel. */
  #room: Condition | undefined;
  /** Where the end of the conversation waits for it. */
  #empty: Condition | undefined;
  #patience: Timer | undefined;
  #isCut = false;
  #outputEnded = false;

  constructor(local: Stream, request: DialRequest, budget: ByteBudget, events: ForwardedEvents) {
    this.#local = local;
    this.request = request;
    this.#budget = budget;
    this.#events = events;
  }

  /** The local program, for a line that a person reads. */
  get name(): string {
    return this.#local.peer ?? "a local connection";
  }

  /** Bytes in memory, of both directions. */
  get held(): number {
    return this.#local.queued + (this.#client?.allocated ?? 0);
  }

  get state(): ForwardState {
    return this.#state;
  }

  /** Watches for the end of the local program while the login is awaited, and reads nothing. */
  watch(): void {
    this.#local.watch(this);
  }

  /** The login is done: both directions begin. */
  open(client: Client): void {
    this.#to("login");
    this.#client = client;
    void client.converse((payload) => this.#deliver(payload), this).then((outcome) => this.#over(outcome));
    this.#local.start(this);
  }

  /** Resets the local program, and leaves the conversation. */
  cut(code: string, reason: string): void {
    if (this.#state === "closed") return;
    this.#isCut = true;
    const client = this.#client;
    const unconfirmed = client?.unacknowledgedBytes ?? 0;
    const undelivered = this.#local.queued;
    this.#local.reset();
    this.#close();
    this.#events.cut(this, { code, reason, unconfirmed, undelivered });
  }

  /** Gives the memory of a connection that was cut back at once, and says nothing to its server. */
  terminate(): void {
    this.#client?.terminate();
  }

  #to(event: ForwardEvent): void {
    this.#state = nextState(this.#state, event);
  }

  // --- from the local program ---

  data(bytes: Uint8Array): void | Promise<void> {
    const client = this.#client;
    if (client === undefined || client.isOver) return this.#discard();
    client.sendBytes(bytes, Math.min(MAX_FORWARD_MESSAGE_BYTES, client.maxFrame));
    return client.writable();
  }

  /** The conversation has ended, and the local program goes on: a reset at once could destroy what it has not read yet. */
  #discard(): void {
    this.#patience ??= setTimeout(() => this.#local.reset(), LINGER_MS);
  }

  end(): void {
    this.#client?.end();
  }

  taken(): void {
    const taken = this.#received - this.#local.queued;
    const ends = this.#ends;
    let count = 0;
    while (count < ends.length && ends[count]! <= taken) count++;
    if (count === 0) return;
    ends.splice(0, count);
    this.#client?.processed();
    if (!this.#isFull) this.#room?.notifyAll();
    if (ends.length === 0) this.#empty?.notifyAll();
  }

  closed(error: Error | undefined): void {
    const mayConfirm = this.#state === "open" || this.#state === "away";
    if (error === undefined && mayConfirm && !this.#isCut) return this.#to("ended");
    this.#close();
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#to("close");
    clearTimeout(this.#patience);
    this.#client?.leave();
    this.#client?.release();
    this.#room?.notifyAll();
    this.#empty?.notifyAll();
    this.#events.closed(this);
  }

  // --- from the server ---

  #deliver(payload: Uint8Array): void | Promise<void> {
    if (this.#outputEnded) return this.cut("lost", "the server sent more after its end");
    this.#received += payload.length;
    void this.#local.write(payload);
    if (this.#local.queued === 0) return undefined;
    this.#ends.push(this.#received);
    return this.#isFull ? (this.#room ??= new Condition()).wait() : undefined;
  }

  /** Does more wait for the local kernel than the window allows the server to send? */
  get #isFull(): boolean {
    const most = this.#budget.isShort ? SHORT_WINDOW_BYTES : MAX_UNACKNOWLEDGED_STREAM_BYTES;
    return this.#local.queued > most || this.#ends.length > MAX_WAITING_MESSAGES;
  }

  unprocessed(): number {
    return this.#ends.length;
  }

  allProcessed(): Promise<void> | undefined {
    return this.#ends.length === 0 ? undefined : (this.#empty ??= new Condition()).wait();
  }

  outputEnded(): void {
    this.#outputEnded = true;
    this.#local.endWriting();
  }

  lost(reason: string): void {
    if (this.#state === "open") this.#to("loss");
    this.#events.lost(this, reason);
  }

  resumed(event: Resumed): void {
    if (this.#state === "away") this.#to("resume");
    this.#events.resumed(this, event);
  }

  #over(outcome: Outcome): void {
    if (this.#state === "closed") return;
    switch (outcome.kind) {
      case "bye":
        if (outcome.code !== "done") return this.cut(outcome.code, outcome.message);
        if (this.#state === "confirming") return this.#close();
        this.#to("done");
        return this.#local.endWriting();
      case "lost":
        return this.cut(
          "lost",
          [outcome.reason, outcome.reconnectFailed?.why].filter(Boolean).join(", and "),
        );
      case "fault":
        return this.cut("lost", outcome.reason);
      default:
        return this.cut("lost", "the conversation has ended");
    }
  }
}
