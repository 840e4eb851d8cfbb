// parley connect and messages that nobody has confirmed: they are named, and the exit code says that there are some.

import { writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { cuttingProxy, type CuttingProxy } from "../../support/cutting-proxy.ts";
import { run, serve, start, type Serving } from "../../support/executable.ts";
import { fakeServer, HELLO, WELCOME } from "../../support/fake-server.ts";
import { tempFolder } from "../../support/folder.ts";
import { frame } from "../../support/peer.ts";
import { Screen } from "../../support/screen.ts";

setDefaultTimeout(90_000);

const CTRL_D = "\u0004";

describe("connect --exit-status", () => {
  /** A server that takes a message, confirms none, and says `bye` with `status`. */
  const takeAndLeave = (status: number) =>
    fakeServer(async (socket: Socket, received) => {
      socket.write(frame(JSON.stringify(HELLO)));
      await received.see('"login"');
      const key = Buffer.alloc(32).toString("base64");
      socket.write(frame(JSON.stringify({ ...WELCOME, session: "s", resume_key: key })));
      await received.see("question");
      const bye = { type: "bye", code: "done", message: "the conversation is over", status };
      socket.end(frame(JSON.stringify(bye), true));
    });

  test.concurrent.each([
    [0, 6],
    [3, 3],
    [255, 255],
    [256, 1],
    [768, 1],
  ])(
    "of a program that ended with %d is %d, and what it has not confirmed is named",
    async (status, code) => {
      using fake = await takeAndLeave(status);
      const argv = ["connect", fake.address, "--retry", "1", "--exit-status", "--send", "question"];
      const { exitCode, stderr } = await run(argv);
      expect(exitCode).toBe(code);
      expect(stderr).toStartWith("not confirmed: question\n");
    },
  );
});

describe("a server that goes away in the middle:", () => {
  /** Answers a message, and confirms none: its hook goes on for ever. */
  const DEAF = `export default {
    async message(session) { session.send("heard"); await new Promise(() => {}); },
  };`;

  /** A server that confirms nothing, one that is an echo, and a way to the first. */
  async function withServers(
    work: (proxy: CuttingProxy, deaf: Serving, echo: Serving) => Promise<void>,
  ): Promise<void> {
    using own = tempFolder();
    const handler = join(own.path, "deaf.ts");
    writeFileSync(handler, DEAF);
    await using deaf = await serve(["--auth", "none", "--handler", handler]);
    await using echo = await serve(["--auth", "none"]);
    using proxy = await cuttingProxy({ port: deaf.port });
    await work(proxy, deaf, echo);
    await echo.stop();
  }

  test.concurrent("what is piped meanwhile goes into the next session, and is confirmed there", () =>
    withServers(async (proxy, deaf, echo) => {
      await using client = start(["connect", proxy.address, "--retry", "forever", "--json"]);
      await client.stdout.see('"logged-in"');
      await deaf.stop();
      await client.stdout.see('"lost"');
      client.write("one\n");
      await client.stdout.see('"event":"sent","text":"one"');
      proxy.options.port = echo.port;
      client.endInput();
      expect(await client.exited).toBe(0);
      expect(client.stdout.text).toContain('"event":"received","text":"one"');
      expect(client.stderr.text).not.toContain("confirmed");
    }),
  );

  test.concurrent("what was sent before stays unconfirmed, and is named: 6", () =>
    withServers(async (proxy, deaf, echo) => {
      await using client = start(["connect", proxy.address, "--retry", "forever", "--json"]);
      client.write("one\n");
      await client.stdout.see('"text":"heard"');
      deaf.signal("SIGKILL");
      await client.stdout.see('"lost"');
      client.write("two\n");
      await client.stdout.see('"event":"sent","text":"two"');
      proxy.options.port = echo.port;
      client.endInput();
      expect(await client.exited).toBe(6);
      expect(client.stdout.text).toContain('"event":"received","text":"two"');
      expect(client.stdout.text).not.toContain('"event":"received","text":"one"');
      expect(client.stderr.text.match(/^not confirmed: .*$/gm)).toEqual(["not confirmed: one"]);
    }),
  );

  test.concurrent("for good, and all that is unconfirmed is named: 6", () =>
    withServers(async (proxy, deaf) => {
      await using client = start(["connect", proxy.address, "--retry", "1"]);
      client.write("one\ntwo\u001b[2J\n");
      await client.stdout.see("heard\n");
      deaf.signal("SIGKILL");
      expect(await client.exited).toBe(6);
      expect(client.stderr.text).toStartWith("not confirmed: one\nnot confirmed: two");
      expect(client.stderr.text).not.toContain("\u001b");
    }),
  );

  test.concurrent("on a terminal, too, only what was sent before is named: 6", () =>
    withServers(async (proxy, deaf, echo) => {
      await using screen = new Screen(["connect", proxy.address]);
      await screen.see("> ");
      screen.enter("one");
      await screen.see("heard");
      deaf.signal("SIGKILL");
      await screen.see("reconnecting");
      screen.enter("two");
      await screen.see("two");
      proxy.options.port = echo.port;
      await screen.see("1 message was never confirmed");
      await screen.see("not confirmed: one\r\n");
      await screen.see("two\r\n");
      screen.type(CTRL_D);
      expect(await screen.exited).toBe(6);
    }),
  );
});
