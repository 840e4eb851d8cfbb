// What a forwarded connection costs, beside a direct one and beside other tunnels, those that are installed: a target, both ends of a tunnel, and a load, all on
// loopback, each contender once in each round.
//
//     bun scripts/build.ts && bun scripts/bench-forward.ts [--rounds N] [--mib N] [--contenders A,B…]
//
// A Markdown table on stdout: medians of the rounds. CPU is that of both ends of the tunnel together.

import { existsSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadOrCreateIdentity } from "../src/net/tls-identity.ts";
import { quantile } from "../test/support/attack/client.ts";
import { EXECUTABLE, portForLater } from "../test/support/executable.ts";
import { tempFolder } from "../test/support/folder.ts";
import { cpuBetween, cpuTime, residentBytes } from "./bench/usage.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    mib: { type: "string", default: "256" },
    contenders: { type: "string" },
  },
});
const ROUNDS = Number(values.rounds);
const BULK_BYTES = Number(values.mib) * 1024 * 1024;
const REQUESTS = 2000;
const CONNECTIONS = 200;
/** Idle connections before what they take is measured, and after. */
const BESIDE = 100;
const IDLE = 1000;
/** Where each has two processes of its own. */
const FEWER_IDLE = 200;
/** Until a tunnel has to listen. */
const LISTEN_MS = 20_000;

/** Both ends of a tunnel, and the port of its near end. */
interface Tunnel extends AsyncDisposable {
  port: number;
  pids: readonly number[];
  /** How many idle connections it is given. */
  idle?: number;
}

interface Figures {
  mibPerSecond: number;
  cpuMsPerMib: number;
  requestP50: number;
  requestP99: number;
  connectP50: number;
  idleKib: number[];
}

/** The target: what begins with `b` is counted until its end and answered by its length, everything else comes back. */
const TARGET = `
const server = Bun.listen({ hostname: "127.0.0.1", port: 0, allowHalfOpen: true, socket: {
  open(socket) { socket.data = { bytes: 0, isBulk: undefined }; },
  data(socket, chunk) {
    socket.data.isBulk ??= chunk[0] === 98;
    socket.data.bytes += chunk.length;
    if (!socket.data.isBulk) socket.write(chunk);
  },
  end(socket) { if (socket.data.isBulk) socket.write(String(socket.data.bytes)); socket.end(); },
}});
console.log(server.port);
`;

async function main(): Promise<void> {
  using folder = tempFolder();
  await using target = await startTarget(folder.path);
  const direct = async () => ({ port: target.port, pids: [], [Symbol.asyncDispose]: async () => undefined });
  const known: [name: string, tools: string[], open: () => Promise<Tunnel>][] = [
    ["direct", [], direct],
    ["spiped", ["spiped"], () => openSpiped(folder.path, target.port)],
    ["socat", ["socat"], () => openSocat(folder.path, target.port)],
    ["ssh", ["ssh", "sshd", "ssh-keygen"], () => openSsh(folder.path, target.port)],
    ["parley", [], () => openParley(folder.path, target.port)],
  ];
  const wanted = values.contenders?.split(",");
  const contenders = known.flatMap(([name, tools, open]) => {
    if (wanted?.includes(name) === false) return [];
    const missing = tools.find((tool) => which(tool) === null);
    if (missing !== undefined) console.error(`without ${name}: there is no ${missing}`);
    return missing === undefined ? [[name, open] as const] : [];
  });
  const all = new Map<string, Figures[]>(contenders.map(([name]) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, open] of contenders) {
      await using tunnel = await open();
      all.get(name)?.push(await measure(tunnel));
      console.error(`round ${round + 1} of ${ROUNDS}: ${name}`);
    }
  }
  print(all);
}

async function measure({ port, pids, idle: most = IDLE }: Tunnel): Promise<Figures> {
  const first = await dial(port);
  await roundTrip(first, "x");
  const began = { at: performance.now(), cpu: pids.map(cpuTime) };
  await bulk(port);
  const seconds = (performance.now() - began.at) / 1000;
  const cpuMs = began.cpu.reduce((sum, cpu, index) => sum + cpuBetween(cpu, cpuTime(pids[index]!)) / 1e6, 0);
  const cpuMsPerMib = (cpuMs * 1024 * 1024) / BULK_BYTES;
  const connects: number[] = [];
  for (let count = 0; count < CONNECTIONS; count++) {
    const start = performance.now();
    const socket = await dial(port);
    await roundTrip(socket, "x");
    connects.push(performance.now() - start);
    socket.destroy();
  }
  const idle: Socket[] = [];
  const hold = async (count: number) => {
    while (idle.length < count) {
      const socket = await dial(port);
      await roundTrip(socket, "x");
      idle.push(socket);
    }
  };
  await hold(BESIDE);
  const requests: number[] = [];
  const text = "x".repeat(64);
  for (let count = 0; count < REQUESTS; count++) {
    const start = performance.now();
    await roundTrip(first, text);
    requests.push(performance.now() - start);
  }
  const before = pids.map(residentBytes);
  await hold(most);
  await Bun.sleep(1000);
  const idleKib = pids.map(
    (pid, index) => (residentBytes(pid) - (before[index] ?? 0)) / 1024 / (most - BESIDE),
  );
  for (const socket of [...idle, first]) socket.destroy();
  return {
    mibPerSecond: BULK_BYTES / 1024 / 1024 / seconds,
    cpuMsPerMib,
    requestP50: quantile(requests, 0.5),
    requestP99: quantile(requests, 0.99),
    connectP50: quantile(connects, 0.5),
    idleKib,
  };
}

