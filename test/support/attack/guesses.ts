// A process that guesses, `guesses.ts PORT ADDRESS…`: one guess outstanding from each address named, for ever. Says
// `guessing` once all have begun.

import { frame } from "../peer.ts";
import { Client } from "./client.ts";

const [port = "", ...addresses] = process.argv.slice(2);
const GUESS = frame(
  JSON.stringify({ type: "login", method: "password", user: "ann", password: "a wrong guess" }),
);

async function guess(from: string, begun: () => void): Promise<never> {
  for (;;) {
    using client = await Client.connect(Number(port), from).catch(() => undefined);
    for (let message = await client?.message(); message !== undefined; message = await client?.message()) {
      if (message["type"] === "error") break;
      client?.socket.write(GUESS);
      begun();
    }
    // Refused at the door: the next try is not before the loop has seen to the others.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const all = addresses.map((from) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  void guess(from, resolve);
  return promise;
});
await Promise.race([Promise.all(all), Bun.sleep(1000)]);
process.stdout.write("guessing\n");
