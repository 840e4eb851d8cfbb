// A store in an engine that notes what its watcher is called for.

import { EngineStore, type EngineStoreOptions } from "../../src/auth/engine-store.ts";
import type { StoreEvent } from "../../src/auth/store.ts";
import { parseStoreUrl } from "../../src/engine/store-url.ts";
import { adding } from "./changes.ts";

/** @param engine a server, or what stands before it. */
export async function openStore(engine: { url: string }, options: Partial<EngineStoreOptions> = {}) {
  const store = await EngineStore.open({
    access: { target: parseStoreUrl(engine.url) },
    name: "parley",
    ...options,
  });
  const complaints: string[] = [];
  const events: StoreEvent[] = [];
  const unwatch = store.watch({
    changed: () => undefined,
    unreadable: (error) => complaints.push((error as Error).message),
    noticed: (event) => events.push(event),
  });
  return {
    store,
    complaints,
    events,
    users: () => [...store.document.users.keys()].sort(),
    add: (name: string) => store.change(adding(name)),
    [Symbol.asyncDispose]: () => {
      unwatch();
      return store.close();
    },
  };
}
