// What is sent again after a loss, over a kernel that takes little at a time.

import { expect, test } from "bun:test";
import type { Socket } from "bun";
import { PAUSE_OUTPUT_BYTES } from "../../src/base/limits.ts";
import { RetransmitBuffer } from "../../src/delivery/retransmit-buffer.ts";
import { Connection } from "../../src/net/connection.ts";
import { Cork } from "../../src/net/cork.ts";
import { FrameDecoder } from "../../src/wire/frame.ts";
import { FramePieces } from "../../src/wire/partial-frame.ts";
import { ReceivedMessage } from "../../src/wire/received-message.ts";

const LENGTH = 100_000;

/** A connection whose kernel takes `room` bytes until the next flush; `texts` are the frames that it has, as they begin. */
function connectionOver() {
  const kernel = { room: 0, hasFin: false, written: [] as Buffer[] };
  const socket = {
    remoteAddress: "127.0.0.1",
    remotePort: 1,
    write(bytes: Uint8Array, start: number, length: number): number {
      const taken = Math.min(length, kernel.room);
      kernel.room -= taken;
      kernel.written.push(Buffer.from(bytes.subarray(start, start + taken)));
      return taken;
    },
    pause: () => undefined,
    resume: () => undefined,
    shutdown: () => void (kernel.hasFin = true),
  };
  const connection = new Connection(socket as unknown as Socket<Connection>, {
    cork: new Cork(),
    maxFrame: LENGTH,
  });
  const texts = () => {
    const decoder = new FrameDecoder(LENGTH);
    decoder.control = true;
    decoder.push(Buffer.concat(kernel.written));
    const found: string[] = [];
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
      found.push(Buffer.from(frame.subarray(0, 4)).toString());
    return found;
  };
  const drain = () => {
    for (let turn = 0; turn < 1000 && connection.hasOutput; turn++) {
      kernel.room = 10_000;
      connection.flush();
      expect(connection.queued).toBeLessThanOrEqual(PAUSE_OUTPUT_BYTES);
    }
  };
  return { connection, kernel, texts, drain };
}

const named = (name: string) => Buffer.alloc(LENGTH, name.padEnd(4));

function kept(count: number): RetransmitBuffer {
  const buffer = new RetransmitBuffer();
  for (let number = 0; number < count; number++) buffer.add(named(`m${number}`));
  return buffer;
}

const sent = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `m${from + index}`.padEnd(4));

test("it is queued as the peer reads; what is sent meanwhile comes behind it, and the last control frame behind that", () => {
  const { connection, texts, drain } = connectionOver();
  connection.sendAgain(kept(20), 3);
  expect(connection.queued).toBeLessThanOrEqual(PAUSE_OUTPUT_BYTES);
  connection.send(named("new"));
  connection.sendLast("end!");
  expect(connection.writable()).toBeInstanceOf(Promise);
  drain();
  expect(texts()).toEqual([...sent(3, 20), "new ", "end!"]);
  expect(connection.writable()).toBeUndefined();
});

test("a long message that came in pieces waits for its turn, too", () => {
  const { connection, texts, drain } = connectionOver();
  connection.sendAgain(kept(20));
  const [begin, rest] = [Buffer.alloc(50_000, "\0\x01\x86\xa0rope", "latin1"), Buffer.alloc(50_004)];
  connection.send(ReceivedMessage.ofPieces(new FramePieces([begin, rest], 4, 100_004, 100_004)));
  drain();
  expect(texts()).toEqual([...sent(0, 20), "rope"]);
});

test("FIN comes behind all of it", () => {
  const { connection, kernel, texts, drain } = connectionOver();
  connection.sendAgain(kept(20));
  connection.sendLast("bye!");
  connection.endSending();
  drain();
  expect(texts()).toEqual([...sent(0, 20), "bye!"]);
  expect(kernel.hasFin).toBe(true);
});

test("an acknowledgement of what was not sent again yet does not shift it", () => {
  const { connection, texts, drain } = connectionOver();
  const buffer = kept(20);
  connection.sendAgain(buffer, 2);
  buffer.acknowledge(2);
  drain();
  expect(texts()).toEqual(sent(2, 20));
});

test("all of it is queued before it is no longer kept", () => {
  const { connection, kernel, texts } = connectionOver();
  connection.sendAgain(kept(20));
  connection.trackUnacked(undefined);
  kernel.room = Infinity;
  connection.flush();
  expect(texts()).toEqual(sent(0, 20));
});

test("nothing is left of it when the connection is closed", () => {
  const { connection } = connectionOver();
  connection.sendAgain(kept(20));
  connection.wasClosed(undefined);
  expect(connection.hasOutput).toBe(false);
});
