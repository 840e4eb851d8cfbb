// serve --metrics: what a server is doing, over HTTP: for Prometheus (text format 0.0.4), and for whoever asks if it is well.
//
//     GET /metrics   numbers
//     GET /healthz   200 while it accepts connections, 503 once it is stopping

import { readdirSync, readFileSync } from "node:fs";
import { ParleyError, messageOf, systemCode } from "./errors.ts";
import { formatAddress } from "./address.ts";
import type { Figures } from "./server.ts";
import type { Count } from "./tally.ts";

/** Of a server. */
export interface Vitals {
  readonly isStopping: boolean;
  figures(): Figures;
}

export interface MetricsOptions {
  host: string;
  /** 0: any. */
  port: number;
  /** Asked for at each request; there need be none before the first. */
  server: () => Vitals;
  events: Iterable<Count>;
}

/** Whoever asks must have done so within this, in seconds. */
const REQUEST_TIMEOUT_S = 10;

export class MetricsEndpoint implements Disposable {
  readonly #options: MetricsOptions;
  readonly #http: Bun.Server<undefined>;

  /** @throws {ParleyError} `failed` when the port cannot be had. */
  constructor(options: MetricsOptions) {
    const { host, port } = options;
    this.#options = options;
    try {
      this.#http = Bun.serve({
        hostname: host,
        port,
        idleTimeout: REQUEST_TIMEOUT_S,
        maxRequestBodySize: 0,
        development: false,
        fetch: (request) => this.#answer(request),
      });
    } catch (error) {
      const reason = systemCode(error) === "EADDRINUSE" ? "the port is busy" : messageOf(error);
      throw new ParleyError("failed", `--metrics: cannot listen on ${formatAddress(host, port)}: ${reason}`, {
        hint: "choose another one with --metrics HOST:PORT",
        cause: error,
      });
    }
  }

  get host(): string {
    return this.#options.host;
  }

  /** The one taken. */
  get port(): number {
    return this.#http.port ?? this.#options.port;
  }

  get address(): string {
    return formatAddress(this.host, this.port);
  }

  [Symbol.dispose](): void {
    void this.#http.stop(true);
  }

  #answer(request: Request): Response {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("only GET\n", { status: 405, headers: { allow: "GET, HEAD" } });
    }
    const server = this.#options.server();
    switch (new URL(request.url).pathname) {
      case "/metrics":
        return new Response(exposition(server.figures(), this.#options.events), {
          headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
        });
      case "/healthz":
        return server.isStopping ? new Response("stopping\n", { status: 503 }) : new Response("ok\n");
      default:
        return new Response("there are /metrics and /healthz\n", { status: 404 });
    }
  }
}

/** The page that Prometheus reads. */
export function exposition(figures: Figures, events: Iterable<Count>): string {
  const { accepted, connections, pending, awake, asleep, received, kept, traffic } = figures;
  const page = new Page();
  page.counter("parley_connections_total", "Connections accepted, also those turned away.", accepted);
  page.gauge("parley_connections", "Open connections.", connections);
  page.gauge("parley_connections_pending", "Connections that have not logged in.", pending);
  page.add("gauge", "parley_sessions", "Conversations.", [
    ['{state="awake"}', awake],
    ['{state="asleep"}', asleep],
  ]);
  page.counter("parley_messages_received_total", "Messages of clients.", received);
  page.counter("parley_received_bytes_total", "Bytes received.", traffic.received);
  page.counter("parley_sent_bytes_total", "Bytes sent.", traffic.sent);
  page.gauge("parley_unacknowledged_bytes", "Bytes kept until clients have acknowledged them.", kept);
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
  const descriptors = countDescriptors();
  if (descriptors !== undefined) {
    page.gauge("process_open_fds", "Open file descriptors.", descriptors.open);
    page.gauge("process_max_fds", "Most file descriptors.", descriptors.max);
  }
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

/** Undefined where there is no /proc. */
function countDescriptors(): { open: number; max: number } | undefined {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const max = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
    return { open: readdirSync("/proc/self/fd").length, max };
  } catch {
    return undefined;
  }
}
