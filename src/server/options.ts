// What a server can be told, and what it does when it is not.

import type { Cidr } from "../base/address.ts";
import type { AuthMode } from "../auth/identity.ts";
import type { SharedKey } from "../auth/shared-key.ts";
import type { NewHashCost } from "../auth/password.ts";
import type { Store } from "../auth/store.ts";
import {
  FRAME_TIMEOUT_MS,
  KEEPALIVE_MS,
  ABANDONED_HOOK_MS,
  LOG_BURST,
  LOGIN_TIMEOUT_MS,
  MAX_ATTEMPTS,
  MAX_BACKLOG_BYTES,
  MAX_CONNECTIONS,
  MAX_FRAME_BYTES,
  MAX_PENDING,
  MAX_PENDING_PER_ADDRESS,
  MAX_PER_USER,
  RESUME_FOR_MS,
  TOKEN_TOUCH_MS,
} from "../base/limits.ts";
import type { Logger } from "../log/log.ts";
import type { PendingLimit } from "../net/admission.ts";
import type { TlsIdentity } from "../net/tls.ts";
import type { Service } from "../services/service.ts";

export interface ServerOptions {
  host: string;
  port: number;
  strictPort?: boolean;
  /** A descriptor that listens already, there. */
  fd?: number;
  auth: AuthMode;
  /** Frames only: no hello, no login, no control frames. */
  bare?: boolean;
  register?: boolean;
  service: Service;
  /** The service's name in `hello`. */
  serviceName: string;
  /** Needed for every mode but `none` and bare. */
  store?: Store;
  log: Logger;
  /** Told when a session begins, ends, is lost or resumed. */
  sessionsChanged?: () => void;
  /** Told what a person at the server's terminal should see at once. */
  tell?: (...lines: string[]) => void;
  /** What the server shows who speaks TLS; undefined: plain text. */
  tls?: TlsIdentity;
  /** What clients must prove before they log in. */
  key?: SharedKey;
  maxFrame?: number;
  maxConnections?: number;
  maxPending?: PendingLimit;
  maxPendingPerAddress?: number;
  /** Conversations of one user at once. */
  maxPerUser?: number;
  maxBacklog?: number;
  maxAttempts?: number;
  minPassword?: number;
  tlsTimeoutMs?: number;
  loginTimeoutMs?: number;
  frameTimeoutMs?: number;
  keepaliveMs?: number;
  /** How long the session of a lost connection is kept; 0: not at all. */
  resumeForMs?: number;
  /** How often it is written down that the tokens of conversations are in use. */
  tokenTouchMs?: number;
  /** For so long a hook is waited for whose client is gone. */
  abandonedHookMs?: number;
  /** Do failures cost their source time? On, unless false. */
  penalties?: boolean;
  penaltyExempt?: readonly Cidr[];
  /** When not empty: nobody else may connect. */
  allow?: readonly Cidr[];
  deny?: readonly Cidr[];
  /** Conversations in which nothing was received for so long end; undefined: never. */
  idleTimeoutMs?: number;
  hashCost?: NewHashCost;
  /** Equal refusals that are logged one by one in a minute; the others are summed up. */
  logBurst?: number;
}

const NOBODY: readonly Cidr[] = [];

/** `options` with what goes without saying. */
export function withDefaults(options: ServerOptions) {
  const {
    bare = false,
    maxFrame = MAX_FRAME_BYTES,
    maxConnections = MAX_CONNECTIONS,
    maxPending = MAX_PENDING,
    maxPendingPerAddress = MAX_PENDING_PER_ADDRESS,
    maxPerUser = MAX_PER_USER,
    maxBacklog = MAX_BACKLOG_BYTES,
    maxAttempts = MAX_ATTEMPTS,
    loginTimeoutMs = LOGIN_TIMEOUT_MS,
    frameTimeoutMs = FRAME_TIMEOUT_MS,
    keepaliveMs = KEEPALIVE_MS,
    resumeForMs = RESUME_FOR_MS,
    abandonedHookMs: leftHookMs = ABANDONED_HOOK_MS,
    tokenTouchMs = TOKEN_TOUCH_MS,
    penalties = true,
    penaltyExempt = NOBODY,
    allow = NOBODY,
    deny = NOBODY,
    logBurst = LOG_BURST,
    ...given
  } = options;
  const limits = {
    maxFrame,
    maxConnections,
    maxPending,
    maxPendingPerAddress,
    maxPerUser,
    // The answer to the longest message is never too much: in capital letters it may be three times as long.
    maxBacklog: Math.max(maxBacklog, 4 * maxFrame),
    maxAttempts,
  };
  const times = { loginTimeoutMs, frameTimeoutMs, keepaliveMs, resumeForMs, leftHookMs, tokenTouchMs };
  const sources = { penalties, penaltyExempt, allow, deny };
  return { ...given, ...limits, ...times, ...sources, bare, logBurst };
}

export type ServerSettings = ReturnType<typeof withDefaults>;
