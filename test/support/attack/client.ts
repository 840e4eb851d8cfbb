// A client that comes from an address of its choice, as another machine would, and times what it does.

import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { parseToken } from "../../../src/auth/token.ts";
import { tokenLogin } from "../../../src/handshake/client.ts";
import type { Hello } from "../../../src/wire/message.ts";
import { frame } from "../peer.ts";

type Message = Record<string, unknown>;

export class Client implements Disposable {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #over = false;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake?.();
    });
    socket.on("close", () => {
      this.#over = true;
      this.#wake?.();
    });
  }

  static connect(port: number, from: string): Promise<Client> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", localAddress: from, noDelay: true });
      const client = new Client(socket);
      socket.once("connect", () => resolve(client));
      socket.on("error", reject); // once connected, nobody minds any more
    });
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  send(payload: string | Uint8Array): void {
    this.socket.write(frame(payload));
  }

  /** The next payload; undefined when the connection is over. */
  async read(): Promise<Buffer | undefined> {
    for (;;) {
      const length = this.#received.length < 4 ? Infinity : this.#received.readUInt32BE(0) & 0x7fff_ffff;
      if (this.#received.length >= 4 + length) {
        const payload = this.#received.subarray(4, 4 + length);
        this.#received = this.#received.subarray(4 + length);
        return payload;
      }
      if (this.#over) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async message(): Promise<Message | undefined> {
    const payload = await this.read();
    return payload === undefined ? undefined : (JSON.parse(payload.toString()) as Message);
  }

  /** Asks and waits for the answer, `count` times; the times in milliseconds. */
  async roundTrips(count: number): Promise<number[]> {
    const times: number[] = [];
    while (times.length < count) {
      const began = performance.now();
      this.send("x".repeat(64));
      if ((await this.read()) === undefined) throw new Error("the connection is over");
      times.push(performance.now() - began);
    }
    return times;
  }
}

export interface Credential {
  password?: string;
  token?: string;
}

/** Logs ann in, or anybody without a credential, trying again until it works; how long it took, and the rest of it. */
export async function logIn(
  port: number,
  from: string,
  credential: Credential,
  patienceMs = 60_000,
): Promise<{ ms: number; tries: number; client: Client; welcome: Message }> {
  const began = performance.now();
  for (let tries = 1; ; tries++) {
    const { client, answer } = await tryLogIn(port, from, credential);
    const ms = performance.now() - began;
    if (client !== undefined && answer?.["type"] === "welcome") return { ms, tries, client, welcome: answer };
    client?.[Symbol.dispose]();
    if (performance.now() - began > patienceMs) throw new Error(`no login from ${from} in ${patienceMs} ms`);
    await delay(50);
  }
}

/** As {@link logIn}, but once: what the server has answered in the end, undefined after a reset. */
export async function tryLogIn(
  port: number,
  from: string,
  { password, token }: Credential,
): Promise<{ client: Client | undefined; answer: Message | undefined }> {
  const client = await Client.connect(port, from).catch(() => undefined);
  const hello = await client?.message();
  if (client === undefined || hello?.["type"] !== "hello") return { client, answer: hello };
  const parts = token === undefined ? undefined : parseToken(token);
  if (parts !== undefined) client.send(JSON.stringify(tokenLogin(hello as Hello, parts, new Uint8Array(0))));
  else if (password === undefined) client.send('{"type":"login","method":"none"}');
  else client.send(JSON.stringify({ type: "login", method: "password", user: "ann", password }));
  return { client, answer: await client.message() };
}

/** The value below which `share` of them are. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}
