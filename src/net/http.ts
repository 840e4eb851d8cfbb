// A small HTTP server for programs: GET and HEAD, one request for each connection, no request body.
//
// Few connections are open at once. A new connection closes the oldest one without a request, or else the oldest of all. So
// silent connections do not keep requests away. RFC 9112.

import type { Socket } from "bun";
import { LINGER_MS } from "../base/limits.ts";
import { listen } from "./bind.ts";

export interface HttpAnswer {
  status: 200 | 404 | 503;
  /** The `content-type` of the body. */
  type: string;
  body: string;
}

export interface HttpOptions {
  host: string;
  /** 0: any free port. */
  port: number;
  maxConnections: number;
  /** From accept to the end of the request's head, in milliseconds. */
  headTimeoutMs: number;
  /** The answer to a GET or a HEAD of `path`, which has no query. */
  answer(this: void, path: string): HttpAnswer;
  /** Called when `answer` has thrown; its connection is reset. */
  failed(this: void, error: Error): void;
}

/** The longest head of a request. */
const MAX_HEAD_BYTES = 8 * 1024;

const REASONS = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  414: "URI Too Long",
  431: "Request Header Fields Too Large",
  503: "Service Unavailable",
} as const;

/** One connection: the received part of its request, then the unsent part of its answer. */
class Exchange {
  head = "";
  /** The unsent part of the answer; undefined before there is an answer. */
  rest: Uint8Array | undefined;
  inputEnded = false;
  timer: Timer | undefined;
}

type HttpSocket = Socket<Exchange>;

export class HttpServer implements Disposable {
  readonly #options: HttpOptions;
  readonly #listener: Bun.TCPSocketListener<Exchange>;
  /** Open connections, the oldest first. */
  readonly #open = new Set<HttpSocket>();

  /** @throws the system's error when it cannot listen. */
  constructor(options: HttpOptions) {
    this.#options = options;
    this.#listener = listen<Exchange>(options.host, options.port, {
      open: (socket) => this.#accept(socket),
      data: (socket, chunk) => this.#received(socket, chunk),
      drain: (socket) => this.#flush(socket),
      end: (socket) => this.#inputEnded(socket),
      close: (socket) => this.#closed(socket),
      error: (socket, error) => {
        socket.terminate();
        options.failed(error);
      },
    });
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#listener.port;
  }

  /** Open connections. */
  get connections(): number {
    return this.#open.size;
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }

  #accept(socket: HttpSocket): void {
    if (this.#open.size >= this.#options.maxConnections) {
      const open = [...this.#open];
      const loser = open.find(({ data }) => data.rest === undefined) ?? open[0];
      if (loser !== undefined) this.#open.delete(loser);
      loser?.terminate();
    }
    socket.data = new Exchange();
    this.#open.add(socket);
    this.#closeAfter(socket, this.#options.headTimeoutMs);
  }

  #received(socket: HttpSocket, chunk: Buffer): void {
    const exchange = socket.data;
    if (exchange.rest !== undefined) return; // a second request, or a body: only the first request is answered
    exchange.head += chunk.toString("latin1", 0, MAX_HEAD_BYTES);
    const head = exchange.head.replace(/^(?:\r?\n)+/, "");
    const end = /\r?\n\r?\n/.exec(head)?.index;
    if (end !== undefined) this.#send(socket, this.#respond(head.slice(0, end)));
    else if (exchange.head.length >= MAX_HEAD_BYTES) {
      this.#send(socket, head.includes("\n") ? response(431) : response(414));
    }
  }

  /** The answer to a request with this head, as bytes. */
  #respond(head: string): string {
    const [line = ""] = head.split(/\r?\n/, 1);
    const [, method, target = ""] = /^([!#$%&'*+.^_`|~\w-]+) ([!-~]+) HTTP\/1\.\d$/.exec(line) ?? [];
    if (method === undefined) return response(400);
    if (method !== "GET" && method !== "HEAD") return response(405, "use GET\n", "allow: GET, HEAD\r\n");
    // A target may be a whole URL, as in requests to proxies.
    const path = target.replace(/^http:\/\/[^/?]*/i, "").split("?", 1)[0] ?? "";
    const { status, type, body } = this.#options.answer(path === "" ? "/" : path);
    return response(status, body, "", type, method === "HEAD");
  }

  #send(socket: HttpSocket, text: string): void {
    socket.data.rest = Buffer.from(text);
    this.#flush(socket);
  }

  /** Writes the rest of the answer, then FIN, and waits for the client's FIN: see linger.ts. */
  #flush(socket: HttpSocket): void {
    const exchange = socket.data;
    if (exchange.rest === undefined) return;
    if (exchange.rest.length > 0) {
      exchange.rest = exchange.rest.subarray(Math.max(0, socket.write(exchange.rest)));
      if (exchange.rest.length > 0) return;
      this.#closeAfter(socket, LINGER_MS);
      socket.shutdown();
    }
    if (exchange.inputEnded) socket.end();
  }

  #inputEnded(socket: HttpSocket): void {
    socket.data.inputEnded = true;
    if (socket.data.rest === undefined) socket.end();
    else this.#flush(socket);
  }

  #closeAfter(socket: HttpSocket, ms: number): void {
    clearTimeout(socket.data.timer);
    socket.data.timer = setTimeout(() => socket.terminate(), ms);
  }

  #closed(socket: HttpSocket): void {
    clearTimeout(socket.data.timer);
    this.#open.delete(socket);
  }
}

const TEXT = "text/plain; charset=utf-8";

function response(
  status: keyof typeof REASONS,
  body = `${REASONS[status]}\n`,
  fields = "",
  type = TEXT,
  isHead = false,
): string {
  const head = `HTTP/1.1 ${status} ${REASONS[status]}\r\ndate: ${new Date().toUTCString()}\r\nconnection: close\r\n`;
  const length = Buffer.byteLength(body);
  return `${head}${fields}content-type: ${type}\r\ncontent-length: ${length}\r\n\r\n${isHead ? "" : body}`;
}
