// Two hundred connections that never say a word, while a newcomer wants in.

import { Client, logIn } from "./client.ts";
import { target, type Figure } from "./target.ts";

const CONNECTIONS = 200;

export async function silent(addresses: number): Promise<Figure[]> {
  const attack = `${CONNECTIONS} silent from ${addresses}`;
  await using server = await target(["--auth", "none"]);
  const mute = await Promise.allSettled(
    Array.from({ length: CONNECTIONS }, (_, index) =>
      Client.connect(server.port, `127.0.0.${2 + (index % addresses)}`),
    ),
  );
  const figures: Figure[] = [];
  for (const [who, from] of [
    ["another address", "127.0.0.99"],
    ["the same address", "127.0.0.2"],
  ] as const) {
    const { ms, tries, client } = await logIn(server.port, from, {});
    client[Symbol.dispose]();
    figures.push({ attack, what: `login from ${who}`, value: ms, unit: "ms", target: 3000 });
    figures.push({ attack, what: `tries from ${who}`, value: tries, unit: "" });
  }
  for (const one of mute) if (one.status === "fulfilled") one.value[Symbol.dispose]();
  return figures;
}
