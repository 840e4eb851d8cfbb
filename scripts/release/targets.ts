// The systems that parley is built for.
//
// Not among them: macOS on x64, since Bun leaves the runtime's signature on the changed executable there, and it does not hold
// (macho.ts: it covers 97 of 104 MB); and Windows, where parley was never started: `connect` calls the C library of Linux or
// macOS, for the locks of its files among other things.

export interface Target {
  /** As in the names of archives and packages: system, processor and, where it is not the usual one, the C library. */
  name: string;
  /** The same in Bun, for `--target`. */
  bun: string;
  /** The npm package that has the runtime. */
  runtime: string;
  /** As in the package.json of an npm package. */
  os: "linux" | "darwin";
  cpu: "x64" | "arm64";
  libc?: "glibc" | "musl";
  /** The libraries that the executable loads beside the C library. */
  needs: readonly string[];
}

export const TARGETS: readonly Target[] = [
  {
    name: "linux-x64",
    bun: "bun-linux-x64",
    runtime: "@oven/bun-linux-x64",
    os: "linux",
    cpu: "x64",
    libc: "glibc",
    needs: [],
  },
  {
    name: "linux-arm64",
    bun: "bun-linux-arm64",
    runtime: "@oven/bun-linux-aarch64",
    os: "linux",
    cpu: "arm64",
    libc: "glibc",
    needs: [],
  },
  {
    name: "linux-x64-musl",
    bun: "bun-linux-x64-musl",
    runtime: "@oven/bun-linux-x64-musl",
    os: "linux",
    cpu: "x64",
    libc: "musl",
    needs: ["libstdc++.so.6"],
  },
  {
    name: "linux-arm64-musl",
    bun: "bun-linux-arm64-musl",
    runtime: "@oven/bun-linux-aarch64-musl",
    os: "linux",
    cpu: "arm64",
    libc: "musl",
    needs: ["libstdc++.so.6"],
  },
  {
    name: "darwin-arm64",
    bun: "bun-darwin-arm64",
    runtime: "@oven/bun-darwin-aarch64",
    os: "darwin",
    cpu: "arm64",
    needs: [],
  },
];

/** The one of the machine that this runs on; undefined where it is none of them. */
export function nativeTarget(): Target | undefined {
  const { platform, arch } = process;
  return TARGETS.find(({ os, cpu, libc }) => os === platform && cpu === arch && libc !== "musl");
}

/** @throws {Error} for a name that is none of theirs. */
export function targetsNamed(names: readonly string[]): Target[] {
  return names.map((name) => {
    const target = TARGETS.find((one) => one.name === name);
    if (target !== undefined) return target;
    throw new Error(`no such target: ${name}; there are ${TARGETS.map((one) => one.name).join(", ")}`);
  });
}
