// Flags → service.

import { usageError } from "../errors.ts";
import { echo } from "./echo.ts";
import type { Service } from "./service.ts";
import { upper } from "./upper.ts";

const SERVICES: ReadonlyMap<string, { service: Service; summary: string }> = new Map([
  ["echo", { service: echo, summary: "every message comes back as it was" }],
  ["upper", { service: upper, summary: "every message comes back in capital letters" }],
]);

/** @throws {ParleyError} `usage` when there is no service of that name. */
export function findService(name: string): Service {
  const entry = SERVICES.get(name);
  if (entry !== undefined) return entry.service;
  throw usageError(
    `--service: there is no service ${JSON.stringify(name)}`,
    `one of ${[...SERVICES.keys()].join(", ")}`,
  );
}

/** Name and one line about each built-in service. */
export function listServices(): { name: string; summary: string }[] {
  return [...SERVICES].map(([name, { summary }]) => ({ name, summary }));
}
