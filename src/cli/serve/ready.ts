// What a server reports once it accepts connections: to a script, to a person, and to the service manager.

import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { formatAddress, isLoopback } from "../../base/address.ts";
import { ParleyError, systemCode } from "../../base/errors.ts";
import { writeFully } from "../../files/atomic-write.ts";
import { FileError, whyRefused } from "../../files/file-error.ts";
import { LockedFile } from "../../files/locked-file.ts";
import { isSpecial } from "../../files/private-file.ts";
import { Rights } from "../../os/rights.ts";
import type { MetricsEndpoint } from "../../server/metrics.ts";
import type { Server } from "../../server/server.ts";
import { ownCommand } from "../../base/own-command.ts";
import { shellQuote } from "../../base/shell-quote.ts";
import { notify } from "../../os/systemd.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { stdout } from "../../terminal/stdio.ts";
import { programName } from "../program-name.ts";
import type { ServeFlags } from "./flags.ts";
import type { ServerPlan } from "./plan.ts";

export interface ServerFacts {
  options: ServerPlan;
  /** The port that was asked for; 0: any. */
  wanted: number;
  logPath: string;
  serviceName: string;
  /** Where sessions are forwarded to; undefined: nowhere. */
  target: string | undefined;
  /** Where the accounts are; undefined: in the data folder. */
  storeUrl: string | undefined;
  /** The pin of the server's key; undefined: plain text. */
  pin: string | undefined;
  metrics: MetricsEndpoint | undefined;
}

/** Prints the ready line on stdout, and for a person what else there is to know, on stderr. */
export async function announce(
  server: Server,
  context: ServerFacts,
  flags: ServeFlags,
  terminal: Terminal,
): Promise<void> {
  const { host, port } = server;
  const { options, pin, metrics } = context;
  const address = formatAddress(host, port);
  const auth = options.bare === true ? "bare" : options.auth;
  const ready = flags.has("json")
    ? JSON.stringify({
        event: "listening",
        host,
        port,
        pid: process.pid,
        tls: pin ?? null,
        auth,
        service: context.serviceName,
        to: context.target,
        store: context.storeUrl,
        metrics: metrics?.address,
      })
    : `listening on ${address}`;
  await sayReady(
    { line: ready, status: `listening on ${address}`, portFile: flags.text("port-file"), port },
    terminal,
  );
  const talk = `connect with: ${programName()} ${connectCommand(server, context, flags)}`;
  if (terminal.isWatched) {
    terminal.note(posture(host, context, flags).join(" · "));
    if (context.target !== undefined) terminal.noteUnwrapped(`forwarding to ${context.target}`);
    if (context.storeUrl !== undefined) terminal.noteUnwrapped(`accounts: ${context.storeUrl}`);
    terminal.noteUnwrapped(`log: ${context.logPath}`);
    if (metrics !== undefined) terminal.noteUnwrapped(`metrics: http://${metrics.address}/metrics`);
    terminal.noteUnwrapped(talk);
  } else if (pin !== undefined && !flags.has("json")) {
    terminal.say(talk); // clients need the pin, which only --json prints otherwise
  }
  if (metrics !== undefined && !isLoopback(metrics.host)) {
    terminal.say(`warning: anyone who can reach ${metrics.address} can read the metrics: there is no login`);
  }
  if ((auth === "none" || auth === "bare") && !isLoopback(host) && flags.text("key-file") === undefined) {
    const flag = auth === "none" ? "--auth none" : "--bare";
    terminal.say(`warning: anyone who can reach ${address} can use this server: ${flag} has no login`);
  }
  if (pin === undefined && !isLoopback(host) && auth !== "none" && auth !== "bare") {
    terminal.say(`warning: --no-tls on ${address}: passwords and messages are not encrypted`);
  }
  if (auth === "password" && options.register !== true && server.hasNoUsers) {
    terminal.say(`no users yet: add one with: ${ownCommand("users add NAME", programName())}`);
  }
  if (context.wanted !== 0 && context.wanted !== port) {
    terminal.say(`port ${context.wanted} is busy: listening on ${port} instead`);
  }
}

/** What a command says once it accepts connections. */
export interface ReadyWords {
  /** The line on stdout that scripts wait for. */
  line: string;
  /** What the service manager shows. */
  status: string;
  portFile: string | undefined;
  port: number;
}

/** Writes the port file and the ready line, and tells the service manager. @throws {ParleyError} `failed` for the port file. */
export async function sayReady(
  { line, status, portFile, port }: ReadyWords,
  terminal: Terminal,
): Promise<void> {
  if (portFile !== undefined) await writePortFile(portFile, port);
  void stdout.write(`${line}\n`);
  await stdout.flush(); // a script waits for this line
  void tellReady(status, terminal);
}

