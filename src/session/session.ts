// The life of a conversation after login. What is said in it is dialogue.ts's.
//
//     awake ⇄ asleep → over
//
// A durable session outlives its connection: lost without a goodbye, it sleeps, and its service with it, until the client
// comes back over another one. Both then send again what the other has not received. Services do not notice.

import { Dialogue, type DialogueContext, type DialogueEvents } from "./conversation.ts";
import type { LoginResult } from "../handshake/server.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError, isLoss } from "../net/connection-error.ts";
import { encodeMessage, type ByeCode } from "../wire/message.ts";

/**
 * Why it ended, for the log: what was said in `bye`, or would have been. `left`: the client said `bye`. `expired`: it slept
 * until its time was over. `crowded_out`: it slept, and others needed its place.
 */
export type Ending = ByeCode | "left" | "expired" | "crowded_out";

/** What the server wants to know of a session's life. */
export interface SessionEvents {
  /** The service threw, the peer broke the framing or left too much unread. The server decides what to tell the peer. */
  failed(session: Session, error: unknown): void;
  /** Its connection is lost; it waits for another. */
  lost(session: Session, error: Error | undefined): void;
  /** It is over. */
  closed(session: Session, error: Error | undefined): void;
}

export class Session implements DialogueEvents {
  readonly arrival: LoginResult;
  /** When it began, by `performance.now`. */
  readonly since = performance.now();
  /** Number of the connection that it has, or had last, as in the log. */
  conn: number;

  readonly #dialogue: Dialogue;
  readonly #events: SessionEvents;
  /** Is its connection's loss not the end of it? Once it is, it stays so. */
  #mayComeBack: boolean;
  #isShuttingDown = false;
  #detachedSince: number | undefined;
  #goneSince: number | undefined;
  #ending: Ending | undefined;
  #over = false;

  constructor(
    id: number,
    connection: Connection,
    arrival: LoginResult,
    context: DialogueContext,
    events: SessionEvents,
  ) {
    this.arrival = arrival;
    this.conn = id;
    this.#events = events;
    this.#mayComeBack = (arrival.resumption?.forMs ?? 0) > 0;
    this.#dialogue = new Dialogue(id, connection, arrival, context, this);
  }

  /** Its number, which is that of its first connection. */
  get id(): number {
    return this.#dialogue.id;
  }

  get user(): string | null {
    return this.arrival.user;
  }

  get peer(): string {
    return this.connection.peer;
  }

  /** The one that it has, or had last. */
  get connection(): Connection {
    return this.#dialogue.connection;
  }

  /** Payloads received from the client. */
  get received(): number {
    return this.#dialogue.received;
  }

  /** Is a hook at work, or input held back? */
  get busy(): boolean {
    return this.#dialogue.busy;
  }

  /** Does the client have to acknowledge before it is answered? */
  get awaitsAck(): boolean {
    return this.#dialogue.awaitsAck;
  }

  /** Has the client shown that it acknowledges? */
  get acknowledges(): boolean {
    return this.#dialogue.acknowledges;
  }

  /** Bytes kept for the client. */
  get kept(): number {
    return this.#dialogue.ledger?.retransmit.bytes ?? 0;
  }

  /** Since when it has no connection, by `performance.now`; undefined while it has one. */
  get detachedSince(): number | undefined {
    return this.#detachedSince;
  }

  /** Undefined until it ends, and where its client was lost without a word. */
  get ending(): Ending | undefined {
    return this.#ending;
  }

