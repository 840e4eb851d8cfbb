// The life of a session after the login: its connections and its end. state.ts has its states, conversation.ts its messages.
//
// A durable session outlives its connection. When the connection is lost without `bye`, the session is detached, and its service
// continues until the client resumes over another connection. Then both sides send the messages again that the other side has not
// received. Services do not notice. The server creates sessions; the registry and the timeouts end them.

import { Conversation, type ConversationContext, type ConversationEvents } from "./conversation.ts";
import type { LoginResult } from "../handshake/server.ts";
import type { Connection } from "../net/connection.ts";
import { ConnectionError, isLoss } from "../net/connection-error.ts";
import { encodeMessage } from "../wire/codec.ts";
import type { ByeCode } from "../wire/message.ts";
import type { Listed } from "../base/roster.ts";
import type { SlowReader } from "./slow-readers.ts";
import { BACKLOG_BURST } from "../base/limits.ts";
import { isAttached, isDetached, transition, type SessionEvent, type SessionState } from "./state.ts";

/**
 * The reason why a session ended, for the log: the code of its `bye`, also of one that was not sent. `left`: the client sent `bye`.
 * `expired`: it was detached for too long. `crowded_out`: it was detached, and other sessions needed its place.
 */
export type Ending = ByeCode | "left" | "expired" | "crowded_out";

/** The events of a session, for the server. */
export interface ServerSessionEvents {
  /** The service threw, the peer broke the framing or left too much unread. The server chooses the message for the peer. */
  failed(session: ServerSession, error: unknown): void;
  /** The session has lost its connection, and waits for another one. */
  lost(session: ServerSession, error: Error | undefined): void;
  /** The session is closed. */
  closed(session: ServerSession, error: Error | undefined): void;
}

export class ServerSession implements ConversationEvents, SlowReader, Listed {
  /** In the registry's roster. */
  place = -1;
  readonly login: LoginResult;
  /** When it began, by `performance.now`. */
  readonly since = performance.now();
  /** The number of the current or last connection, as in the log. */
  conn: number;

