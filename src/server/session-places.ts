// Places for sessions whose service takes descriptors for each, such as a program with its pipes. A session takes a place at its
// login, before its service starts anything; the service counts it from then on, until all that was started has ended.
//
//     login: reserve → the service is opened: free → (counted by the service) → its program has ended

import type { DescriptorUse, Service } from "../services/service.ts";

export interface SessionPlacesOptions {
  service: Service;
  /** Sessions without a connection. Their clients need a descriptor each to come back. */
  detachedCount(this: void): number;
  /** Are so many descriptors left for connections and sessions? */
  hasRoom(this: void, count: number): boolean;
}

export class SessionPlaces implements DescriptorUse {
  readonly #options: SessionPlacesOptions;
  /** Those whose login is completed or nearly so, and whose service is not opened yet. */
  readonly #reserved = new Set<object>();

  constructor(options: SessionPlacesOptions) {
    this.#options = options;
  }

  get perSession(): number {
    return this.#options.service.descriptors?.perSession ?? 0;
  }

  get taken(): number {
    return (this.#options.service.descriptors?.taken ?? 0) + this.#reserved.size * this.perSession;
  }

  /** Takes a place for the session of `connection`; false when there is none. May be called again for the same. */
  reserve(connection: object): boolean {
    const { perSession } = this;
    if (perSession === 0 || this.#reserved.has(connection)) return true;
    // One session is tried in any case, however low the limit is.
    const { hasRoom, detachedCount } = this.#options;
    if (this.taken > 0 && !hasRoom(perSession + detachedCount())) return false;
    this.#reserved.add(connection);
    return true;
  }

  /** Ends the reservation for `connection`, if there is one: the service has been opened, or will not be. */
  free(connection: object): void {
    this.#reserved.delete(connection);
  }
}
