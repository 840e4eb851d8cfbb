// Eight addresses that log in with wrong tokens without end, while strangers and acquaintances want in.

import { setTimeout as delay } from "node:timers/promises";
import { PASSWORD } from "../executable.ts";
import { Client, logIn, quantile, tryLogIn } from "./client.ts";
import { target, type Figure } from "./target.ts";

const ADDRESSES = 8;
const CONNECTIONS_EACH = 8;
const WRONG = JSON.stringify({
  type: "login",
  method: "token",
  id: "AAAAAAAA",
  proof: Buffer.alloc(32).toString("base64"),
});
/** Between two connections of one loop: the attackers shall cost next to no time themselves. */
const ATTACK_PAUSE_MS = 20;

/** @param logins how many strangers log in, one after the other, each once and from an address of its own. */
export async function wrongTokens(logins: number): Promise<Figure[]> {
  const attack = `wrong tokens from ${ADDRESSES}`;
  await using server = await target([]);
  const { port } = server;
  const known = "127.0.3.1";
  const first = await logIn(port, known, { password: PASSWORD });
  first.client[Symbol.dispose]();
  let isOver = false;
  const attackers = new Set<Client>();
  const loop = async (from: string): Promise<void> => {
    while (!isOver) {
      using client = await Client.connect(port, from).catch(() => undefined);
      if (client !== undefined) attackers.add(client);
      for (let said = await client?.message(); said !== undefined; said = await client?.message()) {
        if (said["type"] === "error" || isOver) break;
        client?.send(WRONG);
      }
      if (client !== undefined) attackers.delete(client);
      await delay(ATTACK_PAUSE_MS);
    }
  };
  const loops = Array.from({ length: ADDRESSES * CONNECTIONS_EACH }, (_, index) =>
    loop(`127.0.2.${1 + (index % ADDRESSES)}`),
  );
  let refused = 0;
  const times: number[] = [];
  const familiar: number[] = [];
  try {
    for (let index = 0; index < logins; index++) {
      const began = performance.now();
      const { answer, client: stranger } = await tryLogIn(port, `127.0.1.${1 + index}`, {
        password: PASSWORD,
      });
      stranger?.[Symbol.dispose]();
      if (answer?.["type"] !== "welcome") refused++;
      times.push(performance.now() - began);
      const { ms, tries, client } = await logIn(port, known, { token: String(first.welcome["token"]) });
      client[Symbol.dispose]();
      familiar.push(ms);
      refused += tries - 1;
    }
  } finally {
    isOver = true;
    for (const client of attackers) client[Symbol.dispose]();
    await Promise.all(loops);
  }
  return [
    { attack, what: `of ${2 * logins} logins, refused`, value: refused, unit: "", target: 1 },
    { attack, what: "a stranger's login, longest", value: Math.max(...times), unit: "ms", target: 5000 },
    { attack, what: "a familiar token, median", value: quantile(familiar, 0.5), unit: "ms", target: 500 },
  ];
}
