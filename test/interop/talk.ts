// A program around clients/typescript/parley.ts: sends numbered lines to an echo server, and says what has come back. The argument is
// JSON: the options of `connect`, how many lines, and whether they are sent without waiting for room.

import { connect, type ConnectOptions } from "../../clients/typescript/parley.ts";

const [options, count, isGlued] = JSON.parse(process.argv[2] ?? "") as [ConnectOptions, number, boolean];
let losses = 0;
let resumed = 0;
const session = await connect({ ...options, onLost: () => losses++, onResumed: () => resumed++ });
const lines = Array.from({ length: count }, (_, index) => `${index} привет, 你好 😀`);
const sending = (async () => {
  const sent: Promise<void>[] = [];
  for (const line of lines) {
    const promise = session.send(line);
    if (isGlued) sent.push(promise);
    else await promise;
  }
  await Promise.all(sent);
  await session.end();
})();
const answers: string[] = [];
for await (const answer of session) answers.push(answer);
await sending;
const isSame = answers.length === count && answers.every((answer, index) => answer === lines[index]);
const { user, token } = session.welcome ?? {};
process.stdout.write(JSON.stringify({ user, token, isSame, count: answers.length, losses, resumed }));
