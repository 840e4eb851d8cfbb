// /healthz and /metrics of a server whose store comes and goes.

import { expect, test } from "bun:test";
import { FileStore } from "../../src/auth/file-store.ts";
import { MetricsEndpoint } from "../../src/server/metrics.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { startServer } from "../support/server.ts";

/** A store that is lost when a test says so. */
class Unsteady extends FileStore {
  override isReachable = true;
}

async function watched(options: Partial<ServerOptions> = {}) {
  let store: Unsteady | undefined;
  const server = await startServer(options, (path) => (store = new Unsteady(path)));
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const metrics = new MetricsEndpoint({
    host: "127.0.0.1",
    port: 0,
    server: () => server.server,
    events: [],
    log,
  });
  const get = async (path: string) => {
    const response = await fetch(`http://${metrics.address}${path}`);
    return [response.status, await response.text()] as const;
  };
  return {
    server,
    store,
    get,
    async [Symbol.asyncDispose]() {
      metrics[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

test("a server whose store is lost is not well, and well again when it is back", async () => {
  await using one = await watched();
  const { get, store } = one;
  if (store === undefined) throw new Error("no store");
  expect(await get("/healthz")).toEqual([200, "ok\n"]);
  expect((await get("/metrics"))[1]).toMatch(/^parley_store_up 1\n(?:.*\n)*?parley_store_revision 1$/m);
  store.isReachable = false;
  expect(await get("/healthz")).toEqual([503, "accounts out of reach\n"]);
  expect((await get("/metrics"))[1]).toContain("\nparley_store_up 0\n");
  store.isReachable = true;
  expect(await get("/healthz")).toEqual([200, "ok\n"]);
  store.isReachable = false;
  await one.server.server.stop(0);
  expect(await get("/healthz")).toEqual([503, "stopping\n"]);
});

test("a server without accounts has no store to lose", async () => {
  await using one = await watched({ auth: "none" });
  expect(await one.get("/healthz")).toEqual([200, "ok\n"]);
  expect((await one.get("/metrics"))[1]).not.toContain("parley_store");
});
