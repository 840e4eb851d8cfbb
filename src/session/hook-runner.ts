// Runs the service's hooks for one session, one at a time, and holds input back while one runs.
//
//     idle → running (a hook has returned a promise) → idle, or failed (the hook rejected, and `fail` was called)

import type { Host } from "../services/host.ts";
import {
  SessionClosedError,
  type Message,
  type Room,
  type Service,
  type Session,
  type SessionHooks,
} from "../services/service.ts";
import { Timers } from "../services/timers.ts";

export interface HooksContext {
  service: Service;
  host: Host;
}

/** The part of the session that its hooks and this runner use. */
export interface HookTarget extends Session {
  /** True while output reaches the client, now or after it has reconnected. */
  readonly isOpen: boolean;
  /** Called when a hook has failed that no delivery waits for. */
  fail(error: unknown): void;
  /** Called when the input has ended and the service has no `end` hook: the session finishes. */
  finishByDefault(): void;
}

export class HookRunner {
  readonly #service: Service;
  readonly #hooks: SessionHooks;
  readonly #host: Host;
  readonly #conversation: HookTarget;
  /** Undefined until the service asks for a timer. */
  #timers: Timers | undefined;
  #running: Promise<void> | undefined;
  #isProcessingMessage = false;
  #resumeInput: (() => void) | undefined;
  #isOpen = false;
  #isClosed = false;

  constructor({ service, host }: HooksContext, conversation: HookTarget) {
    this.#service = service;
    this.#hooks = service.hooksOf?.(conversation) ?? service;
    this.#host = host;
    this.#conversation = conversation;
  }

  /** The timers of the session, until it is closed. */
  get timers(): Timers {
    if (this.#timers === undefined) {
      this.#timers = new Timers((error) => this.#fail(this.#service.explain?.(error) ?? error));
      if (this.#isClosed) this.#timers.end();
    }
    return this.#timers;
  }

  /** The running hook; a failed one counts as running. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** True until the message hook succeeds: a message is acknowledged only after that. */
  get isProcessingMessage(): boolean {
    return this.#isProcessingMessage;
  }

  /** Called when the service finishes: the message in its hook counts as processed, unless the service only passes messages on. */
  finishing(): void {
    if (this.#service.acksOnHandOff !== true) this.#isProcessingMessage = false;
  }

  open(): Promise<void> | undefined {
    this.#isOpen = true;
    this.#host.sessions.add(this.#conversation);
    return this.#track(this.#hooks.open?.(this.#conversation));
  }

  message(message: Message): Promise<void> | undefined {
    this.#isProcessingMessage = true; // also when this throws
    const pending = this.#hooks.message(this.#conversation, message);
    if (pending !== undefined) return this.#track(pending);
    this.#isProcessingMessage = false;
    return undefined;
  }

  end(): Promise<void> | undefined {
    return this.#track(this.#end());
  }

  /** Informs the service of the end of input, even while a hook runs. */
  stop(): void {
    this.#runDetached(() => this.#end());
  }

  /** Informs the service that the client has left while a hook runs. */
  disconnected(): void {
    this.#service.disconnected?.(this.#conversation);
  }

  /** Informs the service that the connection is lost, and the client may come back. */
  detached(): void {
    if (this.#isOpen && !this.#isClosed) this.#runDetached(() => this.#hooks.detached?.(this.#conversation));
  }

  /** Informs the service that the client has come back. */
  attached(): void {
    if (this.#isOpen && !this.#isClosed) this.#runDetached(() => this.#hooks.attached?.(this.#conversation));
  }

  /** Leaves the rooms, stops the timers, and calls the `close` hook once. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timers?.end();
    this.#host.rooms.leaveAll(this.#conversation);
    this.#host.sessions.delete(this.#conversation);
    if (this.#isOpen) this.#runDetached(() => this.#hooks.close?.(this.#conversation));
  }

  /** The room of that name, with the session in it until it leaves or is closed. */
  join(name: string): Room {
    return this.#isClosed ? this.#host.room(name) : this.#host.rooms.join(name, this.#conversation);
  }

  leave(name: string): void {
    this.#host.rooms.leave(name, this.#conversation);
  }

  /** The promise after which the reader delivers again: that of `hook`, or {@link resumeInput}. */
  pauseInputUntil(hook: Promise<void> | undefined): Promise<void> | undefined {
    if (hook === undefined) return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#resumeInput = resolve;
    hook.then(resolve, reject);
    return promise;
  }

  /** Makes the reader deliver while a hook runs. */
  resumeInput(): void {
    this.#resumeInput?.();
  }

  #end(): void | Promise<void> {
    if (this.#hooks.end === undefined) return this.#conversation.finishByDefault();
    return this.#hooks.end(this.#conversation);
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

  /** True when a hook ended because of the end of its session. */
  #isEnd(error: unknown): boolean {
    return !this.#conversation.isOpen && SessionClosedError.is(error);
  }
}
