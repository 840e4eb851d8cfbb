// A service whose messages are a stream of bytes, and that a test leads by the hand; and a local program at a forwarder.

import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";
import type { Service, Session } from "../../src/services/service.ts";
import { seeded } from "./cutting-proxy.ts";

/** One session of it. */
export interface Led {
  session: Session;
  /** What was received. */
  bytes: number;
  text: string;
  ended: boolean;
  closed: boolean;
}

export interface StreamService {
  service: Service;
  sessions: Led[];
}

/** Hears everything; says only what a test says on its `sessions`. With `echo` it sends everything back, and ends when its client has. */
export function streamService({ echo = false } = {}): StreamService {
  const sessions: Led[] = [];
  const led = (session: Session) => sessions.find((one) => one.session === session)!;
  const service: Service = {
    messages: "bytes",
    open: (session) => void sessions.push({ session, bytes: 0, text: "", ended: false, closed: false }),
    message(session, message) {
      const one = led(session);
      one.bytes += message.length;
      if (one.text.length < 1000) one.text += Buffer.from(message.bytes).toString("latin1");
      if (echo) session.send(message);
      return echo ? session.writable() : undefined;
    },
    end(session) {
      led(session).ended = true;
      if (!echo) return;
      session.endOutput();
      session.finish();
    },
    close: (session) => void (led(session).closed = true),
  };
  return { service, sessions };
}

/** Sends and hears `count` bytes on each session, independently of each other; then both sides end. */
export function bulkService(count: number): { service: Service; heard: string[] } {
  const heard: string[] = [];
  const states = new Map<Session, { hash: ReturnType<typeof createHash>; sent: Promise<void> }>();
  const service: Service = {
    messages: "bytes",
    open(session) {
      // A session that is left early ends in the middle.
      const sent = sendBulk(session, count).catch(() => undefined);
      states.set(session, { hash: createHash("sha256"), sent });
    },
    message: (session, message) => void states.get(session)?.hash.update(message.bytes),
    async end(session) {
      const state = states.get(session)!;
      heard.push(state.hash.digest("hex"));
      await state.sent;
      session.finish();
    },
  };
  return { service, heard };
}

async function sendBulk(session: Session, count: number): Promise<void> {
  for (const chunk of bulk(count)) {
    session.send(chunk);
    await session.writable();
  }
  session.endOutput();
}

/** Always the same bytes, in pieces of changing length. */
export function* bulk(count: number): Generator<Buffer> {
  const random = seeded(7);
  const source = Buffer.from(Array.from({ length: 256 * 1024 }, () => random() * 256));
  for (let left = count; left > 0;) {
    const length = Math.min(left, 1 + Math.floor(random() * 100_000));
    const start = Math.floor(random() * (source.length - length));
    yield source.subarray(start, start + length);
    left -= length;
  }
}

export function digest(chunks: Iterable<Uint8Array>): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

/** A local program. */
export interface Local extends Disposable {
  socket: Socket;
  bytes: number;
  text: string;
  /** `end` when the FIN came, `reset` or `closed`, in order. */
  events: string[];
  closed: Promise<void>;
}

export async function local(to: { port: number } | { path: string }): Promise<Local> {
  const socket = connect({
    ...("path" in to ? { path: to.path } : { host: "127.0.0.1", port: to.port }),
    allowHalfOpen: true,
    noDelay: true,
  });
  const closed = Promise.withResolvers<void>();
  const one: Local = {
    socket,
    bytes: 0,
    text: "",
    events: [],
    closed: closed.promise,
    [Symbol.dispose]: () => void socket.destroy(),
  };
  socket.on("data", (chunk: Buffer) => {
    one.bytes += chunk.length;
    if (one.text.length < 1000) one.text += chunk.toString("latin1");
  });
  socket.on("end", () => void one.events.push("end"));
  socket.on("close", (hadError) => {
    one.events.push(hadError ? "reset" : "closed");
    closed.resolve();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.on("error", () => undefined);
  return one;
}
