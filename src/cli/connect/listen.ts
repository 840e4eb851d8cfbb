// parley connect --listen: local connections, each forwarded to the server as a conversation of its own, until a signal.
//
//     log in once → listen → the ready line → forward → a signal: accept nothing more, wait, reset what is left

import { resolve } from "node:path";
import { isAddress, isLoopback } from "../../base/address.ts";
import { usageError } from "../../base/errors.ts";
import { escapeJson, escapeLine } from "../../base/escape.ts";
import { DRAIN_TIMEOUT_MS, SAME_SIGNAL_MS } from "../../base/limits.ts";
import { plural } from "../../base/plural.ts";
import { sayDuration } from "../../base/units.ts";
import type { Client } from "../../client/client.ts";
import { connectClient } from "../../client/connect.ts";
import type { Cut } from "../../client/forwarded.ts";
import { checkStream, Forwarder, type ForwarderEvents } from "../../client/forwarder.ts";
import type { ClientOptions, Credential } from "../../client/options.ts";
import { formatStreamAddress, type StreamAddress } from "../../net/stream.ts";
import { checkSocketPath, listenForStreams } from "../../net/stream-listener.ts";
import { onEndingSignal } from "../../os/signals.ts";
import { takeSocket } from "../../os/systemd.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { checkZone, parsePort } from "../flags.ts";
import { notifySystemd, sayReady, tryPortFile } from "../serve/ready.ts";
import type { CredentialPrompt } from "./credentials.ts";
import type { ConnectFlags, Target } from "./flags.ts";
import { readRetry } from "./retry.ts";
import { Notices } from "./notices.ts";
import type { Printer } from "./printer.ts";

/** Where to listen, and a descriptor that does so already. */
export interface ListenPlan {
  address: StreamAddress;
  fd?: number;
  /** How long and how often to come back after a loss. */
  retry: ReturnType<typeof readRetry>;
}

/** What `--listen` asks for; undefined without it. @throws {ParleyError} `usage`, or `failed` for an inherited socket. */
export function planListen(flags: ConnectFlags): ListenPlan | undefined {
  const text = flags.text("listen");
  if (text === undefined) return undefined;
  const wanted = parseListen(text);
  const inherited = takeSocket(process.env, process.pid);
  const address = inherited ?? wanted;
  if (inherited !== undefined && ("unix" in wanted || ![0, inherited.port].includes(wanted.port))) {
    const where = formatStreamAddress(inherited);
    throw usageError(`--listen: the service manager has passed a socket that listens on ${where}`);
  }
  if ("unix" in address) {
    if (flags.isGiven("port-file")) throw usageError("--port-file needs a port to listen on");
    checkSocketPath(address.unix);
  } else if (!isLoopback(address.host) && !flags.has("open")) {
    throw usageError(
      `--listen ${formatStreamAddress(address)} lets other machines use your login`,
      "add --open if you mean that, or leave the address out",
    );
  }
  return { address, fd: inherited?.fd, retry: readRetry(flags) };
}

function parseListen(text: string): StreamAddress {
  if (text.startsWith("unix:") && text.length > "unix:".length)
    return { unix: resolve(text.slice("unix:".length)) };
  const [, bracketed, plain, portText = ""] = /^(?:(?:\[(.+)\]|([^:]+)):)?(\d+)$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? "127.0.0.1";
  const port = parsePort(portText, 0);
  if ((!isAddress(host) && !isLoopback(host)) || port === undefined) {
    throw usageError(
      `--listen: invalid address ${JSON.stringify(text)}`,
      "write 5432, 127.0.0.1:5432, [::1]:5432 or unix:/run/db.sock",
    );
  }
  checkZone(host);
  return { host, port };
}

export interface ForwardContext {
  target: Target;
  login: CredentialPrompt;
  printer: Printer;
  terminal: Terminal;
}

