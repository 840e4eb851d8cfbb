// A peer that shares no code with parley's own client: frames by hand over node:net, and every way to misbehave.

import { connect, type Socket } from "node:net";

export interface Frame {
  control: boolean;
  payload: Buffer;
}

export class Peer implements Disposable {
  /** Give out `ack` too; otherwise they are passed over. */
  seesAcks = false;
  /** Ends its side when the server does, as clients do; otherwise the server waits for that. */
  answersFin = true;
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #frames: Frame[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #closed = false;
  /** Resolves when the socket is closed; with `true` after a reset. */
  readonly closed: Promise<boolean>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("end", () => {
      this.#end();
      if (this.answersFin) socket.end();
    });
    let reset = false;
    socket.on("error", () => (reset = true));
    this.closed = new Promise((resolve) =>
      socket.on("close", () => {
        this.#closed = true;
        this.#end();
        resolve(reset);
      }),
    );
  }

  /** @param localAddress where it comes from: any address of 127.0.0.0/8. */
  static connect(port: number, localAddress = "127.0.0.1"): Promise<Peer> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", localAddress, allowHalfOpen: true, noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => resolve(new Peer(socket)));
    });
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  // --- out ---

  raw(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  send(payload: Uint8Array | string, control = false): void {
    this.raw(frame(payload, control));
  }

  json(message: object): void {
    this.send(JSON.stringify(message));
  }

  control(message: object): void {
    this.send(JSON.stringify(message), true);
  }

  /** FIN. */
  end(): void {
    this.socket.end();
  }

  /** RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  // --- in ---

  /** The next frame, or null at the end of the stream. */
  async frame(): Promise<Frame | null> {
    for (;;) {
      const next = this.#frames.shift();
      if (next !== undefined) return next;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** The next frame's text. */
  async text(): Promise<string | null> {
    return (await this.frame())?.payload.toString() ?? null;
  }

  /** The next frame as JSON; fails when there is none. */
  async message(): Promise<Record<string, unknown>> {
    const next = await this.frame();
    if (next === null) throw new Error("the stream has ended");
    return JSON.parse(next.payload.toString()) as Record<string, unknown>;
  }

  /** Everything until the stream ends. */
  async rest(): Promise<Frame[]> {
    const frames: Frame[] = [];
    for (let next = await this.frame(); next !== null; next = await this.frame()) frames.push(next);
    return frames;
  }

  /** Logs in by password and returns `welcome`. */
  async logIn(user: string, password: string, extra: object = {}): Promise<Record<string, unknown>> {
    await this.message();
    this.json({ type: "login", method: "password", user, password, ...forGood(extra) });
    return this.message();
  }

  /** Logs in to a server that lets anybody in. */
  async enter(extra: object = { control: true }): Promise<Record<string, unknown>> {
    await this.message();
    this.json({ type: "login", method: "none", ...forGood(extra) });
    return this.message();
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (;;) {
      if (this.#received.length < 4) break;
      const header = this.#received.readUInt32BE(0);
      const length = header & 0x7fffffff;
      if (this.#received.length < 4 + length) break;
      const payload = this.#received.subarray(4, 4 + length);
      const isAck = header >= 0x80000000 && payload.includes('"ack"');
      if (!isAck || this.seesAcks) this.#frames.push({ control: header >= 0x80000000, payload });
      this.#received = this.#received.subarray(4 + length);
    }
    this.#wake?.();
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  get isClosed(): boolean {
    return this.#closed;
  }
}

/** A peer that leaves is gone, unless a test says that it may come back. */
function forGood(extra: object): object {
  return "control" in extra && !("resume_for" in extra) ? { ...extra, resume_for: 0 } : extra;
}

/** One frame's bytes. */
export function frame(payload: Uint8Array | string, control = false): Buffer {
  const bytes = Buffer.from(payload);
  const header = Buffer.alloc(4);
  header.writeUInt32BE((control ? 0x80000000 : 0) + bytes.length);
  return Buffer.concat([header, bytes]);
}
