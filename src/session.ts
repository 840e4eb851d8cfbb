// The conversation after login: what a connection delivers goes to the service, what the service sends goes out.
//
//     connection ── payload ──→ service.message(session, payload) ──→ session.send ──→ connection
//                ── end ──────→ service.end, or finish
//
// A durable session outlives its connection: lost without a goodbye, it sleeps, and its service with it, until the client
// comes back over another one. Both then send again what the other has not received. Services do not notice.
//
//     awake ⇄ asleep → over

import type { Arrival } from "./handshake/welcome.ts";
import { Gate } from "./gate.ts";
import { Ledger, type AckClock } from "./ledger.ts";
import { MAX_UNACKNOWLEDGED_BYTES } from "./limits.ts";
import type { Connection } from "./net/connection.ts";
import { ConnectionError } from "./net/connection-error.ts";
import type { Receiver } from "./net/inbox.ts";
import type { Rooms } from "./services/room.ts";
import type { Conversation, Room, Service } from "./services/service.ts";
import type { Sighting } from "./vigil.ts";
import { FrameError } from "./wire/frame.ts";
import {
  decodeControl,
  decodeText,
  encodeAck,
  encodeMessage,
  MessageError,
  readAck,
  type ByeCode,
} from "./wire/message.ts";

/** What the server wants to know of a session's life. */
export interface SessionEvents {
  /** The service threw, the peer broke the framing or left too much unread. The server decides what to tell the peer. */
  failed(session: Session, error: unknown): void;
  /** Its connection is lost; it waits for another. */
  lost(session: Session, error: Error | undefined): void;
  /** It is over. */
  closed(session: Session, error: Error | undefined): void;
}

export interface SessionContext {
  service: Service;
  rooms: Rooms;
  events: SessionEvents;
  acks: AckClock;
  /** Output that may be kept for a client that is away, in bytes. */
  maxBacklog: number;
}

export class Session implements Conversation, Receiver {
  readonly id: number;
  readonly user: string | null;
  readonly arrival: Arrival;
  /** The one that it has, or had last. */
  connection: Connection;
  /** When it began, by `performance.now`. */
  readonly since = performance.now();
  data: unknown = undefined;
  /** Payloads received from the peer. */
  received = 0;
  /** What the vigil saw of it at its last look. */
  sighting: Sighting | undefined;
  /** The `bye` that was said, or would have been to a client that understands it. */
  bye: ByeCode | undefined;
  /** Since when it has no connection, by `performance.now`; undefined while it has one. */
  asleepSince: number | undefined;

  readonly #context: SessionContext;
  readonly #isEcho: boolean;
  /** Undefined where nothing is acknowledged. */
  #ledger: Ledger | undefined;
  /** Has the client shown that it acknowledges? One that does not is not waited for. */
  #acknowledges: boolean;
  #joined: Set<Room> | undefined;
  /** Payloads that came while too much was unacknowledged, and how long they are. */
  #parked: Uint8Array[] = NONE;
  #parkedBytes = 0;
  #draining = false;
  /** The hook at work, if one is. */
  #hook: Promise<void> | undefined;
  /** Is it at work on the last payload received? */
  #isTaking = false;
  /** Lets the connection deliver although a hook is at work. */
  #letGo: (() => void) | undefined;
  /** Is there anything to ask before a message is delivered? */
  #isOdd = false;
  #inputEnded = false;
  /** The end has been said, and waits behind what is parked. */
  #endParked = false;
  #peerLeft = false;
  #shuttingDown = false;
  #serviceClosed = false;
  #over = false;
  #farewell: string | undefined;
  readonly #room = new Gate();

