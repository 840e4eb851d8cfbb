// The built-in services by name. `parley serve --service NAME` finds its service here.

import { usageError } from "../base/errors.ts";
import { chat } from "./chat.ts";
import { echo } from "./echo.ts";
import type { Service } from "./service.ts";
import { upper } from "./upper.ts";

const SERVICES: ReadonlyMap<string, { make(): Service; summary: string }> = new Map([
  ["echo", { make: () => echo, summary: "sends every message back unchanged" }],
  ["upper", { make: () => upper, summary: "sends every message back in capital letters" }],
  ["chat", { make: chat, summary: "sends every line to all clients" }],
]);

/** Makes the built-in service `name`. @throws {ParleyError} `usage` when there is none. */
export function findService(name: string): Service {
  const entry = SERVICES.get(name);
  if (entry !== undefined) return entry.make();
  throw usageError(
    `--service: unknown service ${JSON.stringify(name)}`,
    `choose one of ${[...SERVICES.keys()].join(", ")}`,
  );
}

/** The name and a short description of each built-in service. */
export function listServices(): { name: string; summary: string }[] {
  return [...SERVICES].map(([name, { summary }]) => ({ name, summary }));
}
