// A machine for what changes a whole one: this one, in a mount namespace where every change stays in memory, and is gone
// afterwards. No service manager runs there. Processes and ports are those of this machine.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "./folder.ts";
import { lacks } from "./privileges.ts";

const MAKE = `
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount --rbind /proc "$1/root/proc"
mount --bind "$2" "$1/root/mnt"
echo made
exec cat
`;

export interface Ran {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export class Machine implements AsyncDisposable {
  readonly #folder = tempFolder();
  readonly #root = join(this.#folder.path, "machine", "root");
  readonly #holder;

  /** @param shared this folder is `/mnt` there */
  private constructor(shared: string) {
    const at = join(this.#folder.path, "machine");
    mkdirSync(at);
    const argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MAKE, "sh", at, shared];
    this.#holder = Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  }

  static async start(shared: string): Promise<Machine> {
    const machine = new Machine(shared);
    for await (const said of machine.#holder.stdout) if (Buffer.from(said).includes("made")) return machine;
    const reason = await machine.#holder.stderr.text();
    await machine[Symbol.asyncDispose]();
    throw new Error(`there is no machine: ${reason}`);
  }

  /** The words before a command that make it run there. */
  get prefix(): string[] {
    return ["nsenter", `--target=${this.#holder.pid}`, "--mount", "chroot", this.#root];
  }

  async run(argv: string[], stdin = ""): Promise<Ran> {
    const env = {
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: "/root",
      LC_ALL: "C",
      DEBIAN_FRONTEND: "noninteractive",
    };
    const child = Bun.spawn([...this.prefix, ...argv], {
      env,
      cwd: "/",
      stdin: Buffer.from(stdin),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr, exitCode] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.exited,
    ]);
    return { exitCode, stdout, stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder.stdin.end();
    await this.#holder.exited;
    this.#folder[Symbol.dispose]();
  }
}

/** Can this machine have none? Why is said once. */
export async function lacksMachine(): Promise<boolean> {
  if (lacks("unshare", "nsenter", "setpriv")) return true;
  using folder = tempFolder();
  writeFileSync(join(folder.path, "there"), "");
  try {
    await using machine = await Machine.start(folder.path);
    const { exitCode } = await machine.run(["test", "-e", "/mnt/there"]);
    return exitCode !== 0;
  } catch (error) {
    console.log(`skipped: tests that need a machine of their own: ${String(error)}`);
    return true;
  }
}
