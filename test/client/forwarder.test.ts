// Local connections that are forwarded, each as a conversation of its own: both ends of each direction, resets, losses, and who waits.

import type { Socket } from "node:net";
import { describe, expect, test } from "bun:test";
import { disableUser, revokeTokens } from "../../src/auth/accounts.ts";
import { MAX_FORWARD_DIALS, MAX_FORWARD_WAITING } from "../../src/base/limits.ts";
import { ServiceEnding } from "../../src/services/service.ts";
import { until, within } from "../support/attack.ts";
import { cuttingProxy } from "../support/cutting-proxy.ts";
import { fakeServer, HELLO, WELCOME } from "../support/fake-server.ts";
import { frame } from "../support/peer.ts";
import { forwarding } from "../support/forwarding.ts";
import { startServer } from "../support/server.ts";
import { bulk, bulkService, digest, local, streamService, type Led } from "../support/stream-service.ts";

/** The session of the first local connection: that of the first login has ended. */
async function opened(sessions: Led[], number = 1): Promise<Led> {
  await until("sessions", true, () => sessions[number] !== undefined);
  return sessions[number]!;
}

/** PARLEY_BYTES, PARLEY_CUTS: of the long transfer. */
const BYTES = Number(process.env["PARLEY_BYTES"] ?? 20_000_000);
const CUTS = Number(process.env["PARLEY_CUTS"] ?? 12);
const PATIENCE_MS = 60_000 + CUTS * 3000;

const MIB = 1024 * 1024;
const ROOMY = { maxPerUser: 1000, maxPending: { start: 1000, rate: 30, full: 1000 } };

describe("the ends of a forwarded connection", () => {
  test("each side ends its output alone, and hears the other one on", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    program.socket.end("question");
    await until("heard", "question", () => there.text);
    await until("its end", true, () => there.ended);
    there.session.send("answer");
    await until("answer", "answer", () => program.text);
    expect(program.events).toEqual([]);
    there.session.finish();
    await within("the end", program.closed);
    expect(program.events).toEqual(["end", "closed"]);
    await until("connections", 0, () => tunnel.forwarder.size);
    expect(tunnel.cuts).toEqual([]);
  });

  test("the server's end is a FIN and no more", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    there.session.send("all");
    there.session.endOutput();
    await until("its end", ["end"], () => program.events);
    program.socket.write("more");
    await until("heard", "more", () => there.text);
    program.socket.end();
    await until("its end", true, () => there.ended);
    there.session.finish();
    await within("the end", program.closed);
    expect([program.text, program.events]).toEqual(["all", ["end", "closed"]]);
  });

  test("a service that is done first: the program gets everything and a FIN, and what it still says is dropped", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    there.session.send(Buffer.alloc(1024 * 1024));
    there.session.finish();
    await until("its end", ["end"], () => program.events);
    expect(program.bytes).toBe(1024 * 1024);
    program.socket.end("too late");
    await within("the end", program.closed);
    expect(program.events).toEqual(["end", "closed"]);
    expect(tunnel.cuts).toEqual([]);
  });

  test.each(["reset", "unreachable"] as const)("%s there is a reset here", async (code) => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    there.session.fail(new ServiceEnding(code, "the target is away"));
    await within("the end", program.closed);
    expect(program.events).toEqual(["reset"]);
    expect(tunnel.cuts).toEqual([{ code, reason: "the target is away", unconfirmed: 0, undelivered: 0 }]);
  });

  test("a reset here ends the conversation there, without an end of its input", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    program.socket.write("x");
    await until("heard", "x", () => there.text);
    program.socket.resetAndDestroy();
    await until("closed", true, () => there.closed);
    expect(there.ended).toBe(false);
    expect(await server.event("disconnected", server.events.length - 1)).toMatchObject({
      fields: { bye: "left" },
    });
    expect(tunnel.cuts).toEqual([]);
  });

  test("a reset here ends the conversation there, also where the service takes nothing", async () => {
    const { service, sessions } = streamService();
    const taking = Promise.withResolvers<void>();
    const holding = { ...service, message: () => taking.promise };
    await using server = await startServer({ auth: "none", service: holding });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    program.socket.write(Buffer.alloc(64 * MIB));
    await until("a server that is behind", true, () => tunnel.forwarder.budget.used > MIB);
    program.socket.resetAndDestroy();
    await until("closed", true, () => there.closed || there.session.signal.aborted);
    taking.resolve();
    await until("sessions", 0, () => server.server.sessions);
    expect(there.ended).toBe(false);
    expect(tunnel.cuts).toEqual([]);
  });
});

