// A process that attacks a server in one way, again and again, until it is killed: `soaker.ts KIND PORT METRICS SECONDS`. It ends
// by itself after so many seconds. Attackers come from 127.0.2.0/24, and log in as `mallory-KIND`.

import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { tokenLogin } from "../../../src/handshake/client.ts";
import type { Hello } from "../../../src/wire/message.ts";
import { PASSWORD } from "../executable.ts";
import { frame, Peer } from "../peer.ts";
import { DURABLE, resumeLogin, resumeOf } from "../resume.ts";
import { Client } from "./client.ts";

const [, , kind = "", ...numbers] = process.argv;
const [port = 0, metrics = 0, seconds = 60] = numbers.map(Number);
const USER = `mallory-${kind}`;
const MIB = 1024 * 1024;
const address = (n: number) => `127.0.2.${1 + (n % 200)}`;

/** A connection that nothing is expected of; resolves when it is closed. */
function opened(to: number, from: string, begin: (socket: Socket) => void): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port: to, host: "127.0.0.1", localAddress: from }, () => begin(socket));
    socket.on("error", () => undefined).on("close", () => resolve());
    socket.resume();
  });
}

/** Logs in with the right password, when it is let in. */
async function entered(
  extra: object,
  from = address(7),
): Promise<{ peer: Peer; welcome: Record<string, unknown> }> {
  for (;;) {
    const peer = await Peer.connect(port, from).catch(() => undefined);
    try {
      const welcome = await peer?.logIn(USER, PASSWORD, extra);
      if (peer !== undefined && welcome?.["type"] === "welcome") return { peer, welcome };
    } catch {
      // it was refused at the door
    }
    peer?.[Symbol.dispose]();
    await delay(200);
  }
}

/** One attempt with wrong credentials. */
async function wrong(from: string, login: (hello: Hello) => object): Promise<void> {
  using client = await Client.connect(port, from).catch(() => undefined);
  for (let message = await client?.message(); message !== undefined; message = await client?.message()) {
    if (message["type"] === "error") return;
    if (message["type"] === "hello") client?.send(JSON.stringify(login(message as Hello)));
    else
      client?.send(
        JSON.stringify(login({ ...(message as Hello), nonce: Buffer.alloc(32).toString("base64") })),
      );
  }
}

const WRONG_TOKEN = { id: "A".repeat(8), secret: Buffer.alloc(32, 1) };
const guess = () => ({ type: "login", method: "password", user: "honest-1", password: "a wrong guess" });

/** Each is done again as soon as it is over, so many at once. */
const KINDS: Record<string, { atOnce: number; attack: (n: number) => Promise<void> }> = {
  guesses: { atOnce: 16, attack: (n) => wrong(address(n), guess) },
  tokens: {
    atOnce: 8,
    attack: (n) => wrong(address(20 + n), (hello) => tokenLogin(hello, WRONG_TOKEN, new Uint8Array(0))),
  },
  garbage: {
    atOnce: 8,
    attack: (n) => opened(port, address(40 + (n % 4)), (socket) => socket.write("GET / HTTP/1.1\r\n\r\n")),
  },
  silent: { atOnce: 200, attack: (n) => opened(port, address(50 + (n % 8)), () => undefined) },
  health: { atOnce: 100, attack: () => opened(metrics, "127.0.2.60", () => undefined) },
  logins: {
    atOnce: 3,
    attack: async (n) => (await entered({ control: true }, address(70 + n))).peer[Symbol.dispose](),
  },
  unread: {
    atOnce: 8,
    async attack(n) {
      const { peer } = await entered({ control: true }, address(80 + n));
      peer.socket.pause();
      for (let turn = 0; turn < 8; turn++) peer.send("talk");
      await Promise.race([peer.closed, delay(10_000)]);
      peer[Symbol.dispose]();
    },
  },
  unfinished: {
    atOnce: 8,
    async attack(n) {
      const { peer } = await entered({ control: true }, address(90 + n));
      peer.raw(Buffer.concat([Buffer.from([0, 0x10, 0, 0]), Buffer.alloc(MIB - 1)]));
      await Promise.race([peer.closed, delay(10_000)]);
      peer[Symbol.dispose]();
    },
  },
  pings: {
    atOnce: 2,
    async attack(n) {
      const { peer } = await entered({ control: true }, address(100 + n));
      const pings = Buffer.concat(Array.from({ length: 1000 }, () => frame('{"type":"ping","n":1}', true)));
      for (let turn = 0; turn < 100; turn++) {
        if (!peer.socket.write(pings))
          await Promise.race([peer.closed, new Promise((go) => peer.socket.once("drain", go))]);
      }
      peer[Symbol.dispose]();
    },
  },
  churn: {
    atOnce: 4,
    async attack(n) {
      const { peer } = await entered({ control: true }, address(110 + n));
      for (let turn = 0; turn < 100; turn++) peer.send("echo");
      peer.control({ type: "bye", code: "left", message: "" });
      await Promise.race([peer.closed, delay(2000)]);
      peer[Symbol.dispose]();
    },
  },
  resume: {
    atOnce: 1,
    async attack() {
      const { peer, welcome } = await entered(DURABLE, address(120));
      const resume = resumeOf(welcome);
      peer.reset();
      for (let turn = 0; turn < 1000; turn++) {
        using again = await Peer.connect(port, address(121));
        again.json(resumeLogin(resume, 0, await again.message()));
        if ((await again.message())["type"] !== "welcome") return;
      }
    },
  },
  tell: {
    atOnce: 3,
    async attack(n) {
      const { peer } = await entered({ control: true }, address(130 + n));
      if (n > 0) peer.socket.pause();
      for (let turn = 0; turn < 100 && n === 0; turn++) peer.send("tell");
      await Promise.race([peer.closed, delay(5000)]);
      peer[Symbol.dispose]();
    },
  },
};

const chosen = KINDS[kind];
if (chosen === undefined) throw new Error(`no attack ${kind}`);
setTimeout(() => process.exit(0), seconds * 1000);
for (let n = 0; n < chosen.atOnce; n++) {
  void (async () => {
    for (;;) {
      await chosen.attack(n).catch(() => delay(100)); // cut at any moment: the next one
      await delay(10);
    }
  })();
}
