// One member of a chat, with clients/typescript/parley.ts. The argument is JSON: the options of `connect`. It sends the lines of
// standard input, prints what it hears, and leaves with its input.

import { createInterface } from "node:readline";
import { connect, type ConnectOptions } from "../../clients/typescript/parley.ts";

const session = await connect(JSON.parse(process.argv[2] ?? "") as ConnectOptions);
const sending = (async () => {
  for await (const line of createInterface({ input: process.stdin })) await session.send(line);
  await session.end();
})();
for await (const text of session) process.stdout.write(`${text}\n`);
await sending;
