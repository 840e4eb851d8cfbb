// The queue of jobs that wait for a hash, with a limit for all and for each source. Sources take turns, and so do the users of a
// source.
//
// A source with a recent turn waits behind the others until MAX_HASH_QUEUE other turns have passed. So a source that asks again at
// once delays the others by one job, and an endless row of new sources does not block the known ones.

import { BoundedMap } from "../base/bounded-map.ts";
import { MAX_HASH_QUEUE, MAX_HASH_QUEUE_PER_ADDRESS } from "../base/limits.ts";
import { plural } from "../base/plural.ts";

export interface Job {
  source: string;
  /** The user of that source; empty without a user. */
  user: string;
  run(): Promise<void>;
  /** Called when there is no room for the job. */
  drop(message: string): void;
}

/** The key by which jobs take turns: their source, or their user within it. */
type KeyOf = (job: Job) => string;
const bySource: KeyOf = ({ source }) => source;
const byUser: KeyOf = ({ source, user }) => `${source} ${user}`;

export class FairQueue {
  /** Jobs in order of arrival, each with the number of turns before it. */
  readonly #waiting = new Map<Job, number>();
  /** The last turns of sources and users, by number. Older turns do not matter. */
  readonly #turns = new BoundedMap<string, number>(2 * MAX_HASH_QUEUE);
  #count = 0;

  get size(): number {
    return this.#waiting.size;
  }

  /** Adds a job. Without room, drops it, or the last job of the source (or of its own source's user) with the most jobs. */
  push(job: Job): void {
    const own = this.#jobs.filter(({ source }) => source === job.source);
    const hasRoom =
      own.length < MAX_HASH_QUEUE_PER_ADDRESS
        ? this.#waiting.size < MAX_HASH_QUEUE || this.#displace(this.#jobs, bySource, job)
        : this.#displace(own, byUser, job);
    if (hasRoom) this.#waiting.set(job, this.#count);
    else {
      const waiting = plural(this.#waiting.size, "login", ["is", "are"]);
      job.drop(`${waiting} waiting, ${own.length} of ${job.source}`);
    }
  }

  /** Removes and returns the next job. */
  take(): Job | undefined {
    const first = this.#first(this.#jobs, bySource);
    if (first === undefined) return undefined;
    const own = this.#jobs.filter(({ source }) => source === first.source);
    const job = this.#first(own, byUser) ?? first;
    this.#waiting.delete(job);
    this.#turns.set(bySource(job), this.#count);
    this.#turns.set(byUser(job), this.#count);
    this.#count++;
    return job;
  }

  /** Removes a job that is no longer needed, if it still waits. */
  remove(job: Job): void {
    this.#waiting.delete(job);
  }

  get #jobs(): Job[] {
    return [...this.#waiting.keys()];
  }

  #first(jobs: readonly Job[], keyOf: KeyOf): Job | undefined {
    let [first, earliest]: [Job | undefined, number] = [undefined, Infinity];
    for (const job of jobs) {
      const turn = (this.#turns.get(keyOf(job)) ?? -Infinity) + MAX_HASH_QUEUE;
      const due = Math.max(turn, this.#waiting.get(job) ?? 0);
      if (due < earliest) [first, earliest] = [job, due];
    }
    return first;
  }

  /** Drops the last job of the key with the most jobs, unless `newcomer`'s key would then have as many. */
  #displace(jobs: readonly Job[], keyOf: KeyOf, newcomer: Job): boolean {
    const groups = Map.groupBy(jobs, keyOf);
    const most = [...groups.values()].reduce((a, b) => (b.length > a.length ? b : a), []);
    const last = most.at(-1);
    if (last === undefined || most.length <= (groups.get(keyOf(newcomer))?.length ?? 0) + 1) return false;
    this.#waiting.delete(last);
    last.drop("the place was given to a client with fewer waiting logins");
    return true;
  }
}