describe("back-pressure", () => {
  test("a local program that does not read holds its server, which hears on meanwhile", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    program.socket.pause();
    let sent = 0;
    const TOTAL = 64;
    const sending = (async () => {
      for (; sent < TOTAL; sent++) {
        there.session.send(Buffer.alloc(1024 * 1024));
        await there.session.writable();
      }
      there.session.endOutput();
    })();
    let before = -1;
    await until("a stop", true, async () => {
      const isSteady = sent === before && sent > 0;
      before = sent;
      await Bun.sleep(100);
      return isSteady;
    });
    expect(sent).toBeLessThan(40); // two windows, and what the kernel holds
    program.socket.write(Buffer.alloc(2 * 1024 * 1024));
    await until("heard", 2 * 1024 * 1024, () => there.bytes);
    program.socket.resume();
    await within("the rest", sending);
    await until("received", TOTAL * 1024 * 1024, () => program.bytes);
    await until("its end", ["end"], () => program.events);
  });

  test("a server that does not take holds the local program", async () => {
    const { service, sessions } = streamService();
    const gate = Promise.withResolvers<void>();
    await using server = await startServer({
      auth: "none",
      service: {
        ...service,
        async message(session, message) {
          await gate.promise;
          return service.message(session, message);
        },
      },
    });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    const TOTAL = 64 * 1024 * 1024;
    program.socket.end(Buffer.alloc(TOTAL));
    let before = -1;
    await until("a stop", true, async () => {
      const { bytesWritten, writableLength } = program.socket;
      const taken = bytesWritten - writableLength;
      const isSteady = taken === before;
      before = taken;
      await Bun.sleep(100);
      return isSteady;
    });
    expect(program.socket.writableLength).toBeGreaterThan(0);
    expect(tunnel.forwarder.budget.used).toBeLessThan(24 * 1024 * 1024);
    gate.resolve();
    await until("heard", TOTAL, () => there.bytes);
    await until("its end", true, () => there.ended);
    there.session.finish();
    await within("the end", program.closed);
    expect(program.events).toEqual(["end", "closed"]);
    await until("memory", 0, () => tunnel.forwarder.budget.used);
  });
});

