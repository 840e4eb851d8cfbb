// The load generator, a process of its own: reads a job as a line of JSON from stdin, does it, writes its result as
// another. Every echoed byte is compared.

import { Peer } from "../peer.ts";
import { residentBytes } from "../usage.ts";
import { costOf, enter } from "./enter.ts";
import type {
  AnyJob,
  Cost,
  EchoJob,
  Flatness,
  FlatJob,
  Held,
  HoldJob,
  IdleJob,
  Latency,
  LatencyJob,
  Memory,
  VisitJob,
} from "./jobs.ts";
import { randomFrame, Stream } from "./stream.ts";
import { toAll } from "./to-all.ts";

/** For the server to come to rest before it is looked at. */
const REST_MS = 1000;
const SMALL_BYTES = 64;

async function streams(job: EchoJob | FlatJob): Promise<(each: number) => Promise<unknown>> {
  const acknowledges = job.credential.method === "none" && job.credential.control;
  const peers = await enter(job, job.connections);
  const all = peers.map((peer) => new Stream(peer, { ...job, acknowledges }));
  return (each) => Promise.all(all.map((stream) => stream.run(each)));
}

async function echo(job: EchoJob): Promise<Cost> {
  const run = await streams(job);
  const each = Math.ceil(job.messages / job.connections);
  await run(Math.ceil(job.warmUp / job.connections));
  return costOf(job.pid, each * job.connections, () => run(each));
}

async function flat(job: FlatJob): Promise<Flatness> {
  const run = await streams(job);
  const tenth = Math.ceil(job.messages / job.connections / 10);
  await run(tenth);
  const firstTenthBytes = residentBytes(job.pid);
  await run(9 * tenth);
  return { firstTenthBytes, endBytes: residentBytes(job.pid) };
}

async function visit(job: VisitJob): Promise<Cost> {
  const question = randomFrame(SMALL_BYTES);
  async function once(): Promise<void> {
    const peer = await Peer.enter(job);
    await peer.echo(question);
    await peer.leave();
  }
  async function run(times: number): Promise<void> {
    let left = times;
    const lane = async () => {
      while (left-- > 0) await once();
    };
    await Promise.all(Array.from({ length: job.atOnce }, lane));
  }
  await run(job.warmUp);
  return costOf(job.pid, job.times, () => run(job.times));
}

function mustBeThere(peers: readonly Peer[]): void {
  const gone = peers.filter(({ socket }) => socket.readyState !== 1).length;
  if (gone > 0) throw new Error(`${gone} of ${peers.length} idle connections are gone`);
}

async function idle(job: IdleJob): Promise<Memory> {
  const peers = await enter(job, job.few);
  await Bun.sleep(REST_MS);
  const before = residentBytes(job.pid);
  peers.push(...(await enter(job, job.many - job.few)));
  await Bun.sleep(REST_MS);
  const after = residentBytes(job.pid);
  mustBeThere(peers);
  return { bytesPerConnection: (after - before) / (job.many - job.few) };
}

async function hold(job: HoldJob, isOver: Promise<unknown>): Promise<Held> {
  const peers = await enter(job, job.count);
  await Bun.sleep(REST_MS);
  process.stdout.write(`${JSON.stringify({ held: peers.length })}\n`);
  await isOver;
  mustBeThere(peers);
  return { held: peers.length };
}

/** Asks `count` times, each when the answer before is there; no promise a question, which would be part of its time. */
function ask(peer: Peer, count: number, took: (ns: number) => void): Promise<void> {
  const question = randomFrame(SMALL_BYTES);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let [left, received, began] = [count, 0, Bun.nanoseconds()];
  peer.onGone = (why) => reject(new Error(why));
  peer.onData = (chunk) => {
    const end = received + chunk.length;
    if (end > question.length || question.compare(chunk, 0, chunk.length, received, end) !== 0) {
      return reject(new Error("other bytes came back"));
    }
    received = end % question.length;
    if (received > 0) return;
    const now = Bun.nanoseconds();
    took(now - began);
    began = now;
    if (--left === 0) resolve();
    else peer.socket.write(question);
  };
  peer.socket.write(question);
  return promise;
}

async function latency(job: LatencyJob): Promise<Latency> {
  const peers = await enter(job, job.connections);
  const each = Math.ceil(job.messages / job.connections);
  const times: number[] = [];
  const all = (count: number) => Promise.all(peers.map((peer) => ask(peer, count, (ns) => times.push(ns))));
  await all(Math.ceil(job.warmUp / job.connections));
  times.length = 0;
  await all(each);
  times.sort((a, b) => a - b);
  const quantile = (share: number) => times[Math.floor(share * (times.length - 1))]!;
  return { p50Ns: quantile(0.5), p99Ns: quantile(0.99) };
}

function perform(job: AnyJob, input: AsyncIterator<string>): Promise<object> {
  switch (job.kind) {
    case "echo":
      return echo(job);
    case "flat":
      return flat(job);
    case "visit":
      return visit(job);
    case "idle":
      return idle(job);
    case "hold":
      return hold(job, input.next());
    case "latency":
      return latency(job);
    case "to-all":
      return toAll(job);
  }
}

if (import.meta.main) {
  const input = console[Symbol.asyncIterator]();
  const job = JSON.parse((await input.next()).value as string) as AnyJob;
  process.stdout.write(`${JSON.stringify(await perform(job, input))}\n`);
  process.exit(0); // the connections end with us
}
