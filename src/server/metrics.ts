// serve --metrics: what a server is doing, over HTTP: for Prometheus (text format 0.0.4), and for health checks.
//
//     GET /metrics   numbers
//     GET /healthz   200 while it accepts connections, 503 once it is stopping, and while its accounts are out of reach

import { maxDescriptors, openDescriptors } from "../os/descriptors.ts";
import { describeFault, ParleyError } from "../base/errors.ts";
import { formatAddress } from "../base/address.ts";
import { MAX_METRICS_CONNECTIONS, METRICS_HEAD_TIMEOUT_MS } from "../base/limits.ts";
import { explain } from "../net/bind.ts";
import { HttpServer, type HttpAnswer } from "../net/http.ts";
import type { ServerStats } from "./server.ts";
import type { Count } from "../log/event-counter.ts";
import type { Logger } from "../log/log.ts";

/** Of a server. */
export interface StatsSource {
  readonly isStopping: boolean;
  /** False while no client can log in, since the store of the accounts is lost. */
  readonly isStoreReachable: boolean;
  stats(): ServerStats;
}

export interface MetricsOptions {
  host: string;
  /** 0: any. */
  port: number;
  /** Asked for at each request; undefined before there is one. */
  server: () => StatsSource | undefined;
  events: Iterable<Count>;
  log: Logger;
}

export class MetricsEndpoint implements Disposable {
  readonly host: string;
  readonly #http: HttpServer;

  /** @throws {ParleyError} `failed` when the port cannot be had. */
  constructor(options: MetricsOptions) {
    const { host, port } = options;
    this.host = host;
    try {
      this.#http = new HttpServer({
        host,
        port,
        maxConnections: MAX_METRICS_CONNECTIONS,
        headTimeoutMs: METRICS_HEAD_TIMEOUT_MS,
        answer: (path) => answer(path, options),
        failed: (error) => options.log.error("internal-error", { reason: describeFault(error) }),
      });
    } catch (error) {
      const address = formatAddress(host, port);
      throw new ParleyError("listen", `--metrics: cannot listen on ${address}: ${explain(error, host)}`, {
        hint: "choose another address with --metrics ADDRESS:PORT",
        cause: error,
      });
    }
  }

  /** The one taken. */
  get port(): number {
    return this.#http.port;
  }

  get address(): string {
    return formatAddress(this.host, this.port);
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }
}

function answer(path: string, options: MetricsOptions): HttpAnswer {
  const server = options.server();
  if (path === "/metrics" && server !== undefined) {
    const body = exposition(server.stats(), options.events);
    return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", body };
  }
  const type = "text/plain; charset=utf-8";
  if (path !== "/healthz" && path !== "/metrics") {
    return { status: 404, type, body: "not found: use /metrics or /healthz\n" };
  }
  const trouble = troubleOf(server);
  return { status: trouble === undefined ? 200 : 503, type, body: `${trouble ?? "ok"}\n` };
}

/** Why a load balancer should send no client here; undefined: it may. */
function troubleOf(server: StatsSource | undefined): string | undefined {
  if (server === undefined) return "starting";
  if (server.isStopping) return "stopping";
  return server.isStoreReachable ? undefined : "accounts out of reach";
}

/** The page that Prometheus reads. */
export function exposition(figures: ServerStats, events: Iterable<Count>): string {
  const { accepted, connections, pending, attached, detached, received, kept, held, traffic, store } =
    figures;
  const page = new Page();
  page.counter("parley_connections_total", "Accepted connections, including refused ones.", accepted);
  page.gauge("parley_connections", "Open connections.", connections);
  page.gauge("parley_connections_pending", "Open connections that have not logged in.", pending);
  page.add("gauge", "parley_sessions", "Conversations.", [
    ['{state="attached"}', attached],
    ['{state="detached"}', detached],
  ]);
  page.counter("parley_messages_received_total", "Messages received from clients.", received);
  page.counter("parley_received_bytes_total", "Bytes received.", traffic.received);
  page.counter("parley_sent_bytes_total", "Bytes sent.", traffic.sent);
  page.gauge("parley_unacknowledged_bytes", "Bytes sent that clients have not acknowledged.", kept);
  page.gauge("parley_client_memory_bytes", "Memory of queued and unacknowledged messages, in bytes.", held);
  if (store !== undefined) {
    page.gauge("parley_store_up", "1 while the accounts can be read and changed.", Number(store.isReachable));
    page.gauge("parley_store_revision", "Revision of the accounts.", store.revision);
  }
  page.add(
    "counter",
    "parley_events_total",
    "Log events, including those that the log summarises.",
    // Neither holds anything that a peer has said.
    [...events].map(({ event, kind, count }) => [`{event="${event}",kind="${kind}"}`, count]),
  );
  const { user, system } = process.cpuUsage();
  page.counter("process_cpu_seconds_total", "User and system CPU time, in seconds.", (user + system) / 1e6);
  page.gauge("process_resident_memory_bytes", "Resident memory, in bytes.", process.memoryUsage.rss());
  page.gauge(
    "process_start_time_seconds",
    "Start time of the process, in seconds since 1970.",
    performance.timeOrigin / 1000,
  );
  const [open, max] = [openDescriptors(), maxDescriptors()];
  if (open !== undefined) page.gauge("process_open_fds", "Open file descriptors.", open);
  if (max !== undefined) page.gauge("process_max_fds", "Maximum number of open file descriptors.", max);
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