describe("a connection that is cut", () => {
  test(
    `goes on where it was: ${BYTES / 1e6} MB both ways at once, ${CUTS} cuts`,
    async () => {
      const { service, heard } = bulkService(BYTES);
      await using server = await startServer({ auth: "none", service });
      using proxy = await cuttingProxy({
        port: server.port,
        cuts: CUTS,
        least: BYTES / CUTS / 2,
        most: (3 * BYTES) / CUTS,
        seed: 3,
      });
      await using tunnel = await forwarding(server.port, {}, proxy.port);
      using program = await local(tunnel);
      const hash = new Bun.CryptoHasher("sha256");
      program.socket.on("data", (chunk: Buffer) => void hash.update(chunk));
      for (const chunk of bulk(BYTES)) {
        if (!program.socket.write(chunk))
          await new Promise((resolve) => program.socket.once("drain", resolve));
      }
      program.socket.end();
      await within("the end", program.closed, PATIENCE_MS);
      await until("connections", 0, () => tunnel.forwarder.size);
      const wanted = digest(bulk(BYTES));
      expect([program.bytes, hash.digest("hex"), heard.at(-1)]).toEqual([BYTES, wanted, wanted]);
      expect(proxy.done).toBeGreaterThan(CUTS / 2);
      expect(tunnel.cuts).toEqual([]);
    },
    PATIENCE_MS,
  );

  test("costs the local program nothing; twenty that are cut together all come back", async () => {
    const { service, sessions } = streamService({ echo: true });
    await using server = await startServer({ auth: "none", service, ...ROOMY });
    using proxy = await cuttingProxy({ port: server.port });
    await using tunnel = await forwarding(server.port, {}, proxy.port);
    const programs = await Promise.all(Array.from({ length: 20 }, () => local(tunnel)));
    await opened(sessions, 20);
    for (const [n, { socket }] of programs.entries()) socket.write(`first ${n};`);
    await until("echoes", true, () => programs.every(({ text }) => text.endsWith(";")));
    proxy.cutAll("reset");
    for (const { socket } of programs) socket.end("second");
    await Promise.all(programs.map(({ closed }) => within("the end", closed)));
    expect(programs.map(({ text }) => text)).toEqual(programs.map((_, n) => `first ${n};second`));
    expect(tunnel.cuts).toEqual([]);
    expect(sessions.length).toBe(21);
  });

  test("comes back again and again, also one of twenty that say nothing", async () => {
    const { service, sessions } = streamService({ echo: true });
    await using server = await startServer({ auth: "none", service, ...ROOMY });
    using proxy = await cuttingProxy({ port: server.port });
    await using tunnel = await forwarding(server.port, {}, proxy.port);
    const programs = await Promise.all(Array.from({ length: 20 }, () => local(tunnel)));
    await opened(sessions, 20);
    for (const { socket } of programs) socket.write(">");
    await until("echoes", true, () => programs.every(({ text }) => text === ">")); // so each welcome has arrived
    const back = () => tunnel.reports.filter((report) => report === "resumed").length;
    for (let round = 1; round <= 4; round++) {
      proxy.cutAll("reset");
      await until("returns", 20 * round, back);
    }
    for (const { socket } of programs) socket.end("x");
    await Promise.all(programs.map(({ closed }) => within("the end", closed)));
    expect(programs.map(({ text }) => text)).toEqual(Array(20).fill(">x"));
    expect(tunnel.cuts).toEqual([]);
  });

  test("after both ends of the local program: what it has sent arrives all the same", async () => {
    const gate = Promise.withResolvers<void>();
    const { service, sessions } = streamService();
    await using server = await startServer({
      auth: "none",
      service: {
        ...service,
        async message(session, message) {
          await gate.promise;
          return service.message(session, message);
        },
        end: (session) => session.finish(),
      },
    });
    using proxy = await cuttingProxy({ port: server.port });
    await using tunnel = await forwarding(server.port, {}, proxy.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    there.session.endOutput();
    program.socket.end(Buffer.alloc(1024 * 1024));
    await within("its end", program.closed);
    expect(program.events).toEqual(["end", "closed"]);
    expect([tunnel.forwarder.size, there.bytes]).toEqual([1, 0]);
    proxy.cutAll("reset");
    await until("reports", ["lost", "resumed"], () => tunnel.reports);
    gate.resolve();
    await until("connections", 0, () => tunnel.forwarder.size);
    expect([there.bytes, tunnel.cuts]).toEqual([1024 * 1024, []]);
  });

  test("ends there, too, when its local program was reset meanwhile", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service });
    using proxy = await cuttingProxy({ port: server.port });
    await using tunnel = await forwarding(server.port, {}, proxy.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    program.socket.write("x");
    await until("heard", "x", () => there.text); // so the welcome has arrived
    proxy.options.port = 1;
    proxy.cutAll("reset");
    await until("reports", ["lost", "failing"], () => tunnel.reports);
    program.socket.resetAndDestroy();
    await until("connections", 0, () => tunnel.forwarder.size);
    expect([there.closed, server.server.sessions]).toEqual([false, 1]);
    proxy.options.port = server.port;
    await until("closed", true, () => there.closed);
    expect([there.ended, server.server.sessions]).toEqual([false, 0]);
  });

  test("whose session is gone is reset, and no new session is used", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service, resumeForMs: 1 });
    using proxy = await cuttingProxy({ port: server.port });
    await using tunnel = await forwarding(server.port, {}, proxy.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    program.socket.write("x");
    await until("heard", "x", () => there.text);
    const { port } = proxy.options;
    proxy.options.port = 1; // away
    proxy.cutAll("reset");
    await until("closed", true, () => there.closed);
    proxy.options.port = port;
    await within("the end", program.closed);
    expect(program.events).toEqual(["reset"]);
    expect(tunnel.cuts).toMatchObject([{ code: "lost" }]);
    expect(sessions.length).toBe(2);
  });

  test("is reset when the time to come back is over", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service });
    using proxy = await cuttingProxy({ port: server.port });
    await using tunnel = await forwarding(server.port, { forMs: 300 }, proxy.port);
    using program = await local(tunnel);
    const there = await opened(sessions);
    program.socket.write("x");
    await until("heard", "x", () => there.text);
    proxy.options.port = 1;
    proxy.cutAll("reset");
    await until("losses", ["lost"], () => tunnel.reports.slice(0, 1));
    program.socket.write("unconfirmed");
    await within("the end", program.closed);
    expect(tunnel.cuts).toMatchObject([{ code: "lost" }]);
  });
});

