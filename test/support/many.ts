// A data folder with so many users that its user file has a journal.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { addUser as put } from "../../src/auth/accounts.ts";
import { emptyDocument, formatDocument } from "../../src/auth/document.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { addUser } from "./executable.ts";

/** Makes the user file of `data`, with 300 users and no journal yet. */
export function writeMany(data: string): string {
  const path = join(data, "users.json");
  const document = emptyDocument();
  document.isJournaled = true;
  for (let n = 0; n < 300; n++) put(document, `user-${n}`, "hash", new Date());
  writeFileSync(path, formatDocument(document), { mode: 0o600 });
  return path;
}

/** Makes the user file of `data`, with a journal that adds a user ann. */
export async function many(data: string) {
  const path = writeMany(data);
  await addUser(data);
  return {
    path,
    journal: join(data, "users.journal"),
    isDisabled: (name: string) => new FileStore(path).document.users.get(name)?.disabled !== null,
  };
}