/** Forwards until a signal ends it. @throws {ParleyError} when the server refuses the login, now or later. */
export async function forward(
  flags: ConnectFlags,
  { address, fd, retry }: ListenPlan,
  options: ClientOptions,
  context: ForwardContext,
): Promise<void> {
  const { target, printer, terminal } = context;
  const portFile = flags.text("port-file");
  if (portFile !== undefined) await tryPortFile(portFile);
  const { client, first } = await logInOnce(options, context);
  const notices = new Notices(terminal, printer);
  const forwarder = new Forwarder({
    client: options,
    retry,
    first,
    issued: client.welcome,
    events: reports(notices, target),
  });
  const listener = await listenForStreams(address, (stream) => forwarder.accept(stream), {
    flag: "--listen",
    fd,
    budget: forwarder.budget,
  });
  try {
    const stopped = untilSignal(forwarder, () => listener.stop(), terminal);
    const words = readyWords(flags, listener.address, client, target);
    await sayReady({ ...words, portFile }, terminal);
    await Promise.race([forwarder.failed, stopped]);
  } finally {
    listener.stop();
    forwarder.terminate();
    notices.stop();
  }
}

/** Checks credential and service with a login that it leaves at once; asks a person for what is missing. */
async function logInOnce(
  options: ClientOptions,
  { login, terminal }: ForwardContext,
): Promise<{ client: Client; first: Credential }> {
  let first: Credential = { method: "none" };
  const opening = connectClient({
    ...options,
    credential: async (hello, refused) => (first = await login.credential(hello, refused)),
  });
  const client = await opening.finally(() => terminal.restoreEcho());
  try {
    if (client.hello !== undefined) checkStream(client.hello);
    await login.keep(client);
  } finally {
    client.leave();
  }
  return { client, first };
}

function readyWords(
  flags: ConnectFlags,
  address: StreamAddress,
  { welcome, hello }: Client,
  { server }: Target,
): { line: string; status: string; port: number } {
  const user = welcome?.user ?? null;
  const who = user === null ? "" : ` as ${user}`;
  const status = escapeLine(`forwarding ${formatStreamAddress(address)} → ${server}${who}`);
  const where = "unix" in address ? { path: address.unix } : address;
  const facts = { event: "forwarding", ...where, pid: process.pid, server, user, service: hello?.service };
  return {
    line: flags.has("json") ? escapeJson(facts) : status,
    status,
    port: "port" in address ? address.port : 0,
  };
}

/** Resolves when a signal has stopped the forwarder. The first one drains, the second one resets what is left. */
function untilSignal(forwarder: Forwarder, stopListening: () => void, terminal: Terminal): Promise<void> {
  const { promise, resolve: done, reject } = Promise.withResolvers<void>();
  let firstAt: number | undefined;
  // The listeners of signals stay: without them a further signal would end the process before everything is said.
  onEndingSignal(() => {
    const now = performance.now();
    if (firstAt !== undefined) {
      if (now - firstAt >= SAME_SIGNAL_MS) forwarder.terminate();
      return;
    }
    firstAt = now;
    stopListening();
    notifySystemd("STOPPING=1", terminal);
    if (forwarder.size > 0 && terminal.isWatched && !terminal.hasHungUp) {
      const those = plural(forwarder.size, "connection", ["has", "have"]);
      terminal.say(`stopping: ${those} ${sayDuration(DRAIN_TIMEOUT_MS)} to end; Ctrl-C again stops at once`);
    }
    forwarder.stop(DRAIN_TIMEOUT_MS).then((left) => {
      if (left > 0 && !terminal.hasHungUp) terminal.say(`${plural(left, "connection")} reset`);
      done();
    }, reject);
  });
  return promise;
}

/** What a person, or a script with `--json`, learns about the connections. */
function reports(notices: Notices, { server }: Target): ForwarderEvents {
  return {
    lost(name, reason) {
      notices.note("lost", `${name}: ${reason}: reconnecting`, { peer: name, reason });
    },
    resumed(name, { afterMs }) {
      const after = sayDuration(afterMs);
      notices.note("resumed", `${name}: reconnected after ${after}`, {
        peer: name,
        after: Math.round(afterMs),
      });
    },
    cut(name, why) {
      if (why.code === "stopped") return;
      notices.say(`reset ${why.code}`, "reset", `${name} was reset: ${sayCut(why)}`, { peer: name, ...why });
    },
    failing(reason) {
      notices.say("failing", "failing", `${reason}: local connections wait`, { server, reason });
    },
    working() {
      notices.say("working", "working", `${server} accepts connections again`, { server });
    },
  };
}

function sayCut({ reason, unconfirmed, undelivered }: Cut): string {
  const unknown = unconfirmed === 0 ? "" : `; ${plural(unconfirmed, "byte")} may not have arrived`;
  const kept = undelivered === 0 ? "" : `; ${plural(undelivered, "byte")} of the answer were not delivered`;
  return `${reason}${unknown}${kept}`;
}