describe("new local connections", () => {
  test("twenty at once are logged in soon, four at a time", async () => {
    const { service, sessions } = streamService({ echo: true });
    await using server = await startServer({ auth: "password", service, maxPerUser: 100 });
    let most = 0;
    using proxy = await cuttingProxy({
      port: server.port,
      tap: () => {
        most = Math.max(most, proxy.connections - sessions.length + 1);
      },
    });
    await using tunnel = await forwarding(server.port, {}, proxy.port);
    const programs = await Promise.all(Array.from({ length: 20 }, () => local(tunnel)));
    for (const { socket } of programs) socket.end("hi");
    await Promise.all(programs.map(({ closed }) => within("the end", closed)));
    expect(programs.map(({ text }) => text)).toEqual(Array(20).fill("hi"));
    expect(most).toBeLessThanOrEqual(MAX_FORWARD_DIALS);
    const methods = server.events.flatMap(({ event, fields }) =>
      event === "logged-in" ? [fields["method"]] : [],
    );
    expect(methods).toEqual(["password", ...Array<string>(20).fill("token")]);
    await until("connections", 0, () => tunnel.forwarder.size);
  });

  test("wait while the server is away, in order; so many, and the others are reset at once", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "none", service, ...ROOMY });
    using proxy = await cuttingProxy({ port: 1 });
    await using tunnel = await forwarding(server.port, {}, proxy.port);
    using first = await local(tunnel);
    await until("reports", ["failing"], () => tunnel.reports);
    const programs = [first];
    for (let n = 1; n < MAX_FORWARD_WAITING; n++) programs.push(await local(tunnel));
    await until("waiting", MAX_FORWARD_WAITING, () => tunnel.forwarder.size);
    using surplus = await local(tunnel);
    await within("its reset", surplus.closed);
    expect(surplus.events).toEqual(["reset"]);
    expect(tunnel.cuts).toMatchObject([{ code: "crowded" }]);
    for (const [n, { socket }] of programs.entries()) socket.write(`${n}`);
    proxy.options.port = server.port;
    await until("sessions", MAX_FORWARD_WAITING + 1, () => sessions.length);
    expect(tunnel.reports).toEqual(["failing", "working"]);
    await until("heard", true, () => sessions.slice(1).every(({ text }) => text !== ""));
    const order = sessions.slice(1).map(({ text }) => Number(text));
    expect(order[0]).toBe(0);
    expect(Math.max(...order.map((n, at) => Math.abs(n - at)))).toBeLessThan(MAX_FORWARD_DIALS);
    for (const { socket } of programs) socket.destroy();
  });

  test("are reset when the server stays away", async () => {
    const { service } = streamService();
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port, { forMs: 200 }, 1);
    using program = await local(tunnel);
    await within("its reset", program.closed);
    expect(tunnel.cuts).toMatchObject([{ code: "unreachable" }]);
  });

  test("that leave while they wait give their place back", async () => {
    const { service } = streamService();
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port, {}, 1);
    using program = await local(tunnel);
    await until("reports", ["failing"], () => tunnel.reports);
    program.socket.resetAndDestroy();
    await until("waiting", 0, () => tunnel.forwarder.size);
  });

  test("wait where the server has no room for their user, and come in when it has", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "password", service, maxPerUser: 1 });
    await using tunnel = await forwarding(server.port);
    using one = await local(tunnel);
    await opened(sessions);
    using two = await local(tunnel);
    await until("reports", ["failing"], () => tunnel.reports);
    one.socket.resetAndDestroy();
    two.socket.write("me");
    const there = await opened(sessions, 2);
    await until("heard", "me", () => there.text);
    expect(tunnel.cuts).toEqual([]);
  });
});

