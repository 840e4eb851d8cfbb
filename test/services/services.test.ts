// The built-in services: the common suite, and what is their own.

import { join } from "node:path";
import { expect, test } from "bun:test";
import { echo } from "../../src/services/echo.ts";
import { Handler } from "../../src/services/handler/handler.ts";
import { program } from "../../src/services/program/program.ts";
import { upper } from "../../src/services/upper.ts";
import { remember } from "../support/program.ts";
import { startServer } from "../support/server.ts";
import { everyService } from "./suite.ts";

everyService("echo", echo, (text) => text);
everyService("upper", upper, (text) => text.toUpperCase());

const ECHO_HANDLER = join(import.meta.dir, "../support/echo-handler.ts");
everyService("a handler file", await Handler.load(ECHO_HANDLER), (text) => text);

const { log } = remember();
const cat = program({
  argv: ["cat"],
  io: "frames",
  stderr: "log",
  pty: false,
  passEnv: [],
  maxMessage: 2 ** 20,
  log,
});
everyService("cat, by frames", cat, (text) => text);

test("echo gives back bytes that are no text, unchanged", async () => {
  await using server = await startServer({ auth: "none" });
  using peer = await server.peer();
  await peer.enter();
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  peer.send(bytes);
  expect((await peer.frame())?.payload.equals(bytes)).toBe(true);
});

test("upper ends the conversation over bytes that are no text, and says why", async () => {
  await using server = await startServer({ auth: "none", service: upper });
  using peer = await server.peer();
  await peer.enter();
  peer.send("fine");
  peer.send(Buffer.from("fffe", "hex"));
  expect(await peer.text()).toBe("FINE");
  expect(await peer.message()).toMatchObject({
    type: "bye",
    code: "bad_message",
    message: "the message is not UTF-8 text",
  });
});
