// Signs the list of hashes, and so all that is in it, with a key of ssh or of minisign.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SUMS } from "./sums.ts";

/** What the signature is for, as `ssh-keygen -Y verify -n` wants to know. */
export const NAMESPACE = "parley-release";

/**
 * Writes SHA256SUMS.sig, or SHA256SUMS.minisig for a key of minisign. The tool asks for the passphrase if there is one.
 *
 * @param key a private key; or a public key of ssh whose private one is in the agent.
 */
export function sign(folder: string, key: string, version: string): string {
  const sums = join(folder, SUMS);
  const isMinisign = readFileSync(key, "utf8").startsWith("untrusted comment: ");
  const argv = isMinisign
    ? ["minisign", "-S", "-s", key, "-m", sums, "-x", `${sums}.minisig`, "-t", `parley ${version}`]
    : ["ssh-keygen", "-Y", "sign", "-f", key, "-n", NAMESPACE, sums];
  const { exitCode } = Bun.spawnSync(argv, { stdio: ["inherit", "inherit", "inherit"] });
  if (exitCode !== 0) throw new Error(`${argv[0]} ended with ${exitCode}`);
  return isMinisign ? `${SUMS}.minisig` : `${SUMS}.sig`;
}
