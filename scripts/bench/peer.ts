// A client for what precedes a load: the first answer of a server, and a login by password that gives a token.
//
// It shares no code with the program under test.

import type { Socket } from "bun";

/** Bytes from the start, or a login. `acknowledge`: as `parley connect` does, in a session that could be resumed. */
export type Login =
  | { method: "bytes" }
  | { method: "none"; acknowledge: boolean }
  | { method: "token"; token: string; acknowledge: boolean };

interface ServerMessage {
  type: string;
  token?: string;
}

const HOST = "127.0.0.1";
const NOTHING = Buffer.alloc(0);

export class Peer {
  readonly socket: Socket<Peer>;
  readonly #encrypted = Promise.withResolvers<void>();
  #gone: string | undefined;
  #received: Buffer = NOTHING;
  #more = Promise.withResolvers<void>();

  private constructor(socket: Socket<Peer>) {
    this.socket = socket;
  }

  static async connect(port: number, tls: boolean): Promise<Peer> {
    const socket = await Bun.connect<Peer | undefined>({
      hostname: HOST,
      port,
      tls: tls ? { rejectUnauthorized: false } : undefined,
      socket: {
        open: (opened) => void (opened.data = new Peer(opened as Socket<Peer>)),
        handshake: ({ data: peer }) => peer?.encrypted(),
        data: ({ data: peer }, chunk) => peer?.received(chunk),
        end: ({ data: peer }) => peer?.gone("the server ended the connection"),
        close: ({ data: peer }) => peer?.gone("the connection was closed"),
        error: ({ data: peer }, error) => peer?.gone(error.message),
      },
    });
    const peer = socket.data!;
    if (tls) await peer.#encrypted.promise;
    if (peer.#gone !== undefined) throw new Error(peer.#gone);
    return peer;
  }

  /** Logs in by password and gives the new token. */
  async logIn(user: string, password: string): Promise<string> {
    await this.message("hello");
    const login = JSON.stringify({ type: "login", method: "password", user, password });
    this.socket.write(frame(Buffer.from(login)));
    const { token } = await this.message("welcome");
    if (token === undefined) throw new Error("the login by password gave no token");
    return token;
  }

  /** The next frame, which must be a message of this type. */
  async message(type: string): Promise<ServerMessage> {
    const header = await this.#bytes(4);
    const text = (await this.#bytes(header.readUInt32BE(0))).toString();
    const message = JSON.parse(text) as ServerMessage;
    if (message.type !== type) throw new Error(`not ${type}: ${text}`);
    return message;
  }

  /** Sends one frame and waits until the same bytes are back. */
  async echo(payload: Buffer): Promise<void> {
    const question = frame(payload);
    this.socket.write(question);
    const answer = await this.#bytes(question.length);
    if (!answer.equals(question)) throw new Error(`other bytes came back: ${answer.toString("hex")}`);
  }

  /** Ends the connection and waits until the server has, too. */
  async leave(): Promise<void> {
    this.socket.end();
    while (this.#gone === undefined) await this.#next();
  }

  received(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    this.#more.resolve();
  }

  encrypted(): void {
    this.#encrypted.resolve();
  }

  gone(why: string): void {
    this.#gone = why;
    this.#encrypted.resolve();
    this.#more.resolve();
  }

  async #next(): Promise<void> {
    await this.#more.promise;
    this.#more = Promise.withResolvers<void>();
  }

  async #bytes(count: number): Promise<Buffer> {
    while (this.#received.length < count) {
      if (this.#gone !== undefined) throw new Error(this.#gone);
      await this.#next();
    }
    const bytes = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(count);
    return bytes;
  }
}

/** A payload with its header. */
function frame(payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(4 + payload.length);
  bytes.writeUInt32BE(payload.length, 0);
  bytes.set(payload, 4);
  return bytes;
}
