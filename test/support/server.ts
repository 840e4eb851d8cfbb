// A real server on a free port, and its end: a test that leaves a socket open fails.

import { addUser } from "../../src/auth/accounts.ts";
import { PasswordHasher, type NewHashCost } from "../../src/auth/password.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import type { LogEvent, LogFields, Logger } from "../../src/log/log.ts";
import { Server } from "../../src/server/server.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { echo } from "../../src/services/echo.ts";
import { PATIENCE_MS } from "./attack.ts";
import { tempFolder } from "./folder.ts";
import { Peer } from "./peer.ts";

/** The least argon2id that Bun makes: the one seam for speed. */
export const CHEAP: NewHashCost = { memoryKib: 1024, time: 1 };
export const PASSWORD = "correct horse";

/** The options of a server whose new hashes cost that. */
export const hashOptions = ({ memoryKib, time }: NewHashCost) => ({
  hashMemory: memoryKib * 1024,
  hashTime: time,
});

export interface LoggedEvent {
  level: keyof Logger;
  event: LogEvent;
  fields: LogFields;
}

export interface TestServer extends AsyncDisposable {
  server: Server;
  port: number;
  store: FileStore | undefined;
  /** The user file. */
  path: string;
  events: LoggedEvent[];
  /** A peer of the test's own. */
  peer(): Promise<Peer>;
  /** Resolves with the first event of that name, past or future, that is not among the first `seen` events. */
  event(name: LogEvent, seen?: number): Promise<LoggedEvent>;
}

/** Starts a server, with user `ann` unless it is `none` or bare. */
export async function startServer(
  options: Partial<ServerOptions> = {},
  openStore = (path: string) => new FileStore(path),
): Promise<TestServer> {
  const folder = tempFolder();
  const path = `${folder.path}/users.json`;
  const auth = options.auth ?? "password";
  const store = auth === "none" || options.bare === true ? undefined : openStore(path);
  if (auth === "password" && store !== undefined) {
    const hash = await new PasswordHasher(CHEAP).hash(PASSWORD);
    await store.change((draft) => addUser(draft, "ann", hash, new Date()));
  }
  const events: LoggedEvent[] = [];
  const waiting = new Map<LogEvent, (event: LoggedEvent) => void>();
  const note =
    (level: keyof Logger) =>
    (event: LogEvent, fields: LogFields = {}) => {
      const logged = { level, event, fields };
      events.push(logged);
      waiting.get(event)?.(logged);
    };
  const server = new Server({
    host: "127.0.0.1",
    port: 0,
    service: echo,
    serviceName: "echo",
    ...hashOptions(CHEAP),
    log: { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") },
    ...options,
    auth,
    store,
  });
  return {
    server,
    port: server.port,
    store,
    path,
    events,
    peer: () => Peer.connect(server.port),
    event(name, seen = 0) {
      const past = events.find(({ event }, index) => event === name && index >= seen);
      if (past !== undefined) return Promise.resolve(past);
      return new Promise((resolve) => waiting.set(name, resolve));
    },
    async [Symbol.asyncDispose]() {
      const left = await server.stop(PATIENCE_MS);
      folder[Symbol.dispose]();
      if (left > 0) throw new Error(`${left} sockets were left open`);
    },
  };
}
