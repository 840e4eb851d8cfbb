// Redis, and nginx with curl, through `connect --listen` and `serve --to` over a way that is reset again and again: their results
// and exit codes are those of a direct connection.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { within } from "../support/attack.ts";
import { portForLater } from "../support/executable.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";
import { IS_ROOT, lacksTools } from "../support/privileges.ts";
import { bulk, digest } from "../support/stream-service.ts";
import { outcome, output, service, through } from "../support/tunnel.ts";
import { Watched } from "../support/watched.ts";

setDefaultTimeout(90_000);

let folder: TempFolder;
beforeEach(() => void (folder = tempFolder()));
afterEach(() => folder[Symbol.dispose]());

describe.skipIf(lacksTools("redis-server", "redis-cli", "redis-benchmark"))("Redis", () => {
  async function redis(port: number): Promise<AsyncDisposable> {
    const flags = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder.path];
    return service(["redis-server", ...flags], port);
  }

  test("redis-benchmark: twenty connections, none of which notices a cut", async () => {
    const port = portForLater();
    await using _ = await redis(port);
    await using way = await through(folder.path, port, { cuts: 20, least: 8000, most: 20_000 });
    const to = ["-p", String(way.tunnel.port)];
    const counted = ["-c", "20", "-n", "8000", "-q", "incr", "counter"];
    await output(["redis-benchmark", ...to, ...counted]);
    expect((await output(["redis-cli", ...to, "get", "counter"])).toString()).toBe("8000\n");
    expect(way.proxy.done).toBeGreaterThanOrEqual(20);
    await way.stop();
  });

  test("redis-benchmark: values of 100 kB in a pipeline, through resets in their middle", async () => {
    const port = portForLater();
    await using _ = await redis(port);
    await using way = await through(folder.path, port, { cuts: 9, least: 200_000, most: 4_000_000 });
    const many = ["-c", "4", "-n", "400", "-P", "4", "-d", "100000", "-t", "set,get", "-q"];
    await output(["redis-benchmark", "-p", String(way.tunnel.port), ...many]);
    expect((await output(["redis-cli", "-p", String(port), "strlen", "key:__rand_int__"])).toString()).toBe(
      "100000\n",
    );
    expect(way.proxy.done).toBeGreaterThanOrEqual(9);
    await way.stop();
  });

  test("MONITOR over ten cuts: what a direct one sees, and the same end", async () => {
    const port = portForLater();
    await using stack = new AsyncDisposableStack();
    stack.use(await redis(port));
    const way = stack.use(await through(folder.path, port, {}));
    const monitor = async (at: number) => {
      const child = Bun.spawn(["redis-cli", "-p", String(at), "monitor"], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      });
      stack.defer(() => child.kill("SIGKILL"));
      const seen = new Watched();
      const errors = child.stderr.text();
      const read = pour(child.stdout, seen);
      await seen.see("OK\n");
      return { seen, ended: read.then(async () => [await child.exited, await errors] as const) };
    };
    const direct = await monitor(port);
    const carried = await monitor(way.tunnel.port);
    for (let round = 1; round <= 10; round++) {
      way.proxy.cutAll("reset");
      const sets = Array.from({ length: 20 }, (_, index) => `set round${round} ${index}`);
      await output(["redis-cli", "-p", String(port)], `${sets.join("\n")}\n`);
      await carried.seen.see(`"set" "round${round}" "19"\n`);
    }
    expect(way.proxy.connections).toBeGreaterThan(10);
    await outcome(["redis-cli", "-p", String(port), "shutdown", "nosave"]);
    const ends = await within("the end of both", Promise.all([direct.ended, carried.ended]));
    expect(ends[1]).toEqual(ends[0]);
    expect(carried.seen.text).toBe(direct.seen.text);
    await way.stop();
  });
});

async function pour(stream: ReadableStream<Uint8Array>, into: Watched): Promise<void> {
  for await (const chunk of stream) into.append(Buffer.from(chunk).toString());
  into.end();
}

