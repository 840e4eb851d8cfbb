// Who may come in: the policy at accept, before a byte is read. Knows addresses and numbers, no sockets.
//
//     denied → penalised → full → too many of this address → too many pending     → a Refusal, or a guest of the house
//
// Pending is whoever has not logged in yet. Those who only sit there never keep a newcomer out: where there is no room,
// one that has been silent for a while makes way, of the source that has most of them. Where all are busy the newcomer
// is held for a moment, since a login takes less: many clients that come at once all get in. Only then is it refused:
// from half of the limit on early and at random, as sshd's MaxStartups, so that a flood cannot count on anything. A few
// places more are there for sources that somebody has logged in from before: a flood of strangers does not take them.

import { sourceOf, type Cidr } from "../base/address.ts";
import { PENDING_GRACE_MS, PENDING_HOLD_MS, type PenaltyReason } from "../base/limits.ts";
import { plural } from "../base/plural.ts";
import type { Penalties } from "./penalties.ts";

export type RefusalCode = "denied" | "penalised" | "full" | "too_many_from_address";

/** Why a peer is not let in. `retryAfter` in seconds; undefined where waiting does not help. */
export interface Refusal {
  code: RefusalCode;
  message: string;
  retryAfter: number | undefined;
}

/** When the server begins to refuse, with which chance in percent, and from when on always: sshd's start:rate:full. */
export interface PendingLimit {
  start: number;
  rate: number;
  full: number;
}

export interface AdmissionOptions {
  maxConnections: number;
  maxPending: PendingLimit;
  maxPendingPerAddress: number;
  /** Undefined: nobody is penalised. */
  penalties: Penalties | undefined;
  penaltyExempt: readonly Cidr[];
  /** When not empty, only these may come in. */
  allow: readonly Cidr[];
  /** These may not. */
  deny: readonly Cidr[];
  /** Has somebody logged in from there before? As many as `maxPending.start` of those have a place in any crowd. */
  isKnownSource?(this: void, address: string): boolean;
  /** From 0 to 1. */
  random?: () => number;
}

/** A pending connection, as admission sees it. */
export interface PendingPeer {
  readonly address: string;
  /** When it was accepted, by `performance.now`. */
  readonly since: number;
  /** Is it we who wait for it, rather than it for us? */
  isIdle(): boolean;
  /** Asks it to leave: somebody else needs the place. */
  evict(): void;
}

/** Told once: undefined when the guest may come in. */
type AdmitCallback = (refusal: Refusal | undefined) => void;

interface Waiting {
  decide: AdmitCallback;
  timer: Timer;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #pending = new Map<string, Set<PendingPeer>>();
  readonly #waiting = new Map<PendingPeer, Waiting>();
  /** Those of the pending that have one of the places for the familiar. */
  readonly #reserved = new Set<PendingPeer>();
  #pendingCount = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Connections that have not logged in. */
  get pending(): number {
    return this.#pendingCount;
  }

  /** Do failures cost this address time? */
  penalises(address: string): boolean {
    const { penalties, penaltyExempt } = this.#options;
    return penalties !== undefined && !penaltyExempt.some((network) => network.has(address));
  }

  /**
   * Lets `guest` in as pending, or says why not: at once, or after {@link PENDING_HOLD_MS} at most. A guest that leaves
   * before is not told.
   *
   * @param connections how many there are already, those being refused left out.
   */
  admit(guest: PendingPeer, connections: number, decide: AdmitCallback): void {
    const forbidden = this.#checkRules(guest, connections);
    if (forbidden !== undefined) return decide(forbidden);
    const obstacle = this.#makeRoom(guest);
    if (obstacle === undefined) {
      this.#enter(guest);
      return decide(undefined);
    }
    // Whoever waits has a socket too: half of all at most.
    if (this.#waiting.size >= this.#options.maxConnections / 2) return decide(obstacle);
    const timer = setTimeout(() => {
      this.#waiting.delete(guest);
      decide(obstacle);
    }, PENDING_HOLD_MS);
    this.#waiting.set(guest, { decide, timer });
  }

  /** No longer pending: logged in, or gone. Once is enough. */
  leave(guest: PendingPeer): void {
    const held = this.#waiting.get(guest);
    if (held !== undefined) {
      clearTimeout(held.timer);
      this.#waiting.delete(guest);
    } else if (this.#remove(guest)) {
      this.#admitWaiting();
    }
  }

  penalise(address: string, offence: PenaltyReason): void {
    if (!this.penalises(address)) return;
    this.#options.penalties?.add(sourceOf(address), offence, performance.now());
  }

  forgive(address: string): void {
    this.#options.penalties?.forgive(sourceOf(address));
  }

  #enter(guest: PendingPeer): void {
    const source = sourceOf(guest.address);
    const guests = this.#pending.get(source) ?? new Set();
    this.#pending.set(source, guests.add(guest));
    this.#pendingCount++;
  }

