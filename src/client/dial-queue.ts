// When a forwarder dials. All its connections share one queue: those that come back stand before those that log in, and each kind
// keeps its order.
//
//     the way works      MAX_FORWARD_DIALS at once
//     a dial has failed  one at a time, after a pause that grows: it tries the way for all
//     a login (or a resume) was turned away, and may succeed later: the same for that kind alone
//
// Beside that the rate of dials in vain is limited: see DialLimiter. One that the server has answered counts no more: a local program
// has asked for it, or it is one of a conversation, which has a limit of its own.

import { FORWARD_PROBE_MS, MAX_FORWARD_DIALS, RETRY_AT_ONCE_MS } from "../base/limits.ts";
import { MAX_TIMER_MS } from "../base/units.ts";
import { ServerError } from "../handshake/errors.ts";
import { DialError } from "../net/dial.ts";
import { DialLimiter } from "./dial-limiter.ts";
import { waitAfter } from "./reconnect.ts";

/** A place in the queue. */
export interface DialRequest {
  kind: "resume" | "login";
  /** The lowest comes first. */
  ticket: number;
  /** When to wait no longer, by `performance.now`. */
  giveUpAt: number;
}

export interface DialQueueEvents {
  /** No dial gets through, or no login: those that wait go on waiting. Called once, until `working`. */
  failing(error: unknown): void;
  /** Dials and logins succeed again. */
  working(): void;
}

/** So many dials in a row say that the server is away. */
const AWAY_FAILURES = 3;

interface Waiting {
  request: DialRequest;
  timer: Timer | undefined;
  start(): void;
  fail(error: unknown): void;
}

/** What fails at the moment, and when it is tried again. */
class Backoff {
  failures = 0;
  /** By `performance.now`. */
  until = 0;

  failed(waitMs: number): void {
    const pause = Math.min(FORWARD_PROBE_MS, RETRY_AT_ONCE_MS * 2 ** this.failures++);
    this.until = performance.now() + Math.max(waitMs, pause * (0.5 + Math.random() / 2));
  }

  succeeded(): void {
    this.failures = this.until = 0;
  }
}

class Lane extends Backoff {
  readonly waiting: Waiting[] = [];
  running = 0;

  add(added: Waiting): void {
    const { ticket } = added.request;
    const behind = this.waiting.findLastIndex(({ request }) => request.ticket <= ticket);
    this.waiting.splice(behind + 1, 0, added);
  }

  /** The one with `request`, which waits no more. */
  remove(request: DialRequest): Waiting | undefined {
    const index = this.waiting.findIndex((waiting) => waiting.request === request);
    const [removed] = index === -1 ? [] : this.waiting.splice(index, 1);
    clearTimeout(removed?.timer);
    return removed;
  }
}

export class DialQueue {
  readonly #events: DialQueueEvents;
  readonly #limiter = new DialLimiter();
  readonly #way = new Backoff();
  readonly #lanes = { resume: new Lane(), login: new Lane() };
  #running = 0;
  #timer: Timer | undefined;

  constructor(events: DialQueueEvents) {
    this.#events = events;
  }

  /** Does the server let nothing through at the moment? One dial may fail because its connection was cut. */
  get isFailing(): boolean {
    return this.#way.failures >= AWAY_FAILURES || this.#lanes.login.failures > 0;
  }

  /**
   * Does `work`, which dials once, when it is the turn of `request`.
   *
   * @throws what `work` throws. @throws {DialError} `timeout` at `giveUpAt`, or after {@link cancel}.
   */
  async run<T>(request: DialRequest, work: () => Promise<T>): Promise<T> {
    await this.#turn(request);
    try {
      const result = await work();
      this.#ended(request, undefined);
      return result;
    } catch (error) {
      this.#ended(request, error);
      throw error;
    }
  }

  /** Takes `request` out of the queue, if it still waits. */
  cancel(request: DialRequest): void {
    this.#lanes[request.kind].remove(request)?.fail(new DialError("timeout", "the wait was given up"));
  }

  #turn(request: DialRequest): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const left = request.giveUpAt - performance.now();
    const timer =
      left > MAX_TIMER_MS ? undefined : setTimeout(() => this.#giveUp(request), Math.max(0, left));
    this.#lanes[request.kind].add({ request, timer, start: resolve, fail: reject });
    this.#pump();
    return promise;
  }

  #giveUp(request: DialRequest): void {
    const error = new DialError("timeout", "the server could not be reached in time");
    this.#lanes[request.kind].remove(request)?.fail(error);
  }

  #ended({ kind }: DialRequest, error: unknown): void {
    const wasFailing = this.isFailing;
    const lane = this.#lanes[kind];
    this.#running--;
    lane.running--;
    const wait = error === undefined ? undefined : waitAfter(error);
    if (wait !== undefined && isOfTheWay(error)) this.#way.failed(wait);
    else {
      this.#way.succeeded();
      if (wait === undefined) lane.succeeded();
      else lane.failed(wait);
    }
    if (wait === undefined) this.#limiter.giveBack();
    if (this.isFailing && !wasFailing) this.#events.failing(error);
    if (!this.isFailing && wasFailing) this.#events.working();
    this.#pump();
  }

  /** Starts those whose turn it is. */
  #pump(): void {
    clearTimeout(this.#timer);
    let soonest = Infinity;
    const now = performance.now();
    for (const lane of [this.#lanes.resume, this.#lanes.login]) {
      for (let first = lane.waiting[0]; first !== undefined; first = lane.waiting[0]) {
        const pause = this.#pause(lane, now);
        if (pause > 0) {
          soonest = Math.min(soonest, pause);
          break;
        }
        this.#limiter.take(now);
        this.#running++;
        lane.running++;
        lane.remove(first.request);
        first.start();
      }
    }
    if (soonest < Infinity) this.#timer = setTimeout(() => this.#pump(), Math.min(soonest, MAX_TIMER_MS));
  }

  /** Milliseconds until the first of `lane` may dial; Infinity: not before another one has ended. */
  #pause(lane: Lane, now: number): number {
    const way = this.#way;
    const isProbing = (way.failures > 0 && this.#running > 0) || (lane.failures > 0 && lane.running > 0);
    if (isProbing || this.#running >= MAX_FORWARD_DIALS) return Infinity;
    return Math.max(0, way.until - now, lane.until - now, this.#limiter.pause(now));
  }
}

/** Has the way to the server failed, rather than what was asked of it? */
function isOfTheWay(error: unknown): boolean {
  if (!(error instanceof ServerError)) return true;
  return ["reset", "closed", "timeout", "shutting_down"].includes(error.serverCode);
}
