// What arrives: lines, bytes, late answers, refusals, and clients with nothing to say.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Client, Peer } from "./peers.ts";
import { runClient, start, type Folder, type Outcome } from "./processes.ts";
import type { Cell } from "./report.ts";

const LINES = 20;
const BYTES = 5_000_000;
const LINE_TIMEOUT_MS = 2000;
const BYTES_TIMEOUT_MS = 5000;
const LATE_TIMEOUT_MS = 7000;

export const PASSWORD = "correct horse battery";

export function writeInputs(folder: Folder): void {
  const bytes = new Uint8Array(BYTES);
  for (let at = 0; at < BYTES; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  writeFileSync(join(folder.path, "bytes"), bytes);
  for (let i = 1; i <= LINES; i++) writeFileSync(join(folder.path, `line-${i}`), `line ${i}\n`);
}

const ended = ({ exitCode }: Outcome) => (exitCode === undefined ? "hangs" : `exit ${exitCode}`);

/** The last line of what it says, without its name. */
function said({ stderr }: Outcome): string {
  const text = stderr.trim().split("\n")[0] ?? "";
  return text === "" ? "silent" : `“${text.replace(/^parley: error: /, "")}”`;
}

/** One measurement for each client, the usual one first. */
async function withEach(
  peer: Peer,
  measure: (client: Client) => Promise<{ text: string; command: string }>,
): Promise<Pick<Cell, "text" | "clients">> {
  const parts: string[] = [];
  const clients: string[] = [];
  for (const client of peer.clients) {
    const { text, command } = await measure(client);
    parts.push(client.name === undefined ? text : `${client.name}: ${text}`);
    clients.push(command);
  }
  return { text: parts.join("<br>"), clients };
}

/** Row 1, and how long the usual client takes for one. */
export async function lines(peer: Peer, folder: Folder): Promise<Cell & { medianMs?: number }> {
  const argv = (port: string) => peer.serve(port, "cat");
  await using server = await start(argv, folder);
  const times: number[] = [];
  const cell = await withEach(peer, async (client) => {
    let arrived = 0;
    let tried = 0;
    const ends = new Map<string, number>();
    while (tried < LINES && (ends.get("hangs") ?? 0) < 2) {
      const file = `line-${++tried}`;
      const outcome = await runClient(client.argv(String(server.port)), { file }, LINE_TIMEOUT_MS, folder);
      if (outcome.stdout.toString().trim() === `line ${tried}`) arrived++;
      ends.set(ended(outcome), (ends.get(ended(outcome)) ?? 0) + 1);
      if (client === peer.clients[0] && outcome.exitCode !== undefined) times.push(outcome.ms);
    }
    const how = [...ends].map(([way, count]) => (ends.size === 1 ? way : `${way} (${count})`)).join(", ");
    return {
      text: `${arrived} of ${tried}, ${how}`,
      command: `echo line | ${client.argv("PORT").join(" ")}`,
    };
  });
  times.sort((a, b) => a - b);
  return { ...cell, server: argv("PORT"), medianMs: times[times.length >> 1] };
}

/** Row 2. */
export async function bytes(peer: Peer, folder: Folder): Promise<Cell> {
  const argv = (port: string) => peer.serve(port, "cat", ...(peer.bytes?.serve ?? []));
  await using server = await start(argv, folder);
  const original = readFileSync(join(folder.path, "bytes"));
  const cell = await withEach(peer, async (client) => {
    const argvOf = (port: string) => [...client.argv(port), ...(peer.bytes?.client ?? [])];
    const outcome = await runClient(argvOf(String(server.port)), { file: "bytes" }, BYTES_TIMEOUT_MS, folder);
    const { length } = outcome.stdout;
    const same = outcome.stdout.equals(original) ? "identical" : "**not the same**";
    const text = `${length.toLocaleString("en")}, ${same}, ${ended(outcome)}`;
    return { text, command: `cat bytes | ${argvOf("PORT").join(" ")} | cmp - bytes` };
  });
  return { ...cell, server: argv("PORT") };
}

/** Row 3. */
export async function late(peer: Peer, folder: Folder): Promise<Cell> {
  const argv = (port: string) => peer.serve(port, "./late");
  await using server = await start(argv, folder);
  const cell = await withEach(peer, async (client) => {
    const port = String(server.port);
    const outcome = await runClient(client.argv(port), { file: "line-1" }, LATE_TIMEOUT_MS, folder);
    const arrives = outcome.stdout.toString().includes("late") ? "arrives" : "**lost**";
    return { text: `${arrives}, ${ended(outcome)}`, command: `echo x | ${client.argv("PORT").join(" ")}` };
  });
  return { ...cell, server: argv("PORT") };
}

/** Row 4: a login where there is one. */
export async function wrongPassword(peer: Peer, folder: Folder): Promise<Cell> {
  if (peer.login !== "") return { text: peer.login, server: [], clients: [] };
  const add = ["users", "add", "ann", "--password-stdin"];
  writeFileSync(join(folder.path, "password"), `${PASSWORD}\n`);
  await runClient([peer.executable, ...add], { file: "password" }, LINE_TIMEOUT_MS, folder);
  const argv = (port: string) => peer.serve(port, "cat", "--auth", "password");
  await using server = await start(argv, folder);
  const client = (port: string) => [peer.executable, "connect", `ann@127.0.0.1:${port}`];
  const env = { PARLEY_PASSWORD: "wrong horse battery" };
  const outcome = await runClient(client(String(server.port)), { file: "line-1" }, 5000, folder, env);
  return {
    text: `${said(outcome)}, ${ended(outcome)}`,
    server: argv("PORT"),
    clients: [`echo line | PARLEY_PASSWORD=wrong… ${client("PORT").join(" ")}`],
  };
}

/** Row 4, as far as the others go: this machine's address is not allowed. */
export async function denied(peer: Peer, folder: Folder): Promise<Cell> {
  const { denied: flags } = peer;
  if (flags === undefined) return { text: "has none", server: [], clients: [] };
  const argv = (port: string) => peer.serve(port, "cat", ...flags);
  await using server = await start(argv, folder);
  const [client] = peer.clients;
  const outcome = await runClient(
    client.argv(String(server.port)),
    { file: "line-1" },
    LINE_TIMEOUT_MS,
    folder,
  );
  return {
    text: `${said(outcome)}, ${ended(outcome)}`,
    server: argv("PORT"),
    clients: [`echo line | ${client.argv("PORT").join(" ")}`],
  };
}

/** Row 7. */
export async function noInput(peer: Peer, folder: Folder): Promise<Cell> {
  const argv = (port: string) => peer.serve(port, "cat");
  await using server = await start(argv, folder);
  const [client] = peer.clients;
  const parts: string[] = [];
  for (const input of ["null", "closed"] as const) {
    const outcome = await runClient(client.argv(String(server.port)), input, LINE_TIMEOUT_MS, folder);
    parts.push(ended(outcome));
  }
  const command = client.argv("PORT").join(" ");
  return {
    text: parts.join(" / "),
    server: argv("PORT"),
    clients: [`setsid ${command} </dev/null; setsid ${command} <&-`],
  };
}
