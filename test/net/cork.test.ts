// The write buffer that the connections of a listener share.

import { expect, test } from "bun:test";
import type { Socket } from "bun";
import { Connection } from "../../src/net/connection.ts";
import { Cork } from "../../src/net/cork.ts";
import { writeHeader } from "../../src/wire/frame.ts";

test("a connection whose write throws does not keep it", () => {
  const cork = new Cork();
  const broken = {
    remoteAddress: "127.0.0.1",
    remotePort: 1,
    write(): number {
      throw new Error("no socket any more");
    },
  };
  const connection = new Connection(broken as unknown as Socket<Connection>, { cork, maxFrame: 100 });
  connection.deliver({
    message: (message) => connection.send(message),
    control: () => undefined,
    end: () => undefined,
    fail: () => undefined,
    close: () => undefined,
  });
  const frame = Buffer.alloc(8, "ping");
  writeHeader(frame, 0, 4);
  expect(() => connection.received(frame)).toThrow("no socket any more");
  expect(cork.owner).toBeUndefined();
  expect(cork.length).toBe(0);
});
