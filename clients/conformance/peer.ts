// One connection of the server that a case describes: writes items, whole or torn, and splits what the client sends into frames.

import type { Socket } from "node:net";
import { createHash, X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import {
  controlFrame,
  difference,
  frame,
  HELLO,
  isResponse,
  keysOf,
  messageOf,
  payloadOf,
  proofOf,
  respond,
  type Binding,
  type Channel,
  type Item,
  type Json,
} from "./case.ts";
import type { Trace } from "./adapter.ts";
import { Queue } from "./queue.ts";

/** What a client sends: a frame, or the end of its side. */
export type Received = { kind: "payload" | "control"; payload: Buffer } | { kind: "end" };

/** The counts of a session, over all its connections. */
export interface Counts {
  /** Messages of the server, and how many of them the client has acknowledged. */
  sent: number;
  acked: number;
  /** The client's messages that were received, and the lengths of those that the server has not acknowledged. */
  received: number;
  unacknowledged: number[];
  /** `received` of the last login that resumes. */
  resumesFrom: number;
}

/** A torn write has this many pieces at most. */
const MAX_PIECES = 2000;
const WINDOW_BYTES = 1024 * 1024;
const WINDOW_FRAMES = 1024;
const CHALLENGE = Buffer.from("#CHALLENGE#");
/** White space of JSON: outside of strings there is none. */
const STRINGS = /"(?:[^"\\]|\\.)*"/g;

export class Peer {
  readonly received = new Queue<Received>();
  readonly #socket: Socket;
  readonly #counts: Counts;
  readonly #torn: boolean;
  readonly #channel: Channel;
  readonly #trace: Trace | undefined;
  #input: Buffer = Buffer.alloc(0);
  #nonce = Buffer.from(HELLO.nonce, "base64");
  #maxFrame = HELLO.max_frame;
  #window = WINDOW_BYTES;
  #isWelcome: boolean;
  /** Both sides use control frames; and the session can be resumed. */
  control = false;
  hasSession = false;
  /** The server has ended the connection: what the client sends may be cut. */
  #isCut = false;
  #hasEnded = false;
  /** The challenges, without their first word, and the key that the client has used. */
  #challenge: Buffer = Buffer.alloc(0);
  #clientChallenge: Buffer = Buffer.alloc(0);
  #key: Buffer | undefined;
  /** Comes to an end when the client has sent something wrong. */
  readonly #acks = new Queue<true>();

