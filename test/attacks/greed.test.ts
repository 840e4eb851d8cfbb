// Clients and services that take more than their share: what the others notice of it, and how it ends.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { quantile } from "../support/attack/client.ts";
import { attack, LENIENT, until, within } from "../support/attack.ts";
import { frame } from "../support/peer.ts";
import { startServer } from "../support/server.ts";

const ENTER = frame('{"type":"login","method":"none","control":true}');

test("a client that pings without end leaves its neighbours their turns", async () => {
  await using server = await startServer({ ...LENIENT, auth: "none" });
  const script = join(import.meta.dir, "../support/attack/pings.ts");
  const pinger = Bun.spawn([process.execPath, script, String(server.port)], { stdout: "pipe" });
  try {
    await within("the first pong", pinger.stdout.getReader().read());
    using neighbour = await server.peer();
    await neighbour.enter();
    const times: number[] = [];
    while (times.length < 5) {
      const began = performance.now();
      neighbour.send("well?");
      expect(await neighbour.text()).toBe("well?");
      times.push(performance.now() - began);
    }
    expect(quantile(times, 0.5)).toBeLessThan(5000); // as a rule 2
  } finally {
    pinger.kill();
    await pinger.exited;
  }
}, 120_000);

test("a service that says too much in open loses a client that does not read, not its memory", async () => {
  await using server = await startServer({
    ...LENIENT,
    auth: "none",
    maxBacklog: 1024 * 1024,
    service: {
      open(session) {
        for (let count = 0; count < 4000; count++) session.send("y".repeat(10_000));
      },
      message: () => undefined,
    },
  });
  const { socket, greeted } = await attack(server.port);
  await greeted;
  socket.pause();
  socket.write(ENTER);
  try {
    const { fields } = await within("dropped", server.event("dropped"));
    expect(fields["code"]).toBe("too_slow");
  } finally {
    socket.destroy();
  }
}, 120_000);

test("an idle timeout ends those who do not read, too", async () => {
  await using server = await startServer({ ...LENIENT, auth: "none", idleTimeoutMs: 200 });
  const { socket, greeted } = await attack(server.port);
  await greeted;
  socket.pause();
  socket.write(ENTER);
  for (let count = 0; count < 200; count++) socket.write(frame("x".repeat(65_536)));
  try {
    await until("idle", true, () => server.events.some(({ event }) => /disconnected|dropped/.test(event)));
  } finally {
    socket.destroy();
  }
}, 120_000);
