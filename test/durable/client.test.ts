// The client's side of a conversation that outlives its connection: what the reader or the user does meanwhile.

import { expect, test } from "bun:test";
import type { Client } from "../../src/client.ts";
import { connectClient } from "../../src/client-connect.ts";
import { until, within } from "../support/attack.ts";
import { cuttingProxy } from "../support/cutting-proxy.ts";
import { startServer } from "../support/server.ts";

async function connect(port: number): Promise<Client & { losses: string[] }> {
  const losses: string[] = [];
  const client = await connectClient({
    host: "127.0.0.1",
    port,
    retry: {
      times: Infinity,
      forMs: 60_000,
      resend: false,
      onLost: (reason) => void losses.push(reason),
      onResumed: () => undefined,
    },
  });
  return Object.assign(client, { losses });
}

test.each(["reset", "end"] as const)(
  "what is sent while an answer is being dealt with and the connection is cut (%s) is not lost",
  async (how) => {
    await using server = await startServer({ auth: "none" });
    using proxy = await cuttingProxy({ port: server.port });
    const client = await connect(proxy.port);
    const got: string[] = [];
    const gate = Promise.withResolvers<void>();
    const outcome = client.converse(async (payload) => {
      got.push(Buffer.from(payload).toString());
      if (got.length === 1) await gate.promise;
    });
    client.send("1");
    await until("answers", ["1"], () => got);
    proxy.cutAll(how);
    await until("sockets of the server", 0, () => server.server.connections);
    client.send("2");
    await until("losses", 1, () => client.losses.length);
    client.send("3");
    gate.resolve();
    client.end();
    expect(await within("the end", outcome)).toMatchObject({ kind: "bye", code: "done" });
    expect([got, client.awaited]).toEqual([["1", "2", "3"], 0]);
  },
);

test("a client that leaves while it is coming back leaves no session behind", async () => {
  await using server = await startServer({ auth: "none" });
  using proxy = await cuttingProxy({ port: server.port });
  const client = await connect(proxy.port);
  const outcome = client.converse(() => undefined);
  client.send("1");
  await until("awaited", 0, () => client.awaited);
  // It leaves between its resume and the answer to that.
  proxy.options.tap = (_, bytes) => void (bytes.includes('"resume"') && client.leave());
  proxy.cutAll("reset");
  expect(await within("the end", outcome)).toMatchObject({ kind: "left" });
  await until("sessions", 0, () => server.server.sessions);
}, 120_000);
