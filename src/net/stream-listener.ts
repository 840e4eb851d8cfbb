// Listens for plain byte streams: at a port of TCP, or at the path of a Unix socket.
//
// A path is made under another name and linked into its place. So it never has a wrong mode, it takes the place of nothing, and Bun,
// which removes the path that it was given when it stops, does not remove that of another program. A path that is left over is
// removed once a connection to it was refused.

import { linkSync, lstatSync, renameSync, unlinkSync, type Stats } from "node:fs";
import { dirname, join } from "node:path";
import { randomBytes } from "node:crypto";
import { ParleyError, reasonOf, systemCode, usageError } from "../base/errors.ts";
import { bind, listenUnix } from "./bind.ts";
import { DialError } from "./dial.ts";
import {
  dialStream,
  formatStreamAddress,
  streamHandlers,
  type Stream,
  type StreamAddress,
  type StreamOptions,
} from "./stream.ts";

export interface StreamListener {
  /** Where it listens, with the port that it has. */
  readonly address: StreamAddress;
  /** Accepts nothing any more; accepted streams go on. */
  stop(): void;
}

/** `sun_path` of the systems that Bun runs on, without the zero at its end. */
const MAX_PATH_BYTES = 103;
/** How long a program that has the path may take to accept a connection, in milliseconds. */
const ACCEPT_TIMEOUT_MS = 2000;

/**
 * Listens at `address`; port 0 is any free one.
 *
 * @param opened is called with each stream, which is not read before it is started.
 * @param flag what the user chose the address with. @param fd a descriptor that listens already, at `address`.
 * @throws {ParleyError} `listen` when another program listens there, or the system does not allow it.
 */
export async function listenForStreams(
  address: StreamAddress,
  opened: (stream: Stream) => void,
  { flag, fd, ...options }: StreamOptions & { flag: string; fd?: number },
): Promise<StreamListener> {
  const handlers = streamHandlers(opened, options);
  if ("unix" in address) return listenAtPath(address.unix, handlers);
  const server = bind({ ...address, strictPort: true, flag, fd }, handlers, undefined);
  return { address: { host: address.host, port: server.port }, stop: () => server.stop() };
}

/** @throws {ParleyError} `usage` when `path` is too long for a socket. */
export function checkSocketPath(path: string): void {
  const longest = Buffer.byteLength(hiddenName(path));
  if (Math.max(longest, Buffer.byteLength(path)) <= MAX_PATH_BYTES) return;
  throw usageError(`the path ${path} is too long for a socket`, "choose a folder with a shorter name");
}

async function listenAtPath(
  path: string,
  handlers: Bun.SocketHandler<Stream | undefined>,
): Promise<StreamListener> {
  checkSocketPath(path);
  await removeStale(path);
  const hidden = hiddenName(path);
  let server: Bun.UnixSocketListener<Stream | undefined> | undefined;
  try {
    server = withUmask(0o177, () => listenUnix(hidden, handlers)); // a chmod would come after the first program could connect
    putInPlace(hidden, path);
  } catch (error) {
    server?.stop(true);
    throw systemCode(error) === "EEXIST" ? pathTaken(path) : cannotListen(path, reasonOf(error), error);
  }
  const own = lstatSync(path);
  return {
    address: { unix: path },
    stop() {
      server.stop();
      if (isSame(path, own)) unlinkSync(path);
    },
  };
}

function withUmask<T>(umask: number, work: () => T): T {
  const before = process.umask(umask);
  try {
    return work();
  } finally {
    process.umask(before);
  }
}

/** Another name in the same folder. */
function hiddenName(path: string): string {
  return join(dirname(path), `.${randomBytes(4).toString("hex")}`);
}

/** @throws {Error} `EEXIST` when there is something at `path`. */
function putInPlace(hidden: string, path: string): void {
  try {
    linkSync(hidden, path);
    unlinkSync(hidden);
  } catch (error) {
    if (systemCode(error) === "EEXIST") throw error;
    renameSync(hidden, path); // the file system knows no links
  }
}

/** Removes a socket at `path` at which no program listens. @throws {ParleyError} when something else is there. */
async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw cannotListen(path, "there is something else than a socket");
  try {
    (await dialStream({ unix: path }, { timeoutMs: ACCEPT_TIMEOUT_MS })).reset();
  } catch (error) {
    if (!(error instanceof DialError) || error.code !== "refused") throw pathTaken(path);
    if (isSame(path, found)) unlinkSync(path);
    return;
  }
  throw pathTaken(path);
}

/** Is the file at `path` still `known`? */
function isSame(path: string, known: Stats): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && found.dev === known.dev && found.ino === known.ino;
}

function pathTaken(path: string): ParleyError {
  return cannotListen(path, "another program listens there");
}

function cannotListen(path: string, why: string, cause?: unknown): ParleyError {
  return new ParleyError("listen", `cannot listen on ${formatStreamAddress({ unix: path })}: ${why}`, {
    hint: "choose another path, or remove it if it is not needed",
    cause,
  });
}
