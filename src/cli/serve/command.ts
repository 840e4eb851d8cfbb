// parley serve: flags → a server, its log, its ready line, its signals.

import { defineCommand } from "citty";
import { addUser } from "../../auth/accounts.ts";
import type { AuthMode } from "../../auth/identity.ts";
import { flawLines, Flaws } from "../../auth/flaws.ts";
import { NAME_RULE, normalizeName } from "../../auth/username.ts";
import { PasswordHasher, passwordFlaw } from "../../auth/password.ts";
import { isStoreError, type Store } from "../../auth/store.ts";
import { DataFolder } from "../../files/data-folder.ts";
import { messageOf, ParleyError } from "../../base/errors.ts";
import { DEFAULT_PORT } from "../../base/limits.ts";
import { SessionStatusFiles } from "../../server/session-status-file.ts";
import { LOG_FORMATS, LOG_LEVELS, openLog, type Logger } from "../../log/log.ts";
import { openTrialLog } from "../../log/trial-log.ts";
import { checkFolders } from "../../files/strict-modes.ts";
import { Rights } from "../../os/rights.ts";
import { MetricsEndpoint, type StatsSource } from "../../server/metrics.ts";
import { hashCostOf } from "../../server/options.ts";
import { Server } from "../../server/server.ts";
import { listServices } from "../../services/catalogue.ts";
import { takeSocket } from "../../os/systemd.ts";
import { EventCounter } from "../../log/event-counter.ts";
import { RateLimitedLog } from "../../log/rate-limited-log.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { stdout } from "../../terminal/stdio.ts";
import { Flags, parsePort, portFlaw, sayStoredName, terminalOf } from "../flags.ts";
import { openStore, planStore } from "../store.ts";
import { about, type Arguments } from "../parse.ts";
import { announce, tryPortFile } from "./ready.ts";
import { outdatedCertificate, planKey, planTls } from "./keys.ts";
import { handleSignals } from "./signals.ts";
import { chooseService, reloadHandler, watchHandler, writeFirstHandler, type Chosen } from "./service.ts";
import { serveFlags, serveRules, type ServeFlags } from "./flags.ts";
import { planMetrics, planServer, type ServerPlan } from "./plan.ts";

export default defineCommand({
  meta: about({
    name: "serve",
    description: "listen for clients, log them in and answer their messages",
    examples: [
      ["parley serve", "echo, on this machine only"],
      ["parley serve --service chat --register", "chat with sign-up"],
      ["parley serve --handler greet.ts --watch", "your own code, reloaded"],
      ["parley serve -- python3 -u upper.py", "a program for each session"],
      ["parley serve --to 127.0.0.1:5432", "a login before a TCP service"],
      ["parley serve --host 0.0.0.0", "reachable from outside, TLS"],
    ],
    rules: serveRules,
  }),
  args: serveFlags,
  run: ({ args }) => serve(new Flags(args as Arguments)),
});

