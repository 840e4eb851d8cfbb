// What answers the clients: a built-in service, a handler file, a program, or a TCP service elsewhere.

import { closeSync, constants } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { messageOf, ParleyError, systemCode } from "../../base/errors.ts";
import { removeIfThere, writeFully } from "../../files/atomic-write.ts";
import { createFile } from "../../files/create.ts";
import { whyRefused } from "../../files/file-error.ts";
import { readPublicFile } from "../../files/private-file.ts";
import { RELOAD_QUIET_MS, TARGET_TIMEOUT_MS } from "../../base/limits.ts";
import { duration, wrong } from "../../base/option-kinds.ts";
import type { Logger } from "../../log/log.ts";
import { dialStream, formatStreamAddress, type StreamAddress } from "../../net/stream.ts";
import { findService } from "../../services/catalogue.ts";
import { forward, type TargetDial } from "../../services/forward/forward.ts";
import { HANDLER_TEMPLATE, HANDLER_TYPES } from "../../services/handler/template.ts";
import { checkModulePath, Handler } from "../../services/handler/handler.ts";
import { Rights } from "../../os/rights.ts";
import { PROGRAM_IOS } from "../../services/program/codec.ts";
import { checkProgram, program, STDERR_WAYS } from "../../services/program/program.ts";
import type { Service } from "../../services/service.ts";
import { ownCommand } from "../../base/own-command.ts";
import { shellQuote } from "../../base/shell-quote.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { checkZone, parseHost, parsePort } from "../flags.ts";
import type { ServeFlags } from "./flags.ts";

export interface Chosen {
  service: Service;
  /** The service's name in `hello`. */
  name: string;
  /** The handler, where the service is a handler file. */
  handler: Handler | undefined;
  /** Where the sessions are forwarded to, and a try of it. */
  target?: { address: string; tryOut: () => Promise<void> };
}

/**
 * Checks the flags of the service, and loads a handler. The service is made by what is returned, once there is a log.
 *
 * @throws {ParleyError} `usage`. @throws {HandlerError} `unusable`.
 */
export async function chooseService(flags: ServeFlags, maxMessage: number): Promise<(log: Logger) => Chosen> {
  const [name, ...rest] = flags.texts("program");
  const file = flags.text("handler");
  const to = flags.text("to");
  if (to !== undefined) return forwarding(flags, to);
  if (file !== undefined) {
    const handler = await Handler.load(file);
    return () => ({ service: handler, name: basename(file, extname(file)), handler });
  }
  if (name !== undefined) {
    checkProgram(name);
    const options = {
      argv: [name, ...rest] as const,
      io: flags.choice("program-io", PROGRAM_IOS, "lines"),
      stderr: flags.choice("program-stderr", STDERR_WAYS, "log"),
      pty: flags.has("pty"),
      passEnv: flags.texts("pass-env"),
      maxMessage,
    };
    return (log) => ({ service: program({ ...options, log }), name: basename(name), handler: undefined });
  }
  const builtIn = flags.text("service") ?? "echo";
  const service = findService(builtIn);
  return () => ({ service, name: builtIn, handler: undefined });
}

/** `--to`: the service of a target. @throws {ParleyError} `usage`. */
function forwarding(flags: ServeFlags, to: string): () => Chosen {
  const target = parseTarget(flags, to);
  const timeoutMs = flags.read("to-timeout", duration()) ?? TARGET_TIMEOUT_MS;
  const open = (dial: Partial<TargetDial>) => dialStream(target, { ...dial, timeoutMs });
  const service = forward({ open, sendProxy: flags.has("send-proxy") });
  const address = formatStreamAddress(target);
  const tryOut = async () => (await open({})).reset();
  return () => ({ service, name: "forward", handler: undefined, target: { address, tryOut } });
}

/** The value of `--to`. */
function parseTarget(flags: ServeFlags, to: string): StreamAddress {
  const [, path] = /^unix:(.+)$/.exec(to) ?? [];
  if (path !== undefined) return { unix: resolve(path) };
  const [, hostText = "", portText = ""] = /^(\[.+\]|[^:]+):(\d+)$/.exec(to) ?? [];
  const host = parseHost(hostText);
  const port = parsePort(portText);
  if (host === undefined || port === undefined)
    throw wrong(
      flags.label("to"),
      "HOST:PORT",
      to,
      "for example 127.0.0.1:5432, [::1]:5432 or unix:/run/service.sock",
    );
  checkZone(host);
  return { host, port };
}

/** Loads a handler again and reports how that went; where it fails, the previous version stays loaded. */
export async function reloadHandler(handler: Handler, log: Logger, terminal: Terminal): Promise<void> {
  try {
    await handler.reload();
    log.info("handler-reloaded", { file: handler.path });
    if (terminal.isWatched) terminal.note(`reloaded ${handler.path}`);
  } catch (error) {
    const hint = error instanceof ParleyError ? error.hint : undefined;
    log.error("handler-failed", { file: handler.path, reason: messageOf(error), code: hint });
    terminal.say(messageOf(error), ...(hint?.split("\n") ?? []), "the previous version stays loaded");
  }
}

/** Calls `reload` whenever the files of `handler` have changed and then rested; returns a function that ends this. */
export function watchHandler(handler: Handler, reload: () => Promise<void>): () => void {
  // The files are polled: a watch is lost with its folder, and the system may have none left. An editor writes more than
  // once, so that only what was the same twice is loaded.
  let last = handler.versions;
  const timer = setInterval(() => {
    const now = handler.versions;
    const hasRested = Bun.deepEquals(now, last);
    last = now;
    if (hasRested && !Bun.deepEquals(now, handler.loaded)) void reload();
  }, RELOAD_QUIET_MS);
  return () => clearInterval(timer);
}

/** `--init`: writes a first handler, and beside it the types for an editor. @throws {ParleyError} `failed`. */
export function writeFirstHandler(file: string, terminal: Terminal): void {
  const path = resolve(file);
  const types = join(dirname(path), "parley.d.ts");
  checkModulePath(path);
  let present: string | undefined;
  try {
    make(
      path,
      HANDLER_TEMPLATE.replace("NAME", () => shellQuote(basename(path))),
    );
    present = readPublicFile(types);
    if (present === undefined) make(types, HANDLER_TYPES);
  } catch (error) {
    if (systemCode(error) === "EEXIST")
      throw new ParleyError("failed", `cannot write ${path}: it already exists`, {
        hint: "choose another name",
      });
    throw new ParleyError("failed", `cannot write ${path}: ${whyRefused(error)}`);
  }
  if (present === undefined || present === HANDLER_TYPES) {
    terminal.say(`created ${path}, and its types in parley.d.ts`);
  } else {
    terminal.say(`created ${path}`);
    terminal.say("parley.d.ts was there and differs from the types of this version: it is kept");
    terminal.say("remove it before the next --init to have it written again");
  }
  terminal.say(`run it with: ${ownCommand(`serve --handler ${shellQuote(file)} --watch`)}`);
}

/** Writes a new source file, whole or not at all. */
function make(path: string, text: string): void {
  const rights = Rights.over(path);
  const fd = rights.use(() => createFile(path, constants.O_WRONLY, 0o644));
  try {
    writeFully(fd, Buffer.from(text));
  } catch (error) {
    rights.use(() => removeIfThere(path));
    throw error;
  } finally {
    closeSync(fd);
  }
}
