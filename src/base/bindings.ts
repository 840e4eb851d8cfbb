// Channel bindings: the values that tie a proof to one TLS channel, or to the certificate of its server.

/** The preferred one first. RFC 9266 defines `tls-exporter`; `tls-server-end-point` is after RFC 5929. */
export const BINDING_NAMES = ["tls-exporter", "tls-server-end-point"] as const;
export type BindingName = (typeof BINDING_NAMES)[number];

/** The bindings that are accepted on one connection, each with its 32 bytes; none on plain TCP. */
export type Bindings = ReadonlyMap<BindingName, Uint8Array>;

/** The binding of one proof. */
export interface Binding {
  name: BindingName;
  /** Empty on plain TCP. */
  value: Uint8Array;
}

/** The binding of this client's proofs: the exporter, or nothing on plain TCP. */
export function exporterIn(bindings: Bindings): Uint8Array {
  return bindings.get("tls-exporter") ?? NOTHING;
}

const NOTHING = new Uint8Array(0);
