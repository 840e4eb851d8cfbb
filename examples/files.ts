// Sends files: a message is the name of one, and the answer is its bytes, in messages of 64 KiB. A client that reads slowly is
// waited for, so that a large file takes no memory here.
//
//     FILES=/srv/public parley serve --auth none --handler files.ts
//     parley connect 127.0.0.1:13131 --send list
//     parley connect 127.0.0.1:13131 --raw --send report.pdf > report.pdf

import { open, readdir, realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import type { Handler, Session } from "./parley.d.ts";

const PIECE_BYTES = 64 * 1024;
const folder = await realpath(process.env["FILES"] ?? ".");

/** The path of a file in the folder; undefined for any other name, also that of a link that leads out of it. */
async function find(name: string): Promise<string | undefined> {
  const path = await realpath(join(folder, name)).catch(() => undefined);
  if (path?.startsWith(folder + sep) !== true) return undefined;
  return (await stat(path)).isFile() ? path : undefined;
}

async function list(session: Session): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries) if (entry.isFile()) session.send(entry.name);
}

async function send(session: Session, path: string): Promise<void> {
  await using file = await open(path);
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(PIECE_BYTES), 0, PIECE_BYTES);
    if (bytesRead === 0) return;
    session.send(buffer.subarray(0, bytesRead));
    await session.writable();
  }
}

export default {
  async message(session, message) {
    const name = message.text();
    if (name === "list") return list(session);
    const path = await find(name);
    if (path === undefined) return session.finish(1, `there is no file ${name}`);
    await send(session, path);
  },
} satisfies Handler;
