// The bill of materials of a release: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/. What is in the executables comes from
// the lock files; what is in Bun, from Bun. Times and numbers come from the commit, so that the same commit gives the same bytes.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { output } from "../build.ts";
import type { Build } from "./inspect.ts";
import { readJson, RUNTIMES, type Stage } from "./stage.ts";

/** What `process.versions` of Bun names and Bun does not contain: interfaces that it imitates, and the language it is written in. */
const NOT_CONTAINED = [
  "bun",
  "node",
  "openssl",
  "v8",
  "uv",
  "napi",
  "modules",
  "unicode",
  "typescript",
  "zig",
];

/** [name@version, registry, what it says of itself, hash], as in bun.lock */
type Locked = [string, string, { dependencies?: Record<string, string> }, string];
interface Lock {
  workspaces: { "": { dependencies?: Record<string, string> } };
  packages: Record<string, Locked>;
}
interface Component {
  type: string;
  "bom-ref": string;
  name: string;
  [more: string]: unknown;
}
/** Its folder in `node_modules`, name after name, and what it depends on, as references. */
export interface Package {
  path: string[];
  locked: Locked;
  dependsOn: string[];
}

export function billOfMaterials(stage: Stage, builds: readonly Build[]): Record<string, unknown> {
  const { packages, direct } = packagesOf(stage.root);
  const runtimes = runtimesOf(stage, builds);
  const self = `parley@${stage.version}`;
  const components = [...packages].map(([ref, one]) => libraryOf(stage, ref, one));
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(`${self} ${stage.commit}`)}`,
    version: 1,
    metadata: {
      timestamp: new Date(stage.epoch * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": self,
        name: "parley",
        version: stage.version,
        licenses: [{ license: { id: "MIT" } }],
        properties: [{ name: "parley:commit", value: stage.commit }],
        components: builds.map(({ target, sha256 }) => ({
          type: "file",
          "bom-ref": `${self}/${target.name}`,
          name: `parley-${stage.version}-${target.name}`,
          hashes: [{ alg: "SHA-256", content: sha256 }],
        })),
      },
    },
    components: byReference([...components, ...runtimes]),
    dependencies: [
      { ref: self, dependsOn: direct.sort() },
      ...builds.map(({ target }) => ({
        ref: `${self}/${target.name}`,
        dependsOn: [self, referenceOf(runtimes, target.runtime)],
      })),
      ...[...packages].map(([ref, { dependsOn }]) => ({ ref, dependsOn: dependsOn.sort() })),
      ...runtimes.map((one) => ({ ref: one["bom-ref"], dependsOn: [] })),
    ].sort((a, b) => (a.ref < b.ref ? -1 : 1)),
  };
}

/** The packages that the executables contain, by reference, and the references of those that parley itself names. */
export function packagesOf(root: string): { packages: Map<string, Package>; direct: string[] } {
  const { dependencies } = readJson(join(root, "package.json"));
  const lock = readLock(join(root, "bun.lock"));
  const packages = new Map<string, Package>();
  const direct = Object.keys(dependencies as Record<string, string>).map((name) =>
    add(packages, lock, [], name),
  );
  return { packages, direct };
}

function readLock(path: string): Lock {
  return Bun.JSONC.parse(readFileSync(path, "utf8")) as Lock;
}

/** Adds the package that `name` means inside `parent`, and all that it depends on. @returns its reference */
function add(packages: Map<string, Package>, lock: Lock, parent: readonly string[], name: string): string {
  const path = find(lock, parent, name);
  const locked = lock.packages[path.join("/")]!;
  const ref = purlOf(locked);
  if (packages.has(ref)) return ref;
  const one: Package = { path, locked, dependsOn: [] };
  packages.set(ref, one);
  one.dependsOn = Object.keys(locked[2].dependencies ?? {}).map((needed) =>
    add(packages, lock, path, needed),
  );
  return ref;
}

/** A package's own copy of a dependency goes before the one of the package around it. */
function find(lock: Lock, parent: readonly string[], name: string): string[] {
  for (let depth = parent.length; depth >= 0; depth--) {
    const path = [...parent.slice(0, depth), name];
    if (path.join("/") in lock.packages) return path;
  }
  throw new Error(`bun.lock has no ${name}`);
}

function libraryOf({ root }: Stage, ref: string, { path, locked }: Package): Component {
  const { license } = readJson(join(folderOf(root, path), "package.json"));
  return { ...componentOf("library", ref, locked), ...licence(license) };
}

export function folderOf(root: string, path: readonly string[]): string {
  return join(root, ...path.flatMap((name) => ["node_modules", name]));
}

function componentOf(type: string, ref: string, [id, , , integrity]: Locked): Component {
  const at = id.lastIndexOf("@");
  return {
    type,
    "bom-ref": ref,
    name: id.slice(0, at),
    version: id.slice(at + 1),
    purl: ref,
    hashes: [
      { alg: "SHA-512", content: Buffer.from(integrity.replace("sha512-", ""), "base64").toString("hex") },
    ],
  };
}

/** @param id what package.json says: the name of a licence, or an expression with several */
function licence(id: unknown): { licenses?: unknown[] } {
  if (typeof id !== "string") return {};
  return { licenses: [/[ (]/.test(id) ? { expression: id } : { license: { id } }] };
}

/** The runtimes that the executables are made of, each with what it contains. */
function runtimesOf(stage: Stage, builds: readonly Build[]): Component[] {
  const lock = readLock(join(stage.root, RUNTIMES, "bun.lock"));
  const versions = JSON.parse(output([stage.bun, "-p", "JSON.stringify(process.versions)"], "/")) as Record<
    string,
    string
  >;
  return builds.map(({ target }) => {
    const locked = lock.packages[target.runtime]!;
    const ref = purlOf(locked);
    const contained = Object.entries(versions).filter(([name]) => !NOT_CONTAINED.includes(name));
    const components = contained.map(([name, version]) => ({
      type: "library",
      "bom-ref": `${ref}/${name}`,
      name,
      version,
    }));
    return {
      ...componentOf("platform", ref, locked),
      ...licence("MIT"),
      components: byReference(components),
    };
  });
}

function referenceOf(runtimes: readonly Component[], name: string): string {
  return runtimes.find((one) => one.name === name)!["bom-ref"];
}

/** https://github.com/package-url/purl-spec */
function purlOf([id]: Locked): string {
  return `pkg:npm/${id.replace(/^@/, "%40")}`;
}

function byReference<One extends { "bom-ref": string }>(components: One[]): One[] {
  return components.sort((a, b) => (a["bom-ref"] < b["bom-ref"] ? -1 : 1));
}

/** A UUID of version 8 that is made of `text`. */
function uuidOf(text: string): string {
  const bytes = createHash("sha256").update(text).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
