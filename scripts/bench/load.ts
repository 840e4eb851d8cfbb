// The load generator, a process of its own: reads a job as JSON from stdin, does it, writes its result as JSON.
//
//     echo   `connections` keep `inFlight` messages of `bytes` each on their way until `messages` have come back
//     idle   `few` connections log in, then more up to `many`; nothing is said
//
// It reads the server's CPU time and memory itself, right before and after. Every echoed byte is compared.

import { Peer, control, frame, type Credential } from "./peer.ts";
import { cpuBetween, cpuTime, residentBytes } from "./usage.ts";

interface Target {
  port: number;
  pid: number;
  credential: Credential;
}
export interface EchoJob extends Target {
  kind: "echo";
  connections: number;
  inFlight: number;
  bytes: number;
  /** Messages measured, over all connections; a quarter of them goes before, unmeasured. */
  messages: number;
}
export interface IdleJob extends Target {
  kind: "idle";
  few: number;
  many: number;
}
export type Job = EchoJob | IdleJob;
export interface EchoResult {
  messages: number;
  /** Of the server. */
  cpuNs: number;
  wallNs: number;
}
export interface IdleResult {
  bytesPerConnection: number;
}

/** Logins under way at once. */
const LOGINS_AT_ONCE = 20;
/** For the server to come to rest before its memory is read. */
const REST_MS = 1000;
/** At least so often messages are acknowledged, by the wire protocol. */
const ACK_FRAMES = 256;
/** More than one read of Bun's socket gives. */
const LONGEST_CHUNK = 512 * 1024;
const NOTHING = new Uint8Array(0);

async function connect(target: Target, count: number): Promise<Peer[]> {
  const peers: Peer[] = [];
  while (peers.length < count) {
    const wanted = Math.min(LOGINS_AT_ONCE, count - peers.length);
    const batch = Array.from({ length: wanted }, async () => {
      const peer = await Peer.connect(target.port);
      await peer.logIn(target.credential);
      return peer;
    });
    peers.push(...(await Promise.all(batch)));
  }
  return peers;
}

/** One connection's stream: the same frame over and over, other bytes than on every other connection. */
class Stream {
  readonly #peer: Peer;
  readonly #frameBytes: number;
  readonly #inFlight: number;
  /** Frames enough that whatever begins within the first can be written or compared in one piece. */
  readonly #pattern: Buffer;
  /** Do both sides acknowledge? */
  readonly #acknowledges: boolean;
  #sent = 0;
  #received = 0;
  #acknowledged = 0;
  #goal = 0;
  /** What is left of a control frame that we have read the beginning of, or written. */
  #skip = 0;
  #cut: Uint8Array = NOTHING;
  #unwritten: Uint8Array = NOTHING;
  #done = Promise.withResolvers<void>();

  constructor(peer: Peer, { bytes, inFlight, credential }: EchoJob) {
    const one = frame(crypto.getRandomValues(Buffer.alloc(Math.min(bytes, 65536))));
    const whole = bytes <= 65536 ? one : frame(Buffer.alloc(bytes, one.subarray(4)));
    this.#frameBytes = whole.length;
    this.#inFlight = inFlight;
    const most = Math.max(LONGEST_CHUNK, whole.length * Math.min(inFlight, 32));
    this.#pattern = Buffer.alloc(whole.length + most, whole);
    this.#acknowledges = credential.method === "none" && credential.control;
    this.#peer = peer;
    peer.onData = (chunk) => this.#take(chunk);
    peer.onDrain = () => this.#pump();
    peer.onGone = (why) => this.#done.reject(new Error(why));
  }

  /** Sends `count` more messages and waits for all of them to come back. */
  run(count: number): Promise<void> {
    this.#goal += count * this.#frameBytes;
    this.#done = Promise.withResolvers<void>();
    this.#pump();
    return this.#done.promise;
  }

  #take(chunk: Uint8Array): void {
    if (this.#acknowledges) this.#takeMixed(chunk);
    else this.#takeEchoes(chunk);
    if (this.#received === this.#goal) this.#done.resolve();
    else this.#pump();
  }

  #takeEchoes(chunk: Uint8Array): void {
    if (!this.#isNext(chunk)) {
      this.#done.reject(new Error(`other bytes came back, somewhere after ${this.#received}`));
    }
    this.#received += chunk.length;
  }

