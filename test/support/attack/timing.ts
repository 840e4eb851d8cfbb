// Does the time of a refused login tell whether there is such a user? Wrong passwords for one who is known and for one
// who is not, in turn, each over a connection of its own.

import { Client, quantile } from "./client.ts";
import { LIFTED, target, type Figure } from "./target.ts";

/** How far apart the medians may be, in percent. */
const MAX_DIFFERENCE = 3;

/** @param flags what the server is asked for; the hash in its user file is of the default cost. */
export async function timing(tries: number, flags: readonly string[] = []): Promise<Figure[]> {
  const attack = ["timing", ...flags].join(" ");
  await using server = await target([...LIFTED, ...flags]);
  const times = { ann: [] as number[], nobody: [] as number[] };
  for (let round = 0; round < tries; round++) {
    // Whoever is second finds caches warm: each is, every other time.
    const names = round % 2 === 0 ? (["ann", "nobody"] as const) : (["nobody", "ann"] as const);
    for (const name of names) times[name].push(await refused(server.port, name));
  }
  const [known, unknown] = [quantile(times.ann, 0.5), quantile(times.nobody, 0.5)];
  const difference = (100 * Math.abs(known - unknown)) / Math.min(known, unknown);
  return [
    { attack, what: "refused, a known user, median", value: known, unit: "ms" },
    { attack, what: "refused, an unknown one, median", value: unknown, unit: "ms" },
    { attack, what: "difference", value: difference, unit: "%", target: MAX_DIFFERENCE },
  ];
}

/** How long the answer to a wrong password took, in milliseconds. */
async function refused(port: number, user: string): Promise<number> {
  using client = await Client.connect(port, "127.0.0.2");
  await client.message();
  const began = performance.now();
  client.send(JSON.stringify({ type: "login", method: "password", user, password: "a wrong guess" }));
  const answer = await client.message();
  const ms = performance.now() - began;
  if (answer?.["type"] !== "refused") throw new Error(`not refused but ${JSON.stringify(answer)}`);
  return ms;
}
