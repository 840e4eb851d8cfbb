// Who waits for a hash: few in all, fewer of one source, and sources take turns.

import { MAX_HASH_QUEUE, MAX_HASH_QUEUE_PER_ADDRESS } from "../base/limits.ts";
import { plural } from "../base/plural.ts";

export interface Job {
  run(): Promise<void>;
  /** It will not be run. */
  drop(code: "busy" | "gone", message: string): void;
  /** Is somebody still waiting for it? */
  isWanted(): boolean;
}

export class FairQueue {
  /** By source; the first one's turn is next. */
  readonly #waiting = new Map<string, Job[]>();
  #length = 0;

  /** Puts a job in, or drops it as `busy`; in a full queue, one of the source that has most waiting. */
  push(source: string, job: Job): void {
    const jobs = this.#waiting.get(source) ?? [];
    if (jobs.length >= MAX_HASH_QUEUE_PER_ADDRESS || !this.#hasRoom(jobs.length)) {
      return job.drop(
        "busy",
        `${plural(this.#length, "login", ["is", "are"])} waiting, ${jobs.length} of ${source}`,
      );
    }
    jobs.push(job);
    this.#waiting.set(source, jobs);
    this.#length++;
  }

  /** The next job that is still wanted, one source after the other. */
  take(): Job | undefined {
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined) return undefined;
      const [source, jobs] = first;
      const job = jobs.shift();
      this.#length--;
      this.#waiting.delete(source);
      if (jobs.length > 0) this.#waiting.set(source, jobs); // to the end of the line
      if (job?.isWanted() === true) return job;
      job?.drop("gone", "the client left before its turn");
    }
  }

  /** Is there room for one more of a source with `count` waiting? */
  #hasRoom(count: number): boolean {
    if (this.#length < MAX_HASH_QUEUE) return true;
    let longest: Job[] = [];
    for (const jobs of this.#waiting.values()) if (jobs.length > longest.length) longest = jobs;
    if (longest.length <= count + 1) return false;
    longest.pop()?.drop("busy", "others were waiting who had not had a turn");
    this.#length--;
    return true;
  }
}
