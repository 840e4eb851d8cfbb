// What every service must pass, whatever it answers: one suite, called once a service.

import { describe, expect, test } from "bun:test";
import type { Service } from "../../src/services/service.ts";
import { frame } from "../support/peer.ts";
import { startServer } from "../support/server.ts";

/** `answer`: what the service says to a message of text. */
export function everyService(name: string, service: Service, answer: (text: string) => string): void {
  const start = () => startServer({ auth: "none", service, serviceName: name });

  describe(`${name}, as every service,`, () => {
    test("answers messages of any script and length, the empty one too", async () => {
      await using server = await start();
      using peer = await server.peer();
      await peer.enter();
      for (const text of [
        "",
        "hello",
        "привет, мир",
        "你好",
        "👍 é",
        "a\nb\r\n\0c",
        "x".repeat(70_000),
        "ж".repeat(500_000),
      ]) {
        peer.send(text);
        expect((await peer.text()) === answer(text)).toBe(true);
      }
    });

    test("answers a pipeline in order, cut at any byte", async () => {
      await using server = await start();
      using peer = await server.peer();
      await peer.enter();
      const texts = Array.from({ length: 40 }, (_, index) => `message ${index} ${"y".repeat(index)}`);
      const stream = Buffer.concat(texts.map((text) => frame(text)));
      for (let cut = 0, step = 1; cut < stream.length; cut += step, step = (step % 97) + 13) {
        peer.raw(stream.subarray(cut, cut + step));
      }
      for (const text of texts) expect(await peer.text()).toBe(answer(text));
    });

    test("says bye after its last answer when the input ends", async () => {
      await using server = await start();
      using peer = await server.peer();
      await peer.enter();
      peer.send("last");
      peer.control({ type: "end" });
      expect(await peer.text()).toBe(answer("last"));
      expect(await peer.message()).toEqual({
        type: "bye",
        code: "done",
        message: "the conversation is over",
        status: 0,
      });
      expect(await peer.frame()).toBeNull();
    });

    test("answers a peer without control frames that has ended its side, then closes", async () => {
      await using server = await start();
      using peer = await server.peer();
      await peer.enter({});
      peer.send("one");
      peer.send("two");
      peer.end();
      expect((await peer.rest()).map(({ payload }) => payload.toString())).toEqual([
        answer("one"),
        answer("two"),
      ]);
      expect(await peer.closed).toBe(false);
    });

    test("speaks bare frames, with no session around them", async () => {
      await using server = await startServer({ bare: true, service, serviceName: name });
      using peer = await server.peer();
      peer.send("bare");
      expect(await peer.text()).toBe(answer("bare"));
    });
  });
}
