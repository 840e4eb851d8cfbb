// Why a certificate is not believed, in words that say whose turn it is: its operator's, the authority's, or the clock's.

import type { X509Certificate } from "node:crypto";
import { certificatesIn, timeFlaw } from "./tls.ts";

export interface Distrust {
  /** After "the certificate of HOST:PORT is not to be trusted: ". */
  why: string;
  hint: string;
}

/**
 * @param code what the TLS library says.
 * @param certificate the one that was shown.
 * @param authorities PEM of those that were to vouch for it.
 */
export function explainDistrust(
  code: string,
  host: string,
  certificate: X509Certificate | undefined,
  authorities: string,
): Distrust {
  switch (code) {
    case "CERT_HAS_EXPIRED":
    case "CERT_NOT_YET_VALID": {
      const clock = `is the clock of this machine right? It says ${new Date().toISOString()}`;
      const own = certificate && timeFlaw(certificate);
      if (own !== undefined) return { why: `it ${own}`, hint: `the server needs a new one; ${clock}` };
      const flaw = certificatesIn(authorities)
        .map((authority) => timeFlaw(authority))
        .find((one) => one !== undefined);
      const why =
        flaw === undefined
          ? "an authority between it and --tls-ca is not valid at this time"
          : `an authority in --tls-ca ${flaw}`;
      return { why, hint: `--tls-ca must hold one that is valid; ${clock}` };
    }
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return {
        why: `it is not made for ${host}`,
        hint: "name the server as its certificate does, or have one made with this name",
      };
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return {
        why: "no authority in --tls-ca vouches for it",
        hint: "--tls-ca must hold the authority that signed it; a server without one is known by its key: --pin",
      };
    default:
      return { why: code, hint: "--tls-ca must hold the authority that signed it" };
  }
}
