// Waits that an AbortSignal can end early. They throw the signal's reason.

import { setTimeout as delay } from "node:timers/promises";

/** Calls `callback` with the reason when `signal` is aborted, or at once when it is already. Dispose of the result to stop listening. */
export function onAbort(signal: AbortSignal | undefined, callback: (reason: unknown) => void): Disposable {
  const listener = () => callback(signal?.reason);
  if (signal?.aborted === true) listener();
  else signal?.addEventListener("abort", listener, { once: true });
  return { [Symbol.dispose]: () => signal?.removeEventListener("abort", listener) };
}

/** Waits for `ms`. @throws the reason of `signal` as soon as it is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}