async function serve(flags: ServeFlags): Promise<void> {
  if (flags.has("list-services")) {
    for (const { name, summary } of listServices()) void stdout.write(`${name.padEnd(8)} ${summary}\n`);
    return;
  }
  const terminal = terminalOf(flags);
  const first = flags.text("init");
  if (first !== undefined) return writeFirstHandler(first, terminal);
  const socket = takeSocket(process.env, process.pid);
  const options = planServer(flags, socket);
  const metricsAt = planMetrics(flags, options.port);
  const hasAccounts = options.bare !== true && options.auth !== "none";
  const elsewhere = planStore(flags, hasAccounts);
  // Every error in the flags comes before the first question and the first file.
  const choose = await chooseService(flags, options.maxFrame);
  const folder = new DataFolder(flags.text("data")).make();
  const edits: number[] = []; // until there is a log
  let sayEdited = (kept: number): void => void edits.push(kept);
  await using opened = hasAccounts
    ? await openStore(elsewhere, folder, {
        keeps: !flags.has("check"),
        say: (line) => terminal.say(line),
        edited: (kept) => sayEdited(kept),
      })
    : undefined;
  const store = opened?.store;
  // Frees the text of the file: 100,000 users and tokens then take 125 MiB instead of 254, for 0.13 s (measured with Bun 1.4.5).
  if (store !== undefined && store.document.tokens.size >= MANY_TOKENS) Bun.gc(true);
  const logPath = flags.text("log") ?? folder.log;
  // In a folder that others can write to, a link could lead the log to any file of this user.
  if (flags.text("log") === undefined) checkFolders(logPath, Rights.own.person);
  /** Faults that do not stop a server, but do fail a check. */
  const flaws: string[] = [];
  const file = (flags.has("check") ? openTrialLog : openLog)({
    path: logPath,
    level: flags.choice("log-level", LOG_LEVELS, "info"),
    format: flags.choice("log-format", LOG_FORMATS, "text"),
    onLoss(reason) {
      flaws.push(`cannot write the log: ${reason}`);
      terminal.say(`cannot write the log: ${reason}`);
    },
  });
  const tally = new EventCounter();
  const limited = new RateLimitedLog(file);
  const log = tally.countingLogger(limited);
  sayEdited = (kept) => log.warn("users-edited", { kept });
  edits.forEach(sayEdited);
  try {
    const tls = await planTls(flags, options.host, folder, terminal);
    const outdated = tls && outdatedCertificate(tls, terminal);
    if (outdated !== undefined && flags.has("check")) flaws.push(outdated);
    else if (outdated !== undefined) terminal.say(outdated);
    const key = await planKey(flags, terminal);
    if (terminal.canAsk && !flags.has("check")) await askForMissing(flags, options, store, terminal);
    planMetrics(flags, options.port); // checks again, with the port of the answer
    const wanted = options.port;
    const { service, name: serviceName, handler, target } = choose(log);
    let vitals: StatsSource | undefined;
    using metrics =
      metricsAt && new MetricsEndpoint({ ...metricsAt, server: () => vitals, events: tally, log });
    const server: Server = new Server({
      ...options,
      sessionsChanged: () => live.scheduleWrite(),
      service,
      serviceName,
      tls,
      key,
      store,
      storeUrl: opened?.url,
      log,
      // A check reports what it finds as its error.
      tell: (...lines) => terminal.isWatched && !flags.has("check") && terminal.say(...lines),
    });
    vitals = server;
    const lists = opened?.sessions ?? new SessionStatusFiles(folder.path);
    await using live = lists.publish(
      () => server.sessionStatuses(),
      (error) => {
        flaws.push(messageOf(error));
        log.warn("users-failed", { reason: messageOf(error) });
      },
    );
    if (flags.has("check")) {
      await server.stop(0);
      await tryFiles(store, flags);
      if (target !== undefined) await tryTarget(target, terminal);
      file.close();
      const [flaw] = flaws;
      if (flaw !== undefined) throw new ParleyError("failed", flaw);
      if (store !== undefined) checkEntries(store, options.auth, terminal);
      if (wanted !== 0 && server.port !== wanted)
        terminal.say(`port ${wanted} is busy: a server that starts now listens on ${server.port}`);
      if (server.hasNoUsers && options.auth === "password" && options.register !== true)
        terminal.say("no users yet: no client can log in");
      return terminal.say("the configuration is valid");
    }
    const reload = handler && (() => reloadHandler(handler, log, terminal));
    const unwatch = handler && reload && flags.has("watch") ? watchHandler(handler, reload) : undefined;
    const stopped = handleSignals(server, { file, terminal, drainMs: options.drainMs, reload });
    if (metrics !== undefined) log.info("metrics-listening", { host: metrics.host, port: metrics.port });
    await announce(
      server,
      {
        options,
        wanted,
        logPath,
        serviceName,
        target: target?.address,
        storeUrl: opened?.url,
        pin: tls?.pin,
        metrics,
      },
      flags,
      terminal,
    );
    // The try waits for the disk, while the first connections are served.
    await Promise.all([stopped.finally(unwatch), store && trySilently(store, log, terminal)]);
    if (store !== undefined) await foldSilently(store, log);
  } finally {
    limited.flush();
    file.close();
  }
}

