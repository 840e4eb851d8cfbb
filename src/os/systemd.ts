// What systemd, or whoever acts as it, gives to a service that it starts: a socket that listens already, so that nobody is
// turned away while the service starts again, and an ear for how it is.

import { ParleyError } from "../base/errors.ts";
import { sendDatagram, listenerAddress } from "./sockets.ts";

/** A socket that listens already, and where. */
export interface ListeningSocket {
  fd: number;
  host: string;
  port: number;
}

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

/**
 * The socket that was handed over, as sd_listen_fds(3) says; undefined when none was, or it was meant for another process.
 *
 * @throws {ParleyError} `failed` when there are several, or it does not listen for TCP.
 */
export function takeSocket(env: NodeJS.ProcessEnv, pid: number): ListeningSocket | undefined {
  const count = env["LISTEN_FDS"];
  if (count === undefined || env["LISTEN_PID"] !== String(pid)) return undefined;
  if (count !== "1") {
    throw new ParleyError("failed", `LISTEN_FDS=${count}: one socket can be taken over`, {
      hint: "one server for each ListenStream= of the socket unit",
    });
  }
  const address = listenerAddress(FIRST_FD);
  if (address !== undefined) return { fd: FIRST_FD, ...address };
  throw new ParleyError("failed", "LISTEN_FDS: what was handed over does not listen for TCP", {
    hint: "the socket unit needs ListenStream=PORT and Accept=no",
  });
}

/**
 * Says how the service is, in the words of sd_notify(3), to whoever wants to know.
 *
 * @returns false when that one cannot be reached.
 */
export function notify(state: string, env: NodeJS.ProcessEnv): boolean {
  const path = env["NOTIFY_SOCKET"];
  return path === undefined || path === "" || sendDatagram(path, state);
}
