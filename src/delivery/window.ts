// How much may be sent and not acknowledged: the window. Each side of a session has room for one window of its peer's.

import { MAX_UNACKNOWLEDGED_BYTES, MAX_UNACKNOWLEDGED_STREAM_BYTES } from "../base/limits.ts";

/** The window of a session, in bytes. @param messages what `hello` says of the service's messages. */
export function windowFor(messages: string | undefined): number {
  return messages === "bytes" ? MAX_UNACKNOWLEDGED_STREAM_BYTES : MAX_UNACKNOWLEDGED_BYTES;
}
