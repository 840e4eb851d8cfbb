// Which connections are admitted: the policy at accept, before a byte is read. Knows addresses and numbers, no sockets.
//
//     denied → penalised → full → too many of this address → too many pending     → refuse or admit
//
// A connection is pending until it has logged in. Where there is no room for another one, a pending one that has been silent
// for a while is evicted, of the source that has most of them. Where all are busy the new one waits for a moment, since a
// login takes less: many clients that connect at once are all admitted. Only then is it refused: from half of the limit on at
// random, as with sshd's MaxStartups, so that a flood cannot predict it. Sources with an earlier login have some places of
// their own, which a flood from other sources cannot fill.
//
// A pending one whose answer is delayed has no place meanwhile, so that wrong logins do not fill the places. Where one is
// refused that might have a token or a session, it may get a place to prove that: few in all, fewer of one source.

import { isLoopback, sourceOf, type Cidr } from "../base/address.ts";
import {
  FULL_RETRY_SECONDS,
  MAX_PROVING,
  MAX_PROVING_PER_ADDRESS,
  PENDING_GRACE_MS,
  PENDING_HOLD_MS,
  type PenaltyReason,
} from "../base/limits.ts";
import { plural } from "../base/plural.ts";
import { LOOPBACK_PENALTIES, type Penalties } from "./penalties.ts";

export type RefusalCode = "denied" | "penalised" | "full" | "too_many_from_address";

/** Why a peer is refused. `retryAfter` in seconds; undefined where waiting does not help. */
export interface Refusal {
  code: RefusalCode;
  message: string;
  retryAfter: number | undefined;
  /** It has a place to prove that it has a token or a session; then it is not refused. */
  mayProve?: boolean;
}

/**
 * From `start` pending connections on another one is refused with a chance of `rate` percent, which rises to certainty at
 * `full`: sshd's MaxStartups.
 */
export interface PendingLimit {
  start: number;
  rate: number;
  full: number;
}

export interface AdmissionOptions {
  maxConnections: number;
  maxPending: PendingLimit;
  maxPendingPerAddress: number;
  /** Undefined: failures have no penalty. */
  penalties: Penalties | undefined;
  penaltyExempt: readonly Cidr[];
  /** When not empty, only these are admitted. */
  allow: readonly Cidr[];
  /** These are never admitted. */
  deny: readonly Cidr[];
  /** Is a descriptor left for one more? Sessions take some, too. */
  hasRoom?(this: void): boolean;
  /** Was there a login from that address before? `maxPending.start` places are for such sources alone. */
  isKnownSource?(this: void, address: string): boolean;
  /** Are there logins with a proof, so that {@link Refusal.mayProve} makes sense? */
  takesProofs?: boolean;
  /** A number from 0 to 1, as Math.random, which is the default. */
  random?: () => number;
}

/** A pending connection, as admission sees it. */
export interface PendingPeer {
  readonly address: string;
  /** When it was accepted, by `performance.now`. */
  readonly since: number;
  /** True while the server waits for what the peer sends next; then it may be evicted. */
  isIdle(): boolean;
  /** Closes it: another one needs its place. */
  evict(): void;
}

/** Called once: with undefined when the peer is admitted. */
type AdmitCallback = (refusal: Refusal | undefined) => void;

interface Waiting {
  decide: AdmitCallback;
  timer: Timer;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #pending = new Map<string, Set<PendingPeer>>();
  readonly #waiting = new Map<PendingPeer, Waiting>();
  /** Pending ones in the places for known sources. */
  readonly #reserved = new Set<PendingPeer>();
  /** Pending ones whose answer is delayed, without a place. */
  readonly #delayed = new Set<PendingPeer>();
  /** Those with {@link Refusal.mayProve}, the oldest first. */
  readonly #proving = new Set<PendingPeer>();
  /** Pending ones, with a place or delayed. */
  #pendingCount = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Connections that have not logged in. */
  get pending(): number {
    return this.#pendingCount + this.#proving.size;
  }

  /** Do failures of this address have penalties? */
  penalises(address: string): boolean {
    const { penalties, penaltyExempt } = this.#options;
    return penalties !== undefined && !penaltyExempt.some((network) => network.has(address));
  }

