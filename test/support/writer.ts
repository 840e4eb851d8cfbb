// A process that adds one user after another to the store at argv[2], until it is killed. A name on its stdout, a line
// each, is a promise that the user is in the file.

import { writeSync } from "node:fs";
import { addUser } from "../../src/auth/accounts.ts";
import { FileStore } from "../../src/auth/file-store.ts";

const store = new FileStore(process.argv[2] ?? "");
for (let n = 0; ; n++) {
  const name = `w${process.pid}-${n}`;
  await store.change((draft) => addUser(draft, name, "hash", new Date()));
  writeSync(1, `${name}\n`);
}
