// The npm packages: one for each platform, with the executable alone, and one that has them as optional dependencies, finds the
// right one, and exports the client for TypeScript.

import { chmodSync, cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { output } from "../build.ts";
import type { Build } from "./inspect.ts";
import { NOTICE } from "./notice.ts";
import type { Stage } from "./stage.ts";
import { TARGETS, type Target } from "./targets.ts";

/**
 * Whose packages they are, since the name `parley` without a scope belongs to another project. It is a placeholder: set it to a scope
 * that you have registered. Tests say which pages name it.
 */
export const SCOPE = "@parley-cli";
export const PACKAGE = `${SCOPE}/parley`;

const README = `# parley

A login, a session and whole messages in front of a TCP conversation: one executable with the commands \`serve\`, \`connect\` and \`users\`.

\`\`\`sh
npm install --global ${PACKAGE}
parley serve
\`\`\`

The package is also a client, for Node 20 and later and for Bun:

\`\`\`ts
import { connect } from "${PACKAGE}";

const session = await connect({ host: "127.0.0.1", port: 13131, user: "ann", password: process.env.PARLEY_PASSWORD });
await session.send("hello");
await session.end();
for await (const answer of session) console.log(answer);
\`\`\`

The executable comes with an optional dependency, for Linux (x64 and arm64, glibc and musl) and macOS (arm64). On Alpine it needs
\`apk add libstdc++\`. A service manager starts the executable itself: \`bin/parley\` in that dependency's folder.
`;

/** Packs the packages into `folder`. */
export async function makePackages(
  stage: Stage,
  builds: readonly Build[],
  folder: string,
  level: number,
): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const { target, path } of builds)
    await pack(stage, platformPackage(stage, target, path), folder, level);
  await pack(stage, await mainPackage(stage), folder, level);
}

function platformName({ name }: Target): string {
  return `${SCOPE}/${name}`;
}

function platformPackage(stage: Stage, target: Target, executable: string): string {
  const folder = newPackage(stage, target.name, {
    name: platformName(target),
    description: `The executable of ${PACKAGE} for ${target.name}.`,
    os: [target.os],
    cpu: [target.cpu],
    ...(target.libc === undefined ? {} : { libc: [target.libc] }),
    files: ["bin/parley", NOTICE],
    preferUnplugged: true,
  });
  mkdirSync(join(folder, "bin"));
  cpSync(executable, join(folder, "bin", "parley"));
  chmodSync(join(folder, "bin", "parley"), 0o755);
  cpSync(join(stage.root, "dist", NOTICE), join(folder, NOTICE));
  writeFileSync(
    join(folder, "README.md"),
    `# ${platformName(target)}\n\nThe executable of ${PACKAGE}. Install that.\n`,
  );
  return folder;
}

async function mainPackage(stage: Stage): Promise<string> {
  const folder = newPackage(stage, "parley", {
    name: PACKAGE,
    description: "A login, a session and whole messages in front of a TCP conversation.",
    type: "module",
    bin: { parley: "bin/parley.js" },
    exports: {
      ".": { types: "./client/parley.d.ts", default: "./client/parley.js" },
      "./package.json": "./package.json",
    },
    engines: { node: ">=20" },
    files: ["bin/parley.js", "client"],
    optionalDependencies: Object.fromEntries(TARGETS.map((target) => [platformName(target), stage.version])),
  });
  writeFileSync(join(folder, "README.md"), README);
  const compiled = await compileTypes(stage, ["clients/typescript/parley.ts", "scripts/release/launcher.ts"]);
  mkdirSync(join(folder, "bin"));
  mkdirSync(join(folder, "client"));
  for (const name of ["parley.js", "parley.d.ts"]) {
    cpSync(join(compiled, "clients/typescript", name), join(folder, "client", name));
  }
  cpSync(join(compiled, "scripts/release/launcher.js"), join(folder, "bin/parley.js"));
  chmodSync(join(folder, "bin/parley.js"), 0o755);
  return folder;
}

/** A folder with what all packages have. */
function newPackage(stage: Stage, name: string, manifest: Record<string, unknown>): string {
  const folder = join(stage.root, "npm", name);
  mkdirSync(folder, { recursive: true });
  const all = { ...manifest, version: stage.version, license: "MIT" };
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(all, undefined, 2)}\n`);
  cpSync(join(stage.root, "LICENSE"), join(folder, "LICENSE"));
  return folder;
}

/** Compiles files to JavaScript and declarations. @returns a folder with the results, in folders as in the project */
async function compileTypes({ root, bun }: Stage, files: readonly string[]): Promise<string> {
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const language = ["--target", "es2022", "--lib", "esnext", "--module", "preserve"];
  const types = ["--types", "bun", "--strict", "--skipLibCheck", "--declaration"];
  const outDir = join(root, "compiled");
  const places = ["--rootDir", root, "--outDir", outDir];
  await output([bun, compiler, "--ignoreConfig", ...language, ...types, ...places, ...files], root);
  return outDir;
}

/** With the pinned Bun, not with npm: the bytes depend on the compressor. */
async function pack({ bun }: Stage, from: string, to: string, level: number): Promise<void> {
  await output(
    [bun, "pm", "pack", "--destination", to, "--gzip-level", String(level), "--ignore-scripts", "--quiet"],
    from,
  );
}
