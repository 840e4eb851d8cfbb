// The life of a session after the login: which connection it has, and how it ends. Its states are in state.ts; what is said in
// it is conversation.ts's.
//
// A durable session outlives its connection: lost without a goodbye, it is detached, and its service goes on, until the
// client comes back over another connection. Both sides then send again what the other has not received. Services do not
// notice. The server makes sessions, the registry and the timeouts end them.

import { Conversation, type ConversationContext, type ConversationEvents } from "./conversation.ts";
import type { LoginResult } from "../handshake/server.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError, isLoss } from "../net/connection-error.ts";
import { encodeMessage } from "../wire/codec.ts";
import type { ByeCode } from "../wire/message.ts";
import type { SlowReader, SlowReaders } from "./slow-readers.ts";
import { BACKLOG_BURST } from "../base/limits.ts";
import { isAttached, isDetached, transition, type SessionEvent, type SessionState } from "./state.ts";

/**
 * Why a session ended, for the log: what was said in `bye`, or would have been. `left`: the client said `bye`. `expired`: it was
 * detached until its time was over. `crowded_out`: it was detached, and others needed its place.
 */
export type Ending = ByeCode | "left" | "expired" | "crowded_out";

/** What the server wants to know of a session's life. */
export interface ServerSessionEvents {
  /** The service threw, the peer broke the framing or left too much unread. The server decides what to tell the peer. */
  failed(session: ServerSession, error: unknown): void;
  /** Its connection is lost; it waits for another. */
  lost(session: ServerSession, error: Error | undefined): void;
  /** It is over. */
  closed(session: ServerSession, error: Error | undefined): void;
}

export class ServerSession implements ConversationEvents, SlowReader {
  readonly login: LoginResult;
  /** When it began, by `performance.now`. */
  readonly since = performance.now();
  /** Number of the connection that it has, or had last, as in the log. */
  conn: number;

  readonly #conversation: Conversation;
  readonly #events: ServerSessionEvents;
  readonly #slowReaders: SlowReaders;
  /** Are its messages a stream of bytes? */
  readonly isStream: boolean;
  readonly #keepsInput: boolean;
  #state: SessionState = "attached";
  /** May the client come back after a loss? Once it may not, that stays so. */
  #isResumable: boolean;
  #isStopping = false;
  #detachedSince: number | undefined;
  #disconnectedSince: number | undefined;
  #reason: Ending | undefined;
  /** When the connection was accepted that the client came back on last. */
  #newestSince = 0;
  /** The connection that the present one has taken the place of, while it may still be open. */
  #replaced: Connection | undefined;

  constructor(
    id: number,
    connection: Connection,
    arrival: LoginResult,
    context: ConversationContext,
    events: ServerSessionEvents,
  ) {
    this.login = arrival;
    this.conn = id;
    this.#events = events;
    this.#slowReaders = context.slowReaders;
    this.isStream = context.service.messages === "bytes";
    this.#keepsInput = context.service.keepsInput === true;
    this.#isResumable = (arrival.resumption?.forMs ?? 0) > 0;
    this.#conversation = new Conversation(id, connection, arrival, context, this);
  }

  get state(): SessionState {
    return this.#state;
  }

  /** The number of its first connection. */
  get id(): number {
    return this.#conversation.id;
  }

  get user(): string | null {
    return this.login.user;
  }

  get peer(): string {
    return this.connection.peer;
  }

  /** The connection that it has, or had last. */
  get connection(): Connection {
    return this.#conversation.connection;
  }

  /** Payloads received from the client. */
  get received(): number {
    return this.#conversation.inbound.received;
  }

  /** Does a hook run, or is input held back or queued? */
  get hasWork(): boolean {
    return this.#conversation.inbound.hasWork;
  }

  /** Does the client have to acknowledge before it is answered? */
  get awaitsAck(): boolean {
    return this.#conversation.awaitsAck;
  }

  /** Has the client shown that it acknowledges? */
  get peerAcks(): boolean {
    return this.#conversation.peerAcks;
  }

  /** Memory that is held for the client, in bytes. */
  get allocated(): number {
    return this.#conversation.allocated;
  }

  /** Bytes kept for the client. */
  get kept(): number {
    return this.#conversation.acks?.retransmit.bytes ?? 0;
  }