  /** Echoes with control frames between them: mostly one, at the end of what the server wrote at once. */
  #takeMixed(fresh: Uint8Array): void {
    let chunk = this.#cut.length === 0 ? fresh : Buffer.concat([this.#cut, fresh]);
    this.#cut = NOTHING;
    while (chunk.length > 0) {
      const begun = this.#received % this.#frameBytes;
      let length = Math.min(this.#skip, chunk.length);
      if (length > 0) {
        this.#skip -= length;
      } else if (begun === 0 && chunk[0]! >= 0x80) {
        if (chunk.length < 4) return void (this.#cut = chunk);
        length = 4;
        this.#skip = Buffer.from(chunk.buffer, chunk.byteOffset, 4).readUInt16BE(2);
      } else {
        const whole = Math.floor((begun + chunk.length) / this.#frameBytes) * this.#frameBytes - begun;
        length =
          whole > 0 && this.#isNext(chunk.subarray(0, whole))
            ? whole
            : Math.min(this.#frameBytes - begun, chunk.length);
        this.#takeEchoes(chunk.subarray(0, length));
      }
      chunk = chunk.subarray(length);
    }
  }

  #isNext(chunk: Uint8Array): boolean {
    const start = this.#received % this.#frameBytes;
    return this.#pattern.subarray(start, start + chunk.length).equals(chunk);
  }

  #pump(): void {
    const due = Math.floor(this.#received / this.#frameBytes);
    if (this.#acknowledges && due - this.#acknowledged >= ACK_FRAMES && this.#sent % this.#frameBytes === 0) {
      this.#acknowledged = due;
      this.#unwritten = Buffer.concat([this.#unwritten, control({ type: "ack", received: due })]);
    }
    const answered = this.#received - (this.#received % this.#frameBytes);
    const until = Math.min(this.#goal, answered + this.#inFlight * this.#frameBytes);
    while (this.#sent < until || this.#unwritten.length > 0) {
      const start = this.#sent % this.#frameBytes;
      const messages = this.#pattern.subarray(start, start + until - this.#sent);
      const before = this.#unwritten.length;
      const bytes = before === 0 ? messages : Buffer.concat([this.#unwritten, messages]);
      const taken = Math.max(0, this.#peer.socket.write(bytes));
      this.#unwritten = this.#unwritten.subarray(taken);
      this.#sent += Math.max(0, taken - before);
      if (taken < bytes.length) return;
    }
  }
}

async function echo(job: EchoJob): Promise<EchoResult> {
  const peers = await connect(job, job.connections);
  const streams = peers.map((peer) => new Stream(peer, job));
  const each = Math.ceil(job.messages / job.connections);
  const all = (count: number) => Promise.all(streams.map((stream) => stream.run(count)));
  await all(Math.ceil(each / 4));
  const before = cpuTime(job.pid);
  const began = Bun.nanoseconds();
  await all(each);
  const wallNs = Bun.nanoseconds() - began;
  return { messages: each * job.connections, cpuNs: cpuBetween(before, cpuTime(job.pid)), wallNs };
}

async function idle(job: IdleJob): Promise<IdleResult> {
  const peers = await connect(job, job.few);
  await Bun.sleep(REST_MS);
  const before = residentBytes(job.pid);
  peers.push(...(await connect(job, job.many - job.few)));
  await Bun.sleep(REST_MS);
  const after = residentBytes(job.pid);
  const gone = peers.filter(({ socket }) => socket.readyState !== 1).length;
  if (gone > 0) throw new Error(`${gone} idle connections are gone`);
  return { bytesPerConnection: (after - before) / (job.many - job.few) };
}

if (import.meta.main) {
  const job = (await Bun.stdin.json()) as Job;
  process.stdout.write(JSON.stringify(job.kind === "echo" ? await echo(job) : await idle(job)));
  process.exit(0); // the connections end with us
}
