// One run of a program: its input, its output, its standard error, and its end. program.ts makes one for each session.
//
//     running ── stop: end of input, after a while TERM, after a while KILL ──→ no process of it is left

import { randomUUID } from "node:crypto";
import { LineSplitter, NEWLINE } from "../../base/line-splitter.ts";
import { PROGRAM_INPUT_GRACE_MS, PROGRAM_TERM_GRACE_MS, MAX_STDERR_LINE_BYTES } from "../../base/limits.ts";
import { adoptOrphans, Orphans, reapOrphans } from "../../os/orphans.ts";
import type { Codec } from "./codec.ts";
import { spawnOnPipes, type Spawned } from "./pipes.ts";
import { endAllOrphans, MARK_VARIABLE, ProcessGroup } from "./process-group.ts";
import type { WindowSize } from "../../wire/message.ts";
import { spawnOnTerminal } from "./pty.ts";

export interface RunOptions {
  argv: readonly [string, ...string[]];
  env: Record<string, string>;
  codec: Codec;
  /** On a terminal of its own, rather than on pipes. */
  pty: boolean;
  /** The window of the client's terminal; undefined: the client is none. */
  window?: WindowSize | undefined;
  grace?: Grace;
}

/** How long a program may run once its session is over, in milliseconds. */
export interface Grace {
  /** From the end of its input to TERM. */
  inputMs: number;
  /** From TERM to KILL. */
  termMs: number;
}

const GRACE: Grace = { inputMs: PROGRAM_INPUT_GRACE_MS, termMs: PROGRAM_TERM_GRACE_MS };

/** Process ids of programs that Bun waits for. */
const awaited = new Set<number>();
const orphans = new Orphans((pid) => awaited.has(pid));

/**
 * Listens to SIGCHLD, and adopts what programs leave behind. Call it before the first program starts. The listener has two
 * purposes: a process that was started with SIGCHLD ignored could not wait for its children, and the parent of orphans must wait
 * for them.
 */
export function awaitChildren(): void {
  adoptOrphans();
  process.on("SIGCHLD", reap);
}

function reap(): void {
  if (process.pid === 1) reapOrphans((pid) => awaited.has(pid));
  else orphans.look();
}

/** Ends what is left of programs that have ended, and is not known to be of one of them. Only when no program runs. */
export async function endOrphans(): Promise<void> {
  if (process.pid !== 1) await endAllOrphans(orphans, GRACE.termMs); // those of a container end with its process 1
}

export class Run {
  readonly pid: number;
  /** The exit status as a shell has it: 128 plus the signal's number after a signal. */
  readonly status: Promise<number>;
  readonly #codec: Codec;
  readonly #spawned: Spawned;
  readonly #group: ProcessGroup;
  readonly #grace: Grace;
  /** Is the terminal of the client joined to that of the program? */
  readonly #isJoined: boolean;

  /** @throws {Error} when the program cannot be started. */
  constructor({ argv, env, codec, pty, window, grace = GRACE }: RunOptions) {
    this.#codec = codec;
    this.#grace = grace;
    const mark = randomUUID();
    this.#isJoined = window !== undefined;
    const environment = { ...env, [MARK_VARIABLE]: mark };
    this.#spawned = pty ? spawnOnTerminal(argv, environment, window) : spawnOnPipes(argv, environment);
    const { pid, exited } = this.#spawned.child;
    this.#group = new ProcessGroup({ leader: pid, hasTerminal: pty, mark, orphans });
    this.pid = pid;
    this.status = exited;
    awaited.add(pid);
    void exited.then(() => {
      awaited.delete(pid);
      reap(); // orphans that ended after it
      this.#group.signal(0); // notices an empty group before other processes can get its number
    });
  }

  /** Writes one message to the program. @returns a promise when the program has to read before the next. */
  write(payload: Uint8Array): void | Promise<void> {
    return this.#spawned.input.write(this.#codec.wrap(payload));
  }

  /** The window of the program's terminal has another size from now on; the program gets SIGWINCH. */
  resize(size: WindowSize): void {
    this.#spawned.resize?.(size);
  }

  endInput(): void {
    this.#spawned.input.end();
  }

  /**
   * The messages of the program, those of one chunk together, until every process has closed the output. Reads no faster than the
   * caller.
   *
   * @throws {Error} when a message is too long, or a frame is cut off.
   */
  async *output(): AsyncGenerator<Iterable<Uint8Array>> {
    for await (const chunk of this.#spawned.output) yield this.#codec.push(chunk);
    const last = this.#codec.end();
    if (last !== undefined) yield [last];
  }

  /** Calls `onLine` for each line of standard error. Resolves when there are no more. A long line comes in pieces. */
  async errors(onLine: (line: string) => void | Promise<void>): Promise<void> {
    const { errors } = this.#spawned;
    if (errors === undefined) return;
    const splitter = new LineSplitter(NEWLINE, Infinity);
    const inPieces = async (line: Uint8Array | undefined) => {
      if (line === undefined) return;
      for (let start = 0; start === 0 || start < line.length; start += MAX_STDERR_LINE_BYTES) {
        await onLine(Buffer.from(line.subarray(start, start + MAX_STDERR_LINE_BYTES)).toString());
      }
    };
    let unfinished = 0;
    for await (const chunk of errors) {
      for (const line of splitter.push(chunk)) await inPieces(line);
      unfinished = chunk.lastIndexOf(NEWLINE) === -1 ? unfinished + chunk.length : 0;
      if (unfinished < MAX_STDERR_LINE_BYTES) continue;
      await inPieces(splitter.end()); // the begin of a line that may have no end
      unfinished = 0;
    }
    await inPieces(splitter.end());
  }

  /** Ends every process of the program that may be signalled. Resolves when none of them is left, and its streams are closed. */
  async stop(): Promise<void> {
    if (this.#isJoined) {
      this.close(); // a terminal whose window was closed sends SIGHUP
    } else {
      this.#spawned.input.end();
      this.#spawned.discard();
    }
    await this.#end();
    this.close(); // others may have inherited them
  }

  /** Closes its streams: {@link output} and {@link errors} end, whatever is left of the program. */
  close(): void {
    this.#spawned.close();
  }

  kill(): void {
    this.#group.signal("SIGKILL");
  }

  async #end(): Promise<void> {
    const { inputMs, termMs } = this.#grace;
    if (await this.#group.waitUntilGone(inputMs)) return;
    this.#group.signal("SIGTERM");
    if (await this.#group.waitUntilGone(termMs)) return;
    this.kill();
    await this.#spawned.child.exited;
    await this.#group.waitUntilGone(termMs); // the kernel ends the other processes a little later
  }
}