  /** When the newest connection was accepted on which its client has come, by `performance.now`. */
  get newestSince(): number {
    return Math.max(this.#newestSince, this.connection.since);
  }

  /** Since when it has no connection, by `performance.now`; undefined while it has one. */
  get detachedSince(): number | undefined {
    return this.#detachedSince;
  }

  /** Since when the client is gone for good while a hook still runs, by `performance.now`. */
  get disconnectedSince(): number | undefined {
    return this.#disconnectedSince;
  }

  /** Why it ends or has ended; undefined until then, and where its client was lost without a word. */
  get reason(): Ending | undefined {
    return this.#reason;
  }

  /** Has `bye` been said, while the connection stays open until it is known that everything has arrived? */
  get isClosing(): boolean {
    return this.#state === "closing" && this.login.control && !this.connection.finishing;
  }

  /** Does the client acknowledge, and has it not yet acknowledged all that was sent? */
  get awaitsFinalAck(): boolean {
    return this.#conversation.awaitsFinalAck;
  }

  /** The client has not shown in all its time that it has what was said: where it can, it has to come back for that. */
  giveUp(): void {
    if (this.#isResumable || !this.awaitsFinalAck) this.connection.terminate();
    else this.abort("timeout");
  }

  start(): void {
    // For a client that will not come back nothing is kept; it hears what was received all the same.
    this.#conversation.start(this.#isResumable);
  }

  // --- coming back ---

  /**
   * Could a client that has `received` payloads come back to this session? A `bye` other than `done` is final, and so is the
   * client's own.
   */
  canResume(received: number): boolean {
    if (this.#state === "closed" || !this.#isResumable) return false;
    if (this.#reason !== undefined && this.#reason !== "done") return false;
    return this.#conversation.acks?.retransmit.canResumeFrom(received) === true;
  }

  /**
   * Lets go of the connection that it has, since the client has another one; how many payloads it has received.
   *
   * Of replaced connections one may still be open, so that it hears why it ends: a client that comes back in a loop holds no
   * more. What is queued on it is kept for the next one.
   *
   * @param since when the client's new connection was accepted, by `performance.now`.
   */
  release(since: number): number {
    const { connection } = this;
    this.#newestSince = since;
    if (isAttached(this.#state)) {
      this.#detach();
      this.#replaced?.terminate();
      this.#replaced = connection;
      if (connection.hasOutput) connection.terminate();
      else {
        if (!connection.finishing) connection.sendControl(REPLACED);
        connection.finish();
      }
    }
    return this.received;
  }

  /** Goes on over `connection`, number `conn`; the client has `received` payloads. False when that cannot be. */
  resume(conn: number, connection: Connection, received: number): boolean {
    if (!isDetached(this.#state) || !this.canResume(received)) return false;
    this.#to("resume");
    this.conn = conn;
    this.#detachedSince = undefined;
    this.#conversation.resume(connection, received);
    if (this.#state === "closing") this.#closeOutput();
    return true;
  }

  #detach(): void {
    this.#to("loss");
    this.#conversation.detach();
    this.#detachedSince = performance.now();
  }

  /** Ends it while it is detached: there is no client that could hear why. */
  expire(why: Ending): void {
    // Everything was said, and the client has not come back for it: most likely its `bye` was lost.
    const isFinal = why !== "expired" && why !== "crowded_out" && why !== "shutting_down";
    if (isFinal || this.#reason !== "done") this.#reason = why;
    this.#end(undefined);
  }

  // --- what its conversation says ---

  finish(status: number, message: string): void {
    if (this.#isStopping) this.sayBye("shutting_down", SHUTTING_DOWN, status);
    else this.sayBye("done", message, status);
  }

  leave(): void {
    this.#reason ??= "left";
    this.#isResumable = false;
    if (this.#state === "attached") this.#to("bye");
    this.connection.finish(); // it has all that it wants
  }

  /** FIN: no more input, unless `end` has said so before. */
  end(): void | Promise<void> {
    if (this.isClosing) return this.connection.finish("patient");
    if (this.#conversation.inbound.hasEnded) return this.#probe();
    // A client with control frames says `end` when it has no more to say: without it, it is gone.
    if (this.login.control) return this.connection.terminate();
    return this.#conversation.inbound.endInput();
  }

  /** It has said all, and now FIN: it has half closed, or is gone, and then the answer to anything is a reset. */
  #probe(): void {
    if (this.login.control) this.connection.sendControl(encodeMessage({ type: "ping", n: 0 }));
  }

  fail(error: unknown): void {
    if (this.#isResumable && isLoss(error)) this.connection.terminate();
    else this.#events.failed(this, error);
    if (this.isClosing && !this.connection.canDeliver) this.connection.finish("patient");
  }

  overflow(): void {
    if (isDetached(this.#state) || this.#conversation.peerAcks) return this.overBacklog();
    this.#isResumable = false;
    this.#conversation.stopTracking();
  }

  overBacklog(): void {
    if (this.#conversation.isOverLimit(BACKLOG_BURST)) return this.dropAsSlow();
    this.#slowReaders.add(this, this.#conversation.behindSince);
  }

  get isOverLimit(): boolean {
    return this.#state !== "closed" && this.#conversation.isOverLimit(1);
  }

  get progress(): number {
    return this.connection.written + (this.#conversation.acks?.retransmit.acknowledged ?? 0);
  }

  /** No message is dropped: rather the whole session. */
  dropAsSlow(): void {
    const error = new ConnectionError("too_slow", "too much was left unread, or unacknowledged");
    if (isDetached(this.#state)) return this.#end(error);
    this.#isResumable = false;
    this.#conversation.stopTracking();
    this.connection.fail(error);
  }

  disconnected(error: Error | undefined): void {
    if (this.#isResumable) return this.close(error); // the hook goes on, and what it sends is kept
    this.#disconnectedSince ??= performance.now();
    this.#conversation.markClosed();
    if (error !== undefined) this.#conversation.notifyDisconnect();
  }

  close(error: Error | undefined): void {
    if (!this.#mayReturn) return this.#end(error);
    this.#detach();
    if (this.#reason !== undefined) this.#conversation.closeService();
    this.#events.lost(this, error);
  }

  /** Is there anything that the client could come back for? */
  get #mayReturn(): boolean {
    if (!this.#isResumable) return false;
    if (this.#reason === undefined) return true;
    // A client that promised to come back says `bye` in its turn; of others, acknowledgements must do.
    const hasAll =
      this.login.resumption?.isWanted !== true && this.#conversation.acks?.retransmit.frames === 0;
    return this.#reason === "done" && !hasAll;
  }

  // --- the end ---

  /** The server is stopping: the service hears that no more is coming, and says `bye` when it has said all. */
  shutDown(): void {
    if (this.#isStopping || this.#keepsInput) return;
    this.#isStopping = true;
    this.#isResumable = false;
    this.#conversation.inbound.stop();
  }

  /**
   * Says `bye` behind all that was sent, and closes the session; what a running hook sends afterwards goes nowhere.
   *
   * @param code another one than `done` is final: there is no coming back from the moment of it.
   */
  sayBye(code: ByeCode, message: string, status?: number): void {
    if (this.#state === "closed") return;
    const wasDetached = isDetached(this.#state);
    if (code !== "done") {
      if (wasDetached) return this.expire(code);
      if (this.#reason === "done") this.#reason = code; // it was done, and now it is not to be come back to, either
    }
    if (this.#reason !== undefined) return;
    // A connection that is gone without notice so far: what is said now is for when the client comes back.
    const isLost = wasDetached || (this.connection.closed && this.#isResumable);
    if (this.connection.finishing && !isLost) return;
    this.#reason = code;
    this.#to("bye");
    this.#conversation.sendBye(
      encodeMessage({ type: "bye", code, message: message.slice(0, MAX_BYE_LENGTH), status }),
    );
    // For the service it is over, once the hook that says so has returned. What it said is kept until that has arrived,
    // for a detached client too.
    queueMicrotask(() => this.#conversation.closeService());
    if (!wasDetached) this.#closeOutput();
  }

  /** Says no more, and listens until the client has it all: it acknowledges, says `bye`, or ends its side. */
  #closeOutput(): void {
    if (this.isClosing && this.connection.canDeliver) this.connection.endSending();
    else this.connection.finish("patient");
  }

  /** Its client has been gone for long, and a hook still runs: it is over all the same. */
  abandonHook(): void {
    this.connection.detach();
    this.#end(undefined);
  }

  /** Ends it at once, without a word. */
  abort(reason: ByeCode | undefined): void {
    this.#reason = reason;
    this.#isResumable = false;
    this.connection.terminate();
  }

  #to(event: SessionEvent): void {
    this.#state = transition(this.#state, event);
  }

  #end(error: Error | undefined): void {
    if (this.#state === "closed") return;
    this.#to("end");
    this.#conversation.closeService();
    this.#conversation.forget();
    this.#events.closed(this, error);
  }
}

const SHUTTING_DOWN = "the server is shutting down";
const REPLACED = encodeMessage({
  type: "bye",
  code: "replaced",
  message: "the conversation goes on over another connection",
});
/** A sentence; it must fit a control frame however it is escaped. */
const MAX_BYE_LENGTH = 1000;
