// The errors of an engine: a Redis or Valkey server that stores accounts.

import { ParleyError } from "../base/errors.ts";

/**
 * `unreachable`: it cannot be reached now, or does not answer in time. `refused`: it refuses this client or this command.
 * `damaged`: a record in it is invalid. `replaced`: its accounts are gone, or are those of another store.
 */
export type EngineErrorCode = "unreachable" | "refused" | "damaged" | "replaced";

export class EngineError extends ParleyError<EngineErrorCode> {
  override name = "EngineError";
}
