// Reads a header of PROXY protocol v2, as section 2.2 of its specification has it.

export interface ProxyHeader {
  family: "TCP4" | "TCP6" | "UNSPEC";
  source?: string;
  sourcePort?: number;
  destination?: string;
  destinationPort?: number;
  entries: { type: number; value: string }[];
  /** Bytes of the whole header. */
  length: number;
}

const SIGNATURE = "0d0a0d0a000d0a515549540a";

/** The header at the beginning of `bytes`; undefined while it is not whole. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < 16) return undefined;
  if (bytes.toString("hex", 0, 12) !== SIGNATURE) throw new Error(`no signature: ${bytes.toString("hex")}`);
  if (bytes[12] !== 0x21) throw new Error("not version 2, command PROXY");
  const length = 16 + bytes.readUInt16BE(14);
  if (bytes.length < length) return undefined;
  const body = bytes.subarray(16, length);
  const [family, size, show] = FAMILIES[bytes[13] ?? 0] ?? [];
  if (family === undefined || size === undefined || show === undefined) throw new Error("unknown family");
  const header: ProxyHeader = { family, entries: [], length };
  if (size > 0) {
    header.source = show(body.subarray(0, size));
    header.destination = show(body.subarray(size, 2 * size));
    header.sourcePort = body.readUInt16BE(2 * size);
    header.destinationPort = body.readUInt16BE(2 * size + 2);
  }
  for (let at = size === 0 ? 0 : 2 * size + 4; at < body.length;) {
    const end = at + 3 + body.readUInt16BE(at + 1);
    header.entries.push({ type: body.readUInt8(at), value: body.toString("utf8", at + 3, end) });
    at = end;
  }
  return header;
}

const FAMILIES: Record<number, [ProxyHeader["family"], number, (address: Buffer) => string]> = {
  0x00: ["UNSPEC", 0, () => ""],
  0x11: ["TCP4", 4, (address) => address.join(".")],
  0x21: [
    "TCP6",
    16,
    (address) => Array.from({ length: 8 }, (_, at) => address.readUInt16BE(2 * at).toString(16)).join(":"),
  ],
};
