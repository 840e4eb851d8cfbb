// What a client says on its own, to a server that reads it and to one that does not.

import { expect, test } from "bun:test";
import { Condition } from "../../src/base/condition.ts";
import { Replies } from "../../src/client/replies.ts";

function fakeConnection() {
  const room = new Condition();
  const connection = {
    isFull: false,
    sent: [] as string[],
    sendControl: (text: string) => void connection.sent.push(text),
    writable: () => (connection.isFull ? room.wait() : undefined),
    async drain() {
      connection.isFull = false;
      room.notifyAll();
      await Promise.resolve();
    },
  };
  return connection;
}

test("replies are sent at once while the server reads", () => {
  const connection = fakeConnection();
  const replies = new Replies(connection);
  replies.send("pong", "1");
  replies.send("ack", "2");
  replies.send("pong", "3");
  expect(connection.sent).toEqual(["1", "2", "3"]);
});

test("of those that wait only the last of each kind is kept, and sent once there is room", async () => {
  const connection = fakeConnection();
  const replies = new Replies(connection);
  connection.isFull = true;
  for (let n = 0; n < 1000; n++) {
    replies.send("pong", `pong ${n}`);
    replies.send("ack", `ack ${n}`);
  }
  expect(connection.sent).toEqual([]);
  await connection.drain();
  expect(connection.sent).toEqual(["pong 999", "ack 999"]);
  replies.send("pong", "next");
  expect(connection.sent).toEqual(["pong 999", "ack 999", "next"]);
});

test("flush sends those that wait before anything else, and once", async () => {
  const connection = fakeConnection();
  const replies = new Replies(connection);
  connection.isFull = true;
  replies.send("ack", "1");
  replies.flush();
  await connection.drain();
  expect(connection.sent).toEqual(["1"]);
});
