// Stands between a store and its engine, and decides what becomes of each answer. It listens on a Unix socket.

import { rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tempFolder } from "./folder.ts";
import type { TestRedis } from "./redis.ts";

/** What becomes of an answer: the bytes to pass on; undefined cuts the connection. The next answers wait for it. */
export type OnAnswer = (bytes: Buffer, question: string) => Buffer | undefined | Promise<Buffer | undefined>;

export interface EngineProxy extends Disposable {
  /** What `--store` takes. */
  readonly url: string;
  /** How many connections there were. */
  readonly connections: number;
}

/** @param onAnswer gets each chunk of the engine, and what was asked last on its connection. */
export async function engineProxy(redis: TestRedis, onAnswer: OnAnswer): Promise<EngineProxy> {
  const folder = tempFolder();
  const path = `${folder.path}/proxy.sock`;
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((near) => {
    connections++;
    const far = connect(redis.socket);
    let question = "";
    let answered = Promise.resolve();
    near.on("data", (bytes: Buffer) => {
      question = bytes.toString("latin1");
      far.write(bytes);
    });
    far.on("data", (bytes: Buffer) => {
      const asked = question;
      answered = answered.then(async () => {
        const passed = await onAnswer(bytes, asked);
        if (passed === undefined) near.destroy();
        else near.write(passed);
      });
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => undefined);
      one.on("close", () => {
        other.destroy();
        sockets.delete(one);
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    url: `redis+unix://${path}`,
    get connections() {
      return connections;
    },
    [Symbol.dispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      rmSync(path, { force: true });
      folder[Symbol.dispose]();
    },
  };
}
