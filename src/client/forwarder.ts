// Carries local connections to a server, each as a conversation of its own. cli/connect accepts the local connections and prints
// what is reported here.
//
//     accept → Forwarded, which waits in the DialQueue → dial, login with the token → Client → both directions → the end
//
// All connections share one queue of dials, one cork, and one bound on what is queued. A login that the server refuses for good ends
// the forwarder.

import { ByteBudget } from "../base/byte-budget.ts";
import { messageOf, ParleyError } from "../base/errors.ts";
import {
  MAX_FORWARDED,
  MAX_FORWARD_WAITING,
  MAX_QUEUED_BYTES,
  RESERVED_DESCRIPTORS,
} from "../base/limits.ts";
import { Cork } from "../net/cork.ts";
import type { Stream } from "../net/stream.ts";
import { maxDescriptors } from "../os/descriptors.ts";
import type { Hello, Welcome } from "../wire/message.ts";
import { Client } from "./client.ts";
import { dialServer } from "./dial-with-retry.ts";
import { DialLimiter } from "./dial-limiter.ts";
import { DialQueue } from "./dial-queue.ts";
import { Forwarded, type Cut, type ForwardedEvents } from "./forwarded.ts";
import { receiveHello, secureChannel } from "./login.ts";
import type { ClientOptions, Credential, Retry } from "./options.ts";
import { waitAfter, type ReconnectOptions, type Resumed } from "./reconnect.ts";
import { Relogin } from "./relogin.ts";
import { makeReconnect } from "./resume.ts";

export interface ForwarderEvents {
  /** A connection to the server was lost; its local program waits. */
  lost(name: string, reason: string): void;
  resumed(name: string, event: Resumed): void;
  /** A local program was reset. */
  cut(name: string, why: Cut): void;
  /** The server cannot be reached, or lets no connection in. Called once, until `working`. */
  failing(reason: string): void;
  working(): void;
}

export interface ForwarderOptions {
  client: Omit<ClientOptions, "retry" | "cork">;
  /** How often, and for how long, a lost connection comes back, and a new one waits. */
  retry: Pick<Retry, "times" | "forMs">;
  /** The credential of the first login, and its answer. */
  first: Credential;
  issued: Welcome | undefined;
  /** Bytes that all connections together may hold; undefined: as many as on a server. */
  maxQueued?: number;
  events: ForwarderEvents;
}

export class Forwarder implements ForwardedEvents {
  /** What is queued and kept for all connections. */
  readonly budget: ByteBudget;
  readonly #options: ForwarderOptions;
  readonly #clientOptions: ClientOptions;
  readonly #relogin: Relogin;
  readonly #queue: DialQueue;
  readonly #resume: ReturnType<typeof makeReconnect>;
  readonly #connections = new Set<Forwarded>();
  readonly #failed = Promise.withResolvers<never>();
  readonly #most = mostConnections();
  #tickets = 0;
  #whenEmpty: (() => void) | undefined;
  /** Connections that were reset because the forwarder stops. */
  #stopped = 0;

  constructor(options: ForwarderOptions) {
    const { client, first, issued, maxQueued = MAX_QUEUED_BYTES, events } = options;
    this.#options = options;
    this.budget = new ByteBudget(maxQueued, () => this.#cutLargest());
    this.#clientOptions = { ...client, retry: { ...this.#retry, ...UNSAID }, cork: new Cork(this.budget) };
    this.#relogin = new Relogin(this.#clientOptions, first, issued);
    const dial = () => dialServer(this.#clientOptions);
    this.#resume = makeReconnect(this.#clientOptions, dial, this.#relogin);
    this.#queue = new DialQueue({
      failing: (error) => {
        events.failing(messageOf(error));
        this.#cutSurplus();
      },
      working: () => events.working(),
    });
    this.#failed.promise.catch(() => undefined); // it is awaited later
  }

  /** Rejects when the server refuses a login for good, or has ended this one. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** The number of local connections. */
  get size(): number {
    return this.#connections.size;
  }

