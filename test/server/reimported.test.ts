// A user who is removed, and imported again before the server looks at the user file: another account of the same name.

import { expect, test } from "bun:test";
import { removeUser } from "../../src/auth/accounts.ts";
import { exportedUser, parseUser, type Document } from "../../src/auth/document.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { within } from "../support/attack.ts";
import { PASSWORD, startServer } from "../support/server.ts";

/** Exports ann, removes her and imports her again, in one change. */
function reimport(draft: Document): void {
  const ann = draft.users.get("ann");
  const imported = ann && parseUser(exportedUser(ann), new Date());
  if (typeof imported !== "object") throw new Error(`ann cannot be imported: ${imported}`);
  removeUser(draft, "ann");
  draft.users.set("ann", imported);
}

test.each([
  ["of this version", false],
  ["that was made before accounts had ids", true],
])("ends the conversations of the old account %s", async (_, isOld) => {
  await using server = await startServer();
  await server.store?.change((draft) => {
    const { id: __, ...old } = draft.users.get("ann")!;
    if (isOld) draft.users.set("ann", old);
  });
  using peer = await server.peer();
  // Without a token: one that was revoked would end it in any case.
  await peer.logIn("ann", PASSWORD, { control: true, token: false });
  peer.send("hello");
  expect(await peer.text()).toBe("hello");
  await new FileStore(server.path).change(reimport);
  expect(await within("its end", peer.message())).toMatchObject({
    type: "bye",
    code: "revoked",
    message: "this account was removed",
  });
});
