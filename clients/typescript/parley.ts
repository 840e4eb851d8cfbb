// A client for parley servers, for Node 20 and later and for Bun: one file without dependencies. The protocol is docs/protocol.md.
//
//     const session = await connect({ host: "127.0.0.1", port: 13131, user: "ann", password: "…" });
//     await session.send("hello");
//     await session.end();
//     for await (const answer of session) console.log(answer);
//
// The loop ends when the server has answered everything, and throws a ParleyError if anything is missing. A lost connection is
// restored within the session, and no message is lost or doubled.
//
//     connected → lost → connected …, until `bye`, `close`, or an error

import { createHash, createHmac, randomBytes, timingSafeEqual, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

/** Longest message that is accepted by default, in bytes. */
const MAX_FRAME = 16 * 1024 * 1024;
const MAX_LOGIN_FRAME = 4096;
const MAX_PAYLOAD = 0x7fffffff;
/** What may be unacknowledged, in bytes and messages; twice as much is read ahead of the caller. */
const WINDOW_BYTES = 1024 * 1024;
const WINDOW_MESSAGES = 1024;
/** When received messages are acknowledged: after so many, so many bytes, or milliseconds. */
const ACK_MESSAGES = 256;
const ACK_BYTES = 256 * 1024;
const ACK_MS = 100;
/** Time for a connection and a login, in milliseconds. */
const LOGIN_MS = 30_000;
/** How long a connection that was closed waits for the server to close it, too, in milliseconds. */
const LINGER_MS = 2000;
/** How long a lost session is resumed for, in seconds, and the longest pause between two attempts, in milliseconds. */
const RESUME_SECONDS = 120;
const MAX_PAUSE_MS = 30_000;
/** A connection that has lasted for so long was good, even if it has carried nothing. */
const PROVEN_MS = 60_000;

/** Why a connection, a login or a session has failed. */
export class ParleyError extends Error {
  override name = "ParleyError";
  /**
   * The server's code, from `refused`, `error` or `bye` (docs/protocol.md); or `lost` (the connection), `unreachable`, `untrusted`
   * (TLS, pin), `key_refused`, `unconfirmed` (messages were not confirmed), `too_long`, `bad_length`, `bad_message` or `closed`.
   */
  readonly code: string;
  /** How many more logins this connection allowed. */
  readonly attemptsLeft: number | undefined;
  /** Seconds after which another attempt may succeed. */
  readonly retryAfter: number | undefined;

  constructor(code: string, message: string, details: { attemptsLeft?: number; retryAfter?: number } = {}) {
    super(message);
    this.code = code;
    this.attemptsLeft = details.attemptsLeft;
    this.retryAfter = details.retryAfter;
  }
}

export interface ConnectOptions {
  host: string;
  port: number;
  user?: string;
  password?: string;
  /** True: create an account with this user and password. */
  register?: boolean;
  /** A session token, as `session.welcome.token` was after an earlier login. It is tried before the password. */
  token?: string;
  /** True: the server issues a token for later logins, `session.welcome.token`. */
  wantsToken?: boolean;
  /** The shared key: bytes, or hexadecimal digits as in a key file. */
  key?: Uint8Array | string;
  /** The pin of the server's key, `sha256/…`, as the server prints it. Asks for TLS. */
  pin?: string;
  /** The certificate of the authority that certifies the server, in PEM. Asks for TLS. */
  ca?: string | Uint8Array;
  /** True: TLS, with the authorities of the runtime unless `pin` or `ca` decides. False: plain TCP, which needs to be said beyond loopback. */
  tls?: boolean;
  /** What proofs over TLS are bound to. By default the exporter where the runtime has it; otherwise the certificate. */
  binding?: BindingName;
  /** True: frames only, without login and session. */
  bare?: boolean;
  /** True: messages are `Uint8Array` and not text. */
  bytes?: boolean;
  /** For how many seconds a lost connection is restored; 0: not at all. 120 by default. */
  resumeFor?: number;
  /** The longest message to accept, in bytes; 16 MiB by default. */
  maxFrame?: number;
  onLost?(error: ParleyError): void;
  onResumed?(): void;
}

type BindingName = "tls-exporter" | "tls-server-end-point";
type Json = Record<string, unknown>;

/** What this client uses of the server's messages. */
export interface Welcome {
  user: string | null;
  token?: string;
  control?: boolean;
  keepalive?: number;
  session?: string;
  resume_key?: string;
  resumed?: boolean;
  received?: number;
}
interface Hello {
  auth: string[];
  nonce: string;
  max_frame: number;
  bindings: unknown[];
}
interface Binding {
  name: BindingName;
  value: Uint8Array;
}

/**
 * Connects and logs in.
 *
 * @throws {ParleyError} when the server cannot be reached, is not trusted, or refuses the login.
 */
export async function connect(options: ConnectOptions & { bytes: true }): Promise<Session<Uint8Array>>;
export async function connect(options: ConnectOptions): Promise<Session<string>>;
export async function connect(options: ConnectOptions): Promise<Session<string | Uint8Array>> {
  const channel = await open(options);
  if (options.bare === true) return new Session(options, channel);
  try {
    return new Session(options, channel, await logInWith(channel, options));
  } catch (error) {
    channel.stream.close();
    throw error;
  }
}

/** A conversation. Iterate over it for its messages; only one reader at a time. */
export class Session<Message extends string | Uint8Array = string> implements AsyncIterable<Message> {
  /** `welcome` of the login; undefined in bare frames. `welcome.token` is a new token, `welcome.user` the name of the user. */
  readonly welcome: Welcome | undefined;
  readonly #options: ConnectOptions;
  /** Undefined while the connection is lost. */
  #stream: MessageStream | undefined;
  #maxSent: number;
  /** True with control frames, and where messages are acknowledged. */
  readonly #control: boolean;
  readonly #hasAcks: boolean;
  readonly #changed = new Signal();
  /** The frames that the server has not acknowledged, and how many it has. */
  #unacked: Buffer[] = [];
  #unackedBytes = 0;
  #acknowledged = 0;
  /** Sends wait for those before them. */
  #sending: Promise<void> = Promise.resolve();
  #hasEnded = false;
  /** Messages that the caller has not taken yet; how many were received, and how many were processed by it. */
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #received = 0;
  #taken = 0;
  #processed = 0;
  #takenBytes = 0;
  #lastAck = 0;
  /** The ping that is being answered. */
  #pong: unknown;
  #pings = 0;
  #ackTimer: NodeJS.Timeout | undefined;
  #keepalive: NodeJS.Timeout | undefined;
  /** How the session has ended; undefined while it goes on. */
  #over: { error: ParleyError | undefined } | undefined;
  /** Attempts to resume since a connection has carried something new, or has lasted; and until when there may be more. */
  #tries = 0;
  #giveUpAt = 0;
  #progress = -1;
  #since = performance.now();

  /** @param welcome undefined in bare frames. See {@link connect}. */
  constructor(options: ConnectOptions, { stream, maxFrame }: Channel, welcome?: Welcome) {
    this.#options = options;
    this.#stream = stream;
    this.#maxSent = maxFrame;
    this.welcome = welcome;
    this.#control = welcome?.control === true;
    this.#hasAcks = this.#control && welcome?.session !== undefined;
    this.#startKeepalive(welcome?.keepalive ?? 0);
    void this.#run();
  }

  /**
   * Sends a message. Resolves when there is room for the next one; a message is confirmed only once the loop over the answers has
   * ended.
   *
   * @throws {ParleyError} `too_long`, or the reason why the session has ended.
   */
  send(message: string | Uint8Array): Promise<void> {
    const payload = Buffer.from(message as string);
    return this.#inTurn(async () => {
      if (this.#hasEnded) throw new ParleyError("closed", "the input of this session has ended");
      if (payload.length > this.#maxSent) {
        throw new ParleyError("too_long", `the server takes ${this.#maxSent} bytes, not ${payload.length}`);
      }
      while (this.#over === undefined && this.#isFull) await this.#changed.wait();
      if (this.#over !== undefined)
        throw this.#over.error ?? new ParleyError("closed", "the session has ended");
      if (this.#hasAcks) {
        this.#unacked.push(payload);
        this.#unackedBytes += payload.length;
      }
      await this.#stream?.write(payload);
    });
  }

  /** Says that no more messages follow. Then read on: the loop ends when the server has answered everything. */
  end(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#hasEnded || this.#over !== undefined) return;
      this.#hasEnded = true;
      this.#sayEnd();
    });
  }

  /** Leaves at once. Messages that are on their way, in either direction, may be lost. */
  close(): void {
    if (this.#over !== undefined) return;
    this.#leave(this.#stream);
    this.#finish(undefined);
  }

  /** The next message; undefined when the conversation has ended well. @throws {ParleyError} when it has ended otherwise. */
  async receive(): Promise<Message | undefined> {
    this.#markProcessed();
    while (this.#queue.length === 0) {
      if (this.#over?.error !== undefined) throw this.#over.error;
      if (this.#over !== undefined) return undefined;
      await this.#changed.wait();
    }
    const payload = this.#queue.shift()!;
    this.#queuedBytes -= payload.length;
    this.#taken++;
    this.#takenBytes += payload.length;
    this.#changed.notify();
    return (this.#options.bytes === true ? payload : decodeText(payload)) as Message;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    for (let one = await this.receive(); one !== undefined; one = await this.receive()) yield one;
  }

  // --- sending ---

  get #isFull(): boolean {
    return this.#unackedBytes >= WINDOW_BYTES || this.#unacked.length >= WINDOW_MESSAGES;
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const result = this.#sending.then(work);
    this.#sending = result.catch(() => undefined); // the caller has the error
    return result;
  }

  #sayEnd(): void {
    if (this.#control) void this.#stream?.writeControl({ type: "end" });
    else this.#stream?.endSending();
  }

  #leave(stream: MessageStream | undefined): void {
    if (this.#hasAcks)
      void stream?.writeControl({ type: "bye", code: "left", message: "the client has left" });
    stream?.close();
  }

  #finish(error: ParleyError | undefined): void {
    if (this.#over !== undefined) return;
    this.#over = { error };
    clearTimeout(this.#ackTimer);
    clearInterval(this.#keepalive);
    this.#changed.notify();
  }

  // --- receiving ---

  /** Reads until the session has ended, over one connection after the other. */
  async #run(): Promise<void> {
    while (this.#over === undefined) {
      try {
        await this.#read(this.#stream!);
      } catch (error) {
        const reason = asError(error);
        const { resumeFor = RESUME_SECONDS } = this.#options;
        if (this.#over !== undefined) return;
        if (reason.code !== "lost" || !this.#hasAcks || resumeFor === 0) {
          this.#leave(this.#stream);
          return this.#finish(reason);
        }
        this.#stream?.reset();
        this.#stream = undefined;
        this.#options.onLost?.(reason);
        const failure = await this.#resume(resumeFor * 1000);
        if (failure !== undefined) this.#finish(failure);
      }
    }
  }

  /** Reads from one connection, until the session has ended. @throws {ParleyError} when the connection was lost, or the server is wrong. */
  async #read(stream: MessageStream): Promise<void> {
    while (this.#over === undefined) {
      if (this.#isHeld) {
        await this.#changed.wait();
        continue;
      }
      const frame = await stream.read();
      if (frame === undefined) {
        if (this.#control) throw new ParleyError("lost", "the server closed the connection");
        stream.close();
        this.#finish(undefined);
      } else if (frame.isControl) {
        await this.#obey(parse(frame.payload), stream);
      } else {
        this.#received++;
        this.#queue.push(frame.payload);
        this.#queuedBytes += frame.payload.length;
        this.#changed.notify();
      }
    }
  }

  /** True while the caller has to take messages before more are read. */
  get #isHeld(): boolean {
    return this.#queuedBytes >= 2 * WINDOW_BYTES || this.#queue.length >= 2 * WINDOW_MESSAGES;
  }

  /** Does what a control frame says. */
  async #obey(message: Json, stream: MessageStream): Promise<void> {
    if (message["type"] === "ping") void this.#answer(stream, message["n"]);
    if (message["type"] === "ack") this.#onAck(Number(message["received"]));
    if (message["type"] !== "bye") return;
    const error = this.#flawOf(message);
    // After a good end the server waits until the last message was processed.
    while (error === undefined && this.#processed < this.#received) {
      await this.#changed.wait();
      if (this.#over !== undefined) return;
    }
    this.#acknowledge();
    this.#leave(stream);
    this.#finish(error);
  }

  /** Answers a ping. Of several that come while the server reads nothing, the last one is answered. */
  async #answer(stream: MessageStream, n: unknown): Promise<void> {
    const isAnswering = this.#pong !== undefined;
    this.#pong = n;
    if (isAnswering) return;
    for (let answered: unknown; answered !== this.#pong;) {
      answered = this.#pong;
      await stream.writeControl({ type: "pong", n: answered });
    }
    this.#pong = undefined;
  }

  /** Why a `bye` is no good end. */
  #flawOf({ code, message }: Json): ParleyError | undefined {
    if (code !== "done") return new ParleyError(String(code), String(message));
    const count = this.#unacked.length;
    return count > 0
      ? new ParleyError("unconfirmed", `messages that were not confirmed: ${count}`)
      : undefined;
  }

  #onAck(received: number): void {
    const count = received - this.#acknowledged;
    if (!(count <= this.#unacked.length))
      throw new ParleyError("bad_message", "an ack of more than was sent");
    if (count > 0) this.#drop(count);
  }

  #drop(count: number): void {
    for (const payload of this.#unacked.splice(0, count)) this.#unackedBytes -= payload.length;
    this.#acknowledged += count;
    this.#changed.notify();
  }

  /** The caller asks for the next message: it has processed those before. */
  #markProcessed(): void {
    if (this.#processed === this.#taken) return;
    this.#processed = this.#taken;
    this.#changed.notify();
    if (!this.#hasAcks) return;
    const isDue = this.#processed - this.#lastAck >= ACK_MESSAGES || this.#takenBytes >= ACK_BYTES;
    if (isDue) this.#acknowledge();
    else this.#ackTimer ??= setTimeout(() => this.#acknowledge(), ACK_MS);
  }

  #acknowledge(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    if (!this.#hasAcks || this.#processed === this.#lastAck || this.#stream === undefined) return;
    this.#lastAck = this.#processed;
    this.#takenBytes = 0;
    void this.#stream.writeControl({ type: "ack", received: this.#processed });
  }

  /** A server that answers none of two pings is gone. */
  #startKeepalive(seconds: number): void {
    if (!this.#control || !(seconds > 0)) return;
    let silent = 0;
    let seen = 0;
    const tick = () => {
      const stream = this.#stream;
      silent = stream === undefined || this.#isHeld || stream.bytes !== seen ? 0 : silent + 1;
      seen = stream?.bytes ?? 0;
      if (silent > 2) stream?.reset();
      else void stream?.writeControl({ type: "ping", n: ++this.#pings });
    };
    this.#keepalive = setInterval(tick, Math.min(Math.max(seconds, 1), 86_400) * 1000);
    this.#keepalive.unref();
  }

  // --- resuming ---

  /** Restores the connection. @returns the reason why that was not possible. */
  async #resume(patienceMs: number): Promise<ParleyError | undefined> {
    const progress = this.#received + this.#acknowledged;
    const isNew = progress > this.#progress || performance.now() - this.#since > PROVEN_MS;
    if (isNew) this.#tries = 0;
    if (isNew) this.#giveUpAt = performance.now() + patienceMs;
    this.#progress = progress;
    for (let wait = 0; ;) {
      const pause = Math.min(250 * 2 ** this.#tries, MAX_PAUSE_MS) * (0.5 + Math.random() / 2);
      const longest = Math.max(wait, this.#tries++ === 0 ? 50 * Math.random() : pause);
      if (performance.now() + longest > this.#giveUpAt) {
        return new ParleyError("lost", "the connection could not be restored");
      }
      await new Promise((resolve) => setTimeout(resolve, longest));
      if (this.#over !== undefined) return undefined;
      try {
        await this.#resumeOnce();
        return undefined;
      } catch (error) {
        const reason = asError(error);
        if (!PASSING.has(reason.code)) return reason;
        wait = 1000 * (reason.retryAfter ?? 0);
      }
    }
  }

  async #resumeOnce(): Promise<void> {
    const channel = await open(this.#options);
    const { stream } = channel;
    try {
      const { session, resume_key = "" } = this.welcome ?? {};
      const proof = channel.prove("parley/1 resume", Buffer.from(resume_key, "base64"));
      const login = { method: "resume", session, ...proof, received: this.#received };
      const { resumed, received } = await logIn(channel, this.#options, login);
      const again = Number(received) - this.#acknowledged;
      if (resumed !== true || !(again >= 0 && again <= this.#unacked.length)) {
        throw new ParleyError("bad_message", "the server counts other messages than were sent");
      }
      if (this.#over !== undefined) return this.#leave(stream);
      this.#lastAck = 0;
      this.#since = performance.now();
      this.#stream = stream;
      this.#maxSent = channel.maxFrame;
      for (const payload of this.#unacked.slice(again)) void stream.write(payload);
      if (this.#hasEnded) this.#sayEnd();
      this.#acknowledge();
      this.#options.onResumed?.();
    } catch (error) {
      stream.reset(); // an attempt that was given up must not reach the server later
      throw error;
    }
  }
}

/** What may be over soon. */
const PASSING = new Set(
  "lost unreachable timeout shutting_down busy full too_many_from_address penalised".split(" "),
);

/** Messages over a socket, each with its length before it. Iterate over it for the messages. */
export class MessageStream implements AsyncIterable<Buffer> {
  /** The longest payload to accept, in bytes. */
  maxFrame: number;
  /** True: control frames are accepted. */
  control = false;
  /** Bytes that were received. */
  bytes = 0;
  readonly #socket: Socket;
  readonly #changed = new Signal();
  readonly #drained = new Signal();
  #chunks: Buffer[] = [];
  #length = 0;
  /** So many bytes make a header, or a whole frame. */
  #wanted = 4;
  #hasEnded = false;
  #error: ParleyError | undefined;

  constructor(socket: Socket, maxFrame = MAX_FRAME) {
    this.#socket = socket;
    this.maxFrame = maxFrame;
    socket.setNoDelay(true);
    socket.pause();
    socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.bytes += chunk.length;
      socket.pause();
      this.#changed.notify();
    });
    socket.on("end", () => {
      this.#hasEnded = true;
      this.#changed.notify();
    });
    socket.on("error", (error) => this.fail(new ParleyError("lost", error.message)));
    socket.on("drain", () => this.#drained.notify());
    socket.on("close", () => {
      this.fail(new ParleyError("lost", "the connection was closed"));
      this.#drained.notify();
    });
  }

  /** Lets the present and every later `read` fail. */
  fail(error: ParleyError): void {
    this.#error ??= error;
    this.#changed.notify();
  }

  /** The next frame; undefined at the end. Bytes are read from the socket only while a caller waits. @throws {ParleyError} */
  async read(): Promise<{ payload: Buffer; isControl: boolean } | undefined> {
    for (;;) {
      const frame = this.#next();
      if (frame !== undefined) return frame;
      if (this.#hasEnded && this.#length === 0) return undefined;
      if (this.#hasEnded) throw new ParleyError("lost", "the connection ended inside a message");
      if (this.#error !== undefined) throw this.#error;
      this.#socket.resume();
      await this.#changed.wait();
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    for (let frame = await this.read(); frame !== undefined; frame = await this.read()) yield frame.payload;
  }

  #next(): { payload: Buffer; isControl: boolean } | undefined {
    if (this.#length < this.#wanted) return undefined;
    const bytes = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    const header = bytes.readUInt32BE();
    const isEscape = header === 0xffffffff;
    const isControl = this.control && header >>> 16 === 0x8000;
    const start = isEscape ? 12 : 4;
    if (bytes.length < start) return this.#wait(start);
    const length = isEscape ? Number(bytes.readBigUInt64BE(4)) : isControl ? header & 0xffff : header;
    if (!isEscape && !isControl && header >= 0x80000000) {
      throw new ParleyError("bad_length", `the header of a message is wrong: ${header.toString(16)}`);
    }
    if (!isControl && length > this.maxFrame) {
      throw new ParleyError("bad_length", `a message of ${length} bytes: the limit is ${this.maxFrame}`);
    }
    if (bytes.length < start + length) return this.#wait(start + length);
    this.#chunks = [bytes.subarray(start + length)];
    this.#length = bytes.length - start - length;
    this.#wanted = 4;
    return { payload: bytes.subarray(start, start + length), isControl };
  }

  #wait(wanted: number): undefined {
    this.#wanted = wanted;
  }

  /** Sends a message. Resolves when there is room for another. */
  write(payload: Uint8Array): Promise<void> {
    return this.#write(payload, 0);
  }

  writeControl(message: Json): Promise<void> {
    return this.#write(Buffer.from(JSON.stringify(message)), 0x80000000);
  }

  async #write(payload: Uint8Array, mark: number): Promise<void> {
    if (!this.#socket.writable) return; // the reader learns why
    const header = Buffer.alloc(4);
    header.writeUInt32BE(mark + payload.length);
    if (!this.#socket.write(Buffer.concat([header, payload]))) await this.#drained.wait();
  }

  /** Ends this side of the connection; the other side may go on sending. */
  endSending(): void {
    this.#socket.end();
  }

  /** Ends this side, and drops what still arrives. */
  close(): void {
    const socket = this.#socket;
    this.fail(new ParleyError("closed", "the connection was closed here"));
    if (this.#hasEnded) return socket.destroySoon();
    socket.end();
    socket.removeAllListeners("data").resume();
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once("end", () => socket.destroySoon()).once("close", () => clearTimeout(timer));
  }

  /** Drops the connection, with a reset where the runtime has one, so that nothing more of it reaches the other side. */
  reset(): void {
    if ("encrypted" in this.#socket) this.#socket.destroy();
    else if (!this.#socket.destroyed) this.#socket.resetAndDestroy();
  }
}

// --- connection and login ---

/** A connection before its login. */
interface Channel {
  stream: MessageStream;
  /** Undefined in bare frames. */
  hello: Hello | undefined;
  /** The longest message that the server takes. */
  maxFrame: number;
  /** True unless the server accepts no proof that is bound as those of this client. */
  canProve: boolean;
  /** `proof` and `binding` of a login with a secret of 32 bytes. */
  prove(label: string, secret: Uint8Array): Json;
}

/** Connects, checks the server's key, proves the shared key, and waits for `hello`. */
async function open(options: ConnectOptions): Promise<Channel> {
  const socket = await dial(options);
  const stream = new MessageStream(socket, MAX_LOGIN_FRAME);
  try {
    const isTls = "encrypted" in socket;
    const certificate = isTls ? (socket as TLSSocket).getPeerX509Certificate() : undefined;
    if (options.pin !== undefined) checkPin(certificate, options.pin);
    const binding = isTls ? bindingOf(socket as TLSSocket, certificate, options.binding) : undefined;
    if (options.key !== undefined) await within(stream, proveKey(stream, options.key, binding));
    const hello = options.bare === true ? undefined : await within(stream, readHello(stream));
    if (hello === undefined) stream.maxFrame = options.maxFrame ?? MAX_FRAME;
    const nonce = Buffer.from(hello?.nonce ?? "", "base64");
    const maxFrame = hello?.max_frame ?? MAX_PAYLOAD;
    const canProve =
      binding?.name !== "tls-server-end-point" || hello?.bindings.includes(binding.name) === true;
    return {
      stream,
      hello,
      maxFrame,
      canProve,
      prove: (label, secret) => prove(label, secret, nonce, binding),
    };
  } catch (error) {
    stream.close();
    throw asError(error);
  }
}

/** Waits for the server, but not for ever. */
function within<T>(stream: MessageStream, work: Promise<T>): Promise<T> {
  const late = new ParleyError("timeout", "the server did not answer in time");
  const timer = setTimeout(() => stream.fail(late), LOGIN_MS);
  return work.finally(() => clearTimeout(timer));
}

async function dial({ host, port, tls, pin, ca }: ConnectOptions): Promise<Socket> {
  const isTls = tls ?? (pin !== undefined || ca !== undefined);
  const isLoopback = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/i.test(host);
  if (!isTls && (pin !== undefined || ca !== undefined || (tls === undefined && !isLoopback))) {
    throw new ParleyError(
      "untrusted",
      "give pin or ca, or tls: true; plain TCP beyond loopback needs tls: false",
    );
  }
  const target = { host, port, allowHalfOpen: true };
  const trust = { rejectUnauthorized: ca !== undefined || pin === undefined, ca: ca as string | undefined };
  const servername = isIP(host) === 0 ? host : "";
  const socket = isTls
    ? connectTls({ ...target, ...trust, servername, minVersion: "TLSv1.3" })
    : connectTcp(target);
  try {
    await once(socket, isTls ? "secureConnect" : "connect", { signal: AbortSignal.timeout(LOGIN_MS) });
    return socket;
  } catch (error) {
    socket.on("error", () => undefined).destroy();
    const { code = "", message } = error as NodeJS.ErrnoException;
    const isTrust = isTls && !/^(E(?!PROTO)[A-Z]+|ABORT_ERR)$/.test(code);
    throw new ParleyError(isTrust ? "untrusted" : "unreachable", message);
  }
}

function checkPin(certificate: X509Certificate | undefined, pin: string): void {
  const key = certificate?.publicKey.export({ type: "spki", format: "der" });
  const found = key && `sha256/${sha256(key).toString("base64")}`;
  if (found !== pin) throw new ParleyError("untrusted", `the server has another key: its pin is ${found}`);
}

/** What proofs are bound to, as {@link ConnectOptions.binding} says. */
function bindingOf(
  socket: TLSSocket,
  certificate: X509Certificate | undefined,
  wanted: BindingName | undefined,
): Binding {
  const hasExporter = typeof socket.exportKeyingMaterial === "function";
  const name = wanted ?? (hasExporter ? "tls-exporter" : "tls-server-end-point");
  if (name === "tls-exporter") {
    return { name, value: socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0)) };
  }
  if (certificate === undefined) throw new ParleyError("untrusted", "the server has sent no certificate");
  return { name, value: sha256(certificate.raw) };
}

async function proveKey(
  stream: MessageStream,
  given: Uint8Array | string,
  binding: Binding | undefined,
): Promise<void> {
  const shared = typeof given === "string" ? Buffer.from(given.trim(), "hex") : given;
  const key = binding === undefined ? shared : hmac(shared, `parley ${binding.name} v1`, binding.value);
  const refuse = async (message: string, answer = "#FAILURE#") => {
    if (answer !== "") await stream.write(Buffer.from(answer));
    throw new ParleyError("key_refused", message);
  };
  const first = await readLogin(stream);
  if (startsWith(first, "{")) return refuse("the server has no shared key");
  const challenge = first.subarray("#CHALLENGE#".length);
  const digest = /^\{(sha256|sha384|sha3_256|sha3_384)\}(?!parley-c)/.exec(challenge.toString("latin1"))?.[1];
  if (!startsWith(first, "#CHALLENGE#") || digest === undefined || challenge.length < 20) {
    return refuse("the server has sent a challenge that must not be answered", "");
  }
  const mac = createHmac(digest.replace("_", "-"), key).update(challenge).digest();
  await stream.write(Buffer.concat([Buffer.from(`{${digest}}`), mac]));
  if (!startsWith(await readLogin(stream), "#WELCOME#"))
    return refuse("the server has another shared key", "");
  const own = Buffer.concat([Buffer.from("{sha256}parley-c"), randomBytes(40)]);
  await stream.write(Buffer.concat([Buffer.from("#CHALLENGE#"), own]));
  const right = Buffer.concat([Buffer.from("{sha256}"), hmac(key, own)]);
  const response = await readLogin(stream);
  const isRight = response.length === right.length && timingSafeEqual(response, right);
  if (!isRight) return refuse("the server has another shared key");
  await stream.write(Buffer.from("#WELCOME#"));
}

/** A payload before `welcome`. @throws {ParleyError} for an `error` message, and when the server has left. */
async function readLogin(stream: MessageStream): Promise<Buffer> {
  const frame = await stream.read();
  if (frame === undefined) throw new ParleyError("lost", "the server closed the connection before the login");
  if (!startsWith(frame.payload, '{"type":"error"')) return frame.payload;
  const { code, message, retry_after } = parse(frame.payload);
  const retryAfter = typeof retry_after === "number" ? retry_after : undefined;
  throw new ParleyError(String(code), String(message), { retryAfter });
}

async function readHello(stream: MessageStream): Promise<Hello> {
  const payload = await readLogin(stream);
  if (startsWith(payload, "#CHALLENGE#")) throw new ParleyError("key_refused", "the server has a shared key");
  const { type, protocol, auth, nonce, max_frame, bindings = [] } = parse(payload);
  if (type !== "hello" || protocol !== "parley/1") {
    throw new ParleyError("bad_message", "the server does not speak parley/1");
  }
  const hasLists = Array.isArray(auth) && Array.isArray(bindings);
  if (!hasLists || typeof nonce !== "string" || typeof max_frame !== "number") {
    throw new ParleyError("bad_message", "the server's hello is malformed");
  }
  return { auth: auth as string[], nonce, max_frame, bindings };
}

/** The logins to try, one after the other. */
function loginsFor(channel: Channel, options: ConnectOptions): Json[] {
  const auth = channel.hello?.auth ?? [];
  const { user, password, token, register } = options;
  const logins: Json[] = [];
  if (token !== undefined && auth.includes("token") && channel.canProve) {
    const { id, secret } = parseToken(token);
    logins.push({ method: "token", id, ...channel.prove("parley/1 token", secret) });
  }
  const method = register === true ? "register" : "password";
  if (password !== undefined && auth.includes(method)) logins.push({ method, user, password });
  if (auth.includes("none") || auth.includes("ip"))
    logins.push({ method: auth.includes("none") ? "none" : "ip" });
  if (user !== undefined && auth.includes("name")) logins.push({ method: "name", user });
  return logins;
}

/** Logs in; with the password where the token is refused. */
async function logInWith(channel: Channel, options: ConnectOptions): Promise<Welcome> {
  const [first, ...others] = loginsFor(channel, options);
  if (first === undefined) throw new ParleyError("not_allowed", "the server accepts no login of this client");
  try {
    return await logIn(channel, options, first);
  } catch (error) {
    const [second] = others;
    if (second === undefined || asError(error).code !== "token_refused") throw error;
    return await logIn(channel, options, second);
  }
}

/** Sends one login. @returns `welcome`. @throws {ParleyError} */
async function logIn({ stream }: Channel, options: ConnectOptions, login: Json): Promise<Welcome> {
  const { resumeFor: resume_for = RESUME_SECONDS, wantsToken: token = false, maxFrame = MAX_FRAME } = options;
  const message = JSON.stringify({ type: "login", ...login, control: true, token, resume_for });
  await stream.write(Buffer.from(message));
  const answer = parse(await within(stream, readLogin(stream)));
  if (answer["type"] === "refused") {
    const { code, message: why, attempts_left } = answer;
    throw new ParleyError(String(code), String(why), { attemptsLeft: Number(attempts_left) });
  }
  if (answer["type"] !== "welcome" || typeof (answer["resume_key"] ?? "") !== "string")
    throw new ParleyError("bad_message", "the server did not answer the login");
  stream.maxFrame = maxFrame;
  stream.control = answer["control"] === true;
  return answer as unknown as Welcome;
}

/** The proof of a secret for one connection: the server knows only its digest. */
function prove(label: string, secret: Uint8Array, nonce: Uint8Array, binding: Binding | undefined): Json {
  const isEndPoint = binding?.name === "tls-server-end-point";
  const mask = hmac(sha256(secret), isEndPoint ? `${label} end-point` : label, nonce, binding?.value ?? "");
  const proof = Buffer.from(secret.map((byte, index) => byte ^ mask[index]!)).toString("base64");
  return isEndPoint ? { proof, binding: binding.name } : { proof };
}

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** The parts of a token, `prly_<id>_<secret><check>`. The server finds a typing error out, too. */
function parseToken(token: string): { id: string; secret: Uint8Array } {
  const [, id, digits] = /^prly_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})[0-9A-Za-z]{6}$/.exec(token) ?? [];
  if (id === undefined || digits === undefined) throw new ParleyError("token_refused", "this is no token");
  let number = 0n;
  for (const digit of digits) number = number * 62n + BigInt(DIGITS.indexOf(digit));
  return { id, secret: Buffer.from(number.toString(16).padStart(64, "0"), "hex") };
}

// --- small things ---

/** Wakes everything that waits for a change. */
class Signal {
  #waiting: (() => void)[] = [];

  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  notify(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeText(payload: Uint8Array): string {
  try {
    return UTF8.decode(payload);
  } catch {
    throw new ParleyError("bad_message", "the server has sent a message that is not UTF-8 text");
  }
}

function parse(payload: Uint8Array): Json {
  const text = decodeText(payload);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "type" in value) return value as Json;
  } catch {
    // as any other text that is no message
  }
  throw new ParleyError("bad_message", "the server has sent something that is no message of the protocol");
}

function startsWith(bytes: Buffer, start: string): boolean {
  return bytes.subarray(0, start.length).toString("latin1") === start;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function hmac(key: Uint8Array, ...parts: (Uint8Array | string)[]): Buffer {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

function asError(error: unknown): ParleyError {
  return error instanceof ParleyError
    ? error
    : new ParleyError("lost", error instanceof Error ? error.message : String(error));
}