  /**
   * Admits `peer` as pending, or refuses it: at once, or after {@link PENDING_HOLD_MS} at most. `decide` is not called for
   * one that leaves before that.
   *
   * @param connections how many there are already, without those that are refused.
   */
  admit(peer: PendingPeer, connections: number, decide: AdmitCallback): void {
    const { maxConnections } = this.#options;
    const denied = this.#denied(peer.address);
    if (denied !== undefined) return decide(denied);
    const full = this.#full(connections);
    const penalty = this.#penalty(peer.address, peer.since);
    if (penalty !== undefined)
      return decide(full === undefined ? this.#offerProof(peer, penalty, peer.since) : penalty);
    if (full !== undefined) return decide(full);
    const obstacle = this.#makeRoom(peer, peer.since);
    if (obstacle === undefined) {
      this.#enter(peer);
      return decide(undefined);
    }
    // Each one that waits has a socket, too: they may be half of all.
    if (this.#waiting.size >= maxConnections / 2) return decide(obstacle);
    const timer = setTimeout(() => {
      this.#waiting.delete(peer);
      decide(this.#offerProof(peer, obstacle, performance.now()));
    }, PENDING_HOLD_MS);
    this.#waiting.set(peer, { decide, timer });
  }

  /** `peer` is not pending any more: it has logged in, or is closed. May be called again. */
  leave(peer: PendingPeer): void {
    const held = this.#waiting.get(peer);
    if (held !== undefined) {
      clearTimeout(held.timer);
      this.#waiting.delete(peer);
    } else if (!this.#proving.delete(peer) && this.#remove(peer)) {
      this.#admitWaiting();
    }
  }

  /**
   * Gives the place of `peer` to others while its answer is delayed; it still counts for its source. False when too many are
   * delayed already; then it keeps its place.
   */
  suspend(peer: PendingPeer): boolean {
    if (this.#proving.has(peer)) return true; // in a place that others do not need
    if (this.#delayed.size >= this.#options.maxPending.full) return false;
    this.#delayed.add(peer);
    this.#reserved.delete(peer);
    this.#admitWaiting();
    return true;
  }

  /** Gives a delayed `peer` a place again, as a new one would get it; false when there is none: then it is not pending. */
  restore(peer: PendingPeer): boolean {
    if (!this.#delayed.has(peer)) return true;
    this.#remove(peer);
    if (this.#makeRoom(peer, performance.now()) !== undefined) return false;
    this.#enter(peer);
    return true;
  }

  penalise(address: string, offence: PenaltyReason): void {
    if (!this.penalises(address)) return;
    // Everybody on this machine, and behind a proxy on it, has that address: it is no person's.
    const rule = isLoopback(address) ? LOOPBACK_PENALTIES : undefined;
    this.#options.penalties?.add(sourceOf(address), offence, performance.now(), rule);
  }

  forgive(address: string): void {
    this.#options.penalties?.forgive(sourceOf(address));
  }

  #enter(peer: PendingPeer): void {
    const source = sourceOf(peer.address);
    const peers = this.#pending.get(source) ?? new Set();
    this.#pending.set(source, peers.add(peer));
    this.#pendingCount++;
  }

  #remove(peer: PendingPeer): boolean {
    const source = sourceOf(peer.address);
    const peers = this.#pending.get(source);
    if (peers?.delete(peer) !== true) return false;
    this.#pendingCount--;
    this.#reserved.delete(peer);
    this.#delayed.delete(peer);
    if (peers.size === 0) this.#pending.delete(source);
    return true;
  }

  /** Gives a free place to one that waits, the newest first: in a flood the oldest ones are the flood's. */
  #admitWaiting(): void {
    const { maxPending, maxPendingPerAddress } = this.#options;
    if (this.#waiting.size === 0) return;
    for (const [peer, { decide, timer }] of [...this.#waiting].reverse()) {
      const own = this.#pending.get(sourceOf(peer.address))?.size ?? 0;
      if (own >= maxPendingPerAddress) continue;
      const penalty = this.#penalty(peer.address, performance.now());
      if (penalty !== undefined) {
        clearTimeout(timer);
        this.#waiting.delete(peer);
        decide(this.#offerProof(peer, penalty, performance.now()));
        continue;
      }
      if (this.#unreserved >= maxPending.full && !this.#reserve(peer)) continue;
      clearTimeout(timer);
      this.#waiting.delete(peer);
      this.#enter(peer);
      return decide(undefined);
    }
  }

  #full(connections: number): Refusal | undefined {
    const { maxConnections, hasRoom } = this.#options;
    const isCrowded = connections >= maxConnections;
    if (!isCrowded && hasRoom?.() !== false) return undefined;
    const have = isCrowded ? `is full (${plural(maxConnections, "connection")})` : "is full";
    return { code: "full", message: `the server ${have}: try again later`, retryAfter: FULL_RETRY_SECONDS };
  }

  #denied(address: string): Refusal | undefined {
    const { allow, deny } = this.#options;
    const isAllowed = allow.length === 0 || allow.some((network) => network.has(address));
    if (isAllowed && !deny.some((network) => network.has(address))) return undefined;
    const message = `connections from ${address} are not accepted`;
    return { code: "denied", message, retryAfter: undefined };
  }

  #penalty(address: string, now: number): Refusal | undefined {
    if (!this.penalises(address)) return undefined;
    const left = this.#options.penalties?.remaining(sourceOf(address), now);
    if (left === undefined) return undefined;
    const retryAfter = Math.ceil(left / 1000);
    const message = `too many failed connections from ${address}: try again in ${retryAfter} s`;
    return { code: "penalised", message, retryAfter };
  }

  /** `refusal`, with a place to prove a token or a session where there is one. */
  #offerProof(peer: PendingPeer, refusal: Refusal, now: number): Refusal {
    if (this.#options.takesProofs !== true) return refusal;
    const source = sourceOf(peer.address);
    const own = [...this.#proving].filter(({ address }) => sourceOf(address) === source);
    if (own.length >= MAX_PROVING_PER_ADDRESS && !this.#evict(own, now)) return refusal;
    if (this.#proving.size >= MAX_PROVING && !this.#evict(this.#proving, now)) return refusal;
    this.#proving.add(peer);
    return { ...refusal, mayProve: true };
  }

  #makeRoom(peer: PendingPeer, now: number): Refusal | undefined {
    const { maxPendingPerAddress } = this.#options;
    const own = this.#pending.get(sourceOf(peer.address)) ?? new Set();
    if (own.size >= maxPendingPerAddress && !this.#evict(own, now)) {
      const message = `too many connections from ${peer.address} without a login (${own.size}): try again in a moment`;
      return { code: "too_many_from_address", message, retryAfter: 1 };
    }
    if (!this.#dropEarly() || this.#reserve(peer) || this.#evictAnywhere(now)) return undefined;
    const message = `too many connections without a login (${this.#pendingCount}): try again in a moment`;
    return { code: "full", message, retryAfter: 1 };
  }

  /** Gives `peer` one of the places for known sources, if its source is known and there is one. */
  #reserve(peer: PendingPeer): boolean {
    const { isKnownSource, maxPending } = this.#options;
    if (isKnownSource?.(peer.address) !== true || this.#reserved.size >= maxPending.start) return false;
    this.#reserved.add(peer);
    return true;
  }

  /** Pending, those in reserved places or without one left out. */
  get #unreserved(): number {
    return this.#pendingCount - this.#reserved.size - this.#delayed.size;
  }

  /** Is it time to refuse another one? See {@link PendingLimit}. */
  #dropEarly(): boolean {
    const { start, rate, full } = this.#options.maxPending;
    const count = this.#unreserved;
    if (count < start) return false;
    if (count >= full) return true;
    const chance = (rate + ((100 - rate) * (count - start)) / (full - start)) / 100;
    return (this.#options.random ?? Math.random)() < chance;
  }

  /** Evicts one of the source with most pending ones. One in a reserved place would make no room for others. */
  #evictAnywhere(now: number): boolean {
    const bySize = [...this.#pending.values()].sort((a, b) => b.size - a.size);
    const isUnreserved = (peer: PendingPeer) => !this.#reserved.has(peer);
    return bySize.some((peers) => this.#evict([...peers].filter(isUnreserved), now));
  }

  /**
   * Evicts the oldest idle one. It frees its place at once, and is closed within LINGER_MS: until then its socket counts
   * among the rejected ones.
   */
  #evict(peers: Iterable<PendingPeer>, now: number): boolean {
    for (const peer of peers) {
      if (now - peer.since < PENDING_GRACE_MS || !peer.isIdle()) continue;
      if (!this.#proving.delete(peer)) this.#remove(peer);
      peer.evict();
      return true;
    }
    return false;
  }
}
