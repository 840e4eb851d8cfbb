// A client of its own: connects, logs in as the wire protocol says, then hands every chunk to whoever measures.
//
// It shares no framing code with the program under test, only the making of a token's proof.

import type { Socket } from "bun";
import { parseToken, proveToken, TOKEN_LABEL } from "../../src/auth/token.ts";

/** Bytes from the start, or a login: `none`, with control frames, by token. */
export type Tongue = "bytes" | "none" | "control" | "token";

export type Credential =
  | { method: "bytes" }
  | { method: "none"; control: boolean }
  | { method: "password"; user: string; password: string }
  | { method: "token"; token: string };

export interface Target {
  port: number;
  tls: boolean;
  credential: Credential;
}

interface ServerMessage {
  type: string;
  nonce?: string;
  token?: string;
}

const HOST = "127.0.0.1";
const EXPORTER = "EXPORTER-Channel-Binding";
const NOTHING = Buffer.alloc(0);

/** One connection. `onData`, `onDrain` and `onGone` are its user's to set, once it is logged in. */
export class Peer {
  onData: (chunk: Buffer) => void;
  onDrain: () => void = () => {};
  onGone: (why: string) => void;
  readonly socket: Socket<Peer>;
  readonly #tls: boolean;
  readonly onHandshake: () => void;
  readonly #encrypted: Promise<void>;
  #gone: string | undefined;
  /** Would the server wait for us to come back? */
  #control = false;
  #received: Buffer = NOTHING;
  #more = Promise.withResolvers<void>();

  private constructor(socket: Socket<Peer>, tls: boolean) {
    this.socket = socket;
    this.#tls = tls;
    this.onData = (chunk) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      this.#more.resolve();
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#encrypted = promise;
    this.onHandshake = resolve;
    this.onGone = (why) => {
      this.#gone = why;
      resolve();
      this.#more.resolve();
    };
  }

  /** Connects and logs in. */
  static async enter({ port, tls, credential }: Target): Promise<Peer> {
    const peer = await Peer.connect(port, tls);
    await peer.logIn(credential);
    return peer;
  }

  static async connect(port: number, tls: boolean): Promise<Peer> {
    const socket = await Bun.connect<Peer | undefined>({
      hostname: HOST,
      port,
      tls: tls ? { rejectUnauthorized: false } : undefined,
      socket: {
        open: (opened) => void (opened.data = new Peer(opened as Socket<Peer>, tls)),
        handshake: ({ data: peer }) => peer?.onHandshake(),
        data: ({ data: peer }, chunk) => peer?.onData(chunk),
        drain: ({ data: peer }) => peer?.onDrain(),
        end: ({ data: peer }) => peer?.onGone("the server ended the connection"),
        close: ({ data: peer }) => peer?.onGone("the connection was closed"),
        error: ({ data: peer }, error) => peer?.onGone(error.message),
      },
    });
    const peer = socket.data!;
    if (tls) await peer.#encrypted;
    if (peer.#gone !== undefined) throw new Error(peer.#gone);
    return peer;
  }

  /** Gives the new token of a login by password. */
  async logIn(credential: Credential): Promise<string | undefined> {
    if (credential.method === "bytes") return undefined;
    this.#control = credential.method === "none" && credential.control;
    const hello = await this.#read("hello");
    const login = { type: "login", ...this.#answer(credential, hello.nonce ?? "") };
    this.socket.write(frame(Buffer.from(JSON.stringify(login))));
    return (await this.#read("welcome")).token;
  }

  /** The first that a server says that asks for a login. */
  async greeting(): Promise<void> {
    await this.#read("hello");
  }

  /** Sends one frame and waits until the same bytes are back. */
  echo(question: Buffer): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let answer: Buffer = NOTHING;
    this.onGone = (why) => reject(new Error(why));
    this.onData = (chunk) => {
      answer = withoutControl(answer.length === 0 ? chunk : Buffer.concat([answer, chunk]));
      if (answer.length < question.length) return;
      // What comes behind it can only be control frames: nothing else was asked.
      if (answer.subarray(0, question.length).equals(question)) resolve();
      else reject(new Error(`other bytes came back: ${answer.toString("hex")}`));
    };
    this.socket.write(question);
    return promise;
  }

  /** Ends the connection and waits until the server has, too. */
  leave(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.onGone = () => resolve();
    this.onData = () => {};
    if (this.#control) this.socket.write(control({ type: "bye", code: "left", message: "done" }));
    this.socket.end();
    return promise;
  }

  async #read(expected: string): Promise<ServerMessage> {
    for (;;) {
      const length = this.#received.length < 4 ? Infinity : this.#received.readUInt32BE(0);
      if (this.#received.length >= 4 + length) {
        const text = this.#received.toString("utf8", 4, 4 + length);
        this.#received = this.#received.subarray(4 + length);
        const message = JSON.parse(text) as ServerMessage;
        if (message.type !== expected) throw new Error(`not ${expected}: ${text}`);
        return message;
      }
      if (this.#gone !== undefined) throw new Error(this.#gone);
      await this.#more.promise;
      this.#more = Promise.withResolvers<void>();
    }
  }

  /** The members of `login` that say who we are. */
  #answer(credential: Credential, nonce: string): object {
    if (credential.method !== "token") return credential;
    const parts = parseToken(credential.token);
    if (parts === undefined) throw new Error("the server's token is none");
    const proof = proveToken(parts.secret, TOKEN_LABEL, Buffer.from(nonce, "base64"), this.#binding());
    return { method: "token", id: parts.id, proof: proof.toString("base64") };
  }

  /** What ties a token's proof to this channel. */
  #binding(): Uint8Array {
    if (!this.#tls) return NOTHING;
    const bytes: unknown = this.socket.exportKeyingMaterial(32, EXPORTER, NOTHING);
    return bytes as Uint8Array; // Bun's types say that it gives nothing
  }
}

/** A payload with its header. */
export function frame(payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(4 + payload.length);
  bytes.writeUInt32BE(payload.length, 0);
  bytes.set(payload, 4);
  return bytes;
}

/** What is left when the control frames that `bytes` begin with are taken away. */
function withoutControl(bytes: Buffer): Buffer {
  let rest = bytes;
  while (rest.length >= 4 && rest[0]! >= 0x80 && rest.length >= 4 + rest.readUInt16BE(2)) {
    rest = rest.subarray(4 + rest.readUInt16BE(2));
  }
  return rest;
}

/** A control frame. */
export function control(message: object): Buffer {
  const bytes = frame(Buffer.from(JSON.stringify(message)));
  bytes[0] = 0x80;
  return bytes;
}