describe.skipIf(lacksTools("nginx", "curl"))("nginx and curl", () => {
  /** Serves files of the folder `files`, and takes new ones. */
  async function nginx(port: number): Promise<AsyncDisposable> {
    const root = join(folder.path, "files");
    mkdirSync(root);
    const config = join(folder.path, "nginx.conf");
    const scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      (name) => `${name}_temp_path ${join(folder.path, name)};`,
    );
    writeFileSync(
      config,
      `daemon off; master_process off; ${IS_ROOT ? "user root;" : ""}
pid ${join(folder.path, "nginx.pid")};
error_log ${join(folder.path, "error.log")};
events {}
http {
  access_log off;
  ${scratch.join(" ")}
  server {
    listen 127.0.0.1:${port};
    root ${root};
    client_max_body_size 0;
    location / { dav_methods PUT; }
  }
}
`,
    );
    return service(["nginx", "-p", folder.path, "-e", join(folder.path, "error.log"), "-c", config], port);
  }

  const QUIET = ["curl", "--silent", "--show-error", "--fail"];

  test("a download of 50 MB, resets in its middle", async () => {
    const port = portForLater();
    await using _ = await nginx(port);
    await Bun.write(join(folder.path, "files", "big"), [...bulk(50_000_000)]);
    await using way = await through(folder.path, port, { cuts: 9, least: 500_000, most: 6_000_000 });
    const download = async (at: number) => {
      const { exitCode, bytes, errors } = await outcome([...QUIET, `http://127.0.0.1:${at}/big`]);
      return [exitCode, bytes.length, digest([bytes]), errors];
    };
    expect(await download(way.tunnel.port)).toEqual(await download(port));
    expect(way.proxy.done).toBeGreaterThanOrEqual(9);
    await way.stop();
  });

  test("twelve requests over one connection that is kept alive, one of them for nothing", async () => {
    const port = portForLater();
    await using _ = await nginx(port);
    await Bun.write(join(folder.path, "files", "page"), [...bulk(20_000)]);
    await using way = await through(folder.path, port, { cuts: 9, least: 8000, most: 40_000 });
    const visit = async (at: number) => {
      const pages = ["page", "nothing", ...Array<string>(10).fill("page")];
      const each = pages.flatMap((page) => ["-o", "-", `http://127.0.0.1:${at}/${page}`]);
      const figures = "%{http_code} %{size_download} %{num_connects}\n";
      const { exitCode, bytes, errors } = await outcome([...QUIET, "-w", figures, ...each]);
      return [exitCode, digest([bytes]), errors, bytes.toString("latin1").match(/^404 .*$/m)?.[0]];
    };
    const wanted = await visit(port);
    expect(await visit(way.tunnel.port)).toEqual(wanted);
    expect(wanted[3]).toBeDefined();
    expect(way.proxy.done).toBeGreaterThan(4);
    await way.stop();
  });

  test("an upload of 20 MB in chunks, resets in its middle", async () => {
    const port = portForLater();
    await using _ = await nginx(port);
    const sent = Buffer.concat([...bulk(20_000_000)]);
    await using way = await through(folder.path, port, { cuts: 9, least: 200_000, most: 3_000_000 });
    const upload = async (at: number, name: string) => {
      const url = `http://127.0.0.1:${at}/${name}`;
      const { exitCode, bytes, errors } = await outcome(
        [...QUIET, "-T", "-", "-w", "%{http_code} %{size_upload}", url],
        sent,
      );
      const got = readFileSync(join(folder.path, "files", name));
      return [exitCode, bytes.toString(), errors, got.length, digest([got])];
    };
    expect(await upload(way.tunnel.port, "carried")).toEqual(await upload(port, "direct"));
    expect(digest([readFileSync(join(folder.path, "files", "carried"))])).toBe(digest([sent]));
    expect(way.proxy.done).toBeGreaterThan(4);
    await way.stop();
  });
});