function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    socket.once("error", reject).once("connect", () => resolve(socket));
  });
}

/** Sends `text` and waits until as much has come back. */
function roundTrip(socket: Socket, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = text.length;
    const onData = (chunk: Buffer) => {
      left -= chunk.length;
      if (left <= 0) done(resolve);
    };
    const onClose = () => done(() => reject(new Error("the connection was closed")));
    const done = (then: () => void) => {
      socket.off("data", onData).off("close", onClose);
      then();
    };
    socket.on("data", onData).on("close", onClose).write(text);
  });
}

/** Sends {@link BULK_BYTES}, ends, and waits for their number. */
async function bulk(port: number): Promise<void> {
  const socket = await dial(port);
  let answer = "";
  socket.on("data", (chunk: Buffer) => (answer += chunk.toString()));
  const ended = new Promise((resolve) => socket.once("end", resolve).once("close", resolve));
  const chunk = Buffer.alloc(256 * 1024, "b");
  for (let sent = 0; sent < BULK_BYTES; sent += chunk.length) {
    if (!socket.write(chunk)) await new Promise((resolve) => socket.once("drain", resolve));
  }
  socket.end();
  await ended;
  if (answer !== String(BULK_BYTES))
    throw new Error(`${BULK_BYTES} bytes were sent, the target has ${answer}`);
}

// --- the processes ---

async function startTarget(folder: string): Promise<AsyncDisposable & { port: number }> {
  const file = join(folder, "target.ts");
  writeFileSync(file, TARGET);
  const child = Bun.spawn([process.execPath, file], { stdout: "pipe" });
  const port = Number(await firstLine(child.stdout));
  return { port, [Symbol.asyncDispose]: () => end(child) };
}

async function openSpiped(folder: string, target: number): Promise<Tunnel> {
  const key = join(folder, "key");
  writeFileSync(key, crypto.getRandomValues(new Uint8Array(32)));
  const [far, near] = [portForLater(), portForLater()];
  // -n: by default it takes 100 connections. -F: stay in the foreground.
  const start = (flags: string[]) =>
    Bun.spawn(["spiped", "-F", "-n", "2000", "-k", key, ...flags], { stderr: "ignore" });
  const ends = [
    start(["-d", "-s", `[127.0.0.1]:${far}`, "-t", `[127.0.0.1]:${target}`]),
    start(["-e", "-s", `[127.0.0.1]:${near}`, "-t", `[127.0.0.1]:${far}`]),
  ];
  await listening(far);
  await listening(near);
  return tunnel(near, ends);
}

/** TLS between its two ends, a process for each connection on each side. */
async function openSocat(folder: string, target: number): Promise<Tunnel> {
  const [certificate, key] = [join(folder, "certificate.pem"), join(folder, "key.pem")];
  await loadOrCreateIdentity(key, certificate);
  const [far, near] = [portForLater(), portForLater()];
  const listen = "bind=127.0.0.1,reuseaddr,fork,backlog=1024";
  const start = (from: string, to: string) => Bun.spawn(["socat", from, to], { stderr: "ignore" });
  const ends = [
    start(
      `OPENSSL-LISTEN:${far},${listen},cert=${certificate},key=${key},verify=0`,
      `TCP:127.0.0.1:${target},nodelay`,
    ),
    start(`TCP-LISTEN:${near},${listen},nodelay`, `OPENSSL:127.0.0.1:${far},verify=0,nodelay`),
  ];
  await listening(far);
  await listening(near);
  return { ...tunnel(near, ends), idle: FEWER_IDLE };
}

