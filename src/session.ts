// The conversation after login: what the connection delivers goes to the service, what the service sends goes out.
//
//     connection ── payload ──→ service.message(session, payload) ──→ session.send ──→ connection
//                ── end ──────→ service.end, or finish
//
// Nothing is added to a payload on its way, and no promise is made for it.

import type { Arrival } from "./handshake/welcome.ts";
import type { Connection } from "./net/connection.ts";
import type { Receiver } from "./net/inbox.ts";
import type { Rooms } from "./services/room.ts";
import type { Conversation, Room, Service } from "./services/service.ts";
import type { Sighting } from "./vigil.ts";
import { decodeControl, decodeText, encodeMessage, MessageError, type ByeCode } from "./wire/message.ts";

/** What the server wants to know of a session's life. */
export interface SessionEvents {
  /** The service threw, the peer broke the framing or left too much unread. The server decides what to tell the peer. */
  failed(session: Session, error: unknown): void;
  /** The connection is gone. */
  closed(session: Session, error: Error | undefined): void;
}

export class Session implements Conversation, Receiver {
  readonly id: number;
  readonly user: string | null;
  readonly peer: string;
  readonly arrival: Arrival;
  readonly connection: Connection;
  data: unknown = undefined;
  /** Payloads received from the peer. */
  received = 0;
  /** What the vigil saw of it at its last look. */
  sighting: Sighting | undefined;
  /** The `bye` that was said, or would have been to a client that understands it. */
  bye: ByeCode | undefined;

  readonly #service: Service;
  readonly #events: SessionEvents;
  readonly #rooms: Rooms;
  #joined: Set<Room> | undefined;
  #inputEnded = false;
  #shuttingDown = false;
  #closed = false;

  constructor(
    id: number,
    connection: Connection,
    arrival: Arrival,
    { service, rooms, events }: { service: Service; rooms: Rooms; events: SessionEvents },
  ) {
    this.id = id;
    this.#rooms = rooms;
    this.user = arrival.user;
    this.peer = connection.peer;
    this.connection = connection;
    this.arrival = arrival;
    this.#service = service;
    this.#events = events;
  }

  /** Is a hook at work, or input held back? */
  get busy(): boolean {
    return this.connection.busy;
  }

  /** Opens the service and lets the connection deliver. */
  start(): void {
    this.connection.deliver(this, () => this.#service.open?.(this));
  }

  // --- for the service ---

  send(message: string | Uint8Array): void {
    this.connection.send(message);
  }

  text(payload: Uint8Array): string {
    return decodeText(payload);
  }

  writable(): Promise<void> | undefined {
    return this.connection.writable();
  }

  aside(text: string): void {
    if (!this.arrival.control || this.connection.finishing) return;
    this.connection.sendControl(encodeMessage({ type: "stderr", text: text.slice(0, MAX_ASIDE_LENGTH) }));
  }

  room(name: string): Room {
    if (this.#closed) return this.#rooms.find(name);
    const room = this.#rooms.join(name, this);
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
    this.#shuttingDown = true;
    if (this.#service.end === undefined) return this.finish();
    this.#inputEnded = true;
    try {
      const pending = this.#service.end(this);
      if (pending !== undefined) pending.catch((error: unknown) => this.#events.failed(this, error));
    } catch (error) {
      this.#events.failed(this, error);
    }
  }

  // --- for the connection ---

  payload(payload: Uint8Array): void | Promise<void> {
    if (this.#shuttingDown) return undefined; // too late to be answered
    if (this.#inputEnded) throw new MessageError("bad_message", "a message came after the end", AFTER_END);
    this.received++;
    return this.#service.message(this, payload);
  }

  control(payload: Uint8Array): void | Promise<void> {
    const message = decodeControl(payload);
    if (message?.type === "end") return this.end();
    if (message?.type === "ping") this.connection.sendControl(encodeMessage({ type: "pong", n: message.n }));
  }

  /** No more input: said with `end`, or with FIN, or with both. */
  end(): void | Promise<void> {
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    if (this.#service.end === undefined) return this.finish();
    return this.#service.end(this);
  }

  fail(error: unknown): void {
    this.#events.failed(this, error);
  }

  close(error: Error | undefined): void {
    this.#closed = true;
    for (const room of this.#joined ?? []) room.leave(this);
    try {
      this.#service.close?.(this);
    } catch (thrown) {
      this.#events.failed(this, thrown);
    }
    this.#events.closed(this, error);
  }

  /** Says `bye`, after every answer, and closes. */
  sayBye(code: ByeCode, message: string, status?: number): void {
    if (this.connection.finishing) return;
    this.bye = code;
    const said = message.slice(0, MAX_BYE_LENGTH);
    if (this.arrival.control)
      this.connection.sendControl(encodeMessage({ type: "bye", code, message: said, status }));
    this.connection.finish();
  }
}

const SHUTTING_DOWN = "the server is shutting down";
/** In characters; escaped as JSON they fit a control frame. */
const MAX_ASIDE_LENGTH = 8000;
/** A sentence; it must fit a control frame however it is escaped. */
const MAX_BYE_LENGTH = 1000;

const AFTER_END = { peerMessage: "a message came after the end" };
