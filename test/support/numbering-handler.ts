// A handler that numbers what it takes, so that its answers tell in which order that was, and notes it, one write for each
// message, in the file $TAKEN: what is there was taken, even by a server that is killed.

import { openSync, writeSync } from "node:fs";
import type { Message, Session } from "../../src/services/service.ts";

const { TAKEN } = process.env;
const file = TAKEN === undefined ? undefined : openSync(TAKEN, "a");

export default (session: Session, message: Message): void => {
  const number = Number(session.data ?? 0) + 1;
  session.data = number;
  const line = `${number}\t${message.text()}`;
  if (file !== undefined) writeSync(file, `${line}\n`);
  session.send(line);
};
