// The service that runs a program for each session: messages are the program's input, its output is the answer.
//
//     message        → stdin
//     stdout         → send, no faster than the client reads
//     exit           → bye, with the status
//     client is gone → stdin is closed, or the client's terminal hung up; then TERM, then KILL, to all its processes
//
// A program is started without a shell, in a process group and with an environment of its own. `parley serve -- PROGRAM` makes
// this service.

import { statSync } from "node:fs";
import { basename } from "node:path";
import { messageOf, ParleyError, systemCode } from "../../base/errors.ts";
import type { LogFields, Logger } from "../../log/log.ts";
import type { WindowSize } from "../../wire/message.ts";
import { codecFor, type ProgramIo } from "./codec.ts";
import { PIPE_DESCRIPTORS } from "./pipes.ts";
import { awaitChildren, endOrphans, Run, type Grace } from "./process.ts";
import { TERMINAL_DESCRIPTORS } from "./pty.ts";
import { shellQuote } from "../../base/shell-quote.ts";
import { nextTurn, TimeSlice } from "../../base/yield.ts";
import {
  SessionClosedError,
  type DescriptorUse,
  type Message,
  type Session,
  type Service,
} from "../service.ts";

export const STDERR_WAYS = ["log", "client", "both"] as const;
/** Where the lines of a program's standard error go. */
export type StderrWay = (typeof STDERR_WAYS)[number];

export interface ProgramOptions {
  argv: readonly [string, ...string[]];
  io: ProgramIo;
  stderr: StderrWay;
  /** True: on a terminal of its own, for programs that buffer their output without one, or draw on it. */
  pty: boolean;
  /** Names of variables that the program gets besides the harmless ones. */
  passEnv: readonly string[];
  /** The longest message of the program, in bytes. */
  maxMessage: number;
  log: Logger;
  grace?: Grace;
}

/** Variables that reveal nothing of the server. */
const HARMLESS = ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TERM"];
/** Variables that make any Bun executable run other code. They are never passed on, not even with `--pass-env`. */
const NEVER = new Set(["BUN_OPTIONS", "BUN_BE_BUN"]);

/** Makes the service. @throws {ParleyError} `usage` when there is no such program. */
export function program(options: ProgramOptions): Service {
  checkProgram(options.argv[0]);
  return new Program(options);
}

/** Checks that `name` can be executed. @throws {ParleyError} `usage` when there is no such program. */
export function checkProgram(name: string): void {
  if (Bun.which(name) !== null) return;
  if (name.includes("/") && statSync(name, { throwIfNoEntry: false })?.isFile() === true) {
    throw new ParleyError("usage", `cannot execute ${name}: permission denied`, {
      hint: `make it executable: chmod +x ${shellQuote(name)}`,
    });
  }
  throw new ParleyError("usage", `there is no program ${name}`, {
    hint: "give its path, or a name on the PATH; for a shell command: -- sh -c '…'",
  });
}

class Program implements Service {
  readonly messages: "lines" | "bytes" | undefined;
  readonly acksOnHandOff = true;
  readonly terminal: boolean;
  readonly #options: ProgramOptions;
  readonly #runs = new Map<Session, Run>();
  /** The runs of closed sessions, until no process of them is left. */
  readonly #ending = new Map<Run, Promise<void>>();

  constructor(options: ProgramOptions) {
    this.#options = options;
    this.terminal = options.pty;
    this.messages = options.io === "frames" ? undefined : options.io;
    awaitChildren();
  }

