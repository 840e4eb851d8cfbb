// Explains why a certificate is not trusted, and whether its operator, its authority or the clock must change.

import type { X509Certificate } from "node:crypto";
import { certificatesIn, timeFlaw } from "./tls.ts";

export interface Distrust {
  /** The text after "cannot trust the certificate of HOST:PORT: ". */
  why: string;
  hint: string;
}

/**
 * @param code the error code of the TLS library.
 * @param certificate the certificate that the server sent.
 * @param authorities the accepted authorities, in PEM.
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
      const clock = `check the clock of this machine (${new Date().toISOString()})`;
      const own = certificate && timeFlaw(certificate);
      if (own !== undefined)
        return { why: `it ${own}`, hint: `renew the server's certificate, and ${clock}` };
      const flaw = certificatesIn(authorities)
        .map((authority) => timeFlaw(authority))
        .find((one) => one !== undefined);
      const why =
        flaw === undefined
          ? "an intermediate certificate is not valid at this time"
          : `an authority in --tls-ca ${flaw}`;
      return { why, hint: `put a valid authority into --tls-ca, and ${clock}` };
    }
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return {
        why: `it is not valid for ${host}`,
        hint: "connect with a name from the certificate, or issue a certificate for this name",
      };
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return {
        why: "no authority in --tls-ca signed it",
        hint: "put the authority that signed it into --tls-ca, or trust the server's key with --pin",
      };
    default:
      return { why: code, hint: "put the authority that signed it into --tls-ca" };
  }
}