/** A server of its own, with its keys in `folder`. All connections go through one. */
async function openSsh(folder: string, target: number): Promise<Tunnel> {
  const [hostKey, userKey, known] = ["host_key", "user_key", "known_hosts"].map((name) => join(folder, name));
  for (const key of [hostKey!, userKey!]) {
    if (!existsSync(key)) Bun.spawnSync(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
  }
  const [far, near] = [portForLater(), portForLater()];
  const options = (...all: string[]) => all.flatMap((option) => ["-o", option]);
  const where = ["ListenAddress=127.0.0.1", `Port=${far}`, "PidFile=none"];
  const who = [`AuthorizedKeysFile=${userKey}.pub`, "StrictModes=no", "PermitRootLogin=yes", "UsePAM=no"];
  const server = Bun.spawn(
    [which("sshd")!, "-D", "-f", "/dev/null", "-h", hostKey!, ...options(...where, ...who)],
    { stderr: "ignore" },
  );
  await listening(far);
  const trust = ["StrictHostKeyChecking=accept-new", `UserKnownHostsFile=${known}`, "IdentitiesOnly=yes"];
  const forward = ["-N", "-p", String(far), "-i", userKey!, "-L", `127.0.0.1:${near}:127.0.0.1:${target}`];
  const client = Bun.spawn(
    ["ssh", "-F", "none", ...forward, ...options(...trust, "BatchMode=yes"), "127.0.0.1"],
    { stdin: "ignore", stderr: "ignore" },
  );
  await listening(near);
  return tunnel(near, [server, client]);
}

async function openParley(folder: string, target: number): Promise<Tunnel> {
  const password = join(folder, "password");
  writeFileSync(password, "correct horse\n");
  const [there, here] = [join(folder, "server"), join(folder, "client")];
  const say = (...argv: string[]) =>
    Bun.spawn([EXECUTABLE, ...argv, "--no-input"], { stdout: "pipe", stderr: "inherit" });
  await say("users", "add", "ann", "--if-missing", "--password-file", password, "--data", there).exited;
  const limits = ["--max-per-user", "2000", "--max-connections", "4000"];
  const to = ["--to", `127.0.0.1:${target}`, "--port", "0", "--tls", "--data", there];
  const server = say("serve", ...to, ...limits);
  const address = /on (\S+)/.exec(await firstLine(server.stdout))?.[1] ?? "";
  const login = ["--user", "ann", "--password-file", password, "--accept-new", "--data", here];
  const client = say("connect", address, "--listen", "0", ...login);
  const port = Number(/:(\d+) →/.exec(await firstLine(client.stdout))?.[1]);
  return tunnel(port, [server, client]);
}

function tunnel(port: number, ends: Bun.Subprocess[]): Tunnel {
  return {
    port,
    pids: ends.map(({ pid }) => pid),
    async [Symbol.asyncDispose]() {
      for (const child of ends.toReversed()) await end(child);
    },
  };
}

async function end(child: Bun.Subprocess): Promise<void> {
  child.kill("SIGKILL");
  await child.exited;
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  const reader = stream.getReader();
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it ended, having said: ${text}`);
    text += Buffer.from(value).toString();
  }
  return text.slice(0, text.indexOf("\n"));
}

async function listening(port: number): Promise<void> {
  const until = performance.now() + LISTEN_MS;
  for (;;) {
    try {
      return void (await dial(port)).destroy();
    } catch (error) {
      if (performance.now() > until) throw error;
      await Bun.sleep(10); // not yet
    }
  }
}

function which(tool: string): string | null {
  return Bun.which(tool, { PATH: `${process.env["PATH"]}:/usr/sbin` });
}

// --- figures ---

function print(all: Map<string, Figures[]>): void {
  const names = [...all.keys()];
  const row = (what: string, of: (figures: Figures) => number | undefined, digits = 2) => {
    const cells = names.map((name) => {
      const figures = (all.get(name) ?? []).map(of).filter((figure) => figure !== undefined);
      return figures.length === 0 ? "" : quantile(figures, 0.5).toFixed(digits);
    });
    console.log(`| ${[what, ...cells].join(" | ")} |`);
  };
  console.log(`| | ${names.join(" | ")} |\n| --- | ${names.map(() => "---:").join(" | ")} |`);
  row("one bulk connection, MiB/s", ({ mibPerSecond }) => mibPerSecond, 0);
  row("… CPU of both ends for a MiB, ms", ({ cpuMsPerMib }) => cpuMsPerMib);
  row("64 bytes there and back beside 100 idle, p50, ms", ({ requestP50 }) => requestP50, 3);
  row("… p99, ms", ({ requestP99 }) => requestP99, 3);
  row("a new connection until its first answer, p50, ms", ({ connectP50 }) => connectP50, 3);
  row("memory of an idle connection, far end, KiB", ({ idleKib }) => idleKib[0], 1);
  row("… near end, KiB", ({ idleKib }) => idleKib[1], 1);
}

await main();
