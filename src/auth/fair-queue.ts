// Jobs that wait for a hash: few in all, fewer of one source, and the sources take turns.

import { MAX_HASH_QUEUE, MAX_HASH_QUEUE_PER_ADDRESS } from "../base/limits.ts";
import { plural } from "../base/plural.ts";

export interface Job {
  run(): Promise<void>;
  /** There is no room for it, so it will not be run. */
  drop(message: string): void;
}

export class FairQueue {
  /** Jobs by source; the first source is the next one to have its turn. */
  readonly #waiting = new Map<string, Job[]>();
  #length = 0;

  /** Adds a job. Where there is no room, drops it, or the last job of the source that has most of them. */
  push(source: string, job: Job): void {
    const jobs = this.#waiting.get(source) ?? [];
    if (jobs.length >= MAX_HASH_QUEUE_PER_ADDRESS || !this.#hasRoom(jobs.length)) {
      return job.drop(`${plural(this.#length, "login", ["is", "are"])} waiting, ${jobs.length} of ${source}`);
    }
    jobs.push(job);
    this.#waiting.set(source, jobs);
    this.#length++;
  }

  /** Takes out the next job, one source after the other. */
  take(): Job | undefined {
    for (const [source, jobs] of this.#waiting) {
      const [job] = jobs;
      if (job === undefined) continue;
      this.#waiting.delete(source);
      this.#waiting.set(source, jobs); // the others first
      this.remove(source, job);
      return job;
    }
    return undefined;
  }

  /** Takes out a job that is not wanted any more, if it still waits. */
  remove(source: string, job: Job): void {
    const jobs = this.#waiting.get(source) ?? [];
    const index = jobs.indexOf(job);
    if (index === -1) return;
    jobs.splice(index, 1);
    this.#length--;
    if (jobs.length === 0) this.#waiting.delete(source);
  }

  /** Is there room for one more job of a source that has `count`? */
  #hasRoom(count: number): boolean {
    if (this.#length < MAX_HASH_QUEUE) return true;
    let [longest, most]: [string, Job[]] = ["", []];
    for (const [source, jobs] of this.#waiting)
      if (jobs.length > most.length) [longest, most] = [source, jobs];
    const last = most.at(-1);
    if (last === undefined || most.length <= count + 1) return false;
    this.remove(longest, last);
    last.drop("others were waiting that had not had a turn");
    return true;
  }
}
