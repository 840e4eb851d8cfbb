// A server that goes while a piped conversation is under way, and another that takes its place: what connect says then.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { within } from "../../support/attack.ts";
import { cuttingProxy } from "../../support/cutting-proxy.ts";
import { addUser, PASSWORD, serve, start, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";

/** Answers at the end only, and whom it has said anything to, it keeps waiting for $LATE ms. */
const LATE = `export default {
  message(session, message) { session.data = "taken"; session.send("taken"); },
  end(session) {
    const late = session.data === "taken" ? Number(process.env.LATE) : 0;
    setTimeout(() => { session.send("all"); session.finish(); }, late);
  },
};`;

/** Says three messages, which are answered and confirmed; then the server goes, and another is there. */
async function talk(
  options: { client?: string[]; server?: string[]; late: number },
  leave: (server: Serving) => Promise<unknown>,
): Promise<[number, string, string]> {
  using folder = tempFolder();
  const handler = join(folder.path, "late.ts");
  await Bun.write(handler, LATE);
  const { client: more = [], server = [], late } = options;
  const flags = ["--auth", "none", "--no-tls", "--handler", handler, ...server];
  await using first = await serve(flags, { env: { LATE: String(late) } });
  await using second = await serve(flags, { env: { LATE: "0" } });
  const confirmed = Promise.withResolvers<void>();
  let heard = "";
  using proxy = await cuttingProxy({
    port: first.port,
    gentle: true,
    tap(direction, bytes) {
      if (direction === "down") heard += bytes.toString("latin1");
      if (heard.includes('"ack","received":3')) confirmed.resolve();
    },
  });
  await using client = start(["connect", proxy.address, "--no-tls", "--retry", "forever", ...more]);
  client.write("1\n2\n3\n");
  await client.stdout.see("taken\ntaken\ntaken\n");
  await within("acknowledgements", confirmed.promise);
  proxy.options.port = second.port;
  await leave(first);
  client.endInput();
  return [await client.exited, client.stdout.text.replaceAll("\n", " "), client.stderr.text];
}

const MISSING = "answers may be missing: sent 3 (3 confirmed), received 4";

test.each([[[]], [["--resend"]]])(
  "a server that was killed when all was confirmed: answers may be missing, and that is said (%j)",
  async (client) => {
    const [code, answers, said] = await talk({ client, late: 60_000 }, (server) => {
      server.signal("SIGKILL");
      return server.exited;
    });
    expect([code, answers]).toEqual([6, "taken taken taken all "]);
    expect(said).toContain(MISSING);
  },
);

test("a server that was stopped, and whose time was over before its service was done: so too", async () => {
  const [code, answers, said] = await talk({ server: ["--drain", "500ms"], late: 60_000 }, (server) =>
    server.stop(),
  );
  expect([code, answers]).toEqual([6, "taken taken taken all "]);
  expect(said).toContain(MISSING);
});

test("a server that was stopped, and whose service has said all: nothing is missing", async () => {
  const [code, answers, said] = await talk({ late: 0 }, (server) => server.stop());
  expect([code, answers]).toEqual([0, "taken taken taken all all "]);
  expect(said).toMatch(/^reconnected after .*, in a new session\n$/); // once, off a terminal too
});

describe("a server that was killed, and a client that has no token but the password", () => {
  /** Ann says one thing to a server with the users of `data`, and one to the server that follows it. */
  async function twice(
    data: string,
    then: string,
    { user = "ann", flags = [], env }: { user?: string; flags?: string[]; env?: Record<string, string> },
  ): Promise<[number, string, string]> {
    const server = ["--register", "--no-tls"];
    await using first = await serve(server, { data });
    using proxy = await cuttingProxy({ port: first.port });
    const argv = ["connect", `${user}@${proxy.address}`, "--no-tls", "--no-token", "--retry", "forever"];
    await using client = start([...argv, ...flags], { env });
    client.write("1\n");
    await client.stdout.see("1\n");
    first.signal("SIGKILL");
    await first.exited;
    await using second = await serve(server, { data: then });
    proxy.options.port = second.port;
    await client.stderr.see(/reconnected after|error/);
    client.write("2\n");
    client.endInput();
    return [await within("the end", client.exited), client.stdout.text, client.stderr.text];
  }

  test("from the environment, or from a file: it logs in anew with that, and goes on", async () => {
    using folder = tempFolder();
    await addUser(folder.path);
    const file = join(folder.path, "password");
    writeFileSync(file, `${PASSWORD}\n`);
    const ways = [{ env: { PARLEY_PASSWORD: PASSWORD } }, { flags: ["--password-file", file] }];
    for (const way of ways) {
      const [code, answers, said] = await twice(folder.path, folder.path, way);
      // What the first answered was not its last word, so far as anybody knows.
      expect([code, answers.startsWith("1\n"), answers.endsWith("2\n")]).toEqual([6, true, true]);
      expect(said).toMatch(/^reconnected after /m);
    }
  });

  test("and that made its account with it: it does not make it again", async () => {
    using folder = tempFolder();
    const way = { user: "bob", flags: ["--register"], env: { PARLEY_PASSWORD: PASSWORD } };
    const [, answers] = await twice(folder.path, folder.path, way);
    expect(answers).toEndWith("2\n");
  });

  test("which does not hold any more: that is said, and what to do", async () => {
    using folder = tempFolder();
    using other = tempFolder();
    await addUser(folder.path);
    await addUser(other.path, "ann", "another password");
    const [code, , said] = await twice(folder.path, other.path, { env: { PARLEY_PASSWORD: PASSWORD } });
    expect(code).toBe(6);
    const error = / before the session ended; cannot log in again: wrong user name or password: sent \d /;
    expect(said).toMatch(error);
    expect(said).toContain("\nparley: hint: start parley connect again");
  });
});

test("a server that is gone for good: the loss is one sentence", async () => {
  await using server = await serve(["--auth", "none"]);
  await using client = start(["connect", server.address, "--retry", "1"]);
  client.write("1\n");
  await client.stdout.see("1\n");
  server.signal("SIGKILL");
  await server.exited;
  expect(await client.exited).toBe(6);
  expect(client.stderr.text).toMatch(
    /^parley: error: .* before the session ended; the server could not be reached: sent 1 /m,
  );
});