  /** Carries a local connection. */
  accept(local: Stream): void {
    const { forMs } = this.#options.retry;
    const giveUpAt = performance.now() + forMs;
    const request = { kind: "login", ticket: this.#tickets++, giveUpAt } as const;
    const connection = new Forwarded(local, request, this.budget, this);
    this.#connections.add(connection);
    connection.watch();
    if (this.#connections.size > this.#most) return connection.cut("crowded", "too many local connections");
    if (this.#queue.isFailing) this.#cutSurplus();
    void this.#open(connection);
  }

  /** Waits until all local connections have ended; resets those that are left after `drainMs`. How many were reset. */
  async stop(drainMs: number): Promise<number> {
    const timer = setTimeout(() => this.terminate(), drainMs);
    if (this.size > 0) await new Promise<void>((resolve) => (this.#whenEmpty = resolve));
    clearTimeout(timer);
    return this.#stopped;
  }

  /** Resets all local connections. */
  terminate(): void {
    this.#stopped += this.size;
    for (const connection of this.#connections) connection.cut("stopped", "parley was stopped");
  }

  // --- a connection ---

  async #open(connection: Forwarded): Promise<void> {
    const { request } = connection;
    for (let tries = 1; connection.state === "waiting"; tries++) {
      try {
        const client = await this.#queue.run(request, () => this.#logIn(connection));
        if (connection.state === "waiting") return connection.open(client);
        return client.leave();
      } catch (error) {
        if (connection.state !== "waiting") return;
        if (waitAfter(error) === undefined) return this.#fail(error);
        const isLate = tries >= this.#options.retry.times || performance.now() >= request.giveUpAt;
        if (isLate) return connection.cut("unreachable", messageOf(error));
      }
    }
  }

  async #logIn(forwarded: Forwarded): Promise<Client> {
    const options = this.#clientOptions;
    const connection = await dialServer(options);
    try {
      await secureChannel(connection, options);
      const hello = await receiveHello(connection, options);
      checkStream(hello);
      const welcome = await this.#relogin.logIn(connection, hello);
      if (welcome.token !== undefined) await options.onNewLogin?.(hello, welcome);
      return new Client({
        connection,
        hello,
        welcome,
        reconnect: this.#reconnect(forwarded),
        budget: this.budget,
        onAside: (text) => options.onAside?.(text),
      });
    } catch (error) {
      connection.terminate();
      throw error;
    }
  }

  #reconnect(forwarded: Forwarded): ReconnectOptions {
    const { ticket } = forwarded.request;
    const limiter = new DialLimiter(); // a server that cuts each connection is dialled as seldom as by any client
    return {
      ...this.#retry,
      reconnect: async (welcome, received, giveUpAt) => {
        await limiter.wait();
        const request = { kind: "resume", ticket, giveUpAt } as const;
        return this.#queue.run(request, () => this.#resume(welcome, received));
      },
      onLost: (reason) => forwarded.lost(reason),
      onResumed: (event) => forwarded.resumed(event),
    };
  }

  get #retry() {
    const { times, forMs } = this.#options.retry;
    // Without a try to come back the server need not keep the session.
    return { times, forMs: times === 0 ? 0 : forMs, resend: false, sameSession: true, isPaced: true };
  }

  /** While the server cannot be reached, so many wait; the latest ones are reset. */
  #cutSurplus(): void {
    const waiting = [...this.#connections].filter(({ state }) => state === "waiting");
    for (const connection of waiting.slice(MAX_FORWARD_WAITING)) {
      connection.cut("crowded", `${MAX_FORWARD_WAITING} local connections wait for the server already`);
    }
  }

  /** All connections together hold too much: the one that holds most is reset. */
  #cutLargest(): void {
    const [largest] = [...this.#connections].sort((a, b) => b.held - a.held);
    largest?.cut("crowded", "the local connections have left too much unread");
    largest?.terminate();
  }

  #fail(error: unknown): void {
    this.#failed.reject(error);
  }

  // --- what a connection reports ---

  lost(connection: Forwarded, reason: string): void {
    this.#options.events.lost(connection.name, reason);
  }

  resumed(connection: Forwarded, event: Resumed): void {
    this.#options.events.resumed(connection.name, event);
  }

  cut(connection: Forwarded, why: Cut): void {
    if (ENDED_LOGIN.includes(why.code))
      this.#fail(new ParleyError("turned_away", `the server ended the login: ${why.reason}`));
    this.#options.events.cut(connection.name, why);
  }

  closed(connection: Forwarded): void {
    this.#connections.delete(connection);
    this.#queue.cancel(connection.request);
    if (this.size === 0) this.#whenEmpty?.();
  }
}

/** Each connection reports its own losses. */
const UNSAID = { onLost: () => undefined, onResumed: () => undefined };

/** Codes of `bye` that no further login follows. */
const ENDED_LOGIN: readonly string[] = ["revoked", "disabled"];

/** @throws {ParleyError} `usage` when the service of the server takes messages rather than a stream of bytes. */
export function checkStream({ messages, service }: Hello): void {
  if (messages === "bytes") return;
  throw new ParleyError(
    "usage",
    `cannot forward to this server: its service ${service} takes messages, not a stream of bytes`,
    {
      hint: "start the server with --to HOST:PORT, or with --program-io bytes -- PROGRAM",
    },
  );
}

/** Each takes two descriptors: the local socket, and one to the server. */
function mostConnections(): number {
  const descriptors = maxDescriptors() ?? Infinity;
  return Math.max(1, Math.min(MAX_FORWARDED, Math.floor((descriptors - RESERVED_DESCRIPTORS) / 2)));
}
