// The errors of a connection itself, without those of its messages.

import { ParleyError } from "../base/errors.ts";
import { FrameError } from "../wire/frame.ts";

/**
 * `too_slow`: the peer left more output unread than it may. `reset`: the connection was lost. `crowded_out`: it had not
 * logged in, and new connections needed its place. `stalled`: a frame was not whole in time. `silent`: it did not answer pings.
 */
export class ConnectionError extends ParleyError<
  "too_slow" | "reset" | "crowded_out" | "stalled" | "silent"
> {
  override name = "ConnectionError";
}

/** True when the connection failed, and not the peer. */
export function isLoss(error: unknown): boolean {
  if (error instanceof FrameError) return error.code === "frame_cut";
  return error instanceof ConnectionError && ["stalled", "silent", "reset"].includes(error.code);
}
