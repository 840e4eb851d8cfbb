// One client's share is one share, against the executable as it is by default: what holds on any machine. How fast it is then,
// scripts/attack.ts tells.

import { expect, test } from "bun:test";
import { LOOPBACK_PENALTY_MAX_MS } from "../../src/base/limits.ts";
import { burst } from "../support/attack/burst.ts";
import { health } from "../support/attack/health.ts";
import { ownLogins } from "../support/attack/own-logins.ts";
import { valueOf } from "../support/attack/target.ts";
import { wrongTokens } from "../support/attack/wrong-tokens.ts";

const TIMEOUT_MS = 80_000;

test(
  "logins in a loop with a right password keep no stranger from a hash",
  async () => {
    expect(valueOf(await ownLogins(2), "… longest")).toBeLessThan(TIMEOUT_MS);
  },
  TIMEOUT_MS,
);

test(
  "wrong tokens from eight addresses refuse no other login",
  async () => {
    expect(valueOf(await wrongTokens(12), "of 24 logins, refused")).toBe(0);
  },
  TIMEOUT_MS,
);

test(
  "a burst of garbage from this machine keeps its users out for seconds at most, and a token not at all",
  async () => {
    const figures = await burst();
    expect(valueOf(figures, "a token gets in after")).toBeLessThan(LOOPBACK_PENALTY_MAX_MS);
    // The penalty, the last error's delay, and the login.
    expect(valueOf(figures, "a password gets in after")).toBeLessThan(3 * LOOPBACK_PENALTY_MAX_MS);
  },
  TIMEOUT_MS,
);

test(
  "a thousand silent connections do not keep health checks away",
  async () => {
    expect(valueOf(await health(), "health, longest")).toBeLessThan(TIMEOUT_MS); // each was answered at its first try
  },
  TIMEOUT_MS,
);
