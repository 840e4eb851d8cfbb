// A process that adds one user after another to the store at argv[2], and removes an earlier one in the same change, until it is
// killed. A name on its stdout, a line each, is a promise that both are in the file: see owed.ts.

import { writeSync } from "node:fs";
import { addUser, removeUser } from "../../src/auth/accounts.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { KEPT } from "./owed.ts";

const store = new FileStore(process.argv[2] ?? "");
const nameOf = (n: number) => `w${process.pid}-${n}`;
for (let n = 0; ; n++) {
  await store.change((draft) => {
    addUser(draft, nameOf(n), "hash", new Date());
    if (n >= KEPT) removeUser(draft, nameOf(n - KEPT));
  });
  writeSync(1, `${nameOf(n)}\n`);
}
