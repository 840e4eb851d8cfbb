// A conversation by hand that is cut where a test says, and come back to until it is over. It shares no code with
// parley's own client but the proof.

import { connect, type Socket } from "node:net";
import { within } from "./attack.ts";
import { DURABLE, resumeLogin, resumeOf, type Json, type Resume } from "./resume.ts";
import { frame } from "./peer.ts";

export interface Cut {
  /** After so many bytes sent, or received, since `welcome`. */
  after: { up: number } | { down: number };
  how: "reset" | "end";
}

export interface Told {
  /** Payloads, in order. */
  got: string[];
  /** `received` of each welcome that resumed. */
  received: number[];
  /** Was that what FIN, which loses nothing, makes of the bytes sent? One for each cut going up by FIN. */
  whole: [number, number][];
  bye: Json | undefined;
}

const END = frame('{"type":"end"}', true);
const BYE = frame('{"type":"bye","code":"left","message":""}', true);

/** Says `messages` and `end`, through `cuts`, and hears what comes until `bye`. */
export async function talkThrough(port: number, messages: string[], cuts: readonly Cut[]): Promise<Told> {
  const told: Told = { got: [], received: [], whole: [], bye: undefined };
  let resume: Resume | undefined;
  let due: number | undefined;
  for (const cut of [...cuts, undefined]) {
    using way = await Way.open(port);
    const hello = await way.message();
    way.write(
      frame(
        JSON.stringify(
          resume === undefined
            ? { type: "login", method: "none", ...DURABLE }
            : resumeLogin(resume, told.got.length, hello),
        ),
      ),
    );
    const welcome = await way.message();
    if (welcome["type"] !== "welcome") throw new Error(`not let in: ${JSON.stringify(welcome)}`);
    const received = Number(welcome["received"] ?? 0);
    if (resume === undefined) resume = resumeOf(welcome);
    else told.received.push(received);
    if (due !== undefined) told.whole.push([received, due]);
    due = undefined;
    const frames = messages.slice(received).map((message) => frame(message));
    const out = Buffer.concat([...frames, END]);
    if (cut !== undefined && "up" in cut.after && cut.after.up < out.length) {
      way.write(out.subarray(0, cut.after.up));
      if (cut.how === "end") due = received + wholeFrames(frames, cut.after.up);
    } else {
      way.write(out);
      const isOver = await within("bye or the cut", way.hearUntil(told, downOf(cut)));
      if (isOver) break;
    }
    await within("the cut", way.cut(cut?.how ?? "reset"));
  }
  return told;
}

function downOf(cut: Cut | undefined): number {
  return cut !== undefined && "down" in cut.after ? cut.after.down : Infinity;
}

function wholeFrames(frames: Buffer[], bytes: number): number {
  let left = bytes;
  return frames.filter(({ length }) => (left -= length) >= 0).length;
}

class Way implements Disposable {
  readonly #socket: Socket;
  readonly #closed: Promise<void>;
  #bytes = Buffer.alloc(0);
  /** Bytes that may still be heard. */
  #left = Infinity;
  #wake: (() => void) | undefined;
  #isClosed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => undefined);
    this.#closed = new Promise((resolve) => socket.on("close", () => resolve()));
    void this.#closed.then(() => {
      this.#isClosed = true;
      this.#wake?.();
    });
    socket.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake?.();
    });
  }

  static open(port: number): Promise<Way> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => resolve(new Way(socket)));
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  async message(): Promise<Json> {
    for (;;) {
      const next = this.#next(Infinity);
      if (next !== undefined) return JSON.parse(next.payload.toString()) as Json;
      if (this.#isClosed) throw new Error("closed in the handshake");
      await this.#more();
    }
  }

  /** Takes what is here, up to `limit` bytes in all; true when that held `bye`. */
  hear(told: Told, limit: number): boolean {
    this.#left = Math.min(this.#left, limit);
    for (let next = this.#next(this.#left); next !== undefined; next = this.#next(this.#left)) {
      this.#left -= next.length;
      if (!next.control) told.got.push(next.payload.toString());
      else {
        const message = JSON.parse(next.payload.toString()) as Json;
        if (message["type"] !== "bye") continue;
        told.bye = message;
        this.#socket.end(Buffer.concat([BYE]));
        return true;
      }
    }
    return false;
  }

  /** True after `bye`, false when `limit` bytes have come without. */
  async hearUntil(told: Told, limit: number): Promise<boolean> {
    for (;;) {
      if (this.hear(told, limit)) return true;
      if (this.#bytes.length >= this.#left) return false;
      if (this.#isClosed) throw new Error(`closed without bye after ${told.got.join()}`);
      await this.#more();
    }
  }

  async cut(how: Cut["how"]): Promise<void> {
    if (how === "reset") this.#socket.resetAndDestroy();
    else this.#socket.end();
    await this.#closed;
  }

  #next(limit: number): { control: boolean; payload: Buffer; length: number } | undefined {
    if (this.#bytes.length < 4) return undefined;
    const header = this.#bytes.readUInt32BE(0);
    const control = header >= 0x80000000;
    const length = 4 + (control ? header & 0xffff : header);
    if (this.#bytes.length < length || length > limit) return undefined;
    const payload = this.#bytes.subarray(4, length);
    this.#bytes = this.#bytes.subarray(length);
    return { control, payload, length };
  }

  #more(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }
}
