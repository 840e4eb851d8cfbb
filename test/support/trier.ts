// A process that tries to add a number of users to the store at argv[2], and says on stdout, a JSON line each, what became of it.
// At last it closes the store.

import { writeSync } from "node:fs";
import { addUser } from "../../src/auth/accounts.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { FileError } from "../../src/files/file-error.ts";

export interface Tried {
  name: string;
  /** Undefined when it was acknowledged. */
  failure?: { code: string; message: string; hint: string | undefined };
}

const [, , path = "", count = "0", prefix = "t"] = process.argv;
const say = (tried: Tried) => void writeSync(1, `${JSON.stringify(tried)}\n`);
const failureOf = (error: unknown) => {
  if (!(error instanceof FileError)) throw error;
  return { code: error.code, message: error.message, hint: error.hint };
};

const store = new FileStore(path);
const stop = store.watch({
  changed: () => undefined,
  unreadable: (error) => say({ name: "fold", failure: failureOf(error) }),
});
for (let n = 0; n < Number(count); n++) {
  const name = `${prefix}-${n}`;
  try {
    await store.change((draft) => addUser(draft, name, "h".repeat(200), new Date()));
    say({ name });
  } catch (error) {
    say({ name, failure: failureOf(error) });
  }
}
stop();
try {
  await store.close();
} catch (error) {
  say({ name: "close", failure: failureOf(error) });
}
