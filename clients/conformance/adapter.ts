// The adapter of a client as a process: commands go to its standard input, events come from its standard output, a JSON object a line.

import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import type { Readable } from "node:stream";
import type { Json } from "./case.ts";
import { linesOf } from "./lines.ts";
import { Queue } from "./queue.ts";

/** Takes a line that says what was sent or received. */
export type Trace = (line: string) => void;

/** Events that end a conversation. */
export const FINAL = ["done", "error"];

export class Adapter {
  readonly #argv: readonly string[];
  readonly #trace: Trace | undefined;
  #process: ChildProcessWithoutNullStreams | undefined;
  #events = new Queue<Json>();
  #said = "";
  #over = Promise.withResolvers<Json>();

  constructor(argv: readonly string[], trace?: Trace) {
    this.#argv = argv;
    this.#trace = trace;
  }

  /** The last lines of its standard error. */
  get said(): string {
    return this.#said.trimEnd().slice(-1000);
  }

  /** Resolves with the event that ends the conversation. */
  get over(): Promise<Json> {
    return this.#over.promise;
  }

  /** Starts the process; false when it runs already. */
  start(): boolean {
    if (this.#process !== undefined) return false;
    const [command = "", ...rest] = this.#argv;
    const child = spawn(command, rest, { stdio: ["pipe", "pipe", "pipe"] });
    const events = new Queue<Json>();
    this.#events = events;
    this.#said = "";
    this.#process = child;
    const over = (why: string) =>
      events.end(new Error(`the adapter ${why}${this.#said && `: ${this.said}`}`));
    child.on("error", (error) => over(`cannot be started: ${error.message}`));
    child.on("close", (code, signal) => over(`ended with ${code ?? signal}`));
    child.stdin.on("error", () => undefined); // its end says more
    child.stderr.on(
      "data",
      (chunk: Buffer) => (this.#said = `${this.#said}${chunk.toString()}`.slice(-4000)),
    );
    void this.#read(child.stdout, events).catch(over);
    return true;
  }

  async #read(output: Readable, events: Queue<Json>): Promise<void> {
    for await (const line of linesOf(output)) {
      this.#trace?.(`event    ${line}`);
      const event = JSON.parse(line) as Json;
      events.push(event);
      if (FINAL.includes(String(event["event"]))) this.#over.resolve(event);
    }
  }

  /** Its next event. @throws {Error} when it has ended, or says nothing for too long. */
  event(): Promise<Json> {
    return this.#events.next("the adapter reports nothing");
  }

  /** The events that no step has taken. */
  rest(): Json[] {
    return this.#events.rest();
  }

  send(command: Json): void {
    if (command["do"] === "connect") {
      this.#over = Promise.withResolvers();
      this.#said = "";
    }
    const line = JSON.stringify(command);
    this.#trace?.(`command  ${line}`);
    this.#process?.stdin.write(`${line}\n`);
  }

  /** Ends the process; the next case starts another. */
  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = new Promise((resolve) => void child.once("close", resolve));
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), 2000);
    await closed;
    clearTimeout(timer);
  }
}
