// Whether an engine serves writes, from its answer to HELLO, which every client may send.

import type { EngineConnection } from "./connection.ts";
import { EngineError } from "./engine-error.ts";
import type { EngineAccess } from "./store-url.ts";

/** Why an engine with this role cannot hold a store; undefined when it can. @param mode as in the answer to HELLO. */
export function roleFlaw(
  { target }: EngineAccess,
  place: string,
  role: unknown,
  mode: unknown,
): EngineError | undefined {
  if (mode === "sentinel")
    return new EngineError("refused", `${place} is a sentinel, and not the store`, {
      hint: "write --store as redis+sentinel://HOST:PORT/MASTER",
    });
  if (role === "master") return undefined;
  if (role !== "replica" && role !== "slave")
    return new EngineError("refused", `${place} does not say that it is a primary`, {
      hint: "use Redis 7 or later, or Valkey",
    });
  const hint =
    target.at.kind === "sentinel"
      ? undefined // the sentinels will name another one
      : "name the primary in --store, or its sentinels as redis+sentinel://HOST:PORT/MASTER";
  return new EngineError("unreachable", `${place} is a replica, which takes no changes`, { hint });
}

/** @throws {EngineError} when the engine cannot hold a store, or does not say it. */
export async function checkRole(
  connection: EngineConnection,
  access: EngineAccess,
  place: string,
): Promise<void> {
  const greeting = (await connection.send("HELLO", [])) as { role?: unknown; mode?: unknown } | null;
  const flaw = roleFlaw(access, place, greeting?.role, greeting?.mode);
  if (flaw !== undefined) throw flaw;
}