describe("a server that keeps to nothing", () => {
  /** A server that lets each client in, and then does what `then` does. */
  const letting = (then: (socket: Socket) => unknown) =>
    fakeServer(async (socket, received) => {
      const from = received.text.length;
      socket.write(frame(JSON.stringify({ ...HELLO, messages: "bytes" })));
      await received.see('"login"', from);
      socket.write(frame(JSON.stringify(WELCOME)));
      await then(socket);
    });

  test("and sends without end is held when a local program does not read", async () => {
    const chunk = frame(Buffer.alloc(256 * 1024).toString("latin1"));
    const heldUp = Promise.withResolvers<void>();
    using server = await letting((socket) => {
      socket.on("drain", () => pour(socket));
      pour(socket);
    });
    function pour(socket: Socket): void {
      while (socket.write(chunk));
      if (socket.bytesWritten > 8 * 1024 * 1024) heldUp.resolve();
    }
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    program.socket.pause();
    await within("much", heldUp.promise);
    let before = -1;
    await until("a stop", true, async () => {
      const { used } = tunnel.forwarder.budget;
      const isSteady = used === before;
      before = used;
      await Bun.sleep(100);
      return isSteady;
    });
    expect(before).toBeGreaterThan(8 * 1024 * 1024);
    expect(before).toBeLessThan(12 * 1024 * 1024);
  });

  test("and whose messages are long, or windows wide, costs no more memory than all may", async () => {
    const long = frame(Buffer.alloc(5 * MIB).toString("latin1"));
    using server = await letting((socket) => void socket.write(long));
    await using tunnel = await forwarding(server.port, { maxQueued: 8 * MIB });
    const programs = [await local(tunnel), await local(tunnel), await local(tunnel)];
    for (const { socket } of programs) socket.pause();
    await until("cuts", true, () => tunnel.cuts.length > 0);
    expect(tunnel.cuts[0]).toMatchObject({ code: "crowded" });
    expect(tunnel.forwarder.budget.used).toBeLessThanOrEqual(8 * MIB);
    for (const program of programs) program[Symbol.dispose]();
  });

  test("and has room for all, as it says, and takes nothing, is sent no more than a window", async () => {
    const session = { session: "s", resume_key: Buffer.alloc(32).toString("base64"), resume_for: 60 };
    using server = await fakeServer(async (socket, received) => {
      const from = received.text.length;
      socket.write(frame(JSON.stringify({ ...HELLO, messages: "bytes" })));
      await received.see('"login"', from);
      socket.write(frame(JSON.stringify({ ...WELCOME, ...session, window: 2 ** 53 - 1 })));
    });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    program.socket.write(Buffer.alloc(40 * MIB));
    let before = -1;
    await until("a stop", true, async () => {
      const { used } = tunnel.forwarder.budget;
      const isSteady = used === before && used > MIB;
      before = used;
      await Bun.sleep(100);
      return isSteady;
    });
    expect(before).toBeLessThan(12 * MIB);
  });

  test("and goes on after its end is left, and the local program reset", async () => {
    using server = await letting((socket) => {
      socket.write(frame(JSON.stringify({ type: "end" }), true));
      socket.write(frame("more"));
    });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    await until("cuts", 1, () => tunnel.cuts.length);
    await within("its end", program.closed);
    expect(program.text).toBe("");
    expect(tunnel.cuts).toMatchObject([{ code: "lost", reason: "the server sent more after its end" }]);
  });

  test("and cuts each connection at once is dialled seldom", async () => {
    let dials = 0;
    const session = { session: "s", resume_key: Buffer.alloc(32).toString("base64"), resume_for: 60 };
    using server = await fakeServer(async (socket, received) => {
      dials++;
      const from = received.text.length;
      socket.write(frame(JSON.stringify({ ...HELLO, messages: "bytes" })));
      await received.see('"login"', from);
      const welcome =
        dials <= 2 ? { ...WELCOME, ...session } : { ...WELCOME, ...session, resumed: true, received: 0 };
      socket.write(frame(JSON.stringify(welcome)), () => dials > 1 && socket.destroySoon());
    });
    await using tunnel = await forwarding(server.port, { forMs: 2000 });
    using program = await local(tunnel);
    await within("its reset", program.closed);
    expect(tunnel.cuts).toMatchObject([{ code: "lost" }]);
    expect(dials).toBeGreaterThan(5);
    expect(dials).toBeLessThan(20);
  });
});

