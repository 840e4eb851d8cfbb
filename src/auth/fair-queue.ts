// Jobs that wait for a hash: few in all, fewer of one source. The sources take turns, and so do the users of one source.
//
// Who had a turn waits behind those that had none lately, until MAX_HASH_QUEUE others had theirs: a source that asks again as
// soon as it is answered delays others by one job, and newcomers without end keep no source waiting.

import { BoundedMap } from "../base/bounded-map.ts";
import { MAX_HASH_QUEUE, MAX_HASH_QUEUE_PER_ADDRESS } from "../base/limits.ts";
import { plural } from "../base/plural.ts";

export interface Job {
  source: string;
  /** Of that source; empty where a job is nobody's. */
  user: string;
  run(): Promise<void>;
  /** There is no room for it, so it will not be run. */
  drop(message: string): void;
}

/** What takes turns: a source, or a user of one. */
type KeyOf = (job: Job) => string;
const bySource: KeyOf = ({ source }) => source;
const byUser: KeyOf = ({ source, user }) => `${source} ${user}`;

export class FairQueue {
  /** Jobs in the order in which they came, with the number of turns before that. */
  readonly #waiting = new Map<Job, number>();
  /** The last turns of sources and users, by number. Those longer ago make no difference. */
  readonly #turns = new BoundedMap<string, number>(2 * MAX_HASH_QUEUE);
  #count = 0;

  get size(): number {
    return this.#waiting.size;
  }

  /** Adds a job. Where there is no room, drops it, or the last job of the source, or user of its source, that has most. */
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

  /** Takes out the job whose turn it is. */
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

  /** Takes out a job that is not wanted any more, if it still waits. */
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

  /** Drops the last job of the one that has most in `jobs`, unless `newcomer` would then have as many. */
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
