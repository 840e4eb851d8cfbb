// How parley serve ends: everybody gets their answers and `bye`; a second signal does not wait for anybody.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { serve, shell, start } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { frame, Peer } from "../../support/peer.ts";

setDefaultTimeout(90_000);

test.each(["SIGTERM", "SIGINT"] as const)(
  "%s: 20 clients in the middle get every answer, then bye",
  async (signal) => {
    const CLIENTS = 20;
    const MESSAGES = 500;
    await using server = await serve(["--auth", "none", "--max-pending-per-address", String(CLIENTS)]);
    const peers = await Promise.all(Array.from({ length: CLIENTS }, () => Peer.connect(server.port)));
    try {
      await Promise.all(peers.map((peer) => peer.enter()));
      const texts = Array.from({ length: MESSAGES }, (_, i) => `message ${i} ${"x".repeat(1000)}`);
      for (const peer of peers) peer.raw(Buffer.concat(texts.map((text) => frame(text))));
      await peers[0]?.frame(); // the conversations are under way
      server.signal(signal);
      const heard = await Promise.all(
        peers.map(async (peer) => {
          const frames = await peer.rest();
          peer.end();
          return frames;
        }),
      );
      for (const [index, frames] of heard.entries()) {
        const answers = frames.filter(({ control }) => !control).map(({ payload }) => payload.toString());
        expect(answers).toEqual(index === 0 ? texts.slice(1) : texts);
        const bye = JSON.parse(frames.at(-1)?.payload.toString() ?? "") as Record<string, unknown>;
        expect(frames.at(-1)?.control).toBe(true);
        expect(bye).toMatchObject({ type: "bye", code: "shutting_down" });
      }
      expect(await server.exited).toBe(0);
    } finally {
      for (const peer of peers) peer[Symbol.dispose]();
    }
  },
);

test("a piped client that keeps stdin open is told and ends with 5", async () => {
  await using server = await serve(["--auth", "none"]);
  await using client = start(["connect", server.address]);
  client.write("hello\n");
  await client.stdout.see("hello\n");
  await server.stop();
  expect(await client.exited).toBe(5);
  expect(client.stderr.text).toContain("shutting down");
});

test("nobody new is let in while it drains, and one without a login is sent away", async () => {
  await using server = await serve(["--auth", "none"]);
  using early = await Peer.connect(server.port);
  await early.message(); // hello
  server.signal("SIGTERM");
  expect(await early.message()).toMatchObject({ type: "error", code: "shutting_down" });
  const late = await Peer.connect(server.port).catch((error: unknown) => error);
  expect(late).toMatchObject({ code: "ECONNREFUSED" });
  early.end();
  expect(await server.exited).toBe(0);
});

test("a signal given twice at once counts once; a later one ends it without waiting", async () => {
  using folder = tempFolder();
  await using server = await serve(["--auth", "none", "--drain", "1h"], { data: folder.path });
  using peer = await Peer.connect(server.port);
  await peer.enter();
  peer.socket.pause();
  // More than all buffers on the way hold: it never gets its answers out, so draining would last.
  const block = frame(Buffer.alloc(1024 * 1024));
  for (let i = 0; i < 64; i++) peer.raw(block);
  using other = await Peer.connect(server.port);
  await other.enter();
  const began = performance.now();
  server.signal("SIGTERM");
  server.signal("SIGTERM");
  // The other one is still told in the orderly way.
  expect((await other.rest()).at(-1)?.payload.toString()).toContain("shutting_down");
  other.end();
  await other.closed;
  const again = setInterval(() => server.signal("SIGTERM"), 100);
  try {
    expect(await server.exited).toBe(0);
  } finally {
    clearInterval(again);
  }
  // Far from the drain, and from the 30 s after which a peer that takes nothing is given up.
  expect(performance.now() - began).toBeLessThan(25_000);
  const log = readFileSync(join(folder.path, "parley.log"), "utf8");
  expect(log.match(/ stopping /g)).toHaveLength(1);
  expect(log).toMatch(/ stopped /);
});

test("however many SIGTERMs come, until the last moment, the log of serve is whole and it ends with 0", async () => {
  const script = `mkfifo port; exec 4<> port
    for log in 1 2 3; do
      "$1" serve --auth none --port 0 --port-file port --log $log > /dev/null & read -r <&4
      for ((i = 0; i < 100000; i++)); do kill -TERM $! 2> /dev/null || break; done
      wait $!; echo $?; tail -n 1 $log
    done`;
  const lines = (await shell(script)).stdout.trimEnd().split("\n");
  expect(lines.filter((_, index) => index % 2 === 0)).toEqual(["0", "0", "0"]);
  for (const line of lines.filter((_, index) => index % 2 === 1)) expect(line).toMatch(/ stopped cut=0$/);
});
