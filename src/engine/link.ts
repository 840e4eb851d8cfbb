// The link to an engine: it makes a session, and a new one whenever that ends, until it is closed.
//
// A session ends as soon as one of its connections is lost, so that commands and feed always come from the same engine.

import { pause } from "../base/abort.ts";
import { describeFault } from "../base/errors.ts";
import {
  ENGINE_EXAMINATION_PAUSE_MS,
  ENGINE_HELD_MS,
  ENGINE_RETRY_FIRST_MS,
  ENGINE_RETRY_MAX_MS,
  ENGINE_SLOW_MS,
} from "../base/limits.ts";
import { EngineConnection } from "./connection.ts";
import { EngineError } from "./engine-error.ts";
import { nextState, type LinkEvent, type LinkState } from "./link-state.ts";
import { examine } from "./probe.ts";
import { checkRole } from "./role.ts";
import { locate } from "./sentinel.ts";
import { ConnectionPair, nameScripts, type EngineSession, type Scripts } from "./session.ts";
import { showAddress, type EngineAccess } from "./store-url.ts";

export type { EngineSession } from "./session.ts";

export interface EngineLinkOptions {
  access: EngineAccess;
  /** Lua scripts that {@link EngineSession.call} runs. */
  scripts: readonly string[];

  /**
   * Called for each session. When it returns or throws, the session ends, and the link connects again. After the end of its session it
   * has to settle, since the next one waits for that.
   */
  serve(session: EngineSession): Promise<void>;

  /** Called when a session has ended or cannot be established: once for each reason, until there is a session again. */
  lost?(error: EngineError): void;
}

export class EngineLink {
  readonly #options: EngineLinkOptions;
  readonly #scripts: Scripts;
  readonly #closing = new AbortController();
  readonly #reported = new Set<string>();
  /** Those that wait for the first session. */
  readonly #waiting = new Set<PromiseWithResolvers<EngineSession>>();
  #state: LinkState = "waiting";
  #session: ConnectionPair | undefined;
  /** The last reason why there is no session. */
  #reason: EngineError | undefined;
  #running: Promise<void> | undefined;
  #diagnosis: Promise<void> | undefined;
  /** The time before which the reason is not looked for again. */
  #nextDiagnosis = 0;

