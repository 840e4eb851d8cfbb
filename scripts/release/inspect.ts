// What an executable of a release needs, read from its headers; and whether this machine could start it.

import { existsSync, readFileSync, statSync } from "node:fs";
import { output } from "../build.ts";
import { readMachO } from "./macho.ts";
import { sha256 } from "./sums.ts";
import { nativeTarget, type Target } from "./targets.ts";

/** The libraries that belong to a C library. */
const OF_C_LIBRARY = /^(?:libc\.so\.6|ld-linux-.*|libpthread\.so\.0|libdl\.so\.2|libm\.so\.6|libc\.musl-.*)$/;
/** Debian's packages qemu-user-static and libc6-arm64-cross. */
const QEMU = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"];

export interface Build {
  target: Target;
  path: string;
  bytes: number;
  sha256: string;
  needs: string;
  started: string;
}

/** @throws {Error} when the executable is not what the target says, or says another version. */
export async function inspect(target: Target, path: string, version: string): Promise<Build> {
  const needs = target.os === "darwin" ? inspectMachO(target, path) : await inspectElf(target, path);
  return {
    target,
    path,
    bytes: statSync(path).size,
    sha256: sha256(path),
    needs,
    started: await start(target, path, version),
  };
}

function inspectMachO(target: Target, path: string): string {
  const { cpu, isAdHoc, minimum, flaw } = readMachO(readFileSync(path));
  if (cpu !== target.cpu) throw new Error(`${path} is for ${cpu}`);
  if (flaw !== undefined) throw new Error(`the signature of ${path} does not hold: ${flaw}`);
  return `macOS ${minimum}; ${isAdHoc ? "ad-hoc signature" : "signature"} holds`;
}

async function inspectElf(target: Target, path: string): Promise<string> {
  const read = (option: string) => output(["readelf", option, "--wide", path], "/");
  const machine = target.cpu === "x64" ? "X86-64" : "AArch64";
  if (!(await read("-h")).includes(machine)) throw new Error(`${path} is not for ${machine}`);
  const libraries = [...(await read("-d")).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name = ""]) => name);
  const others = libraries.filter((name) => !OF_C_LIBRARY.test(name));
  if (others.join() !== target.needs.join())
    throw new Error(`${path} needs ${others.join(", ") || "no library"}`);
  const versions = [...(await read("-V")).matchAll(/GLIBC_(\d+)\.(\d+)/g)];
  const newest = versions
    .map(([, major, minor]) => Number(major) * 1000 + Number(minor))
    .sort((a, b) => b - a)[0];
  if ((newest === undefined) !== (target.libc === "musl"))
    throw new Error(`${path} is not for ${target.libc}`);
  const library = newest === undefined ? "musl" : `glibc ${Math.floor(newest / 1000)}.${newest % 1000}`;
  return [library, ...target.needs].join(", ");
}

async function start(target: Target, path: string, version: string): Promise<string> {
  const starter = starterOf(target);
  if (starter === undefined) return "built, not started";
  const said = await output([...starter, path, "--version"], "/");
  if (!said.startsWith(`parley ${version} `)) throw new Error(`${path} says ${JSON.stringify(said)}`);
  return starter.length === 0 ? "started here" : `started here under ${starter[0]}`;
}

/** The words before a command that start an executable of `target` on this machine; undefined when it cannot. */
export function starterOf(target: Target): string[] | undefined {
  if (target === nativeTarget()) return [];
  const isEmulated = target.name === "linux-arm64" && Bun.which(QEMU[0]!) !== null && existsSync(QEMU[2]!);
  return isEmulated ? QEMU : undefined;
}