  constructor(id: number, connection: Connection, arrival: Arrival, context: SessionContext) {
    this.id = id;
    this.user = arrival.user;
    this.connection = connection;
    this.arrival = arrival;
    this.#context = context;
    this.#isEcho = context.service.isEcho === true;
    this.#acknowledges = arrival.resumption?.isWanted === true;
    if (arrival.resumption !== undefined) {
      this.#ledger = new Ledger(context.acks, {
        taken: () => (this.#isTaking ? this.received - 1 : this.received),
        bytes: () => this.connection.bytes,
        tell: (received) => this.connection.sendControl(encodeAck(received)),
      });
      this.#ledger.retention.limit = context.maxBacklog;
      this.#ledger.retention.overflow = () => this.#overflow();
    }
  }

  get peer(): string {
    return this.connection.peer;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Is a hook at work, or input held back? */
  get busy(): boolean {
    return this.connection.busy || this.#hook !== undefined || this.#parked.length > 0;
  }

  /** Opens the service and lets the connection deliver. */
  start(): void {
    // One that will not come back is told what was taken, and nothing is kept for it.
    if (this.#mayComeBack) this.connection.retain(this.#ledger?.retention);
    this.connection.deliver(this, () => {
      const pending = this.#context.service.open?.(this);
      return pending === undefined ? undefined : this.#hold(this.#await(pending));
    });
  }

  // --- for the service ---

  send(message: string | Uint8Array): void {
    if (typeof message !== "string" && !(message instanceof Uint8Array)) {
      throw new TypeError(`a message is text or bytes, not ${typeof message}`); // a handler may send anything
    }
    if (this.bye !== undefined) return;
    if (this.asleepSince === undefined) return this.connection.send(message);
    const retention = this.#ledger?.retention;
    if (retention === undefined || this.#over) return;
    retention.add(typeof message === "string" ? Buffer.from(message) : message);
  }

  /** More is unacknowledged than may be. Nothing is dropped: rather the whole session. */
  #overflow(): void {
    if (!this.#acknowledges && this.asleepSince === undefined) return this.#forgetLedger();
    const error = new ConnectionError("too_slow", "too much was left unacknowledged");
    if (this.asleepSince === undefined) this.#context.events.failed(this, error);
    else this.#end(error);
  }

  text(payload: Uint8Array): string {
    return decodeText(payload);
  }

  writable(): Promise<void> | undefined {
    const isFull =
      this.awaitsAck || (this.asleepSince !== undefined && this.#ledger?.retention.isFull === true);
    if (!isFull && this.asleepSince === undefined) return this.connection.writable();
    if (!isFull || this.#over) return undefined;
    this.#listen();
    return this.#room.wait();
  }

  aside(text: string): void {
    if (!this.arrival.control || this.connection.finishing) return;
    this.connection.sendControl(encodeMessage({ type: "stderr", text: text.slice(0, MAX_ASIDE_LENGTH) }));
  }

  room(name: string): Room {
    const { rooms } = this.#context;
    if (this.#serviceClosed) return rooms.find(name);
    const room = rooms.join(name, this);
    this.#joined ??= new Set();
    this.#joined.add(room);
    return room;
  }

  finish(status = 0, message = "the conversation is over"): void {
    const code = this.#shuttingDown ? "shutting_down" : "done";
    this.sayBye(code, code === "done" ? message : SHUTTING_DOWN, status);
  }

  /** The server is stopping: the service is told that no more is coming, and says `bye` when it has said all. */
  shutDown(): void {
    if (this.#shuttingDown) return;
    this.#shuttingDown = this.#isOdd = true;
    const { service, events } = this.#context;
    if (service.end === undefined) return this.finish();
    if (this.#inputEnded) return; // it knows already
    this.#inputEnded = true;
    try {
      const pending = service.end(this);
      if (pending !== undefined) pending.catch((error: unknown) => events.failed(this, error));
    } catch (error) {
      events.failed(this, error);
    }
  }

  // --- for the connection ---

  payload(payload: Uint8Array): void | Promise<void> {
    // The hot path asks one question.
    if (this.#isOdd) return this.#oddPayload(payload);
    this.received++;
    const pending = this.#context.service.message(this, payload);
    return pending === undefined ? undefined : this.#hold(this.#take(pending));
  }

  get takesRuns(): boolean {
    return this.#isEcho && !this.#isOdd;
  }

  run(bytes: Uint8Array, start: number, end: number, frames: number): void {
    this.received += frames;
    this.connection.sendRun(bytes, start, end, frames);
  }

  #oddPayload(payload: Uint8Array): void | Promise<void> {
    if (this.#shuttingDown || this.bye !== undefined) return undefined; // too late to be answered
    if (this.#inputEnded) throw new MessageError("bad_message", "a message came after the end", AFTER_END);
    if (this.#parked.length > 0 || this.#draining || this.awaitsAck) return this.#park(payload);
    this.#isOdd = false;
    return this.payload(payload);
  }

  /** A hook is at work on a message: until it is done, that is not taken. */
  #take(pending: Promise<void>): Promise<void> {
    this.#isTaking = true;
    return this.#await(pending);
  }

  #await(pending: Promise<void>): Promise<void> {
    const hook = pending.then(() => {
      this.#hook = undefined;
      this.#isTaking = false;
    });
    return (this.#hook = hook);
  }

  /** Has the connection deliver nothing until `hook` is done, or {@link #listen}. */
  #hold(hook: Promise<void>): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#letGo = resolve;
    hook.then(resolve, reject);
    return promise;
  }

  /** The service waits for acknowledgements, which are not heard behind a hook: what else comes is parked. */
  #listen(): void {
    this.#isOdd = true;
    if (this.#hook === undefined) return;
    if (!this.#draining) void this.#deliverParked();
    this.#letGo?.();
  }

  /** Is so much unacknowledged that the client has to acknowledge before it is answered? */
  get awaitsAck(): boolean {
    const retention = this.#ledger?.retention;
    return retention?.isFull === true && this.#acknowledges;
  }

  /** The client does not acknowledge: it cannot come back either. */
  #forgetLedger(): void {
    this.#ledger = undefined;
    this.connection.retain(undefined);
  }

  control(payload: Uint8Array): void | Promise<void> {
    const received = readAck(payload);
    if (received !== undefined) return this.#acknowledged(received);
    const message = decodeControl(payload);
    switch (message?.type) {
      case "end":
        return this.#inputIsOver();
      case "ping":
        return this.connection.sendControl(encodeMessage({ type: "pong", n: message.n }));
      case "ack":
        return this.#acknowledged(message.received);
      case "bye":
        this.#peerLeft = true; // for good: nothing is kept for it
        this.connection.finish();
    }
  }

  turnEnded(): void {
    const ledger = this.#ledger;
    if (ledger === undefined) return;
    ledger.turnEnded();
    // Looked at once a turn: what one turn answers is bounded by what the client may leave unconfirmed.
    if (ledger.retention.isFull) this.#isOdd = true;
  }

  /** FIN: no more input, unless `end` has said so before. */
  end(): void | Promise<void> {
    if (this.isParting) return this.connection.finish();
    if (this.#inputEnded) return;
    // A client with control frames says `end` when it has no more to say: without it, it is gone.
    if (this.#mayComeBack || this.arrival.control) return this.connection.terminate();
    return this.#inputIsOver();
  }

  fail(error: unknown): void {
    if (this.#mayComeBack && isLoss(error)) this.connection.terminate();
    else this.#context.events.failed(this, error);
  }

  cut(error: Error | undefined): void {
    if (this.#mayComeBack)
      this.close(error); // the hook goes on, and what it sends is kept
    else if (error !== undefined) this.#context.service.cut?.(this);
  }

  close(error: Error | undefined): void {
    if (this.#isSettled || !this.#mayComeBack) return this.#end(error);
    this.#fallAsleep();
    if (this.bye !== undefined) this.#closeService();
    this.#context.events.lost(this, error);
  }

  /** Says `bye`, after every answer, and closes. */
  sayBye(code: ByeCode, message: string, status?: number): void {
    if (this.#over) return;
    if (this.asleepSince !== undefined && code !== "done") return this.#end(undefined); // there is no coming back
    if (this.bye !== undefined) return;
    // A connection that is gone, while nobody has been told: what is said now is for when the client comes back.
    const isLost = this.asleepSince !== undefined || (this.connection.closed && this.#mayComeBack);
    if (this.connection.finishing && !isLost) return;
    this.bye = code;
    this.#isOdd = true;
    const said = message.slice(0, MAX_BYE_LENGTH);
    this.#farewell = encodeMessage({ type: "bye", code, message: said, status });
    if (this.asleepSince !== undefined) {
      return this.#closeService(); // what was answered while the client was away is kept for it
    }
    this.#ledger?.acknowledge();
    if (this.arrival.control) this.connection.sendControl(this.#farewell);
    this.#part();
  }

  /** Says no more, and listens until the client has it all; a client that cannot come back needs no such care. */
  #part(): void {
    if (this.isParting) this.connection.endSending();
    else this.connection.finish();
  }

  // --- coming back ---

  /** Lets go of the connection it has, since the client has another; how many payloads it has received. */
  release(): number {
    if (this.asleepSince === undefined) {
      const { connection } = this;
      if (!connection.finishing) {
        connection.sendControl(encodeMessage({ type: "bye", code: "replaced", message: REPLACED }));
      }
      this.#fallAsleep();
      connection.finish();
    }
    return this.received;
  }

  /** Could a client that has `received` payloads come back to this? */
  accepts(received: number): boolean {
    return this.#ledger?.retention.accepts(received) === true && !this.#over;
  }

  /** Bytes kept for the client. */
  get kept(): number {
    return this.#ledger?.retention.bytes ?? 0;
  }

  /** Goes on over `connection`; the client has `received` payloads. False when that cannot be. */
  resume(connection: Connection, received: number): boolean {
    const ledger = this.#ledger;
    if (ledger === undefined || !this.accepts(received)) return false;
    ledger.retention.acknowledge(received);
    this.connection = connection;
    this.asleepSince = undefined;
    ledger.moved(this.received);
    connection.sendAgain(ledger.retention);
    if (this.#farewell !== undefined) {
      connection.sendControl(this.#farewell);
      connection.deliver(this);
      this.#part();
      return true;
    }
    this.#listen(); // a hook that is still at work is not joined by another
    connection.deliver(this);
    this.#madeRoom();
    return true;
  }

  #fallAsleep(): void {
    this.connection.detach();
    this.asleepSince = performance.now();
    this.sighting = undefined;
    // The client sends again what was not delivered, and its `end` after it.
    this.#parked = NONE;
    this.#parkedBytes = 0;
    if (this.#endParked) this.#inputEnded = this.#endParked = false;
  }

  /** It has slept too long. */
  expire(): void {
    this.#end(undefined);
  }

  /** Has `bye` been said, while it is not known yet whether it arrived, and all that was said before it? */
  get isParting(): boolean {
    return this.bye === "done" && this.asleepSince === undefined && this.#mayComeBack;
  }

  /** Is there nothing that the client could come back for? */
  get #isSettled(): boolean {
    if (this.bye === undefined) return false;
    // One that promised to come back says `bye` in its turn; of others, acknowledgements must do.
    const hasAll = this.arrival.resumption?.isWanted !== true && this.#ledger?.retention.frames === 0;
    return this.bye !== "done" || hasAll;
  }

  get #mayComeBack(): boolean {
    const keeps = this.#ledger !== undefined && (this.arrival.resumption?.forMs ?? 0) > 0;
    return keeps && !this.#peerLeft && !this.#shuttingDown;
  }

  #inputIsOver(): void | Promise<void> {
    if (this.#inputEnded || this.bye !== undefined) return;
    this.#inputEnded = this.#isOdd = true;
    if (this.#parked.length > 0 || this.#draining) {
      this.#endParked = true; // until what waits before it is delivered
      return;
    }
    const hook = this.#endInput();
    return hook === undefined ? undefined : this.#hold(hook);
  }

  #acknowledged(received: number): void {
    const ledger = this.#ledger;
    if (ledger === undefined) return;
    this.#acknowledges = true;
    if (!this.connection.retains) return; // nothing is kept for it
    if (!ledger.retention.acknowledge(received)) {
      throw new MessageError("bad_message", "an acknowledgement of what was never sent", WRONG_ACK);
    }
    this.#madeRoom();
  }

  /** The client has yet to acknowledge much: what it says now waits, while its acknowledgements are read on. */
  #park(payload: Uint8Array): void {
    if (this.#parkedBytes > 2 * MAX_UNACKNOWLEDGED_BYTES) {
      throw new ConnectionError("too_slow", "too much came while answers were not acknowledged");
    }
    this.#isOdd = true;
    if (this.#parked === NONE) this.#parked = [];
    this.#parked.push(payload);
    this.#parkedBytes += payload.length;
  }

  /** Something was acknowledged: what waited for that goes on. */
  #madeRoom(): void {
    if (this.awaitsAck) return;
    this.#room.open();
    if (this.#parked.length > 0 && !this.#draining) void this.#deliverParked();
  }

  async #deliverParked(): Promise<void> {
    this.#draining = true;
    try {
      await this.#hook;
      while (this.#parked.length > 0 && !this.awaitsAck && this.bye === undefined && !this.#over) {
        const payload = this.#parked.shift();
        if (payload === undefined) break;
        this.#parkedBytes -= payload.length;
        this.received++;
        const pending = this.#context.service.message(this, payload);
        if (pending !== undefined) await this.#take(pending);
      }
      this.#ledger?.turnEnded();
      if (this.#parked.length > 0 || !this.#endParked) return;
      this.#endParked = false;
      await this.#endInput();
    } catch (error) {
      this.fail(error);
    } finally {
      this.#draining = false;
    }
  }

  #endInput(): Promise<void> | undefined {
    const { service } = this.#context;
    if (service.end === undefined) {
      this.finish();
      return undefined;
    }
    const pending = service.end(this);
    return pending === undefined ? undefined : this.#await(pending);
  }

  #closeService(): void {
    if (this.#serviceClosed) return;
    this.#serviceClosed = true;
    for (const room of this.#joined ?? []) room.leave(this);
    try {
      const pending = this.#context.service.close?.(this);
      if (pending !== undefined)
        pending.catch((thrown: unknown) => this.#context.events.failed(this, thrown));
    } catch (thrown) {
      this.#context.events.failed(this, thrown);
    }
  }

  #end(error: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#room.open();
    this.#closeService();
    this.#context.events.closed(this, error);
  }
}

/** Is it the way, rather than the peer, that failed? */
function isLoss(error: unknown): boolean {
  if (error instanceof FrameError) return error.code === "frame_cut";
  return error instanceof ConnectionError && ["stalled", "silent", "reset"].includes(error.code);
}

const NONE: Uint8Array[] = [];
const SHUTTING_DOWN = "the server is shutting down";
const REPLACED = "the conversation goes on over another connection";
/** In characters; escaped as JSON they fit a control frame. */
const MAX_ASIDE_LENGTH = 8000;
/** A sentence; it must fit a control frame however it is escaped. */
const MAX_BYE_LENGTH = 1000;

const AFTER_END = { peerMessage: "a message came after the end" };
const WRONG_ACK = { peerMessage: "this acknowledges more than was sent" };
