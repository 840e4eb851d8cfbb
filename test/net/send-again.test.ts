// What is sent again after a loss, over a kernel that takes nothing at first.

import { expect, test } from "bun:test";
import type { Socket } from "bun";
import { RetransmitBuffer } from "../../src/delivery/retransmit-buffer.ts";
import { Connection } from "../../src/net/connection.ts";
import { Cork } from "../../src/net/cork.ts";

const MAX_BACKLOG = 10_000;

function connectionOver(written: Buffer[], takes: () => boolean) {
  const socket = {
    remoteAddress: "127.0.0.1",
    remotePort: 1,
    write(bytes: Uint8Array, start: number, length: number): number {
      if (!takes()) return 0;
      written.push(Buffer.from(bytes.subarray(start, start + length)));
      return length;
    },
    pause: () => undefined,
    resume: () => undefined,
  };
  return new Connection(socket as unknown as Socket<Connection>, {
    cork: new Cork(),
    maxFrame: 100,
    maxBacklog: MAX_BACKLOG,
  });
}

test("it may be left unread beyond --max-backlog, but no more than that", () => {
  const failures: unknown[] = [];
  let takes = false;
  const written: Buffer[] = [];
  const connection = connectionOver(written, () => takes);
  connection.deliver({
    payload: () => undefined,
    control: () => undefined,
    end: () => undefined,
    fail: (error) => failures.push(error),
    close: () => undefined,
  });
  const kept = new RetransmitBuffer();
  for (let n = 0; n < 10; n++) kept.add(Buffer.alloc(5 * MAX_BACKLOG, `${n}`));
  connection.sendAgain(kept, 3);
  connection.send(Buffer.alloc(MAX_BACKLOG / 2));
  expect(failures).toEqual([]);
  for (let n = 0; n < 4; n++) connection.send(Buffer.alloc(MAX_BACKLOG * 5));
  expect(failures).toMatchObject([{ code: "too_slow" }]);
  takes = true;
  connection.flush();
  // From the fourth on.
  expect(Buffer.concat(written).subarray(4, 5).toString()).toBe("3");
});