  #remove(guest: PendingPeer): boolean {
    const source = sourceOf(guest.address);
    const guests = this.#pending.get(source);
    if (guests?.delete(guest) !== true) return false;
    this.#pendingCount--;
    this.#reserved.delete(guest);
    if (guests.size === 0) this.#pending.delete(source);
    return true;
  }

  /** There is a place: for the one that came last, since in a flood the line is the flood's. */
  #admitWaiting(): void {
    const { maxPending, maxPendingPerAddress } = this.#options;
    if (this.#waiting.size === 0) return;
    for (const [guest, { decide, timer }] of [...this.#waiting].reverse()) {
      const own = this.#pending.get(sourceOf(guest.address))?.size ?? 0;
      if (own >= maxPendingPerAddress) continue;
      const penalty = this.#penalty(guest.address, performance.now());
      if (penalty !== undefined) {
        clearTimeout(timer);
        this.#waiting.delete(guest);
        decide(penalty);
        continue;
      }
      if (this.#unreserved >= maxPending.full && !this.#reserve(guest)) continue;
      clearTimeout(timer);
      this.#waiting.delete(guest);
      this.#enter(guest);
      return decide(undefined);
    }
  }

  #checkRules({ address, since }: PendingPeer, connections: number): Refusal | undefined {
    const { allow, deny, maxConnections } = this.#options;
    if (
      deny.some((network) => network.has(address)) ||
      (allow.length > 0 && !allow.some((network) => network.has(address)))
    ) {
      return {
        code: "denied",
        message: `connections from ${address} are not accepted`,
        retryAfter: undefined,
      };
    }
    const penalty = this.#penalty(address, since);
    if (penalty !== undefined) return penalty;
    if (connections < maxConnections) return undefined;
    const message = `the server has its ${plural(maxConnections, "connection")}: try again later`;
    return { code: "full", message, retryAfter: 5 };
  }

  #penalty(address: string, now: number): Refusal | undefined {
    if (!this.penalises(address)) return undefined;
    const left = this.#options.penalties?.remaining(sourceOf(address), now);
    if (left === undefined) return undefined;
    const retryAfter = Math.ceil(left / 1000);
    const message = `too much went wrong from ${address}: try again in ${retryAfter} s`;
    return { code: "penalised", message, retryAfter };
  }

  #makeRoom(guest: PendingPeer): Refusal | undefined {
    const { maxPendingPerAddress } = this.#options;
    const own = this.#pending.get(sourceOf(guest.address)) ?? new Set();
    if (own.size >= maxPendingPerAddress && !this.#evict(own, guest.since)) {
      const message = `${plural(own.size, "connection")} from ${guest.address} ${own.size === 1 ? "has" : "have"} not logged in yet: try again in a moment`;
      return { code: "too_many_from_address", message, retryAfter: 1 };
    }
    if (!this.#dropEarly() || this.#reserve(guest) || this.#evictAnywhere(guest.since)) return undefined;
    const message = `${plural(this.#pendingCount, "connection", ["has", "have"])} not logged in yet: try again in a moment`;
    return { code: "full", message, retryAfter: 1 };
  }

  /** Gives `guest` one of the places for the familiar, if it is and there is one. */
  #reserve(guest: PendingPeer): boolean {
    const { isKnownSource: isFamiliar, maxPending } = this.#options;
    if (isFamiliar?.(guest.address) !== true || this.#reserved.size >= maxPending.start) return false;
    this.#reserved.add(guest);
    return true;
  }

  /** Pending, those in reserved places left out. */
  get #unreserved(): number {
    return this.#pendingCount - this.#reserved.size;
  }

  /** sshd's rule: from `start` on with chance `rate`, rising to certainty at `full`. */
  #dropEarly(): boolean {
    const { start, rate, full } = this.#options.maxPending;
    const count = this.#unreserved;
    if (count < start) return false;
    if (count >= full) return true;
    const chance = (rate + ((100 - rate) * (count - start)) / (full - start)) / 100;
    return (this.#options.random ?? Math.random)() < chance;
  }

  /** Makes one leave of the source that has most who could; a reserved place would be no room for anybody else. */
  #evictAnywhere(now: number): boolean {
    const bySize = [...this.#pending.values()].sort((a, b) => b.size - a.size);
    const isOfCrowd = (guest: PendingPeer) => !this.#reserved.has(guest);
    return bySize.some((guests) => this.#evict([...guests].filter(isOfCrowd), now));
  }

  /** Makes the one leave that has been here longest and says nothing. */
  #evict(guests: Iterable<PendingPeer>, now: number): boolean {
    for (const guest of guests) {
      if (now - guest.since < PENDING_GRACE_MS || !guest.isIdle()) continue;
      this.#remove(guest);
      guest.evict();
      return true;
    }
    return false;
  }
}