  get descriptors(): DescriptorUse {
    const perSession = this.#options.pty ? TERMINAL_DESCRIPTORS : PIPE_DESCRIPTORS;
    return { perSession, taken: perSession * (this.#runs.size + this.#ending.size) };
  }

  open(session: Session): void {
    const { argv, io, pty, maxMessage, log, grace } = this.#options;
    const { terminal } = session;
    const codec = codecFor(terminal === undefined ? io : "bytes", maxMessage);
    const facts = { conn: session.id, peer: session.peer, user: session.user };
    let run: Run;
    try {
      const env = this.#environment(session);
      run = new Run({ argv, env, codec, pty, window: terminal, grace });
    } catch (error) {
      const reason = systemCode(error) ?? String(error);
      throw new ParleyError("failed", `cannot start ${argv[0]}: ${reason}`, {
        peerMessage: "the program could not be started",
        cause: error,
      });
    }
    this.#runs.set(session, run);
    log.info("program-started", { ...facts, pid: run.pid });
    void this.#follow(session, run, facts);
  }

  message(session: Session, message: Message): void | Promise<void> {
    return this.#runs.get(session)?.write(message.bytes);
  }

  window(session: Session, size: WindowSize): void {
    this.#runs.get(session)?.resize(size);
  }

  end(session: Session): void {
    this.#runs.get(session)?.endInput();
  }

  /** Ends the program of a client that is gone. One that does not read its input would not notice the end of it. */
  disconnected(session: Session): void {
    this.close(session);
  }

  close(session: Session): void {
    const run = this.#runs.get(session);
    if (run === undefined) return;
    this.#runs.delete(session);
    const ending = run.stop().finally(() => this.#ending.delete(run));
    this.#ending.set(run, ending);
  }

  async stop(now: boolean): Promise<void> {
    for (const session of this.#runs.keys()) this.close(session);
    if (now) for (const run of this.#ending.keys()) run.kill();
    await Promise.all(this.#ending.values());
    await endOrphans();
  }

  /** Passes on what the program writes until it has ended; a failure of that ends the program, and then its session. */
  async #follow(session: Session, run: Run, facts: LogFields): Promise<void> {
    let failure: unknown;
    const fail = (error: unknown) => {
      failure ??= error;
      run.kill();
      run.close();
    };
    const output = this.#followOutput(session, run).catch(fail);
    await Promise.all([output, this.#followErrors(session, run, facts).catch(fail)]);
    const status = await run.status;
    this.#options.log.info("program-ended", { ...facts, pid: run.pid, status });
    if (failure !== undefined) session.fail(cutOff(failure));
    else session.finish(status, status === 0 ? undefined : `the program ended with status ${status}`);
  }

  async #followOutput(session: Session, run: Run): Promise<void> {
    for await (const messages of run.output()) {
      for (const message of messages) {
        session.send(message);
        const pending = writable(session);
        if (pending !== undefined) await pending; // never awaits undefined: each turn is a write of its own
      }
    }
  }

  async #followErrors(session: Session, run: Run, facts: LogFields): Promise<void> {
    const { stderr, log } = this.#options;
    const slice = new TimeSlice();
    await run.errors((line) => {
      const wasSent = stderr !== "log" && session.sendStderr(line);
      if (stderr !== "client" || !wasSent) log.info("program-stderr", { ...facts, text: line });
      return wasSent ? writable(session) : slice.yieldIfExpired();
    });
  }

  #environment(session: Session): Record<string, string> {
    const { argv, passEnv } = this.#options;
    const environment: Record<string, string> = {};
    for (const name of [...HARMLESS, ...passEnv]) {
      const value = process.env[name];
      // Only the variables below may begin with PARLEY_, so that the program can trust them.
      if (value !== undefined && !NEVER.has(name) && !name.startsWith("PARLEY_")) environment[name] = value;
    }
    const [, address = "", port = ""] = /^\[?(.*?)\]?:(\d+)$/.exec(session.peer) ?? [];
    return {
      ...environment,
      ...(session.terminal === undefined ? {} : { TERM: session.terminal.term ?? "dumb" }),
      ...(session.user === null ? {} : { PARLEY_USER: session.user }),
      PARLEY_TAGS: session.tags.join(" "),
      PARLEY_SESSION: String(session.id),
      PARLEY_REMOTE_ADDR: address,
      PARLEY_REMOTE_PORT: port,
      PARLEY_SERVICE: basename(argv[0]),
    };
  }
}

/** The error for output that cannot be passed on. It is also sent to the client, whose answer is incomplete. */
function cutOff(failure: unknown): ParleyError {
  const message = `the program's output was cut off: ${messageOf(failure)}`;
  return new ParleyError("failed", message, { peerMessage: message, cause: failure });
}

/** As {@link Session.writable}, but never rejects because the client is gone: output is read on, so that the program can end. */
function writable(session: Session): Promise<void> | undefined {
  return session.writable()?.catch((error: unknown) => {
    if (!SessionClosedError.is(error)) throw error;
    return nextTurn();
  });
}
