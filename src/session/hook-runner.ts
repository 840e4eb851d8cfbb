// Runs the service's hooks for one session, one at a time, and holds input back while one runs.
//
//     new → open → closed, or new → closed: then the service has not heard of the session
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
import type { WindowSize } from "../wire/message.ts";
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
  readonly #context: HooksContext;
  readonly #hooks: SessionHooks;
  readonly #conversation: HookTarget;
  /** Undefined until the service asks for a timer. */
  #timers: Timers | undefined;
  #running: Promise<void> | undefined;
  #isProcessingMessage = false;
  #resumeInput: (() => void) | undefined;
  #state: "new" | "open" | "closed" = "new";

  constructor(context: HooksContext, conversation: HookTarget) {
    const { service } = context;
    this.#context = context;
    this.#hooks = service.hooksOf?.(conversation) ?? service;
    this.#conversation = conversation;
  }

  /** The timers of the session, until it is closed. */
  get timers(): Timers {
    if (this.#timers === undefined) {
      this.#timers = new Timers((error) => this.#fail(this.#context.service.explain?.(error) ?? error));
      if (this.#state === "closed") this.#timers.end();
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
    if (this.#context.service.acksOnHandOff !== true) this.#isProcessingMessage = false;
  }

  open(): Promise<void> | undefined {
    this.#state = "open";
    this.#context.host.sessions.add(this.#conversation);
    return this.#track(this.#hooks.open?.(this.#conversation));
  }

  message(message: Message): Promise<void> | undefined {
    this.#isProcessingMessage = true; // also when this throws
    const pending = this.#hooks.message(this.#conversation, message);
    if (pending !== undefined) return this.#track(pending);
    this.#isProcessingMessage = false;
    return undefined;
  }

  /** The window of the client's terminal has another size. It may come while a hook runs. */
  window(size: WindowSize): void {
    this.#context.service.window?.(this.#conversation, size);
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
    this.#context.service.disconnected?.(this.#conversation);
  }

  /** Informs the service that the connection is lost, and the client may come back. */
  detached(): void {
    if (this.#state === "open") this.#runDetached(() => this.#hooks.detached?.(this.#conversation));
  }

  /** Informs the service that the client has come back. */
  attached(): void {
    if (this.#state === "open") this.#runDetached(() => this.#hooks.attached?.(this.#conversation));
  }

  /** Leaves the rooms, stops the timers, and calls the `close` hook once. */
  close(): void {
    const wasOpen = this.#state === "open";
    this.#state = "closed";
    this.#timers?.end();
    this.#context.host.rooms.leaveAll(this.#conversation);
    this.#context.host.sessions.delete(this.#conversation);
    if (wasOpen) this.#runDetached(() => this.#hooks.close?.(this.#conversation));
  }

  /** The room of that name, with the session in it until it leaves or is closed. */
  join(name: string): Room {
    return this.#state === "closed"
      ? this.#context.host.room(name)
      : this.#context.host.rooms.join(name, this.#conversation);
  }

  leave(name: string): void {
    this.#context.host.rooms.leave(name, this.#conversation);
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
