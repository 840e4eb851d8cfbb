// A process that changes records of the store at argv[2] for argv[3] seconds, argv[4] times a second, and prints how it went.

import { touchUser, credentialStamp } from "../../src/auth/accounts.ts";
import type { Document } from "../../src/auth/document.ts";
import { EngineStore } from "../../src/auth/engine-store.ts";
import { parseStoreUrl } from "../../src/engine/store-url.ts";

const [url = "", seconds = "", rate = ""] = process.argv.slice(2);
const store = await EngineStore.open({ access: { target: parseStoreUrl(url) }, name: "parley" });
const names = [...store.document.users.keys()];
const times: number[] = [];
const pending = new Set<Promise<void>>();
const begun = performance.now();
let sent = 0;

async function change(): Promise<void> {
  const name = names[Math.floor(Math.random() * names.length)] ?? "";
  const since = performance.now();
  await store.change((draft: Document) => {
    const user = draft.users.get(name);
    if (user !== undefined) touchUser(draft, name, credentialStamp(user), new Date());
  });
  times.push(performance.now() - since);
}

while (performance.now() - begun < Number(seconds) * 1000) {
  for (; sent < ((performance.now() - begun) / 1000) * Number(rate); sent++) {
    const one = change().finally(() => pending.delete(one));
    pending.add(one);
  }
  await Bun.sleep(1);
}
await Promise.all(pending);
times.sort((a, b) => a - b);
const p99 = times[Math.floor(times.length * 0.99)] ?? 0;
process.stdout.write(`${JSON.stringify({ perSecond: times.length / Number(seconds), p99 })}\n`);
await store.close();
