// Programs that are not read, that do not read, that are too many, and that leave something behind.

import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { descriptors, residentBytes, until } from "../attack.ts";
import { frame } from "../peer.ts";
import { childrenOf } from "../program.ts";
import { Client, logIn } from "./client.ts";
import { FEW_DESCRIPTORS, target, type Figure, type Target } from "./target.ts";

const MIB = 1024 * 1024;

const serveSh = (script: string, flags: string[] = [], prefix?: readonly string[]) =>
  target(["--auth", "none", ...flags, "--", "sh", "-c", script], prefix);

/** The child of a process that is the program `name`, once there is one. */
export async function programOf(server: { pid: number }, name: string): Promise<number> {
  const isThere = (pid: number) => nameOf(pid) === name;
  await until(`the program ${name}`, true, () => childrenOf(server.pid).some(isThere));
  return childrenOf(server.pid).find(isThere) ?? NaN;
}

function nameOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return undefined; // it has just ended
  }
}

/** Bytes that a process has written. */
export function writtenBy(pid: number): number {
  return Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
}

/** Waits until `count` has not changed for half a second, but for five seconds at most; what it is then. */
export async function still(count: () => number): Promise<number> {
  const deadline = performance.now() + 5000;
  let last = count();
  for (let since = performance.now(); performance.now() < Math.min(since + 500, deadline);) {
    await delay(20);
    const now = count();
    if (now !== last) since = performance.now();
    last = now;
  }
  return last;
}

/** A client does not read what a program writes without end, on a terminal without XON and XOFF. */
export async function unreadTerminal(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const mode of ["-ixon", "raw"]) {
    await using server = await serveSh(`stty ${mode}; exec yes`, ["--pty"]);
    const { client } = await logIn(server.port, "127.0.0.2", {});
    using _ = client;
    const pid = await programOf(server, "yes");
    await until("some output was read", true, () => writtenBy(pid) > 2 * MIB); // what that alone costs is not the attack
    client.socket.pause();
    const before = residentBytes(server.pid);
    const read = writtenBy(pid);
    const written = await still(() => writtenBy(pid));
    const growth = (residentBytes(server.pid) - before) / MIB;
    const attack = `--pty, stty ${mode}, yes, never read`;
    figures.push({ attack, what: "server memory, growth", value: growth, unit: "MiB", target: 32 });
    figures.push({ attack, what: "written by the program", value: (written - read) / MIB, unit: "MiB" });
  }
  return figures;
}

/** A program does not read what its client sends. */
export async function unreadInput(bytes = 180 * MIB): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const flags of [["--pty"], []]) {
    await using server = await serveSh(
      flags.length > 0 ? "stty raw -echo; exec sleep 1000" : "exec sleep 1000",
      flags,
    );
    const { client } = await logIn(server.port, "127.0.0.2", {});
    using _ = client;
    await programOf(server, "sleep");
    const before = residentBytes(server.pid);
    const block = frame(Buffer.alloc(64 * 1024, "x"));
    for (let sent = 0; sent < bytes; sent += block.length) client.socket.write(block);
    const left = await still(() => client.socket.writableLength);
    const growth = (residentBytes(server.pid) - before) / MIB;
    const attack = `${flags.length > 0 ? "--pty" : "pipes"}, ${bytes / MIB} MiB for a program that reads nothing`;
    figures.push({ attack, what: "server memory, growth", value: growth, unit: "MiB", target: 32 });
    figures.push({ attack, what: "not even taken by the server", value: left / MIB, unit: "MiB" });
  }
  return figures;
}

/** CPU time of a process, in milliseconds. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

interface Message {
  type?: string;
  code?: string;
  retry_after?: number;
}

/** What a newcomer is told, by its code; `welcome` when it gets in, and `hangs` after five seconds without a word. */
async function ask(
  port: number,
  from: string,
): Promise<{ told: string; retryAfter: unknown; client: Client }> {
  const client = await Client.connect(port, from);
  const late = delay(5000, { type: "hangs" } as Message, { ref: false });
  const next = () => Promise.race([client.message() as Promise<Message | undefined>, late]);
  let message = await next();
  if (message?.type === "hello") {
    client.send('{"type":"login","method":"none","control":true,"resume_for":60}');
    message = await next();
  }
  const told = message?.code ?? message?.type ?? "nothing";
  return { told, retryAfter: message?.retry_after, client };
}

