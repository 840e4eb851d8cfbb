// Listening for streams at a port and at a path: who may, what is in the way, and what is left behind.

import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { expect, test } from "bun:test";
import { checkSocketPath, listenForStreams } from "../../src/net/stream-listener.ts";
import type { Stream } from "../../src/net/stream.ts";
import { until } from "../support/attack.ts";
import { tempFolder } from "../support/folder.ts";
import { local } from "../support/stream-service.ts";

const OPTIONS = { flag: "--listen" };

test("a path has mode 0600, takes connections, and is removed at the end", async () => {
  using folder = tempFolder();
  const path = `${folder.path}/db.sock`;
  const opened: Stream[] = [];
  const before = process.umask(0);
  const listener = await listenForStreams({ unix: path }, (stream) => void opened.push(stream), OPTIONS);
  process.umask(before);
  expect((lstatSync(path).mode & 0o777).toString(8)).toBe("600");
  expect(readdirSync(folder.path)).toEqual(["db.sock"]);
  using program = await local({ path });
  await until("streams", 1, () => opened.length);
  listener.stop();
  expect(readdirSync(folder.path)).toEqual([]);
  opened[0]?.reset();
  await until("its end", ["end"], () => program.events); // a Unix socket knows no reset
});

test("a path that is left over is taken", async () => {
  using folder = tempFolder();
  const path = `${folder.path}/db.sock`;
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${folder.path}/old`, resolve));
  renameSync(`${folder.path}/old`, path);
  await new Promise((resolve) => server.close(resolve));
  expect(existsSync(path)).toBe(true);
  const listener = await listenForStreams({ unix: path }, (stream) => stream.reset(), OPTIONS);
  using _ = await local({ path });
  listener.stop();
});

test("a path at which a program listens is not, nor is one with something else", async () => {
  using folder = tempFolder();
  const path = `${folder.path}/db.sock`;
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const attempt = (unix: string) => listenForStreams({ unix }, () => undefined, OPTIONS);
  expect(attempt(path)).rejects.toThrow(`cannot listen on unix:${path}: another program listens there`);
  const file = `${folder.path}/file`;
  writeFileSync(file, "content");
  expect(attempt(file)).rejects.toThrow(
    `cannot listen on unix:${file}: there is something else than a socket`,
  );
  expect(attempt(`${folder.path}/none/db.sock`)).rejects.toThrow("ENOENT");
  expect(lstatSync(file).size).toBe(7);
  await new Promise((resolve) => server.close(resolve));
});

test("a path that has become another program's stays", async () => {
  using folder = tempFolder();
  const path = `${folder.path}/db.sock`;
  const listener = await listenForStreams({ unix: path }, () => undefined, OPTIONS);
  unlinkSync(path);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  listener.stop();
  expect(lstatSync(path).isSocket()).toBe(true);
  await new Promise((resolve) => server.close(resolve));
});

test("a folder that cannot be written is an error, and nothing is left", async () => {
  using folder = tempFolder();
  chmodSync(folder.path, 0o500);
  const attempt = listenForStreams({ unix: `${folder.path}/db.sock` }, () => undefined, OPTIONS);
  if (process.getuid?.() === 0) (await attempt).stop();
  else expect(attempt).rejects.toThrow("EACCES");
  chmodSync(folder.path, 0o700);
  expect(readdirSync(folder.path)).toEqual([]);
});

test("a path that is too long is a usage error", () => {
  expect(() => checkSocketPath(`/tmp/${"a".repeat(100)}`)).toThrow("too long for a socket");
  expect(() => checkSocketPath(`/${"a".repeat(96)}/s`)).toThrow("too long for a socket"); // with the hidden name
  checkSocketPath("/run/user/1000/db.sock");
});

test("a busy port is an error that names the flag", async () => {
  const listener = await listenForStreams({ host: "127.0.0.1", port: 0 }, () => undefined, OPTIONS);
  const { address } = listener;
  expect(listenForStreams(address, () => undefined, OPTIONS)).rejects.toMatchObject({
    message: `port ${"port" in address ? address.port : ""} is busy`,
    hint: expect.stringContaining("choose another with --listen (0 picks a free one)") as string,
  });
  listener.stop();
});
