// Where the engine is. Sentinels are asked for it in turn, each time, since they choose another one when it fails.

import type { EngineAccess, EngineAddress } from "./store-url.ts";

/** @throws {EngineError} when no sentinel says it. */
export async function locate({ target }: EngineAccess, _signal: AbortSignal): Promise<EngineAddress> {
  if (target.at.kind !== "sentinel") return target.at;
  throw new Error("not yet");
}
