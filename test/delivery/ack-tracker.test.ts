// When received messages are acknowledged, and that a session which has ended is forgotten.

import { expect, test } from "bun:test";
import { AckTracker, DelayedAckTimer } from "../../src/delivery/ack-tracker.ts";

test("the timer acknowledges for each session that goes on, and forgets one that has ended", async () => {
  const timer = new DelayedAckTimer();
  const acked: string[] = [];
  const last = Promise.withResolvers<void>();
  const [ended, open] = ["ended", "open"].map(
    (name) =>
      new AckTracker(timer, {
        processed: () => 1,
        bytesReceived: () => 10,
        sendAck: (received) => {
          acked.push(`${name} ${received}`);
          if (name === "open") last.resolve();
        },
      }),
  );
  ended!.turnEnded();
  open!.turnEnded();
  ended!.retransmit.add(Buffer.from("kept"));
  ended!.stop();
  expect(ended!.retransmit.frames).toBe(0);
  await last.promise;
  expect(acked).toEqual(["open 1"]);
});
