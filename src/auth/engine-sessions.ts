// The lists of sessions of all servers that share an engine.
//
//     parley:{NAME}:sessions:ID   hash   list → the sessions of one server, as JSON; ID is random
//     parley:{NAME}:servers       hash   ID → when its list ends, in milliseconds of the engine's clock
//
// (Hashes, since the store needs the rights to their commands in any case.)
//
// A server says every SESSION_BEAT_MS that it lives, and writes its list again when that has changed, or may be missing: after a write
// without an answer, and in each new session with the engine. A server that was silent for SILENT_SERVER_MS counts as dead: its
// sessions are not shown. But it may only be cut off from the engine, and continue its conversations: what they use stays for
// LOST_SERVER_MS. A server that stops removes its list.
//
// The cost: 150 bytes in the engine for each session; as much is sent STATUS_FILE_MS after a change, and read by a process that
// removes tokens.

import { randomBytes } from "node:crypto";
import * as v from "valibot";
import {
  LOST_SERVER_MS,
  SESSION_BEAT_MS,
  SILENT_SERVER_MS,
  STATUS_FILE_MS,
  STORE_TIMEOUT_MS,
} from "../base/limits.ts";
import { EngineError } from "../engine/engine-error.ts";
import type { EngineSession } from "../engine/link.ts";
import { keyOf } from "./engine-commit.ts";
import {
  SessionStatus,
  type PublishedSessions,
  type SessionLists,
  type SessionStatuses,
} from "./session-status.ts";

/**
 * KEYS: servers, the list. ARGV: the id of the server, the list or "" for no change, its time to live in milliseconds.
 *
 * Returns 0 when the list is not there. With 0 ms to live, it is removed. Forgets the servers whose lists have ended. An end that no
 * server has written, or one from before the engine's clock was set back, becomes the latest possible one.
 */
const BEAT = `
local now = redis.call('TIME')
now = math.floor(now[1] * 1000 + now[2] / 1000)
local latest = now + ${LOST_SERVER_MS}
local id, text, keep = ARGV[1], ARGV[2], tonumber(ARGV[3])
if text ~= '' then redis.call('HSET', KEYS[2], 'list', text) end
local isThere = redis.call('PEXPIRE', KEYS[2], keep)
redis.call('HSET', KEYS[1], id, string.format('%.0f', now + keep))
redis.call('PEXPIRE', KEYS[1], ${LOST_SERVER_MS})
local ends = redis.call('HGETALL', KEYS[1])
for i = 1, #ends, 2 do
  local last = tonumber(string.match(ends[i + 1], '^%d+$'))
  if not last or last > latest then redis.call('HSET', KEYS[1], ends[i], string.format('%.0f', latest))
  elseif last <= now then redis.call('HDEL', KEYS[1], ends[i]) end
end
return isThere
`;

/** KEYS: servers. ARGV: what the name of each list begins with. Returns id, time to live in milliseconds, and list of each server. */
const LISTS = `
local now = redis.call('TIME')
now = math.floor(now[1] * 1000 + now[2] / 1000)
local ends = redis.call('HGETALL', KEYS[1])
local lists = {}
for i = 1, #ends, 2 do
  local last = tonumber(string.match(ends[i + 1], '^%d+$'))
  local left = last and last - now or ${LOST_SERVER_MS}
  if left > 0 then lists[#lists + 1] = {ends[i], left, redis.call('HGET', ARGV[1] .. ends[i], 'list') or ''} end
end
return lists
`;

export const SESSION_SCRIPTS: readonly string[] = [BEAT, LISTS];

export interface EngineSessionsOptions {
  /** The name of the store. */
  name: string;
  /** The engine. @throws {EngineError} `unreachable` at the deadline. */
  sessionBefore: (deadline: number) => Promise<EngineSession>;
}

export class EngineSessions implements SessionLists {
  readonly #options: EngineSessionsOptions;
  readonly #published = new Set<EngineSessionList>();

  constructor(options: EngineSessionsOptions) {
    this.#options = options;
  }

