// The small HTTP server: which requests are answered, how, and who makes way for whom.

import { afterEach, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { HttpServer, type HttpOptions } from "../../src/net/http.ts";
import { until } from "../support/attack.ts";

const NEVER_MS = 60_000;
const BODY = "héllo\n";
let server: HttpServer | undefined;
afterEach(() => server?.[Symbol.dispose]());

function open(options: Partial<HttpOptions> = {}): HttpServer {
  server = new HttpServer({
    host: "127.0.0.1",
    port: 0,
    maxConnections: 4,
    headTimeoutMs: NEVER_MS,
    answer: (path) =>
      path === "/"
        ? { status: 200, type: "text/plain", body: BODY }
        : { status: 404, type: "text/plain", body: path },
    failed: (error) => {
      throw error;
    },
    ...options,
  });
  return server;
}

/** A connection, and everything that it was sent once it is closed. */
async function client(
  { port }: HttpServer,
  localAddress = "127.0.0.1",
): Promise<{ socket: Socket; said: Promise<string> }> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  const chunks: Buffer[] = [];
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => chunks.push(Buffer.from("reset")));
  socket.on("close", () => resolve(Buffer.concat(chunks).toString()));
  await new Promise<void>((connected) => socket.once("connect", () => connected()));
  return { socket, said: promise };
}

async function ask(request: string, options: Partial<HttpOptions> = {}): Promise<string> {
  const { socket, said } = await client(open(options));
  socket.write(Buffer.from(request));
  return said;
}

test.each([
  ["a path", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200],
  ["an older version", "GET / HTTP/1.0\r\n\r\n", 200],
  ["a query", "GET /?a=/other HTTP/1.1\r\n\r\n", 200],
  ["lines before it, and of line feeds alone", "\r\n\nGET / HTTP/1.1\nHost: x\n\n", 200],
  ["the form for proxies", "GET http://example.org HTTP/1.1\r\n\r\n", 200],
  ["another path", "GET /other HTTP/1.1\r\n\r\n", 404],
  ["another method", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405],
  ["no version", "GET /\r\n\r\n", 400],
  ["another protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
  ["controls", "GET /\u001b HTTP/1.1\r\n\r\n", 400],
  ["a line that is too long", `GET /${"a".repeat(9000)}`, 414],
  ["fields that are too long", `GET / HTTP/1.1\r\nX: ${"a".repeat(9000)}\r\n\r\n`, 431],
  ["fields without end", `GET / HTTP/1.1\r\n${"X: a\r\n".repeat(2000)}`, 431],
])("a request with %s", async (_, request, status) => {
  const answer = await ask(request);
  expect(answer).toStartWith(`HTTP/1.1 ${status} `);
  const [head = "", body = ""] = answer.split("\r\n\r\n");
  expect(head.toLowerCase()).toContain(`\r\ncontent-length: ${Buffer.byteLength(body)}`);
  expect(head.includes("\r\nallow: GET, HEAD")).toBe(status === 405);
});

test("HEAD gets the head of a GET alone", async () => {
  const [got, headed] = [await ask("GET / HTTP/1.1\r\n\r\n"), await ask("HEAD / HTTP/1.1\r\n\r\n")];
  const withoutDate = (text: string) => text.replace(/date: .*\r\n/, "");
  expect(withoutDate(got)).toBe(withoutDate(headed) + BODY);
});

test("one request of a connection is answered, and what follows destroys nothing", async () => {
  const answer = await ask(`${"GET / HTTP/1.1\r\n\r\n".repeat(2)}${"x".repeat(100_000)}`);
  expect(answer.split("HTTP/1.1 200")).toHaveLength(2);
  expect(answer).toEndWith(BODY);
});

test("a request that comes byte by byte is answered, also behind its client's FIN", async () => {
  const { socket, said } = await client(open());
  for (const byte of "GET / HTTP/1.1\r\nHost: x\r\n\r") {
    await new Promise<void>((written) => socket.write(byte, () => written()));
  }
  socket.end("\n");
  expect(await said).toEndWith(BODY);
});

test("an answer that its client is slow to read arrives whole", async () => {
  const body = "0123456789".repeat(1_000_000);
  const { socket, said } = await client(open({ answer: () => ({ status: 200, type: "text/plain", body }) }));
  socket.pause();
  socket.write("GET / HTTP/1.1\r\n\r\n");
  await until("asked", true, () => socket.bytesWritten > 0);
  socket.resume();
  expect((await said).endsWith(body)).toBe(true);
});

test("a request that is not whole in time is not waited for", async () => {
  expect(await ask("GET / HTTP/1.1\r\n", { headTimeoutMs: 50 })).toBe("reset");
  await until("connections", 0, () => server?.connections);
});

test("a client that ends without a request is let go", async () => {
  const { socket, said } = await client(open());
  socket.end("GET / HT");
  expect(await said).toBe("");
});

test("the oldest connection without a request makes way for a newcomer, and there are never more than may be", async () => {
  const http = open();
  const silent = [];
  for (let count = 0; count < 6; count++) silent.push(await client(http));
  expect(await Promise.all(silent.slice(0, 2).map(({ said }) => said))).toEqual(["reset", "reset"]);
  expect(http.connections).toBe(4);
  const { socket, said } = await client(http);
  expect(await silent[2]?.said).toBe("reset");
  socket.write("GET / HTTP/1.1\r\n\r\n");
  expect(await said).toEndWith(BODY);
  expect(http.connections).toBeLessThanOrEqual(4);
  for (const { socket: other } of silent) other.destroy();
});

test("a flood from one address ends its own connections, and no other", async () => {
  const http = open();
  const { socket, said } = await client(http);
  socket.write("GET / HT");
  const flood = await Promise.all(Array.from({ length: 20 }, () => client(http, "127.0.0.2")));
  socket.write("TP/1.1\r\n\r\n");
  expect(await said).toStartWith("HTTP/1.1 200 ");
  for (const one of flood) one.socket.destroy();
});

test("an error of the page is passed on, and costs its connection alone", async () => {
  const errors: string[] = [];
  const failed = (error: Error) => void errors.push(error.message);
  const answer = () => {
    throw new Error("no page");
  };
  expect(await ask("GET / HTTP/1.1\r\n\r\n", { answer, failed })).toBe("reset");
  expect(errors).toEqual(["no page"]);
});
