// One connection to an engine, over Bun's client.
//
// Bun 1.4.5 forgets subscriptions when it reconnects, gives up after 31 s, has no deadline for a command, and says "Connection
// closed" for every failure (measured). So it does not reconnect here, commands have deadlines, and probe.ts finds the reason.

import { RedisClient, type RedisOptions } from "bun";
import { formatAddress, lookupName } from "../base/address.ts";
import { onAbort } from "../base/abort.ts";
import { messageOf, systemCode } from "../base/errors.ts";
import { ENGINE_DIAL_TIMEOUT_MS, HELD_UP_MS, STORE_TIMEOUT_MS } from "../base/limits.ts";
import { sayDuration } from "../base/units.ts";
import { EngineError } from "./engine-error.ts";
import { ReplyError } from "./reply-error.ts";
import { tlsOptions } from "./raw-connection.ts";
import { loginOf, showAddress, type EngineAccess, type EngineAddress } from "./store-url.ts";

export class EngineConnection {
  /** Resolves with the reason when the connection is closed. */
  readonly closed: Promise<EngineError>;
  readonly #client: RedisClient;
  /** As messages show it. */
  readonly #store: string;
  readonly #close: (reason: EngineError) => void;
  #reason: EngineError | undefined;

  private constructor(client: RedisClient, place: string) {
    const { promise, resolve } = Promise.withResolvers<EngineError>();
    this.closed = promise;
    this.#client = client;
    this.#store = `the store at ${place}`;
    this.#close = resolve;
  }

  /** @throws {EngineError} without the reason of the failure: `examine` finds it. */
  static async open(
    access: EngineAccess,
    address: EngineAddress,
    signal?: AbortSignal,
  ): Promise<EngineConnection> {
    const client = new RedisClient(urlOf(access, address), optionsOf(access, address));
    const connection = new EngineConnection(client, showAddress(address));
    using _ = onAbort(signal, () => connection.close());
    await connection.#connect(access.target.db);
    return connection;
  }

  /**
   * @throws {EngineError} `refused` for an error reply, `unreachable` for one that passes, and when the connection is closed. Then the
   * command may have been carried out. A command without an answer within `timeoutMs` closes the connection.
   */
  async send(
    command: string,
    args: readonly (string | Buffer)[],
    timeoutMs: number = STORE_TIMEOUT_MS,
  ): Promise<unknown> {
    if (this.#reason !== undefined) throw this.#reason;
    const silence = this.#limit(command, timeoutMs);
    try {
      return (await this.#client.send(command, args as string[])) as unknown; // it takes Buffers (measured)
    } catch (error) {
      throw this.#explain(command, error);
    } finally {
      silence.cancel();
    }
  }

  /** @param reason the error of the commands that are not answered. */
  close(reason?: EngineError): void {
    this.#end(reason ?? new EngineError("unreachable", `the connection to ${this.#store} was closed`));
  }

  get isOpen(): boolean {
    return this.#reason === undefined;
  }

  async #connect(db: number): Promise<void> {
    if (this.#reason !== undefined) throw this.#reason;
    try {
      await this.#client.connect();
    } catch (cause) {
      throw this.#end(new EngineError("unreachable", `cannot connect to ${this.#store}`, { cause }));
    }
    this.#client.onclose = () =>
      this.#end(new EngineError("unreachable", `${this.#store} closed the connection`));
    try {
      if (db !== 0) await this.send("SELECT", [String(db)]);
    } catch (error) {
      this.close();
      throw error;
    }
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** Closes the connection after `timeoutMs`. Time in which this process did not run does not count. */
  #limit(command: string, timeoutMs: number): { cancel(): void } {
    const due = performance.now() + timeoutMs;
    let timer = setTimeout(() => {
      if (performance.now() - due < HELD_UP_MS) return this.#fallSilent(command, timeoutMs);
      timer = setTimeout(() => this.#fallSilent(command, timeoutMs), HELD_UP_MS);
    }, timeoutMs);
    return { cancel: () => clearTimeout(timer) };
  }

  #fallSilent(command: string, timeoutMs: number): void {
    const message = `${this.#store} has not answered to ${command} within ${sayDuration(timeoutMs)}`;
    this.#end(new EngineError("unreachable", message));
  }

  /** What the rejection of a command means. A fault of parley, such as a wrong type, is passed on as it is. */
  #explain(command: string, error: unknown): unknown {
    if (this.#reason !== undefined) return this.#reason;
    const code = systemCode(error);
    if (code === "ERR_REDIS_SERVER_ERROR") {
      const explained = new ReplyError(this.#store, command, messageOf(error));
      return explained.leadsElsewhere ? this.#end(explained) : explained;
    }
    if (code?.startsWith("ERR_REDIS_") !== true) return error;
    return this.#end(
      new EngineError("unreachable", `${this.#store} closed the connection`, { cause: error }),
    );
  }

  /** Closes the connection, if it is open, and returns the first reason. */
  #end(reason: EngineError): EngineError {
    if (this.#reason !== undefined) return this.#reason;
    this.#reason = reason;
    this.#client.close();
    this.#close(reason);
    return reason;
  }
}

/** The URL for Bun, which has the password. */
function urlOf(access: EngineAccess, address: EngineAddress): string {
  const parts = loginOf(access)?.map((part) => encodeURIComponent(part));
  const login = parts === undefined ? "" : `${parts.join(":")}@`;
  // Without a host the URL of a path may have no login.
  if (address.kind === "unix")
    return `redis+unix://${login === "" ? "" : `${login}localhost`}${address.path}`;
  const scheme = access.target.tls ? "rediss" : "redis";
  return `${scheme}://${login}${formatAddress(lookupName(address.host), address.port)}`;
}

function optionsOf(access: EngineAccess, address: EngineAddress): RedisOptions {
  const tls = tlsOptions(access, address);
  return {
    autoReconnect: false,
    enableOfflineQueue: false,
    connectionTimeout: ENGINE_DIAL_TIMEOUT_MS,
    ...(tls === undefined ? {} : { tls }),
  };
}
