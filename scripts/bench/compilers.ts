// Servers of other languages, compiled when their compiler is there: source in peers/ → what to start, or why not.

import { cpSync, existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const PEERS = join(import.meta.dir, "peers");
/** Where Debian's librust-*-dev packages put their sources, for a machine that reaches no registry. */
const DEBIAN_CRATES = "/usr/share/cargo/registry";

const C = ["cc", "gcc", "clang"];

export interface Built {
  argv: string[];
}
export interface Missing {
  reason: string;
}
/** The load generator; without OpenSSL's headers it has no TLS. */
export type Load = Built & { tls: boolean };
export type Compile = (folder: string) => Built | Missing;

/** @throws {Error} when it cannot be built: there is no other one. */
export function load(folder: string): Load {
  const output = join(folder, "load");
  const build = (...more: string[]) =>
    compile(C, ["-O2", "-o", output, join(import.meta.dir, "load", "load.c"), ...more], [output]);
  const withTls = build("-DWITH_TLS", "-lssl", "-lcrypto");
  if ("argv" in withTls) return { ...withTls, tls: true };
  const plain = build();
  if ("argv" in plain) return { ...plain, tls: false };
  throw new Error(`the load generator is written in C: ${plain.reason}`);
}

export function c(folder: string): Built | Missing {
  const output = join(folder, "epoll");
  const source = join(PEERS, "epoll.c");
  return compile(C, ["-O2", "-o", output, source], [output]);
}

export function go(folder: string): Built | Missing {
  const output = join(folder, "bufio");
  return compile(["go"], ["build", "-o", output, join(PEERS, "bufio.go")], [output]);
}

export function tokio(folder: string): Built | Missing {
  const source = join(folder, "tokio");
  cpSync(join(PEERS, "tokio"), source, { recursive: true }); // cargo writes beside its source
  const argv = [join(source, "target", "release", "tokio-echo")];
  const build = ["build", "--release", "--quiet", "--manifest-path", join(source, "Cargo.toml")];
  if (!existsSync(DEBIAN_CRATES)) return compile(["cargo"], build, argv);
  const settings = [
    'source.crates-io.replace-with="debian"',
    `source.debian.directory="${DEBIAN_CRATES}"`,
  ].flatMap((setting) => ["--config", setting]);
  const offline = compile(["cargo"], [...build, "--offline", ...settings], argv);
  return "argv" in offline ? offline : compile(["cargo"], build, argv);
}

export function erlang(folder: string): Built | Missing {
  // One scheduler that sleeps when it has nothing to do: by default it spins, which is CPU time.
  const quiet = ["+S", "1:1", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"];
  const argv = ["erl", "-noshell", ...quiet, "-pa", folder, "-s", "packet4"];
  return compile(["erlc"], ["-o", folder, join(PEERS, "packet4.erl")], argv);
}

function compile(compilers: readonly string[], args: string[], argv: string[]): Built | Missing {
  const path = `${process.env["PATH"]}:${join(homedir(), ".cargo", "bin")}:/usr/local/go/bin`;
  const compiler = compilers.map((name) => Bun.which(name, { PATH: path })).find((found) => found !== null);
  if (compiler === undefined) return { reason: `there is no ${compilers[0]}` };
  const run = Bun.spawnSync([compiler, ...args], { stdin: "ignore", stderr: "pipe", stdout: "pipe" });
  if (run.exitCode === 0) return { argv };
  const complaint = run.stderr.toString().trim().split("\n").at(-1) ?? "";
  return { reason: `${compilers[0]} ended with ${run.exitCode}: ${complaint}` };
}
