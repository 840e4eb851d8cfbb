// serve --metrics: what a server is doing, over HTTP: for Prometheus (text format 0.0.4), and for health checks.
//
//     GET /metrics   numbers
//     GET /healthz   200 while it accepts connections, 503 once it is stopping

import { once } from "node:events";
import type { IncomingMessage, Server as HttpServer, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { maxDescriptors, openDescriptors } from "../os/descriptors.ts";
import { ParleyError } from "../base/errors.ts";
import { formatAddress, lookupName } from "../base/address.ts";
import { explain } from "../net/bind.ts";
import type { ServerStats } from "./server.ts";
import type { Count } from "../log/event-counter.ts";

/** Of a server. */
export interface StatsSource {
  readonly isStopping: boolean;
  stats(): ServerStats;
}

export interface MetricsOptions {
  host: string;
  /** 0: any. */
  port: number;
  /** Asked for at each request; undefined before there is one. */
  server: () => StatsSource | undefined;
  events: Iterable<Count>;
}

/** Who asks at once: each is a descriptor that the conversations lack. Further ones are closed without a word. */
const MAX_ASKING = 16;
/** Whoever asks must have done so within this, in milliseconds. */
const REQUEST_TIMEOUT_MS = 10_000;

export class MetricsEndpoint implements Disposable {
  readonly host: string;
  /** The one taken. */
  readonly port: number;
  readonly #http: HttpServer;

  private constructor(host: string, http: HttpServer) {
    this.host = host;
    this.port = (http.address() as AddressInfo).port;
    this.#http = http;
  }

  /** @throws {ParleyError} `failed` when the port cannot be had. */
  static async open(options: MetricsOptions): Promise<MetricsEndpoint> {
    const { createServer } = await import("node:http"); // Bun.serve has no limit of connections
    const { host, port } = options;
    const http = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) =>
      answer(request, response, options),
    );
    http.maxConnections = MAX_ASKING;
    try {
      await once(http.listen(port, lookupName(host)), "listening");
    } catch (error) {
      const address = formatAddress(host, port);
      throw new ParleyError("failed", `--metrics: cannot listen on ${address}: ${explain(error, host)}`, {
        hint: "choose another one with --metrics ADDRESS:PORT",
        cause: error,
      });
    }
    return new MetricsEndpoint(host, http);
  }

  get address(): string {
    return formatAddress(this.host, this.port);
  }

  [Symbol.dispose](): void {
    this.#http.close();
    this.#http.closeAllConnections();
  }
}

function answer(request: IncomingMessage, response: ServerResponse, options: MetricsOptions): void {
  response.setHeader("connection", "close");
  response.setHeader("content-type", "text/plain; charset=utf-8");
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.writeHead(405, { allow: "GET, HEAD" }).end("only GET\n");
    return;
  }
  const server = options.server();
  const path = request.url?.split("?", 1)[0];
  if (path === "/metrics" && server !== undefined) {
    response.setHeader("content-type", "text/plain; version=0.0.4; charset=utf-8");
    response.end(exposition(server.stats(), options.events));
  } else if (path === "/healthz" || path === "/metrics") {
    const isWell = server?.isStopping === false;
    response
      .writeHead(isWell ? 200 : 503)
      .end(isWell ? "ok\n" : server === undefined ? "starting\n" : "stopping\n");
  } else {
    response.writeHead(404).end("there are /metrics and /healthz\n");
  }
}

/** The page that Prometheus reads. */
export function exposition(figures: ServerStats, events: Iterable<Count>): string {
  const { accepted, connections, pending, attached, detached, received, kept, held, traffic } = figures;
  const page = new Page();
  page.counter("parley_connections_total", "Connections accepted, also those turned away.", accepted);
  page.gauge("parley_connections", "Open connections.", connections);
  page.gauge("parley_connections_pending", "Connections that have not logged in.", pending);
  page.add("gauge", "parley_sessions", "Conversations.", [
    ['{state="attached"}', attached],
    ['{state="detached"}', detached],
  ]);
  page.counter("parley_messages_received_total", "Messages of clients.", received);
  page.counter("parley_received_bytes_total", "Bytes received.", traffic.received);
  page.counter("parley_sent_bytes_total", "Bytes sent.", traffic.sent);
  page.gauge("parley_unacknowledged_bytes", "Bytes kept until clients have acknowledged them.", kept);
  page.gauge("parley_client_memory_bytes", "Memory of what is queued and kept for clients.", held);
  page.add(
    "counter",
    "parley_events_total",
    "Events of the log, written or summed up.",
    // Neither holds anything that a peer has said.
    [...events].map(({ event, kind, count }) => [`{event="${event}",kind="${kind}"}`, count]),
  );
  const { user, system } = process.cpuUsage();
  page.counter("process_cpu_seconds_total", "CPU time, user and system.", (user + system) / 1e6);
  page.gauge("process_resident_memory_bytes", "Resident memory.", process.memoryUsage.rss());
  page.gauge("process_start_time_seconds", "Start, since 1970.", performance.timeOrigin / 1000);
  const [open, max] = [openDescriptors(), maxDescriptors()];
  if (open !== undefined) page.gauge("process_open_fds", "Open file descriptors.", open);
  if (max !== undefined) page.gauge("process_max_fds", "Most file descriptors.", max);
  return page.text;
}

class Page {
  text = "";

  counter(name: string, help: string, value: number): void {
    this.add("counter", name, help, [["", value]]);
  }

  gauge(name: string, help: string, value: number): void {
    this.add("gauge", name, help, [["", value]]);
  }

  add(type: string, name: string, help: string, samples: (readonly [string, number])[]): void {
    this.text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    for (const [labels, value] of samples) this.text += `${name}${labels} ${value}\n`;
  }
}
