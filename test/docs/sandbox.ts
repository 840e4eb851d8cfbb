// Where the commands of one page run, one after the other: a home of their own with `parley` on the PATH, ports of their
// own, and the servers that they leave running.

import { copyFileSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { EXECUTABLE, PASSWORD, portForLater, run } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { Watched } from "../support/watched.ts";
import type { Command } from "./markdown.ts";

/** Paths of a whole machine, which a page's commands find below the sandbox. */
const PATHS = /(?<![\w.)\]])\/(?:home\/ann|etc|var|usr\/local|opt|run|srv|backup)(?=\/|\b)/g;
/** `--port 4000`, `:9113`, `port = 4000`; and parley's own port wherever it stands. */
const PORTS = /(?<=--(?:strict-)?port[ =]|\bport = |[\d\]*]:|localhost:)[1-9]\d{3,4}\b|\b13131\b/g;
const SERVER =
  /(?:^|[\s/])parley serve\b(?!.*--(?:check|init|list-services|help)\b)(?:[^\n]|\\\n)*(?<!&)\s*$/;
const READY = /listening on |"event":"listening"|^\{.*"port":\d+/m;
/** What a line of a shown conversation says that a person typed. */
const ASKED = /^✔ (.*?[:?])(?: (.*))?$/;
const TYPED = /^(\S+)> (.*)$/;

export interface Expected {
  /** Undefined where every exit code is right. */
  exit?: number;
  anyOrder?: boolean;
}

/** Runs only commands that stay in the sandbox. */
const SUDO = `#!/bin/sh
[ "$1" = -u ] && shift 2
case $1 in parley | tar | chmod) exec "$@" ;; esac
echo "sudo: not in a test: $1" >&2
exit 1
`;

/** A command that takes longer than this hangs. */
const PATIENCE_MS = 90_000;

interface Process {
  text: Watched;
  exited: Promise<number>;
  type: (keys: string) => void;
  signal(name: NodeJS.Signals): void;
}

export class Sandbox implements AsyncDisposable {
  readonly #folder = tempFolder();
  readonly #home = join(this.#folder.path, "home/ann");
  readonly #ports = new Map<string, string>();
  readonly #env: Record<string, string>;
  readonly #servers = new Map<string, { text: string; process: Process }>();
  #shell: ReturnType<typeof this.startShell> | undefined;
  #runs = 0;

  constructor() {
    const bin = join(this.#folder.path, "usr/local/bin");
    const built = join(this.#home, "dist");
    for (const folder of [bin, built]) {
      mkdirSync(folder, { recursive: true });
      placeExecutable(join(folder, "parley"));
    }
    symlinkSync(process.execPath, join(bin, "bun"));
    const python = Bun.spawnSync(["python3", "-c", "import sys; print(sys.executable)"]).stdout.toString();
    if (python !== "") symlinkSync(python.trim(), join(bin, "python3"));
    writeFileSync(join(bin, "sudo"), SUDO, { mode: 0o755 });
    this.#env = { PATH: `${bin}:${process.env["PATH"] ?? ""}`, HOME: this.#home, TERM: "xterm", USER: "ann" };
  }

  async addUser(name: string): Promise<void> {
    const argv = ["users", "add", name, "--password-stdin"];
    const data = join(this.#home, ".local/state/parley");
    const { exitCode, stderr } = await run(argv, { data, stdin: PASSWORD });
    if (exitCode !== 0) throw new Error(stderr);
  }

  write(name: string, text: string): void {
    const path = name.startsWith("/") ? join(this.#folder.path, name) : join(this.#home, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${this.#localise(text)}\n`, { mode: 0o600 });
  }

  /** Runs a command, and compares what it says with what its page shows. */
  async run(command: Command, { exit, anyOrder = false }: Expected): Promise<void> {
    const text = this.#localise(command.text);
    const output = command.output?.map((line) => this.#localise(line));
    const isTyped = output?.some((line) => ASKED.test(line) || TYPED.test(line)) === true;
    const fails = output?.[0]?.startsWith("parley: error:") === true;
    if (SERVER.test(bareOf(text)) && !fails) await this.#serve(text, output);
    else if (isTyped) await this.#converse(text, output);
    else await this.#inShell(text, { exit, output, anyOrder });
  }

  /** Has this server running, unless it is already. */
  async ensureServer(command: string): Promise<void> {
    const text = this.#localise(command);
    if (this.#servers.get(portOf(this.#withPort(text)))?.text !== text) await this.#serve(text, undefined);
  }

  async #serve(text: string, output: string[] | undefined): Promise<void> {
    const asksPort = output?.some((line) => line.startsWith("✔ port")) === true;
    const command = asksPort ? text : this.#withPort(text);
    const port = portOf(this.#withPort(text));
    await this.#stop(port);
    const process = this.#start(bareOf(command), output !== undefined);
    this.#servers.set(port, { text, process });
    if (output !== undefined) await follow(process, output);
    await process.text.see(READY, 0, PATIENCE_MS);
  }

  /** `parley serve` listens on this sandbox's own port, unless it says where. */
  #withPort(text: string): string {
    if (/--port[ =]|--config/.test(text)) return text;
    return text.replace("parley serve", `parley serve --port ${this.#port("13131")}`);
  }

  async #stop(port: string): Promise<void> {
    const server = this.#servers.get(port);
    if (server === undefined) return;
    server.process.signal("SIGTERM");
    const code = await server.process.exited;
    this.#servers.delete(port);
    if (code !== 0) throw new Error(`${server.text}: ended with ${code}`);
  }

  async #converse(text: string, output: string[] = []): Promise<void> {
    const process = this.#start(text, true);
    await follow(process, output);
    await process.exited;
  }

  async #inShell(text: string, { exit, output, anyOrder }: Expected & { output?: string[] }): Promise<void> {
    const shell = (this.#shell ??= this.startShell());
    const file = join(this.#folder.path, `output-${++this.#runs}`);
    const end = `end-${this.#runs}`;
    const from = shell.text.text.length;
    shell.write(`eval ${quoted(text)} </dev/null >${file} 2>&1
status=$?; echo ${end} $status; (exit $status)
`);
    await shell.text.see(new RegExp(`${end} \\d+\n`), from, PATIENCE_MS).catch(async (error: unknown) => {
      throw new Error(`it does not end, and printed: ${await Bun.file(file).text()}`, { cause: error });
    });
    const said = (await Bun.file(file).text()).trimEnd();
    const code = Number(/(\d+)\n$/.exec(shell.text.text)?.[1]);
    if (exit !== undefined && code !== exit)
      throw new Error(`exit ${code} where ${exit} was expected: ${said}`);
    if (output === undefined) return;
    const lines = said.replaceAll(/ +$/gm, "").split("\n");
    const isAsShown = anyOrder === true ? isPermutation(lines, output) : matches(lines, output);
    if (!isAsShown) throw new Error(`the page shows\n${output.join("\n")}\nbut it printed\n${said}`);
  }

  startShell() {
    const child = Bun.spawn(["bash", "--norc"], {
      cwd: this.#home,
      env: { ...this.#env, PARLEY_PASSWORD: PASSWORD },
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
      detached: true,
    });
    const text = new Watched();
    void pour(child.stdout, text);
    const write = (line: string) => {
      void child.stdin.write(line);
      void child.stdin.flush();
    };
    return { text, write, child };
  }

  #start(command: string, onTerminal: boolean): Process {
    const text = new Watched();
    const words = ["bash", "-c", onTerminal ? command : `exec 2>&1; ${command}`];
    const options = { cwd: this.#home, env: this.#env };
    if (!onTerminal) {
      const child = Bun.spawn(words, { ...options, stdin: "ignore", stdout: "pipe", detached: true });
      const read = pour(child.stdout, text);
      const signal = (name: NodeJS.Signals) => {
        if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid, name);
      };
      return { text, exited: read.then(() => child.exited), type: () => undefined, signal };
    }
    const decoder = new TextDecoder();
    const shown = Promise.withResolvers<void>();
    const child = Bun.spawn(words, {
      ...options,
      terminal: {
        cols: 200,
        rows: 50,
        data: (_, bytes) => {
          const shown = stripVTControlCharacters(decoder.decode(bytes, { stream: true }));
          text.append(shown.replaceAll("\r", ""));
        },
        exit: () => {
          text.end();
          shown.resolve();
        },
      },
    });
    return {
      text,
      exited: shown.promise.then(() => child.exited),
      type: (keys) => void child.terminal?.write(keys),
      signal: (name) => child.kill(name),
    };
  }

  /** The same text with the sandbox's own ports and paths. */
  #localise(text: string): string {
    return text
      .replaceAll(PORTS, (port) => (Number(port) > 65_535 ? port : this.#port(port)))
      .replaceAll(PATHS, (path) => join(this.#folder.path, path));
  }

  #port(shown: string): string {
    const own = this.#ports.get(shown) ?? String(portForLater());
    this.#ports.set(shown, own);
    return own;
  }

  /** Stops the servers that still run; fails when one does not end well. */
  async stopServers(): Promise<void> {
    for (const port of this.#servers.keys()) await this.#stop(port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process } of this.#servers.values()) {
      process.signal("SIGKILL");
      await process.exited;
    }
    if (this.#shell !== undefined) {
      process.kill(-this.#shell.child.pid, "SIGKILL");
      await this.#shell.child.exited;
    }
    this.#folder[Symbol.dispose]();
  }
}

/** Types what a page shows as typed, and waits for each line that it shows as printed. */
async function follow({ text, type }: Process, output: string[]): Promise<void> {
  let at = 0;
  for (const line of output) {
    const [, question, answer = ""] = ASKED.exec(line) ?? [];
    const [, name, typed = ""] = TYPED.exec(line) ?? [];
    if (question !== undefined) {
      at = await text.see(new RegExp(patternOf(question), "u"), at);
      type(`${/^\*+$/.test(answer) ? PASSWORD : answer === "Yes" ? "y" : answer}\r`);
    } else if (name !== undefined) {
      at = await text.see(`${name}> `, at);
      type(typed === "^D" ? "\u0004" : typed === "^C" ? "\u0003" : `${typed}\r`);
    } else {
      at = await text.see(new RegExp(patternOf(line), "u"), at);
    }
  }
}

function matches(lines: string[], shown: string[]): boolean {
  return new RegExp(`^${shown.map(patternOf).join("\n")}$`, "u").test(lines.join("\n"));
}

function isPermutation(lines: string[], shown: string[]): boolean {
  const left = [...lines];
  for (const line of shown) {
    const at = left.findIndex((one) => matches([one], [line]));
    if (at === -1) return false;
    left.splice(at, 1);
  }
  return left.length === 0;
}

async function pour(stream: ReadableStream<Uint8Array>, into: Watched): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) into.append(decoder.decode(chunk, { stream: true }));
  into.end();
}

/** What differs from one run to the next, and with what it is matched. */
const VARYING: [RegExp, string][] = [
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\\\.\d+)?Z/g, String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`],
  [/sha256\/[\w+/=\\]{43,}/g, String.raw`sha256/[\w+/=]+`],
  [/\b\d+(?:\\\.\d+)? (ms|µs|s)\b/g, String.raw`\d+(?:\.\d+)? (?:ms|µs|s)`],
  [/(?<="(?:id|server|session|nonce)":")[\w+/=-]+/g, String.raw`[\w+/=-]+`],
  [/(?<=\bconn=)\d+|(?<=\bpeer=\S+:)\d+|(?<="conn":)\d+/g, String.raw`\d+`],
];

/** What matches a line that a page shows: `…` is anything. */
function patternOf(line: string): string {
  if (line.trim() === "…") return String.raw`[\s\S]*`;
  let pattern = line.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  for (const [varying, match] of VARYING) pattern = pattern.replaceAll(varying, () => match);
  pattern = pattern.replaceAll(/ *… */g, ".*");
  return pattern.replaceAll(/ {2,}/g, " {2,}"); // columns are as wide as their contents
}

/** Hints name the command as it was found, which a symbolic link is not. */
function placeExecutable(path: string): void {
  try {
    linkSync(EXECUTABLE, path);
  } catch {
    copyFileSync(EXECUTABLE, path); // on another file system
  }
}

function portOf(text: string): string {
  return /--port[ =](\d+)/.exec(text)?.[1] ?? "";
}

/** Without the comments at the ends of its lines. */
function bareOf(text: string): string {
  return text.replaceAll(/\s+#.*$/gm, "");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
