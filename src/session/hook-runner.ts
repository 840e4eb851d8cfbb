// The hooks of one conversation's service: one at work at a time, and what has to wait for it.

import type { Rooms } from "../services/room.ts";
import { SessionClosedError, type Conversation, type Room, type Service } from "../services/service.ts";

export interface HooksContext {
  service: Service;
  rooms: Rooms;
}

/** The conversation, as its hooks see it. */
export interface Hooked extends Conversation {
  /** Is there somebody, or may there be again, who hears what is said? */
  readonly isHeard: boolean;
  /** A hook threw that nobody waits for. */
  fail(error: unknown): void;
  /** No more is coming, and the service has no hook to be told so. */
  finishUnasked(): void;
}

export class Hooks {
  readonly #service: Service;
  readonly #rooms: Rooms;
  readonly #conversation: Hooked;
  #atWork: Promise<void> | undefined;
  #isTaking = false;
  #letGo: (() => void) | undefined;
  #joined: Set<Room> | undefined;
  #isOpen = false;
  #isClosed = false;

  constructor({ service, rooms }: HooksContext, conversation: Hooked) {
    this.#service = service;
    this.#rooms = rooms;
    this.#conversation = conversation;
  }

  /** The hook at work, if one is. It stays when that fails. */
  get atWork(): Promise<void> | undefined {
    return this.#atWork;
  }

  /** Is a hook at work on a message? Until it is done, that is not taken; never, when it fails. */
  get isTaking(): boolean {
    return this.#isTaking;
  }

  /** The service finishes: what it is at work on it has, unless it only hands it on. */
  finishing(): void {
    if (this.#service.acksOnHandOff !== true) this.#isTaking = false;
  }

  open(): Promise<void> | undefined {
    this.#isOpen = true;
    return this.#follow(this.#service.open?.(this.#conversation));
  }

  message(payload: Uint8Array): Promise<void> | undefined {
    this.#isTaking = true; // and stays so when this throws
    const pending = this.#service.message(this.#conversation, payload);
    if (pending !== undefined) return this.#follow(pending);
    this.#isTaking = false;
    return undefined;
  }

  end(): Promise<void> | undefined {
    return this.#follow(this.#end());
  }

  /** Tells the service that there is no more input, for whatever is at work. */
  stop(): void {
    this.#unwaited(() => this.#end());
  }

  /** The client is gone while a hook is at work. */
  cut(): void {
    this.#service.disconnected?.(this.#conversation);
  }

  /** It is over for the service. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const room of this.#joined ?? []) room.leave(this.#conversation);
    if (this.#isOpen) this.#unwaited(() => this.#service.close?.(this.#conversation));
  }

  /** The room of that name, with the conversation in it until it is over. */
  room(name: string): Room {
    if (this.#isClosed) return this.#rooms.find(name);
    const room = this.#rooms.join(name, this.#conversation);
    this.#joined ??= new Set();
    this.#joined.add(room);
    return room;
  }

  /** For the connection, which delivers nothing until `hook` is done, or {@link letGo}. */
  hold(hook: Promise<void> | undefined): Promise<void> | undefined {
    if (hook === undefined) return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#letGo = resolve;
    hook.then(resolve, reject);
    return promise;
  }

  /** Lets the connection deliver, although a hook is at work. */
  letGo(): void {
    this.#letGo?.();
  }

  #end(): void | Promise<void> {
    if (this.#service.end === undefined) return this.#conversation.finishUnasked();
    return this.#service.end(this.#conversation);
  }

  #follow(pending: void | Promise<void>): Promise<void> | undefined {
    if (pending === undefined) return undefined;
    const done = () => {
      this.#atWork = undefined;
      this.#isTaking = false;
    };
    this.#atWork = pending.then(done, (error: unknown) => {
      if (!this.#isEnd(error)) throw error;
      done();
    });
    return this.#atWork;
  }

  #unwaited(hook: () => void | Promise<void>): void {
    try {
      const pending = hook();
      if (pending !== undefined) pending.catch((error: unknown) => this.#fail(error));
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (!this.#isEnd(error)) this.#conversation.fail(error);
  }

  /** Did a hook end because its conversation has? */
  #isEnd(error: unknown): boolean {
    return !this.#conversation.isHeard && SessionClosedError.is(error);
  }
}
