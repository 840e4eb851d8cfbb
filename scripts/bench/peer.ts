// A client of its own: connects, logs in as the wire protocol says, then hands every chunk to whoever measures.
//
// It shares no framing code with the program under test, only the making of a token's proof.

import type { Socket } from "bun";
import { parseToken, proveToken, TOKEN_LABEL } from "../../src/auth/token.ts";

export type Credential =
  | { method: "bare" }
  | { method: "none"; control: boolean }
  | { method: "password"; user: string; password: string }
  | { method: "token"; token: string };

interface ServerMessage {
  type: string;
  nonce?: string;
  token?: string;
  message?: string;
}

/** One connection. `onData` and `onDrain` are its user's to set, once it is logged in. */
export class Peer {
  onData: (chunk: Uint8Array) => void;
  onDrain: () => void = () => {};
  onGone: (why: string) => void = (why) => this.#frames.reject(new Error(why));
  readonly socket: Socket<Peer>;
  #received = Buffer.alloc(0);
  #frames = Promise.withResolvers<void>();

  private constructor(socket: Socket<Peer>) {
    this.socket = socket;
    this.onData = (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#frames.resolve();
    };
  }

  static async connect(port: number): Promise<Peer> {
    const socket = await Bun.connect<Peer | undefined>({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: (opened) => void (opened.data = new Peer(opened as Socket<Peer>)),
        data: ({ data: peer }, chunk) => peer?.onData(chunk),
        drain: ({ data: peer }) => peer?.onDrain(),
        end: ({ data: peer }) => peer?.onGone("the server ended the connection"),
        close: ({ data: peer }) => peer?.onGone("the connection was closed"),
        error: ({ data: peer }, error) => peer?.onGone(error.message),
      },
    });
    return socket.data!;
  }

  /** Logs in; gives the new token of a login by password. */
  async logIn(credential: Credential): Promise<string | undefined> {
    if (credential.method === "bare") return undefined;
    const hello = await this.#read("hello");
    const login = JSON.stringify({ type: "login", ...answer(credential, hello.nonce ?? "") });
    this.socket.write(frame(Buffer.from(login)));
    return (await this.#read("welcome")).token;
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
      await this.#frames.promise;
      this.#frames = Promise.withResolvers<void>();
    }
  }
}

/** A payload with its header. */
export function frame(payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(4 + payload.length);
  bytes.writeUInt32BE(payload.length, 0);
  bytes.set(payload, 4);
  return bytes;
}

/** A control frame. */
export function control(message: object): Buffer {
  const bytes = frame(Buffer.from(JSON.stringify(message)));
  bytes[0] = 0x80;
  return bytes;
}

/** The members of `login` that say who we are. */
function answer(credential: Credential, nonce: string): object {
  if (credential.method !== "token") return credential;
  const parts = parseToken(credential.token);
  if (parts === undefined) throw new Error("the server's token is none");
  const proof = proveToken(parts.secret, TOKEN_LABEL, Buffer.from(nonce, "base64"), new Uint8Array(0));
  return { method: "token", id: parts.id, proof: proof.toString("base64") };
}
