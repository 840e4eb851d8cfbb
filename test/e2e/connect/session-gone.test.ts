// A session that is gone with its server: what else it had to say is not known, and that is no success.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { portForLater, serve, start } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";

setDefaultTimeout(30_000);

test("a service that talks by itself, on a server that is killed: exit 6, although the next session ends well", async () => {
  using folder = tempFolder();
  const data = join(folder.path, "data");
  const port = portForLater();
  const flags = ["--auth", "none", "--port", String(port), "--", "sh", "-c", "seq 5; cat"];
  await using first = await serve(flags, { data });
  await using client = start(["connect", `127.0.0.1:${port}`, "--retry", "forever"]);
  await client.stdout.see("1\n2\n3\n4\n5\n");
  first.signal("SIGKILL");
  await first.exited;
  await using second = await serve(flags, { data });
  await client.stdout.see("1\n2\n3\n4\n5\n1\n2\n3\n4\n5\n");
  client.endInput();
  expect(await client.exited).toBe(6);
  expect(client.stderr.text).toContain("answers may be missing");
  await second.stop();
});
