// How a connection, not what it carries, goes wrong.

import { ParleyError } from "../errors.ts";

/** `too_slow`: the peer left more output unread than it may. `reset`: the connection was lost. */
export class ConnectionError extends ParleyError<"too_slow" | "reset"> {
  override name = "ConnectionError";
}
