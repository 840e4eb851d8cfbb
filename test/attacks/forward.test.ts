// What both ends of a forwarded connection see when parley itself dies in the middle, and what a hostile server may say.

import { createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "bun:test";
import { until, within } from "../support/attack.ts";
import { serve, start, type Running } from "../support/executable.ts";
import { fakeServer, HELLO, WELCOME } from "../support/fake-server.ts";
import { frame } from "../support/peer.ts";
import { local } from "../support/stream-service.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A listener that notes what it hears. */
async function target(): Promise<{ port: number; events: string[] }> {
  const events: string[] = [];
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("data", (chunk: Buffer) => void events.push(chunk.toString()));
    socket.on("end", () => void events.push("end"));
    socket.on("error", () => void events.push("reset"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, events };
}

async function listen(address: string, flags: string[] = []): Promise<Running & { port: number }> {
  const running = start(["connect", address, "--listen", "0", ...flags]);
  cleanups.push(() => running[Symbol.asyncDispose]());
  await running.stdout.see(/forwarding.*\n/);
  const [, port] = /(?:forwarding 127\.0\.0\.1:|"forwarding".*?"port":)(\d+)/.exec(running.stdout.text) ?? [];
  return Object.assign(running, { port: Number(port) });
}

describe.skipIf(process.platform !== "linux")("the death of parley is no end of a stream", () => {
  async function half() {
    const there = await target();
    const server = await serve(["--auth", "none", "--to", `127.0.0.1:${there.port}`]);
    cleanups.push(() => server[Symbol.asyncDispose]());
    const client = await listen(server.address);
    const program = await local(client);
    cleanups.push(() => program[Symbol.dispose]());
    await until("the server's own try of the target", ["reset"], () => there.events);
    there.events.length = 0;
    program.socket.write("half");
    await until("half", ["half"], () => there.events);
    return { there, server, client, program };
  }

  test("of the client: the local program is reset", async () => {
    const { client, program } = await half();
    client.signal("SIGKILL");
    await within("its end", program.closed);
    expect(program.events).toEqual(["reset"]);
  });

  test("of the server: the target is reset", async () => {
    const { there, server } = await half();
    server.signal("SIGKILL");
    await until("its end", ["half", "reset"], () => there.events);
  });

  test("after an end it changes nothing: what was sent arrives, and the end", async () => {
    const { there, server, program } = await half();
    program.socket.end("rest");
    await until("the end", true, () => there.events.includes("end"));
    server.signal("SIGKILL");
    await server.exited;
    expect(there.events.join("")).toBe("halfrestend");
  });
});

test("no text of a server commands the terminal of a forwarder", async () => {
  const evil = "\u001b]0;title\u0007\n\u009b2J\u202e";
  using server = await fakeServer(async (socket, received) => {
    const from = received.text.length;
    socket.write(frame(JSON.stringify({ ...HELLO, service: evil, messages: "bytes" })));
    await received.see('"login"', from);
    socket.write(frame(JSON.stringify({ ...WELCOME, user: `ann${evil}` })));
    socket.write(frame(JSON.stringify({ type: "stderr", text: `aside ${evil}` }), true));
    socket.write(frame(JSON.stringify({ type: "bye", code: "full", message: `gone ${evil}` }), true));
  });
  for (const flags of [[], ["--json"]]) {
    const client = await listen(server.address, flags);
    using program = await local(client);
    await within("its end", program.closed);
    await client.stderr.see(/gone/);
    for (const { text } of [client.stdout, client.stderr]) {
      // oxlint-disable-next-line no-control-regex
      expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    }
  }
});