/** Tokens from which on the memory of a start is worth freeing at once. */
const MANY_TOKENS = 10_000;

/** Tries whether the files that the server writes later can be written. @throws {FileError} */
async function tryFiles(store: Store | undefined, flags: ServeFlags): Promise<void> {
  await store?.tryToWrite();
  const portFile = flags.text("port-file");
  if (portFile !== undefined) await tryPortFile(portFile);
}

/** Connects to the target once, and says that it accepts. @throws {ParleyError} `failed`. */
async function tryTarget(
  { address, tryOut }: NonNullable<Chosen["target"]>,
  terminal: Terminal,
): Promise<void> {
  try {
    await tryOut();
  } catch (error) {
    throw new ParleyError("failed", messageOf(error), {
      hint: "start the service that listens there, or name another one with --to",
      cause: error,
    });
  }
  terminal.say(`${address} accepts connections`);
}

/** @throws {ParleyError} for the first entry of the accounts that cannot be used, once it has printed the others. */
function checkEntries(store: Store, auth: AuthMode, terminal: Terminal): void {
  const [first, ...others] = new Flaws(auth).news(store.document);
  if (first === undefined) return;
  terminal.say(...flawLines(others));
  throw new ParleyError("failed", first.message, { hint: first.hint });
}

/** Tries to write the accounts, and says why that fails; the server goes on without changes of them. */
async function trySilently(store: Store, log: Logger, terminal: Terminal): Promise<void> {
  try {
    await store.tryToWrite();
  } catch (error) {
    if (!isStoreError(error)) throw error;
    log.error("users-failed", { reason: error.message });
    terminal.say(`accounts cannot change and no session tokens are issued: ${error.message}`);
    if (error.hint !== undefined) terminal.say(`hint: ${error.hint}`);
  }
}

/** A journal that cannot be folded now is folded by another process, or later. */
async function foldSilently(store: Store, log: Logger): Promise<void> {
  try {
    await store.close();
  } catch (error) {
    if (!isStoreError(error)) throw error;
    log.error("users-failed", { reason: error.message });
  }
}

async function askForMissing(
  flags: ServeFlags,
  options: ServerPlan,
  store: Store | undefined,
  terminal: Terminal,
): Promise<void> {
  if (flags.text("port") === undefined && options.fd === undefined) {
    const answer = await terminal.ask("port:", { default: String(DEFAULT_PORT), check: portFlaw });
    options.port = parsePort(answer) ?? DEFAULT_PORT;
  }
  if (store !== undefined && options.auth === "password") await offerFirstUser(store, options, terminal);
}

async function offerFirstUser(store: Store, options: ServerPlan, terminal: Terminal): Promise<void> {
  if (store.document.users.size > 0 || options.register === true) return;
  terminal.say("There are no users yet: no client can log in.");
  if (!(await terminal.confirm("create the first user?", true))) return;
  const check = (answer: string) => (normalizeName(answer) === undefined ? NAME_RULE : undefined);
  const typed = await terminal.ask("user:", { check });
  const name = normalizeName(typed) ?? "";
  sayStoredName(terminal, typed, name);
  const flaw = (password: string) => passwordFlaw(password, name, options.minPassword);
  const password = await terminal.askNewSecret("password:", flaw);
  const hash = await new PasswordHasher(hashCostOf(options.hashMemory, options.hashTime)).hash(password);
  await store.change((draft) => addUser(draft, name, hash, new Date()));
}
