// A thousand connections to the port of the metrics that never say a word, while somebody asks for the health.

import { connect } from "node:net";
import { quantile } from "./client.ts";
import { target, type Figure } from "./target.ts";

const SILENT = 1000;
const QUESTIONS = 20;

export async function health(): Promise<Figure[]> {
  const attack = `${SILENT} silent at the metrics`;
  await using server = await target(["--auth", "none", "--metrics", "127.0.0.1:0"]);
  const port = Number(/\d+$/.exec(server.metrics)?.[0]);
  const sockets = Array.from({ length: SILENT }, () => connect({ port, host: "127.0.0.1" }));
  await Promise.all(
    sockets.map((socket) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      socket.once("connect", resolve).once("error", () => resolve());
      return promise;
    }),
  );
  const times: number[] = [];
  try {
    while (times.length < QUESTIONS) {
      const began = performance.now();
      const response = await fetch(`http://127.0.0.1:${port}/healthz`, { keepalive: false });
      if ((await response.text()) !== "ok\n") throw new Error(`the health is ${response.status}`);
      times.push(performance.now() - began);
    }
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  return [
    { attack, what: "health, median", value: quantile(times, 0.5), unit: "ms" },
    { attack, what: "health, longest", value: Math.max(...times), unit: "ms", target: 1000 },
  ];
}