  publish(list: () => Iterable<SessionStatus>, failed: (error: EngineError) => void): PublishedSessions {
    const published = new EngineSessionList(this.#options, list, failed);
    this.#published.add(published);
    return published;
  }

  async statuses(): Promise<SessionStatuses> {
    try {
      const session = await this.#options.sessionBefore(performance.now() + STORE_TIMEOUT_MS);
      return await this.read(session, LOST_SERVER_MS - SILENT_SERVER_MS);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      return { sessions: [], failures: [error] };
    }
  }

  /** The lists that end later than in so many milliseconds: with 0 also those of servers that may be cut off. @throws {EngineError} */
  async read(session: EngineSession, least = 0): Promise<SessionStatuses> {
    const { name } = this.#options;
    const lists = await session.call(LISTS, [keyOf(name, "servers")], [keyOf(name, "sessions:")]);
    const statuses: SessionStatuses = { sessions: [], failures: [] };
    for (const [id, left, text] of lists as [string, number, string][]) {
      if (left < least) continue;
      const sessions = parseList(text);
      if (sessions === undefined) statuses.failures.push(unreadable(keyOf(name, `sessions:${id}`)));
      else for (const one of sessions) statuses.sessions.push(one);
    }
    return statuses;
  }

  /** Checks that a list could be written. @throws {EngineError} */
  async tryToWrite(session: EngineSession): Promise<void> {
    await beat(session, this.#options.name, randomId(), "[]", 0);
  }

  /** Removes what this process has published. */
  async close(): Promise<void> {
    await Promise.all([...this.#published].map((published) => published[Symbol.asyncDispose]()));
  }
}

/** The list of this server. */
class EngineSessionList implements PublishedSessions {
  readonly #id = randomId();
  readonly #options: EngineSessionsOptions;
  readonly #list: () => Iterable<SessionStatus>;
  readonly #failed: (error: EngineError) => void;
  readonly #beats: Timer;
  #timer: Timer | undefined;
  #working: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  /** The session in which the list was written last: another engine, or a restored one, may have an older list. */
  #writtenIn: EngineSession | undefined;
  /** True when the engine may not have the list as it is. */
  #isChanged = true;
  /** Why it could not be written the last time. */
  #complaint: string | undefined;

  constructor(
    options: EngineSessionsOptions,
    list: () => Iterable<SessionStatus>,
    failed: (error: EngineError) => void,
  ) {
    this.#options = options;
    this.#list = list;
    this.#failed = failed;
    this.#beats = setInterval(() => this.#write(), SESSION_BEAT_MS).unref();
    this.#write();
  }

  scheduleWrite(): void {
    this.#isChanged = true;
    if (this.#closed !== undefined) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#write();
    }, STATUS_FILE_MS).unref();
  }

  #write(): void {
    if (this.#working !== undefined) return; // a change meanwhile is written after it
    this.#working = this.#beat().finally(() => {
      this.#working = undefined;
      if (this.#isChanged) this.scheduleWrite();
    });
  }

  async #beat(): Promise<void> {
    const { name, sessionBefore } = this.#options;
    try {
      const session = await sessionBefore(performance.now() + STORE_TIMEOUT_MS);
      const isWritten = !this.#isChanged && session === this.#writtenIn;
      const text = isWritten ? "" : JSON.stringify([...this.#list()]);
      this.#isChanged = false;
      this.#writtenIn = session;
      const isThere = await beat(session, name, this.#id, text, LOST_SERVER_MS);
      if (!isThere) this.#isChanged = true;
      this.#complaint = undefined;
    } catch (error) {
      this.#isChanged = true;
      if (!(error instanceof EngineError)) throw error;
      // That the engine cannot be reached is said by the store.
      if (error.code !== "unreachable" && error.message !== this.#complaint) this.#failed(error);
      this.#complaint = error.message;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    clearTimeout(this.#timer);
    clearInterval(this.#beats);
    await this.#working;
    const { name, sessionBefore } = this.#options;
    try {
      const session = await sessionBefore(performance.now() + STORE_TIMEOUT_MS);
      await beat(session, name, this.#id, "", 0);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error; // the list ends without this, too
    }
  }
}

/** True when the list is there. @throws {EngineError} */
async function beat(
  session: EngineSession,
  name: string,
  id: string,
  text: string,
  keepMs: number,
): Promise<boolean> {
  const keys = [keyOf(name, "servers"), keyOf(name, `sessions:${id}`)];
  return (await session.call(BEAT, keys, [id, text, String(keepMs)])) === 1;
}

function randomId(): string {
  return randomBytes(8).toString("hex");
}

const List = v.pipe(v.string(), v.parseJson(), v.array(SessionStatus));

function parseList(text: string): SessionStatus[] | undefined {
  const parsed = v.safeParse(List, text);
  return parsed.success ? parsed.output : undefined;
}

function unreadable(key: string): EngineError {
  return new EngineError("damaged", `the list of sessions in ${key} is missing or damaged`, {
    hint: "its server writes it again with the next change",
  });
}