  readonly #conversation: Conversation;
  readonly #events: ServerSessionEvents;
  readonly #context: ConversationContext;
  #state: SessionState = "attached";
  /** True while the client may resume after a loss. Once false, it stays false. */
  #isResumable: boolean;
  #isStopping = false;
  #detachedSince: number | undefined;
  #disconnectedSince: number | undefined;
  #reason: Ending | undefined;
  /** When the last connection of a resume was accepted. */
  #newestSince = 0;
  /** The connection before the current one, while it may still be open. */
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
    this.#context = context;
    this.#isResumable = (arrival.resumption?.forMs ?? 0) > 0;
    this.#conversation = new Conversation(id, connection, arrival, context, this);
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Are its messages a stream of bytes? */
  get isStream(): boolean {
    return this.#conversation.isStream;
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

  /** The current or last connection. */
  get connection(): Connection {
    return this.#conversation.connection;
  }

  /** Payloads received from the client. */
  get received(): number {
    return this.#conversation.inbound.received;
  }

  /** True while a hook runs, or input is held back or queued. */
  get hasWork(): boolean {
    return this.#conversation.inbound.hasWork;
  }

  /** True when the client must acknowledge before it is answered. */
  get awaitsAck(): boolean {
    return this.#conversation.awaitsAck;
  }

  /** True when the client is known to acknowledge. */
  get peerAcks(): boolean {
    return this.#conversation.peerAcks;
  }

  /** Memory for the client, in bytes. */
  get allocated(): number {
    return this.#conversation.allocated;
  }

  /** Bytes kept for the client. */
  get kept(): number {
    return this.#conversation.acks?.retransmit.bytes ?? 0;
  }

  /** When the newest connection of its client was accepted, by `performance.now`. */
  get newestSince(): number {
    return Math.max(this.#newestSince, this.connection.since);
  }

  /** Since when it has no connection, by `performance.now`; undefined while it has one. */
  get detachedSince(): number | undefined {
    return this.#detachedSince;
  }

  /** Since when the client has left for good while a hook still runs, by `performance.now`. */
  get disconnectedSince(): number | undefined {
    return this.#disconnectedSince;
  }

  /** The reason of its end; undefined before it, and when its client was lost without `bye`. */
  get reason(): Ending | undefined {
    return this.#reason;
  }

  /** True when `bye` was sent, and the connection stays open until all output has arrived. */
  get isClosing(): boolean {
    return this.#state === "closing" && this.login.control && !this.connection.finishing;
  }

  /** True when the client acknowledges, and has not acknowledged all output. */
  get awaitsFinalAck(): boolean {
    return this.#conversation.awaitsFinalAck;
  }

  /** Called when the client has not acknowledged the output in time: it must resume to get it, if it can. */
  giveUp(): void {
    if (this.#isResumable || !this.awaitsFinalAck) this.connection.terminate();
    else this.abort("timeout");
  }

  start(): void {
    // No output is kept for a client that cannot resume. It still gets acknowledgements.
    this.#conversation.start(this.#isResumable);
  }

  // --- resuming ---

  /**
   * True when a client that has `received` payloads can resume this session. A `bye` other than `done` is final, and so is the
   * client's own.
   */
  canResume(received: number): boolean {
    if (this.#state === "closed" || !this.#isResumable) return false;
    if (this.#reason !== undefined && this.#reason !== "done") return false;
    return this.#conversation.acks?.retransmit.canResumeFrom(received) === true;
  }

  /**
   * Releases the current connection, since the client has another one. Returns the number of received payloads.
   *
   * One replaced connection may still be open, so that it gets the reason of its end. A client that resumes in a loop has no more
   * than that. Its queued output is kept for the next connection.
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

  /** Continues over `connection`, number `conn`, whose client has `received` payloads. False when that is not possible. */
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

  /** Ends a detached session, whose client cannot get the reason. */
  expire(why: Ending): void {
    // The session was done, and the client has not resumed: probably only its `bye` was lost.
    const isFinal = why !== "expired" && why !== "crowded_out" && why !== "shutting_down";
    if (isFinal || this.#reason !== "done") this.#reason = why;
    this.#end(undefined);
  }

  // --- events of its conversation ---

  finish(status: number, message: string): void {
    if (this.#isStopping) this.sayBye("shutting_down", SHUTTING_DOWN, status);
    else this.sayBye("done", message, status);
  }

  leave(): void {
    this.#reason ??= "left";
    this.#isResumable = false;
    if (this.#state === "attached") this.#to("bye");
    this.connection.finish(); // the client needs no more output
  }

  /** Called at the client's FIN: the end of input, unless `end` came before. */
  end(): void | Promise<void> {
    if (this.isClosing) return this.connection.finish("patient");
    if (this.#conversation.inbound.hasEnded) return this.#probe();
    // A client with control frames ends its input with `end`: FIN without it means that the client has left.
    if (this.login.control) return this.connection.terminate();
    return this.#conversation.inbound.endInput();
  }

  /** Called at FIN after `end`: the client has half closed, or has left, and then any output gets a reset. */
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
    this.#context.slowReaders.add(this, this.#conversation.behindSince);
  }

  get isOverLimit(): boolean {
    return this.#state !== "closed" && this.#conversation.isOverLimit(1);
  }

  get progress(): number {
    return this.connection.written + (this.#conversation.acks?.retransmit.acknowledged ?? 0);
  }

  /** Ends the session rather than drop a message. */
  dropAsSlow(): void {
    const error = new ConnectionError("too_slow", "the client left too much output unread or unacknowledged");
    if (isDetached(this.#state)) return this.#end(error);
    this.#isResumable = false;
    this.#conversation.stopTracking();
    this.connection.fail(error);
  }

  disconnected(error: Error | undefined): void {
    if (this.#isResumable) return this.close(error); // the hook continues, and its output is kept
    this.#disconnectedSince ??= performance.now();
    this.#conversation.markClosed();
    if (error !== undefined) this.#conversation.notifyDisconnect();
  }

  close(error: Error | undefined): void {
    if (!this.#mayReturn) return this.#end(error);
    this.#detach();
    if (this.#reason === undefined) this.#conversation.notifyAway();
    else this.#conversation.closeService();
    this.#events.lost(this, error);
  }

  /** True when the client could resume and get something. */
  get #mayReturn(): boolean {
    if (!this.#isResumable) return false;
    if (this.#reason === undefined) return true;
    // A client that promised to resume sends `bye` in its turn; for others, acknowledgements are enough.
    const hasAll =
      this.login.resumption?.isWanted !== true && this.#conversation.acks?.retransmit.frames === 0;
    return this.#reason === "done" && !hasAll;
  }

  // --- the end ---

  /** Called when the server stops: the service gets the end of input, and the session ends after its last output. */
  shutDown(): void {
    if (this.#isStopping || this.#context.service.keepsInput === true) return;
    this.#isStopping = true;
    this.#isResumable = false;
    this.#conversation.inbound.stop();
  }

  /**
   * Sends `bye` after all output, and closes the session. Later output of a running hook is dropped.
   *
   * @param code any other code than `done` is final: from then on the client cannot resume.
   */
  sayBye(code: ByeCode, message: string, status?: number): void {
    if (this.#state === "closed") return;
    const wasDetached = isDetached(this.#state);
    if (code !== "done") {
      if (wasDetached) return this.expire(code);
      if (this.#reason === "done") this.#reason = code; // it was done, and now it cannot be resumed either
    }
    if (this.#reason !== undefined) return;
    // The connection may be lost without notice so far: then the client gets this output when it resumes.
    const isLost = wasDetached || (this.connection.closed && this.#isResumable);
    if (this.connection.finishing && !isLost) return;
    this.#reason = code;
    this.#to("bye");
    this.#conversation.sendBye(
      encodeMessage({ type: "bye", code, message: message.slice(0, MAX_BYE_LENGTH), status }),
    );
    // The session is closed for the service, once the hook that ends it has returned. Its output is kept until it has arrived,
    // for a detached client, too.
    queueMicrotask(() => this.#conversation.closeService());
    if (!wasDetached) this.#closeOutput();
  }

  /** Ends the output, and reads until the client has all of it: it acknowledges, sends `bye`, or ends its side. */
  #closeOutput(): void {
    if (this.isClosing && this.connection.canDeliver) this.connection.endSending();
    else this.connection.finish("patient");
  }

  /** Ends the session although a hook still runs: its client left long ago. */
  abandonHook(): void {
    this.connection.detach();
    this.#end(undefined);
  }

  /** Ends the session at once, without `bye`. */
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
  message: "the conversation continues over another connection",
});
/** A sentence that fits into a control frame with any escapes. */
const MAX_BYE_LENGTH = 1000;
