// What one says and all hear: the time until the last member has it counts, and every member's bytes are compared.

import { frame, type Peer } from "../peer.ts";
import { costOf, enter } from "./enter.ts";
import type { Cost, ToAllJob } from "./jobs.ts";

const TEXT = "what was said ".repeat(5).slice(0, 64);
const NAME = "speaker";
/** Nobody has heard anything for so long: everybody knows who came. */
const QUIET_MS = 300;

export async function toAll(job: ToAllJob): Promise<Cost> {
  const peers = await enter(job, job.members);
  const speaker = peers[0]!;
  const isChat = job.credential.method !== "bytes";
  if (isChat) speaker.socket.write(frame(Buffer.from(`/name ${NAME}`)));
  await quiet(peers);
  const said = frame(Buffer.from(TEXT));
  const heard = isChat ? frame(Buffer.from(`${NAME}: ${TEXT}`)) : said;
  let missing = 0;
  let all = Promise.withResolvers<void>();
  for (const peer of peers) {
    let received = 0;
    peer.onGone = (why) => all.reject(new Error(why));
    peer.onData = (chunk) => {
      const end = received + chunk.length;
      if (end > heard.length || heard.compare(chunk, 0, chunk.length, received, end) !== 0) {
        return all.reject(new Error(`not what was said: ${JSON.stringify(chunk.toString())}`));
      }
      received = end % heard.length;
      if (received === 0 && --missing === 0) all.resolve();
    };
  }
  async function say(times: number): Promise<void> {
    for (let time = 0; time < times; time++) {
      missing = peers.length;
      all = Promise.withResolvers<void>();
      speaker.socket.write(said);
      await all.promise;
    }
  }
  await say(job.warmUp);
  return costOf(job.pid, job.messages, () => say(job.messages));
}

async function quiet(peers: readonly Peer[]): Promise<void> {
  let last = performance.now();
  for (const peer of peers) {
    peer.onGone = (why) => {
      throw new Error(why);
    };
    peer.onData = () => void (last = performance.now());
  }
  while (performance.now() - last < QUIET_MS) await Bun.sleep(QUIET_MS);
}
