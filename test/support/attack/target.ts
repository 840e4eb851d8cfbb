// The executable to be attacked, as it is by default: its own hashing cost, and only such limits lifted as a flood from
// one address would never get past.

import { join } from "node:path";
import { PasswordHasher } from "../../../src/auth/password.ts";
import { PASSWORD, run, start, type Running } from "../executable.ts";
import { tempFolder } from "../folder.ts";

export interface Figure {
  attack: string;
  what: string;
  value: number;
  unit: "ms" | "MiB" | "KiB" | "%" | "";
  /** What the value should be below. */
  target?: number;
}

/** The value of the figure with that name. */
export function valueOf(figures: readonly Figure[], what: string): number {
  const figure = figures.find((one) => one.what === what);
  if (figure === undefined) throw new Error(`nothing was measured as ${what}`);
  return figure.value;
}

export interface Target extends AsyncDisposable {
  port: number;
  pid: number;
  running: Running;
  log: string;
  /** The address of its metrics; empty without `--metrics`. */
  metrics: string;
  /** The user file. */
  users: string;
}

/** What lets one address keep many guesses outstanding, and fail as often as it likes. */
export const LIFTED = [
  "--max-pending",
  "1000",
  "--max-pending-per-address",
  "1000",
  "--max-per-user",
  "1000",
  "--penalties",
  "off",
] as const;

/** Starts what follows with a limit of 256 descriptors. */
export const FEW_DESCRIPTORS = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"] as const;

/** Starts `serve`, with user ann unless `flags` say `--auth none`. */
export async function target(flags: readonly string[], prefix?: readonly string[]): Promise<Target> {
  const folder = tempFolder();
  const data = join(folder.path, "data");
  const log = join(folder.path, "log");
  if (!flags.includes("none")) {
    const user = { name: "ann", password: await new PasswordHasher().hash(PASSWORD) };
    const made = await run(["users", "import", "-"], { data, stdin: `${JSON.stringify(user)}\n` });
    if (made.exitCode !== 0) throw new Error(made.stderr);
  }
  const running = start(["serve", "--port", "0", "--json", "--log", log, ...flags], { data, prefix });
  await running.stdout.see("\n");
  const { port, metrics = "" } = JSON.parse(running.stdout.text) as { port: number; metrics?: string };
  return {
    port,
    metrics,
    log,
    users: join(data, "users.json"),
    pid: running.pid,
    running,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}
