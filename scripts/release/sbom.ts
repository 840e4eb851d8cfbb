// The bill of materials of a release: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/. What is in the executables comes from
// the bundler and the lock files; what is in Bun, from Bun. Times and numbers come from the commit, so that the same commit gives
// the same bytes.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { output } from "../build.ts";
import type { Build } from "./inspect.ts";
import { nameAndVersion, packagesOf, purlOf, readLock, type Locked } from "./packages.ts";
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

interface Component {
  type: string;
  "bom-ref": string;
  name: string;
  [more: string]: unknown;
}
export async function billOfMaterials(
  stage: Stage,
  builds: readonly Build[],
): Promise<Record<string, unknown>> {
  const packages = await packagesOf(stage.root, stage.bun);
  const { dependencies = {} } = readJson(join(stage.root, "package.json"));
  const lock = readLock(stage.root);
  const named = Object.keys(dependencies as Record<string, string>).map((name) =>
    purlOf(lock.packages[name]!),
  );
  const runtimes = await runtimesOf(stage, builds);
  const self = `parley@${stage.version}`;
  const components = packages.map(({ locked, license }) => ({
    ...componentOf("library", locked),
    ...licence(license),
  }));
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
      { ref: self, dependsOn: packages.map(({ purl }) => purl).filter((purl) => named.includes(purl)) },
      ...builds.map(({ target }) => ({
        ref: `${self}/${target.name}`,
        dependsOn: [self, referenceOf(runtimes, target.runtime)],
      })),
      ...packages.map(({ purl, dependsOn }) => ({ ref: purl, dependsOn: dependsOn.sort() })),
      ...runtimes.map((one) => ({ ref: one["bom-ref"], dependsOn: [] })),
    ].sort((a, b) => (a.ref < b.ref ? -1 : 1)),
  };
}

function componentOf(type: string, locked: Locked): Component {
  const [name, version] = nameAndVersion(locked);
  const integrity = locked[3];
  return {
    type,
    "bom-ref": purlOf(locked),
    name,
    version,
    purl: purlOf(locked),
    hashes: [
      { alg: "SHA-512", content: Buffer.from(integrity.replace("sha512-", ""), "base64").toString("hex") },
    ],
  };
}

/** @param id what package.json says: the name of a licence, or an expression with several */
function licence(id: string): { licenses: unknown[] } {
  return { licenses: [/[ (]/.test(id) ? { expression: id } : { license: { id } }] };
}

/** The runtimes that the executables are made of, each with what it contains. */
async function runtimesOf(stage: Stage, builds: readonly Build[]): Promise<Component[]> {
  const lock = readLock(join(stage.root, RUNTIMES));
  const said = await output([stage.bun, "-p", "JSON.stringify(process.versions)"], "/");
  const versions = JSON.parse(said) as Record<string, string>;
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
      ...componentOf("platform", locked),
      ...licence("MIT"),
      components: byReference(components),
    };
  });
}

function referenceOf(runtimes: readonly Component[], name: string): string {
  return runtimes.find((one) => one.name === name)!["bom-ref"];
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