  constructor(
    socket: Socket,
    {
      counts,
      torn,
      bare,
      certificate,
      trace,
    }: { counts: Counts; torn: boolean; bare: boolean; certificate?: string; trace?: Trace },
  ) {
    this.#socket = socket;
    this.#counts = counts;
    this.#torn = torn;
    this.#trace = trace;
    this.#isWelcome = bare;
    this.#channel = { exporter: undefined, endPoint: undefined };
    if (certificate !== undefined) {
      this.#channel.exporter = (socket as TLSSocket).exportKeyingMaterial(
        32,
        "EXPORTER-Channel-Binding",
        Buffer.alloc(0),
      );
      this.#channel.endPoint = createHash("sha256").update(new X509Certificate(certificate).raw).digest();
    }
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#data(chunk));
    socket.on("end", () => this.#ended());
    socket.on("error", () => this.#ended());
    socket.on("close", () => this.#ended());
  }

  #ended(): void {
    if (this.#input.length > 0 && !this.#isCut) {
      this.received.end(
        new Error(`the client ended its side inside a frame: ${this.#input.toString("hex")}`),
      );
    }
    this.#input = Buffer.alloc(0);
    if (!this.#hasEnded) this.#trace?.("client   ends its side");
    this.#hasEnded = true;
    this.received.push({ kind: "end" });
  }

  // --- what the server sends ---

  /** Writes all items in one write, or in pieces of a byte. */
  async send(items: readonly Item[]): Promise<void> {
    const parts = items.map((item) => this.#bytesOf(item));
    for (const part of parts) this.#trace?.(`server   ${shown(part)}`);
    const bytes = Buffer.concat(parts);
    const piece = this.#torn ? Math.max(1, Math.ceil(bytes.length / MAX_PIECES)) : bytes.length;
    for (let at = 0; at < bytes.length; at += piece) {
      if (this.#socket.destroyed) return;
      if (!this.#socket.write(bytes.subarray(at, at + piece))) await this.#drained();
      if (this.#torn) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#socket.off("drain", done).off("close", done);
        resolve();
      };
      this.#socket.on("drain", done).on("close", done);
    });
  }

  #bytesOf(item: Item): Buffer {
    if (item.raw !== undefined) return Buffer.from(item.raw, "hex");
    if (item.control !== undefined) {
      if (item.control["type"] === "ack") this.#acknowledge(Number(item.control["received"]));
      return controlFrame(item.control);
    }
    if (item.challenge !== undefined && item.challenge !== true) {
      this.#challenge = payloadOf(item.challenge);
      return frame(Buffer.concat([CHALLENGE, this.#challenge]));
    }
    if (item.response !== undefined) {
      const key = item.response === "wrong" ? Buffer.alloc(32, 7) : (this.#key ?? keysOf(this.#channel)[0]!);
      return frame(respond(this.#clientChallenge, key));
    }
    const message = messageOf(item);
    if (message !== undefined) this.#says(message);
    else if (this.#isWelcome) this.#counts.sent++;
    return frame(payloadOf(item));
  }

  /** Keeps what decides about the rest of the connection. */
  #says(message: Json): void {
    const counts = this.#counts;
    if (message["type"] === "hello") {
      this.#nonce = Buffer.from(String(message["nonce"]), "base64");
      this.#maxFrame = Number(message["max_frame"]);
    }
    if (message["type"] !== "welcome") return;
    this.#isWelcome = true;
    this.control = message["control"] === true;
    this.hasSession = message["session"] !== undefined;
    this.#window = Math.max(WINDOW_BYTES, Number(message["window"] ?? 0));
    const isResumed = message["resumed"] === true;
    counts.sent = isResumed ? counts.resumesFrom : 0;
    counts.acked = Math.min(counts.acked, counts.sent);
    const received = isResumed ? Number(message["received"]) : 0;
    // What the client sends again is unacknowledged already.
    const again = counts.received - received;
    counts.unacknowledged =
      isResumed && again > 0 ? counts.unacknowledged.slice(0, -again) : counts.unacknowledged;
    if (!isResumed) counts.unacknowledged = [];
    counts.received = received;
  }

  #acknowledge(received: number): void {
    const { unacknowledged } = this.#counts;
    const before = this.#counts.received - unacknowledged.length;
    unacknowledged.splice(0, received - before);
  }

  close(how: "fin" | "reset"): void {
    if (how === "fin" && this.#socket.writableEnded) return;
    this.#trace?.(how === "fin" ? "server   ends its side" : "server   resets the connection");
    if (how === "fin") this.#socket.end();
    else {
      this.#isCut = true;
      this.#socket.resetAndDestroy();
    }
  }

  /** Takes nothing more that the client sends. */
  ignore(): void {
    this.#isCut = true;
    this.#input = Buffer.alloc(0);
    this.#socket.removeAllListeners("data").resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  // --- what the client sends ---

  #data(chunk: Buffer): void {
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
    try {
      while (this.#next());
    } catch (error) {
      this.received.end(error as Error);
      this.#acks.end(error as Error);
    }
  }

  /** Takes one frame, if there is a whole one. */
  #next(): boolean {
    if (this.#input.length < 4) return false;
    const header = this.#input.readUInt32BE();
    const isControl = header >>> 16 === 0x8000;
    if (header > 0x7fffffff && !(isControl && this.control))
      throw new Error(`the client sent a frame with the header ${header.toString(16)}`);
    const length = isControl ? header & 0xffff : header;
    const limit = this.#isWelcome ? this.#maxFrame : 4096;
    if (!isControl && length > limit)
      throw new Error(`the client sent ${length} bytes: the limit is ${limit}`);
    if (this.#input.length < 4 + length) return false;
    this.#trace?.(`client   ${shown(this.#input.subarray(0, 4 + length))}`);
    const payload = Buffer.from(this.#input.subarray(4, 4 + length));
    this.#input = this.#input.subarray(4 + length);
    if (!isControl) {
      if (this.#isWelcome) this.#count(length);
      this.received.push({ kind: "payload", payload });
    } else if (!this.#answered(JSON.parse(payload.toString()) as Json)) {
      this.received.push({ kind: "control", payload });
    }
    return true;
  }

  #count(length: number): void {
    const { unacknowledged } = this.#counts;
    const bytes = unacknowledged.reduce((total, one) => total + one, 0);
    if (this.control && (bytes >= this.#window || unacknowledged.length >= WINDOW_FRAMES))
      throw new Error(`the client sent a message while ${unacknowledged.length} were not acknowledged`);
    this.#counts.received++;
    unacknowledged.push(length);
  }

  /** An acknowledgement or a ping may come at any time. */
  #answered(message: Json): boolean {
    if (message["type"] === "ping") {
      this.#socket.write(controlFrame({ type: "pong", n: message["n"] }));
      return true;
    }
    if (message["type"] !== "ack") return false;
    const received = Number(message["received"]);
    const { acked, sent } = this.#counts;
    if (!(received >= acked && received <= sent))
      throw new Error(`the client acknowledged ${received} messages, after ${acked}, when ${sent} were sent`);
    this.#counts.acked = received;
    this.#acks.push(true);
    return true;
  }

  /** Waits until the client has acknowledged exactly `count` messages. */
  async acked(count: number): Promise<void> {
    this.#acks.rest();
    while (this.#counts.acked < count) {
      await this.#acks.next(
        `the client has acknowledged ${this.#counts.acked} of ${count} messages, and no more`,
      );
    }
    if (this.#counts.acked > count) throw new Error(`the client acknowledged ${this.#counts.acked} messages`);
  }

  /** @throws {Error} when the client sends something else next. */
  async expect(item: Item): Promise<void> {
    const wanted = JSON.stringify(item).slice(0, 200);
    const received = await this.received.peek(`the client does not send ${wanted}`);
    if (item.optional === true && received.kind !== "end") {
      if (this.#flawOf(item, received.kind, received.payload) !== undefined) return;
    }
    this.received.drop();
    if (received.kind === "end") throw new Error(`the client ended its side, and did not send ${wanted}`);
    const flaw = this.#flawOf(item, received.kind, received.payload);
    if (flaw !== undefined) throw new Error(`the client sent ${say(received)}: ${flaw}`);
  }

  #flawOf(item: Item, kind: "payload" | "control", payload: Buffer): string | undefined {
    const isControl = item.control !== undefined;
    if (isControl !== (kind === "control")) return `${JSON.stringify(item).slice(0, 200)} was expected`;
    if (item.control !== undefined) return difference(item.control, JSON.parse(payload.toString()));
    if (item.login !== undefined) return this.#flawOfLogin(item.login, payload);
    if (item.challenge !== undefined) {
      this.#clientChallenge = payload.subarray(CHALLENGE.length);
      if (payload.length > 256) return "it is longer than 256 bytes";
      if (!payload.subarray(0, CHALLENGE.length).equals(CHALLENGE)) return "it is no challenge";
      return this.#clientChallenge.length < 20 ? "the challenge has fewer than 20 bytes" : undefined;
    }
    if (item.response !== undefined) {
      this.#key = keysOf(this.#channel).find((key) => isResponse(payload, this.#challenge, key));
      return this.#key === undefined ? "it is no right response to the challenge" : undefined;
    }
    const right = payloadOf(item);
    return right.equals(payload) ? undefined : `${say({ kind, payload: right })} was expected`;
  }

  #flawOfLogin(expected: Json, payload: Buffer): string | undefined {
    const text = payload.toString();
    if (!text.startsWith('{"type":"login"')) return `it does not begin with {"type":"login"`;
    if (/\s/.test(text.replaceAll(STRINGS, ""))) return "it has white space";
    const login = JSON.parse(text) as Json;
    const { method } = login;
    if (method === "token" || method === "resume") {
      const right = proofOf(method, this.#nonce, this.#channel, login["binding"] as Binding | undefined);
      if (login["proof"] !== right) return `the proof is wrong: ${right} would be right`;
    }
    if (method === "resume") this.#counts.resumesFrom = Number(login["received"]);
    return difference({ type: "login", ...expected }, login);
  }

  /** Waits until the client has ended its side. @throws {Error} when it sends something before that, other than `bye`. */
  async left(): Promise<void> {
    for (;;) {
      const received = await this.received.next("the client does not close its connection");
      if (received.kind === "end") return;
      if (!this.#isCut && !isBye(received)) throw new Error(`the client sent ${say(received)}`);
    }
  }
}

function isBye(received: Received): boolean {
  return received.kind === "control" && (JSON.parse(received.payload.toString()) as Json)["type"] === "bye";
}

/** A frame: its header in hex, and its payload as text where it is text. */
function shown(bytes: Buffer): string {
  const payload = bytes.subarray(4);
  const text = payload.toString();
  const isText = Buffer.from(text).equals(payload) && !CONTROLS.test(text);
  const body = isText ? text.slice(0, 500) : `0x${payload.toString("hex").slice(0, 500)}`;
  return `${bytes.subarray(0, 4).toString("hex")} ${body}`;
}

const CONTROLS = /\p{Cc}/u;

function say(received: Received): string {
  if (received.kind === "end") return "the end of its side";
  const { kind, payload } = received;
  const text = payload.toString();
  const isText = Buffer.from(text).equals(payload) && payload.length > 0;
  return `the ${kind} ${isText ? text.slice(0, 500) : `0x${payload.toString("hex").slice(0, 500)}`}`;
}
