// Eight connections from one address that send garbage, then two clients at the same address: one with a token, one with a
// password. Each begins at once and tries again until it gets in.

import { PASSWORD } from "../executable.ts";
import { Client, logIn } from "./client.ts";
import { target, type Figure } from "./target.ts";

const GARBAGE = 8;

export async function burst(): Promise<Figure[]> {
  const attack = `${GARBAGE} garbage connections`;
  const from = "127.0.0.1";
  const figures: Figure[] = [];
  for (const how of ["token", "password"] as const) {
    await using server = await target([]);
    const first = await logIn(server.port, from, { password: PASSWORD });
    first.client[Symbol.dispose]();
    const garbage = Array.from({ length: GARBAGE }, async () => {
      using client = await Client.connect(server.port, from);
      client.socket.write("GET / HTTP/1.1\r\n\r\n");
      while ((await client.read()) !== undefined);
    });
    await Promise.all(garbage);
    const credential = how === "token" ? { token: String(first.welcome["token"]) } : { password: PASSWORD };
    const { ms, client } = await logIn(server.port, from, credential, 100_000);
    client[Symbol.dispose]();
    const limit = how === "token" ? 1000 : 8000;
    figures.push({ attack, what: `a ${how} gets in after`, value: ms, unit: "ms", target: limit });
  }
  return figures;
}
