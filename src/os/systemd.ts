// The two protocols between systemd, or a program that acts as systemd does, and a service: a listening socket that the service
// inherits, so that no connection is refused during a restart (sd_listen_fds(3)), and messages about the service's state
// (sd_notify(3)). cli/serve calls both.

import { ParleyError } from "../base/errors.ts";
import { sendDatagram, listenerAddress } from "./sockets.ts";

/** An inherited listening socket and its address. */
export interface ListeningSocket {
  fd: number;
  host: string;
  port: number;
}

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

/**
 * The inherited listening socket; undefined when there is none, or it is meant for another process.
 *
 * @throws {ParleyError} `failed` when there are several, or the one does not listen for TCP.
 */
export function takeSocket(env: NodeJS.ProcessEnv, pid: number): ListeningSocket | undefined {
  const count = env["LISTEN_FDS"];
  if (count === undefined || env["LISTEN_PID"] !== String(pid)) return undefined;
  if (count !== "1") {
    throw new ParleyError("failed", `cannot use LISTEN_FDS=${count}: parley takes over one socket`, {
      hint: "use one server for each ListenStream= of the socket unit",
    });
  }
  const address = listenerAddress(FIRST_FD);
  if (address !== undefined) return { fd: FIRST_FD, ...address };
  throw new ParleyError("failed", "cannot use LISTEN_FDS: the socket does not listen for TCP", {
    hint: "set ListenStream=PORT and Accept=no in the socket unit",
  });
}

/**
 * Sends `state`, in the words of sd_notify(3), to the socket that `$NOTIFY_SOCKET` names, if it names one.
 *
 * @returns false when that socket cannot be reached.
 */
export function notify(state: string, env: NodeJS.ProcessEnv): boolean {
  const path = env["NOTIFY_SOCKET"];
  return path === undefined || path === "" || sendDatagram(path, state);
}
