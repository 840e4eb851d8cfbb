// What a server is given, and what holds where it is given nothing.

import type { AuthMode } from "../auth/identity.ts";
import type { NewHashCost } from "../auth/password.ts";
import type { SharedKey } from "../auth/shared-key.ts";
import type { Store } from "../auth/store.ts";
import { ABANDONED_HOOK_MS, TLS_TIMEOUT_MS, TOKEN_TOUCH_MS } from "../base/limits.ts";
import type { Logger } from "../log/log.ts";
import type { TlsIdentity } from "../net/tls.ts";
import type { Service } from "../services/service.ts";
import type { Framing } from "../wire/frame.ts";
import { completeOptions, type OptionValues } from "./option-table.ts";

/** The options of {@link SERVER_OPTIONS}, which flags set, and what is beside them. */
export interface ServerOptions extends Partial<OptionValues> {
  host: string;
  port: number;
  /** A busy port is an error; otherwise the next free one is taken. */
  strictPort?: boolean;
  /** A descriptor that already listens at `host` and `port`. */
  fd?: number;
  auth: AuthMode;
  /** Frames only: no hello, no login, no control frames. */
  bare?: boolean;
  /** The headers of bare frames, both ways (default: uint32). */
  framing?: Framing;
  /** Clients may create their own account. */
  register?: boolean;
  service: Service;
  /** The service's name in `hello`. */
  serviceName: string;
  /** The accounts; needed for every mode but `none` and bare. */
  store?: Store;
  /** The URL of the store, for the log; undefined for a file. */
  storeUrl?: string | undefined;
  log: Logger;
  /** Called when a session begins, ends, is lost or resumed. */
  sessionsChanged?: () => void;
  /** Called with what a person at the server's terminal should see at once. */
  tell?: (...lines: string[]) => void;
  /** The server's key and certificate; undefined: plain text. */
  tls?: TlsIdentity;
  /** What clients must prove before they log in. */
  key?: SharedKey;
  tlsTimeoutMs?: number;
  /** How often the tokens of conversations are written down as used. */
  tokenTouchMs?: number;
  /** How long a hook may go on whose client is gone, before its session ends without it. */
  abandonedHookMs?: number;
}

/** `options` with every default. */
export function withDefaults(options: ServerOptions) {
  const {
    strictPort = false,
    bare = false,
    register = false,
    tlsTimeoutMs = TLS_TIMEOUT_MS,
    tokenTouchMs = TOKEN_TOUCH_MS,
    abandonedHookMs = ABANDONED_HOOK_MS,
    ...given
  } = options;
  const values = completeOptions(given);
  // The answer to the longest message is never too much: in capital letters it may be three times as long.
  const maxBacklog = Math.max(values.maxBacklog, 4 * values.maxFrame);
  const own = { strictPort, bare, register, tlsTimeoutMs, tokenTouchMs, abandonedHookMs };
  const maxQueued = Math.max(values.maxQueued, 2 * maxBacklog);
  return { ...given, ...values, ...own, maxBacklog, maxQueued };
}

/** The cost of new hashes, from bytes and passes. */
export function hashCostOf(hashMemory: number, hashTime: number): NewHashCost {
  return { memoryKib: Math.floor(hashMemory / 1024), time: hashTime };
}

export type ServerSettings = ReturnType<typeof withDefaults>;
