// A session with an engine: one connection for commands, and one for commands that block. They end together.

import { FEED_SILENCE_MS } from "../base/limits.ts";
import type { EngineConnection } from "./connection.ts";
import { EngineError } from "./engine-error.ts";
import { ReplyError } from "./reply-error.ts";

export interface EngineSession {
  /** A command. Rejects with an EngineError. An engine that leaves it unanswered for `timeoutMs`, by default 1 s, ends the session. */
  send(command: string, args: readonly string[], timeoutMs?: number): Promise<unknown>;

  /**
   * A blocking command on the second connection, such as XREAD BLOCK 300. An engine that leaves it unanswered for
   * {@link FEED_SILENCE_MS} ends the session.
   */
  block(command: string, args: readonly string[]): Promise<unknown>;

  /** Runs a script, which is one of those of the link. It is loaded again when the engine has forgotten it. */
  call(
    script: string,
    keys: readonly string[],
    args: readonly string[],
    timeoutMs?: number,
  ): Promise<unknown>;

  /** Resolves with the reason when the session ends. */
  readonly ended: Promise<EngineError>;
}

/** The scripts of a link, and what the engine calls them: the SHA-1 of each. */
export type Scripts = ReadonlyMap<string, string>;

export function nameScripts(scripts: readonly string[]): Scripts {
  return new Map(scripts.map((script) => [script, Bun.SHA1.hash(script, "hex")]));
}

export class ConnectionPair implements EngineSession {
  readonly ended: Promise<EngineError>;
  readonly #commands: EngineConnection;
  readonly #feed: EngineConnection;
  readonly #scripts: Scripts;

  constructor(commands: EngineConnection, feed: EngineConnection, scripts: Scripts) {
    this.#commands = commands;
    this.#feed = feed;
    this.#scripts = scripts;
    this.ended = Promise.race([commands.closed, feed.closed]);
    void this.ended.then((reason) => this.end(reason));
  }

  send(command: string, args: readonly string[], timeoutMs?: number): Promise<unknown> {
    return this.#commands.send(command, args, timeoutMs);
  }

  block(command: string, args: readonly string[]): Promise<unknown> {
    return this.#feed.send(command, args, FEED_SILENCE_MS);
  }

  async call(
    script: string,
    keys: readonly string[],
    args: readonly string[],
    timeoutMs?: number,
  ): Promise<unknown> {
    const name = this.#scripts.get(script);
    if (name === undefined) throw new TypeError("not a script of this link");
    const words = [name, String(keys.length), ...keys, ...args];
    try {
      return await this.#commands.send("EVALSHA", words, timeoutMs);
    } catch (error) {
      if (!(error instanceof ReplyError) || error.word !== "NOSCRIPT") throw error;
    }
    await this.#commands.send("SCRIPT", ["LOAD", script], timeoutMs);
    return await this.#commands.send("EVALSHA", words, timeoutMs);
  }

  /** Loads all scripts. */
  async load(): Promise<void> {
    const loads = [...this.#scripts.keys()].map((script) => this.#commands.send("SCRIPT", ["LOAD", script]));
    await Promise.all(loads);
  }

  get isOpen(): boolean {
    return this.#commands.isOpen && this.#feed.isOpen;
  }

  end(reason: EngineError): void {
    this.#commands.close(reason);
    this.#feed.close(reason);
  }
}
