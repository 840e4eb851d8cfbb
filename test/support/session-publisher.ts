// A process that lists one session in an engine until it is killed:
//
//     bun session-publisher.ts URL NAME TOKEN

import { EngineStore } from "../../src/auth/engine-store.ts";
import { parseStoreUrl } from "../../src/engine/store-url.ts";

const [url = "", name = "", token = ""] = process.argv.slice(2);
const store = await EngineStore.open({ access: { target: parseStoreUrl(url) }, name });
const one = { token, user: "ann", peer: "192.0.2.9:1", since: 1, detached_since: null };
store.sessions.publish(
  () => [one],
  (error) => {
    throw error;
  },
);
setInterval(() => undefined, 60_000); // it ends when it is killed
