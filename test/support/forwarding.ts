// A forwarder at a free port, whose reports are noted.

import { connectClient } from "../../src/client/connect.ts";
import { Forwarder, type ForwarderEvents } from "../../src/client/forwarder.ts";
import type { ClientOptions, Credential } from "../../src/client/options.ts";
import type { Cut } from "../../src/client/forwarded.ts";
import { listenForStreams } from "../../src/net/stream-listener.ts";
import { PASSWORD } from "./server.ts";

export interface Forwarding extends AsyncDisposable {
  forwarder: Forwarder;
  port: number;
  cuts: Cut[];
  /** `lost`, `resumed`, `failing`, `working`, in order. */
  reports: string[];
}

export interface ForwardingOptions extends Partial<ClientOptions> {
  forMs?: number;
  times?: number;
  maxQueued?: number;
}

/** Logs in at the server at `port` as ann, or as nothing where there are no users, and forwards to `through`. */
export async function forwarding(
  port: number,
  { forMs = 60_000, times = Infinity, maxQueued, ...options }: ForwardingOptions = {},
  through = port,
): Promise<Forwarding> {
  let first: Credential = { method: "none" };
  const client = await connectClient({
    host: "127.0.0.1",
    port,
    ...options,
    credential: (hello) => {
      first = hello.auth.includes("none")
        ? { method: "none" }
        : { method: "password", user: "ann", password: PASSWORD };
      return Promise.resolve(first);
    },
  });
  client.leave();
  const cuts: Cut[] = [];
  const reports: string[] = [];
  const events: ForwarderEvents = {
    lost: () => void reports.push("lost"),
    resumed: () => void reports.push("resumed"),
    cut: (_, why) => void cuts.push(why),
    failing: () => void reports.push("failing"),
    working: () => void reports.push("working"),
  };
  const forwarder = new Forwarder({
    client: { host: "127.0.0.1", port: through, ...options },
    retry: { times, forMs },
    first,
    issued: client.welcome,
    maxQueued,
    events,
  });
  const listener = await listenForStreams({ host: "127.0.0.1", port: 0 }, (one) => forwarder.accept(one), {
    flag: "--listen",
    budget: forwarder.budget,
  });
  return {
    forwarder,
    port: "port" in listener.address ? listener.address.port : 0,
    cuts,
    reports,
    async [Symbol.asyncDispose]() {
      listener.stop();
      await forwarder.stop(0);
    },
  };
}