describe("the end of the forwarder", () => {
  test("a changed password ends it, and resets the local connections", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "password", service });
    await using tunnel = await forwarding(server.port);
    using program = await local(tunnel);
    await opened(sessions);
    const failed = tunnel.forwarder.failed.catch((error: unknown) => error);
    await server.store?.change((draft) => draft.users.delete("ann"));
    server.server.reload();
    expect(await within("the end", failed)).toMatchObject({ code: "turned_away" });
    await within("its reset", program.closed);
    expect(program.events).toEqual(["reset"]);
  });

  test("a refused login ends it", async () => {
    const { service } = streamService();
    await using server = await startServer({ auth: "password", service });
    await using tunnel = await forwarding(server.port);
    await server.store?.change((draft) => draft.users.delete("ann"));
    server.server.reload();
    const failed = tunnel.forwarder.failed.catch((error: unknown) => error);
    using program = await local(tunnel);
    expect(await within("the end", failed)).toMatchObject({ code: "login_refused" });
    program.socket.destroy();
  });

  test("a disabled account ends it", async () => {
    const { service } = streamService();
    await using server = await startServer({ auth: "password", service });
    await using tunnel = await forwarding(server.port);
    await server.store?.change((draft) => disableUser(draft, "ann", "on holiday", new Date()));
    server.server.reload();
    const failed = tunnel.forwarder.failed.catch((error: unknown) => error);
    using program = await local(tunnel);
    const error = await within("the end", failed);
    expect(error).toMatchObject({
      code: "turned_away",
      message: "this account is disabled: on holiday",
    });
    program.socket.destroy();
  });

  test("a token that is refused is replaced, where the password was given", async () => {
    const { service, sessions } = streamService();
    await using server = await startServer({ auth: "password", service });
    await using tunnel = await forwarding(server.port);
    await server.store?.change((draft) => revokeTokens(draft, () => true));
    server.server.reload();
    using one = await local(tunnel);
    await opened(sessions, 1);
    using two = await local(tunnel);
    await opened(sessions, 2);
    const methods = server.events.flatMap(({ event, fields }) =>
      event === "logged-in" ? [fields["method"]] : [],
    );
    expect(methods).toEqual(["password", "password", "token"]);
    for (const { socket } of [one, two]) socket.resetAndDestroy();
  });

  test("it waits for those that end meanwhile, and resets the others", async () => {
    const { service, sessions } = streamService({ echo: true });
    await using server = await startServer({ auth: "none", service });
    await using tunnel = await forwarding(server.port);
    using one = await local(tunnel);
    using two = await local(tunnel);
    await opened(sessions, 2);
    const stopped = tunnel.forwarder.stop(1000);
    one.socket.end("last words");
    await within("its end", one.closed);
    expect([one.text, one.events]).toEqual(["last words", ["end", "closed"]]);
    expect(await stopped).toBe(1);
    await within("its reset", two.closed);
    expect(two.events).toEqual(["reset"]);
  });
});