  /** Since when the client is gone for good while a hook is still at work, by `performance.now`. */
  get goneSince(): number | undefined {
    return this.#goneSince;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Has `bye` been said, while it is not known yet whether it arrived, and all that was said before it? */
  get isParting(): boolean {
    return this.#ending !== undefined && this.arrival.control && !this.connection.finishing && !this.#over;
  }

  /** Does the client acknowledge, and has it not yet acknowledged all that was sent? */
  get awaitsLastAck(): boolean {
    return this.#dialogue.hasUnacknowledged;
  }

  /** The client has not shown in all its time that it has what was said: where it can, it has to come back for that. */
  giveUp(): void {
    if (this.#mayComeBack || !this.awaitsLastAck) this.connection.terminate();
    else this.drop("timeout");
  }

  start(): void {
    // One that will not come back is told what was taken, and nothing is kept for it.
    this.#dialogue.start(this.#mayComeBack);
  }

  // --- coming back ---

  /** Could a client that has `received` payloads come back to this? */
  accepts(received: number): boolean {
    return this.#dialogue.ledger?.retransmit.canResumeFrom(received) === true && !this.#over;
  }

  /** Lets go of the connection it has, since the client has another; how many payloads it has received. */
  release(): number {
    const { connection } = this;
    if (this.#detachedSince === undefined) {
      if (!connection.finishing) {
        connection.sendControl(encodeMessage({ type: "bye", code: "replaced", message: REPLACED }));
      }
      this.#fallAsleep();
      connection.finish();
    }
    return this.received;
  }

  /** Goes on over `connection`, number `conn`; the client has `received` payloads. False when that cannot be. */
  resume(conn: number, connection: Connection, received: number): boolean {
    if (!this.accepts(received)) return false;
    this.conn = conn;
    this.#detachedSince = undefined;
    this.#dialogue.resume(connection, received);
    if (this.#ending !== undefined) this.#part();
    return true;
  }

  #fallAsleep(): void {
    this.#dialogue.sleep();
    this.#detachedSince = performance.now();
  }

  /** It has slept long enough. */
  expire(why: "expired" | "crowded_out" | "shutting_down"): void {
    this.#ending = why;
    this.#end(undefined);
  }

  // --- what its dialogue tells ---

  finish(status: number, message: string): void {
    if (this.#isShuttingDown) this.sayBye("shutting_down", SHUTTING_DOWN, status);
    else this.sayBye("done", message, status);
  }

  leave(): void {
    this.#ending ??= "left";
    this.#mayComeBack = false;
    this.connection.finish(); // it has all that it wants
  }

  /** FIN: no more input, unless `end` has said so before. */
  end(): void | Promise<void> {
    if (this.isParting) return this.connection.finish("patient");
    if (this.#dialogue.inputEnded) return this.#probe();
    // A client with control frames says `end` when it has no more to say: without it, it is gone.
    if (this.arrival.control) return this.connection.terminate();
    return this.#dialogue.endInput();
  }

  /** It has said all, and now FIN: it has half closed, or is gone, and then the answer to anything is a reset. */
  #probe(): void {
    if (this.arrival.control) this.connection.sendControl(encodeMessage({ type: "ping", n: 0 }));
  }

  fail(error: unknown): void {
    if (this.#mayComeBack && isLoss(error)) this.connection.terminate();
    else this.#events.failed(this, error);
    if (this.isParting && !this.connection.canDeliver) this.connection.finish("patient");
  }

  /** Nothing is dropped: rather the whole session. */
  overflow(): void {
    const error = new ConnectionError("too_slow", "too much was left unacknowledged");
    if (this.#detachedSince !== undefined) return this.#end(error);
    this.#mayComeBack = false;
    this.#dialogue.forgetLedger();
    if (this.#dialogue.acknowledges) this.connection.fail(error);
  }

  cut(error: Error | undefined): void {
    if (this.#mayComeBack) return this.close(error); // the hook goes on, and what it sends is kept
    this.#goneSince ??= performance.now();
    this.#dialogue.unheard();
    if (error !== undefined) this.#dialogue.cutService();
  }

  close(error: Error | undefined): void {
    if (this.#isSettled || !this.#mayComeBack) return this.#end(error);
    this.#fallAsleep();
    if (this.#ending !== undefined) this.#dialogue.closeService();
    this.#events.lost(this, error);
  }

  /** Is there nothing that the client could come back for? */
  get #isSettled(): boolean {
    if (this.#ending === undefined) return false;
    // One that promised to come back says `bye` in its turn; of others, acknowledgements must do.
    const hasAll =
      this.arrival.resumption?.isWanted !== true && this.#dialogue.ledger?.retransmit.frames === 0;
    return this.#ending !== "done" || hasAll;
  }

  // --- the end ---

  /** The server is stopping: the service is told that no more is coming, and says `bye` when it has said all. */
  shutDown(): void {
    if (this.#isShuttingDown) return;
    this.#isShuttingDown = true;
    this.#mayComeBack = false;
    this.#dialogue.stopInput();
  }

  /** Says `bye`, after every answer, and closes. */
  sayBye(code: ByeCode, message: string, status?: number): void {
    if (this.#over) return;
    const isAsleep = this.#detachedSince !== undefined;
    if (isAsleep && code !== "done") {
      this.#ending = code;
      return this.#end(undefined); // there is no coming back
    }
    if (this.#ending !== undefined) return;
    // A connection that is gone, while nobody has been told: what is said now is for when the client comes back.
    const isLost = isAsleep || (this.connection.closed && this.#mayComeBack);
    if (this.connection.finishing && !isLost) return;
    this.#ending = code;
    this.#dialogue.sayLast(
      encodeMessage({ type: "bye", code, message: message.slice(0, MAX_BYE_LENGTH), status }),
    );
    // For the service it is over, once the hook that says so has its turn behind it. What it said is kept until that has
    // arrived, for a client that is away too.
    queueMicrotask(() => this.#dialogue.closeService());
    if (!isAsleep) this.#part();
  }

  /** Says no more, and listens until the client has it all: it acknowledges, says `bye`, or ends its side. */
  #part(): void {
    if (this.isParting && this.connection.canDeliver) this.connection.endSending();
    else this.connection.finish("patient");
  }

  /** Its client has been gone for long, and a hook is still at work: it is over all the same. */
  leaveHook(): void {
    this.connection.detach();
    this.#end(undefined);
  }

  /** Ends it at once, without a word. */
  drop(code: ByeCode | undefined): void {
    this.#ending = code;
    this.#mayComeBack = false;
    this.connection.terminate();
  }

  #end(error: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#dialogue.closeService();
    this.#events.closed(this, error);
  }
}

const SHUTTING_DOWN = "the server is shutting down";
const REPLACED = "the conversation goes on over another connection";
/** A sentence; it must fit a control frame however it is escaped. */
const MAX_BYE_LENGTH = 1000;
