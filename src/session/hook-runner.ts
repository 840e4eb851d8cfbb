// The hooks of one conversation's service: one at work at a time, and what has to wait for it.

import type { Rooms } from "../services/room.ts";
import { SessionClosedError, type Session, type Room, type Service } from "../services/service.ts";

export interface HooksContext {
  service: Service;
  rooms: Rooms;
}

/** The conversation, as its hooks see it. */
export interface HookTarget extends Session {
  /** Is there somebody, or may there be again, who hears what is said? */
  readonly isOpen: boolean;
  /** A hook threw that nobody waits for. */
  fail(error: unknown): void;
  /** No more is coming, and the service has no hook to be told so. */
  finishByDefault(): void;
}

export class HookRunner {
  readonly #service: Service;
  readonly #rooms: Rooms;
  readonly #conversation: HookTarget;
  #running: Promise<void> | undefined;
  #isProcessingMessage = false;
  #resumeInput: (() => void) | undefined;
  #isOpen = false;
  #isClosed = false;

  constructor({ service, rooms }: HooksContext, conversation: HookTarget) {
    this.#service = service;
    this.#rooms = rooms;
    this.#conversation = conversation;
  }

  /** The hook at work, if one is. It stays when that fails. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** Is a hook at work on a message? Until it is done, that is not taken; never, when it fails. */
  get isProcessingMessage(): boolean {
    return this.#isProcessingMessage;
  }

  /** The service finishes: what it is at work on it has, unless it only hands it on. */
  finishing(): void {
    if (this.#service.acksOnHandOff !== true) this.#isProcessingMessage = false;
  }

  open(): Promise<void> | undefined {
    this.#isOpen = true;
    return this.#track(this.#service.open?.(this.#conversation));
  }

  message(payload: Uint8Array): Promise<void> | undefined {
    this.#isProcessingMessage = true; // and stays so when this throws
    const pending = this.#service.message(this.#conversation, payload);
    if (pending !== undefined) return this.#track(pending);
    this.#isProcessingMessage = false;
    return undefined;
  }

  end(): Promise<void> | undefined {
    return this.#track(this.#end());
  }

  /** Tells the service that there is no more input, for whatever is at work. */
  stop(): void {
    this.#runDetached(() => this.#end());
  }

  /** The client is gone while a hook is at work. */
  cut(): void {
    this.#service.disconnected?.(this.#conversation);
  }

  /** It is over for the service. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#rooms.leaveAll(this.#conversation);
    if (this.#isOpen) this.#runDetached(() => this.#service.close?.(this.#conversation));
  }

  /** The room of that name, with the conversation in it until it is over. */
  room(name: string): Room {
    return this.#isClosed ? this.#rooms.find(name) : this.#rooms.join(name, this.#conversation);
  }

  /** For the connection, which delivers nothing until `hook` is done, or {@link resumeInput}. */
  pauseInputUntil(hook: Promise<void> | undefined): Promise<void> | undefined {
    if (hook === undefined) return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#resumeInput = resolve;
    hook.then(resolve, reject);
    return promise;
  }

  /** Lets the connection deliver, although a hook is at work. */
  resumeInput(): void {
    this.#resumeInput?.();
  }

  #end(): void | Promise<void> {
    if (this.#service.end === undefined) return this.#conversation.finishByDefault();
    return this.#service.end(this.#conversation);
  }

  #track(pending: void | Promise<void>): Promise<void> | undefined {
    if (pending === undefined) return undefined;
    const done = () => {
      this.#running = undefined;
      this.#isProcessingMessage = false;
    };
    this.#running = pending.then(done, (error: unknown) => {
      if (!this.#isEnd(error)) throw error;
      done();
    });
    return this.#running;
  }

  #runDetached(hook: () => void | Promise<void>): void {
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
    return !this.#conversation.isOpen && SessionClosedError.is(error);
  }
}