/** With 256 descriptors: clients come until there is room for no more, and then go on coming. `detached`: and each is lost. */
export async function fewDescriptors(flags: string[], detached: boolean, newcomers = 100): Promise<Figure[]> {
  await using server = await serveSh("exec sleep 1000", flags, FEW_DESCRIPTORS);
  const attack = `256 descriptors, ${flags.join(" ") || "pipes"}${detached ? ", detached" : ""}`;
  const from = (index: number) => `127.0.1.${1 + (index % 200)}`;
  const inside: Client[] = [];
  let index = 0;
  for (; index < 100; index++) {
    const { told, client } = await ask(server.port, from(index));
    if (told !== "welcome") {
      client[Symbol.dispose]();
      break;
    }
    if (detached) client.socket.resetAndDestroy();
    else inside.push(client);
  }
  const programs = childrenOf(server.pid).length;
  const began = { cpu: cpuOf(server.pid), at: performance.now() };
  const told: string[] = [];
  let withoutTime = 0;
  let most = 0;
  for (let count = 0; count < newcomers && told.filter((one) => one === "hangs").length < 3; count++) {
    const asked = await ask(server.port, from(index + count));
    asked.client[Symbol.dispose]();
    told.push(asked.told);
    if (asked.retryAfter === undefined) withoutTime++;
    most = Math.max(most, descriptors(server.pid));
  }
  const asking = performance.now() - began.at;
  const cpu = cpuOf(server.pid);
  const idle = await cpuOver(server, 1000);
  for (const client of inside) client[Symbol.dispose]();
  return [
    { attack, what: "programs that run", value: programs, unit: "" },
    { attack, what: "descriptors at most", value: most, unit: "", target: 250 },
    {
      attack,
      what: "newcomers that are not told full",
      value: told.filter((code) => code !== "full").length,
      unit: "",
      target: 1,
    },
    { attack, what: "… or not when to come back", value: withoutTime, unit: "", target: 1 },
    { attack, what: "a newcomer's answer, mean", value: asking / told.length, unit: "ms", target: 1000 },
    { attack, what: "CPU of an answer", value: (cpu - began.cpu) / told.length, unit: "ms" },
    { attack, what: "CPU while full", value: idle, unit: "%", target: 5 },
  ];
}

async function cpuOver({ pid }: Target, ms: number): Promise<number> {
  const before = cpuOf(pid);
  await delay(ms);
  return ((cpuOf(pid) - before) / ms) * 100;
}

/** Each conversation leaves a process behind that has called setsid, keeps the pipes and ignores TERM. */
export async function leftBehind(conversations = 20): Promise<Figure[]> {
  const script = `setsid sh -c 'trap "" TERM HUP; echo $$; exec sleep 1000' & exec cat`;
  const left: number[] = [];
  await using server = await serveSh(script);
  const before = descriptors(server.pid);
  for (let count = 0; count < conversations; count++) {
    using client = (await logIn(server.port, "127.0.0.2", {})).client;
    left.push(Number((await client.read())?.toString()));
    client.socket.resetAndDestroy();
  }
  const began = performance.now();
  const runs = (pid: number) => {
    try {
      return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z");
    } catch {
      return false;
    }
  };
  const deadline = began + 10_000;
  while (performance.now() < deadline && (left.some(runs) || descriptors(server.pid) > before))
    await delay(50);
  const attack = `${conversations} conversations that leave a setsid child`;
  const ms = performance.now() - began;
  const figures: Figure[] = [
    { attack, what: "processes left", value: left.filter(runs).length, unit: "", target: 1 },
    { attack, what: "descriptors left", value: descriptors(server.pid) - before, unit: "", target: 1 },
    { attack, what: "until then", value: ms, unit: "ms", target: 10_000 },
  ];
  for (const pid of left.filter(runs)) process.kill(pid, "SIGKILL");
  return figures;
}
