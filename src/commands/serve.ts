// parley serve: flags → a server, its log, its ready line, its signals.

import { writeFileSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { addUser } from "../auth/accounts.ts";
import { NAME_RULE, normalizeName } from "../auth/name.ts";
import { PasswordHasher, passwordFlaw } from "../auth/password.ts";
import { Store } from "../auth/store.ts";
import { DataFolder } from "../data-folder.ts";
import { messageOf, ParleyError, systemCode } from "../errors.ts";
import { DEFAULT_PORT, DRAIN_TIMEOUT_MS, MIN_PASSWORD_LENGTH, sayDuration } from "../limits.ts";
import { LiveFile } from "../live-sessions.ts";
import { LOG_FORMATS, LOG_LEVELS, openLog, type LogFile } from "../log.ts";
import { formatAddress } from "../address.ts";
import { checkFolders } from "../private-file.ts";
import { Server } from "../server.ts";
import { plural } from "../plural.ts";
import { shellQuote } from "../shell-quote.ts";
import { listServices } from "../services/catalogue.ts";
import type { Terminal } from "../terminal.ts";
import { Flags, isLoopback, parsePort, portFlaw, terminalOf } from "./flags.ts";
import type { Arguments } from "./parse.ts";
import { programName } from "./program-name.ts";
import { planKey, planTls } from "./serve-secrets.ts";
import { chooseService, reloadHandler, watchHandler, writeFirstHandler } from "./serve-service.ts";
import { planServer, serveFlags, type ServeFlags, type ServerPlan } from "./serve-flags.ts";

export default defineCommand({
  meta: { name: "serve", description: "listen, log clients in, and answer their messages" },
  args: serveFlags,
  run: ({ args }) => serve(new Flags(args as Arguments)),
});

/** A second Ctrl-C within this is the same one: `bun run` passes each on twice (measured). In milliseconds. */
const SAME_SIGNAL_MS = 500;

async function serve(flags: ServeFlags): Promise<void> {
  if (flags.has("list-services")) {
    for (const { name, summary } of listServices()) process.stdout.write(`${name.padEnd(8)} ${summary}\n`);
    return;
  }
  const terminal = terminalOf(flags);
  const first = flags.text("init");
  if (first !== undefined) return writeFirstHandler(first, terminal);
  const options = planServer(flags);
  const drainMs = flags.duration("drain", 0) ?? DRAIN_TIMEOUT_MS;
  // Whatever is wrong with the flags is told before anything is asked or made.
  const choose = await chooseService(flags, options.maxFrame);
  const folder = new DataFolder(flags.text("data"));
  const store = options.bare === true || options.auth === "none" ? undefined : new Store(folder.users);
  const logPath = flags.text("log") ?? folder.log;
  // A link in its place would have the server write to any file of its user.
  if (flags.text("log") === undefined) checkFolders(logPath);
  const log = openLog({
    path: logPath,
    level: flags.choice("log-level", LOG_LEVELS, "info"),
    format: flags.choice("log-format", LOG_FORMATS, "text"),
    onLoss: (reason) => terminal.say(`the log cannot be written: ${reason}`),
  });
  try {
    const tls = await planTls(flags, options.host, folder, terminal);
    const key = planKey(flags, terminal);
    if (terminal.canAsk && !flags.has("check")) await askForMissing(flags, options, store, terminal);
    const wanted = options.port;
    const { service, name: serviceName, handler } = choose(log);
    const server: Server = new Server({
      ...options,
      sessionsChanged: () => live?.touch(),
      service,
      serviceName,
      tls,
      key,
      store,
      log,
      tell: (...lines) => terminal.isWatched && terminal.say(...lines),
    });
    const live =
      store &&
      new LiveFile(
        folder.path,
        () => server.liveSessions(),
        (error) => log.warn("users-failed", { reason: messageOf(error) }),
      );
    if (flags.has("check")) {
      await server.stop(0);
      terminal.say("everything is in order");
      return;
    }
    const reload = handler && (() => reloadHandler(handler, log, terminal));
    const unwatch = handler && reload && flags.has("watch") ? watchHandler(handler, reload) : undefined;
    const stopped = handleSignals(server, { log, terminal, drainMs, reload });
    announce(server, options, flags, terminal, { wanted, logPath, serviceName, pin: tls?.pin });
    await stopped.finally(unwatch);
    live?.remove();
  } finally {
    log.close();
  }
}

async function askForMissing(
  flags: ServeFlags,
  options: ServerPlan,
  store: Store | undefined,
  terminal: Terminal,
): Promise<void> {
  if (flags.text("port") === undefined) {
    const answer = await terminal.ask("port:", { default: String(DEFAULT_PORT), check: portFlaw });
    options.port = parsePort(answer) ?? DEFAULT_PORT;
  }
  if (store !== undefined && options.auth === "password") await offerFirstUser(store, options, terminal);
}

async function offerFirstUser(store: Store, options: ServerPlan, terminal: Terminal): Promise<void> {
  if (store.document.users.size > 0 || options.register === true) return;
  terminal.say("There are no users yet, so nobody could log in.");
  if (!(await terminal.confirm("create the first one?", true))) return;
  const check = (answer: string) => (normalizeName(answer) === undefined ? NAME_RULE : undefined);
  const name = normalizeName(await terminal.ask("user:", { check })) ?? "";
  const minimum = options.minPassword ?? MIN_PASSWORD_LENGTH;
  const password = await terminal.askNewSecret("password:", (answer) => passwordFlaw(answer, name, minimum));
  const hash = await new PasswordHasher(options.hashCost).hash(password);
  await store.change((draft) => addUser(draft, name, hash, new Date()));
}

/** The ready line on stdout; on stderr what a person must know, or wants to. */
function announce(
  server: Server,
  options: ServerPlan,
  flags: ServeFlags,
  terminal: Terminal,
  context: { wanted: number; logPath: string; serviceName: string; pin: string | undefined },
): void {
  const { host, port } = server;
  const address = formatAddress(host, port);
  const auth = options.bare === true ? "bare" : options.auth;
  const ready = flags.has("json")
    ? JSON.stringify({
        event: "listening",
        host,
        port,
        pid: process.pid,
        tls: context.pin ?? null,
        auth,
        service: context.serviceName,
      })
    : `listening on ${address}`;
  const portFile = flags.text("port-file");
  if (portFile !== undefined) writePortFile(portFile, port);
  process.stdout.write(`${ready}\n`);
  const talk = `talk to it: ${programName()} ${connectCommand(server, options, flags, context.pin)}`;
  if (terminal.isWatched) {
    const who = {
      password: "password",
      ip: "known addresses",
      none: "anybody may talk",
      bare: "bare frames, no login",
    };
    const reach = isLoopback(host) ? "this machine only" : "reachable from other machines";
    const key = flags.text("key-file") === undefined ? "" : "shared key · ";
    terminal.note(
      `${key}${who[auth]} · ${reach} · ${context.pin === undefined ? "not encrypted" : "TLS 1.3"}`,
    );
    terminal.noteWhole(`log: ${context.logPath}`);
    terminal.noteWhole(talk);
  } else if (context.pin !== undefined && !flags.has("json")) {
    terminal.say(talk); // the pin, which clients need and --json has
  }
  if (auth === "password" && options.register !== true && server.hasNoUsers) {
    terminal.say(
      `nobody can log in yet: add somebody with: ${programName()} users add NAME${dataFlag(flags)}`,
    );
  }
  if (context.wanted !== 0 && context.wanted !== port) {
    terminal.say(`port ${context.wanted} is busy: listening on ${port} instead`);
  }
}

/** What to type on a client's side. */
function connectCommand(
  { host, port }: Server,
  { bare }: ServerPlan,
  flags: ServeFlags,
  pin: string | undefined,
): string {
  const keyFile = flags.text("key-file");
  return [
    `connect ${formatAddress(reachableAs(host), port)}`,
    pin === undefined ? (isLoopback(host) ? "" : " --no-tls") : ` --pin ${pin}`,
    keyFile === undefined ? "" : ` --key-file ${shellQuote(resolve(keyFile))}`,
    bare === true ? " --bare" : "",
  ].join("");
}

/** An address that others can use: all addresses of this machine are none. */
function reachableAs(host: string): string {
  if (host !== "0.0.0.0" && host !== "::") return host;
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outside = all.find((address) => !address.internal && address.family === "IPv4");
  return outside?.address ?? hostname();
}

function dataFlag(flags: ServeFlags): string {
  const data = flags.text("data");
  return data === undefined ? "" : ` --data ${shellQuote(data)}`;
}

function writePortFile(path: string, port: number): void {
  try {
    writeFileSync(path, `${port}\n`);
  } catch (error) {
    throw new ParleyError(
      "failed",
      `--port-file: cannot write ${path}: ${systemCode(error) ?? messageOf(error)}`,
    );
  }
}

interface SignalContext {
  log: LogFile;
  terminal: Terminal;
  drainMs: number;
  /** Loads what HUP asks to load again, beside users and log. */
  reload: (() => Promise<void>) | undefined;
}

/**
 * INT and TERM: drain, and again: at once. HUP: reload and reopen; when the terminal was closed, as TERM. Resolves when
 * the server has stopped.
 */
async function handleSignals(server: Server, context: SignalContext): Promise<void> {
  const { log, terminal, drainMs } = context;
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let firstAt: number | undefined;
  const stop = () => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt < SAME_SIGNAL_MS) return;
    const again = firstAt !== undefined;
    firstAt ??= now;
    if (!again && terminal.isWatched && !terminal.hasHungUp && server.sessions > 0) {
      const count = plural(server.sessions, "conversation", ["has", "have"]);
      terminal.say(`stopping: ${count} ${sayDuration(drainMs)} to end; Ctrl-C again ends at once`);
    }
    if (again) server.terminate();
    else void server.stop(drainMs).then(resolve, reject);
  };
  const hangUp = () => {
    if (terminal.hasHungUp) return stop();
    server.reload();
    void context.reload?.();
    try {
      log.reopen();
    } catch (error) {
      terminal.say(`the log cannot be reopened: ${messageOf(error)}`);
    }
  };
  // The net below everything: a fault costs a log line, not everybody's conversation.
  const fault = (error: unknown) => log.error("internal-error", { reason: Bun.inspect(error) });
  process.on("uncaughtException", fault).on("unhandledRejection", fault);
  process.on("SIGINT", stop).on("SIGTERM", stop).on("SIGHUP", hangUp);
  try {
    const cut = await promise;
    if (cut > 0 && !terminal.hasHungUp) terminal.say(`${plural(cut, "connection")} had to be cut off`);
  } finally {
    process.off("uncaughtException", fault).off("unhandledRejection", fault);
    process.off("SIGINT", stop).off("SIGTERM", stop).off("SIGHUP", hangUp);
  }
}