/** Who may connect, from where, and how it is protected. */
function posture(host: string, { options, pin }: ServerFacts, flags: ServeFlags): string[] {
  const login = {
    password: "password login",
    ip: "login by address",
    none: "no login",
    bare: "bare frames, no login",
  };
  return [
    ...(flags.text("key-file") === undefined ? [] : ["shared key"]),
    login[options.bare === true ? "bare" : options.auth],
    ...(options.register === true ? ["clients can create accounts"] : []),
    isLoopback(host) ? "this machine only" : "reachable from other machines",
    pin === undefined ? "not encrypted" : "TLS 1.3",
  ];
}

/** The command that connects to this server, without the program's name. */
function connectCommand(
  { host, port }: Server,
  { options, pin, target }: ServerFacts,
  flags: ServeFlags,
): string {
  const keyFile = flags.text("key-file");
  return [
    `connect ${formatAddress(reachableAs(host), port)}`,
    pin === undefined ? (isLoopback(host) ? "" : " --no-tls") : ` --pin ${pin}`,
    keyFile === undefined ? "" : ` --key-file ${shellQuote(resolve(keyFile))}`,
    options.bare === true ? " --bare" : "",
    options.framing === undefined ? "" : ` --framing ${options.framing.name}`,
    target === undefined ? "" : " --raw",
  ].join("");
}

/** An address that a client can use for `host`: 0.0.0.0 and :: are none. */
function reachableAs(host: string): string {
  if (host !== "0.0.0.0" && host !== "::") return host;
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outside = all.find((address) => !address.internal && address.family === "IPv4");
  return outside?.address ?? hostname();
}

/** Writes the port file whole or not at all, so that a script which finds it finds the port in it; or to a pipe or device. */
async function writePortFile(path: string, port: number): Promise<void> {
  try {
    if (isPlain(path)) return await new LockedFile(path).replace(`${port}\n`);
    const fd = openOther(path);
    try {
      writeFully(fd, Buffer.from(`${port}\n`));
    } finally {
      if (fd > 2) closeSync(fd);
    }
  } catch (error) {
    throw portFileError(path, error);
  }
}

/** Tries whether the port file can be written. @throws {ParleyError} `failed`. */
export async function tryPortFile(path: string): Promise<void> {
  try {
    if (isPlain(path)) await new LockedFile(path).tryToWrite("65535\n");
    // A pipe is not opened: its reader would see an end without a port.
    else if (statSync(path).isDirectory()) throw Object.assign(new Error(), { code: "EISDIR" });
  } catch (error) {
    throw portFileError(path, error);
  }
}

function portFileError(path: string, error: unknown): ParleyError {
  const isPipe = systemCode(error) === "ENXIO";
  const why = isPipe ? "it is a socket, or a pipe without a reader" : whyRefused(error);
  const words = error instanceof FileError ? error.message : `cannot write ${path}: ${why}`;
  return new ParleyError("failed", `--port-file: ${words}`, {
    hint: error instanceof FileError ? error.hint : undefined,
    cause: error,
  });
}

/** Is `path` a plain file, or free? */
function isPlain(path: string): boolean {
  return !isSpecial(path) && statSync(path, { throwIfNoEntry: false })?.isFile() !== false;
}

/** Opens a pipe or device for writing, without waiting for a reader; a standard stream of this process as it is. */
function openOther(name: string): number {
  const path = resolve(name); // the same path for the check and for the opening
  const own = ["/dev/stdin", "/dev/stdout", "/dev/stderr"].indexOf(path);
  if (own > 0) return own;
  const { O_WRONLY, O_APPEND, O_NONBLOCK } = constants;
  const fd = Rights.over(path).use(() => openSync(path, O_WRONLY | O_APPEND | O_NONBLOCK));
  if (isSpecial(path) || !fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new FileError("unwritable", `${path} was replaced by a file`);
}

/** Pause between two tries to reach the service manager, whose queue may be full for a moment. */
const READY_PAUSE_MS = 100;
/** Tries to reach the service manager. */
const READY_TRIES = 50;

/** Reports to the service manager that the server is ready; otherwise the manager would end it. */
async function tellReady(status: string, terminal: Terminal): Promise<void> {
  const state = `READY=1\nSTATUS=${status}`;
  for (let tries = 1; tries < READY_TRIES; tries++) {
    if (notify(state, process.env)) return;
    await delay(READY_PAUSE_MS);
  }
  notifySystemd(state, terminal);
}

/** Reports `state` to the service manager, where there is one. */
export function notifySystemd(state: string, terminal: Terminal): void {
  if (!notify(state, process.env))
    terminal.say("cannot notify the service manager: $NOTIFY_SOCKET is not reachable");
}