  constructor(options: EngineLinkOptions) {
    this.#options = options;
    this.#scripts = nameScripts(options.scripts);
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Undefined while there is none. */
  get session(): EngineSession | undefined {
    return this.#session?.isOpen === true ? this.#session : undefined;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Starts the link, and resolves with the first session. Rejects at once when only a person can change the reason, and otherwise after
   * `timeoutMs`, or up to 2 s later when the reason is not known by then. The link goes on until it is closed.
   *
   * @throws {EngineError}
   */
  async connect(timeoutMs: number): Promise<EngineSession> {
    this.start();
    const { session } = this;
    if (session !== undefined) return session;
    const waiter = Promise.withResolvers<EngineSession>();
    const timer = setTimeout(() => void this.#giveUp(waiter), timeoutMs);
    this.#waiting.add(waiter);
    try {
      return await waiter.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(waiter);
    }
  }

  /** Ends the session, and resolves when `serve` has settled. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#become("close");
      const closed = new EngineError("unreachable", `the link to ${this.#place} was closed`);
      this.#closing.abort(closed);
      this.#session?.end(closed);
      for (const { reject } of this.#waiting) reject(closed);
    }
    await this.#running;
    await this.#diagnosis;
  }

  get #place(): string {
    return `the store ${this.#options.access.target.shown}`;
  }

  get #isClosed(): boolean {
    return this.#state === "closed";
  }

  #become(event: LinkEvent): void {
    this.#state = nextState(this.#state, event);
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#isClosed) {
      this.#become("try");
      const worked = await this.#attempt();
      failures = worked ? 0 : failures + 1;
      await pause(pauseAfter(failures), this.#closing.signal).catch(() => undefined); // the loop ends then
    }
  }

  /** Connects, and waits for the end of the session. True when it was lost after it had worked. */
  async #attempt(): Promise<boolean> {
    let session: ConnectionPair;
    // A slow try is examined while it goes on, so that its reason is known soon.
    const timer = setTimeout(() => this.#diagnose(), ENGINE_SLOW_MS);
    try {
      session = await this.#establish().finally(() => clearTimeout(timer));
    } catch (error) {
      if (this.#isClosed) return false;
      this.#become("loss");
      this.#diagnose(asEngineError(error));
      return false;
    }
    if (this.#isClosed) {
      session.end(this.#closing.signal.reason as EngineError);
      return false;
    }
    return await this.#hold(session);
  }

  async #hold(session: ConnectionPair): Promise<boolean> {
    const since = performance.now();
    this.#become("session");
    this.#session = session;
    this.#reason = undefined;
    this.#reported.clear();
    this.#nextDiagnosis = 0;
    for (const { resolve } of this.#waiting) resolve(session);
    let leftByService = false;
    const serving = this.#serve(session).then((reason) => {
      leftByService = session.isOpen;
      session.end(reason);
    });
    const reason = await session.ended;
    const worked = !leftByService && performance.now() - since >= ENGINE_HELD_MS;
    this.#session = undefined;
    if (!this.#isClosed) {
      this.#become("loss");
      this.#report(reason);
    }
    await serving;
    return worked;
  }

  /** Resolves with the reason to end the session, if it has not ended. */
  async #serve(session: ConnectionPair): Promise<EngineError> {
    try {
      await this.#options.serve(session);
      return new EngineError("unreachable", `the session with ${this.#place} was ended`);
    } catch (error) {
      return asEngineError(error);
    }
  }

  async #establish(): Promise<ConnectionPair> {
    const { access } = this.#options;
    const { signal } = this.#closing;
    const address = await locate(access, signal);
    const opening = [
      EngineConnection.open(access, address, signal),
      EngineConnection.open(access, address, signal),
    ] as const;
    const opened = await Promise.allSettled(opening);
    try {
      const [commands, feed] = await Promise.all(opening);
      const session = new ConnectionPair(commands, feed, this.#scripts);
      const place = `the store at ${showAddress(address)}`;
      await Promise.all([checkRole(commands, access, place), checkRole(feed, access, place), session.load()]);
      return session;
    } catch (error) {
      for (const one of opened) if (one.status === "fulfilled") one.value.close(asEngineError(error));
      throw error;
    }
  }

  /** Finds the reason of a failed or slow try and reports it, unless there is a session by then. The tries go on. */
  #diagnose(error?: EngineError): void {
    if (error?.code !== "refused" && performance.now() < this.#nextDiagnosis) return;
    this.#diagnosis ??= this.#examine(error).finally(() => (this.#diagnosis = undefined));
  }

  async #examine(error: EngineError | undefined): Promise<void> {
    const { access } = this.#options;
    const { signal } = this.#closing;
    const found = await locate(access, signal)
      .then((address) => examine(access, address, signal))
      .catch(asEngineError);
    const reason = found ?? error;
    const isWithout = this.#state === "waiting" || this.#state === "connecting";
    if (!isWithout || reason === undefined) return;
    this.#nextDiagnosis = performance.now() + ENGINE_EXAMINATION_PAUSE_MS;
    this.#report(reason);
  }

  #report(reason: EngineError): void {
    this.#reason = reason;
    if (reason.code !== "unreachable") for (const { reject } of this.#waiting) reject(reason);
    if (this.#reported.has(reason.message)) return;
    this.#reported.add(reason.message);
    this.#options.lost?.(reason);
  }

  async #giveUp({ reject }: PromiseWithResolvers<EngineSession>): Promise<void> {
    if (this.#reason === undefined) await this.#diagnosis;
    reject(this.#reason ?? new EngineError("unreachable", `${this.#place} does not answer`));
  }
}

/** How long the link waits before a try, after so many failures in a row. */
function pauseAfter(failures: number): number {
  if (failures === 0) return 0;
  const longest = Math.min(ENGINE_RETRY_FIRST_MS * 2 ** (failures - 1), ENGINE_RETRY_MAX_MS);
  return longest * (0.5 + Math.random() / 2);
}

function asEngineError(error: unknown): EngineError {
  return error instanceof EngineError
    ? error
    : new EngineError("unreachable", describeFault(error), { cause: error });
}
