// Decides at accept which connections are admitted, before a byte is read. It uses addresses and numbers, and no sockets.
//
//     denied → penalised → full → too many of this address → too many pending     → refuse or admit
//
// A connection is pending until it has logged in. When there is no room for a new connection, a silent pending connection of the
// source with the most of them is evicted. When none is silent, the new connection waits for a moment, since a login takes less:
// so many clients that connect at once are all admitted. Then it is refused, from half of the limit on at random, as with sshd's
// MaxStartups, so that a flood cannot predict the decision. Some places are reserved for sources with an earlier login, so that a
// flood from other sources cannot take them.
//
// A pending connection gives up its place while its answer is delayed, so that wrong logins do not fill the places. A refused
// connection may get one of a few other places, where it can log in with a token or resume a session.

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
  /** True when the peer may still log in with a token or resume a session. */
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
  /** True when there is a descriptor for another connection. Sessions use descriptors, too. */
  hasRoom?(this: void): boolean;
  /** True for an address with an earlier login. `maxPending.start` places are reserved for such sources. */
  isKnownSource?(this: void, address: string): boolean;
  /** True when the server accepts tokens or resumes sessions, so that {@link Refusal.mayProve} makes sense. */
  takesProofs?: boolean;
  /** A number from 0 to 1, as Math.random, which is the default. */
  random?: () => number;
}

/** A pending connection, as admission sees it. */
export interface PendingPeer {
  readonly address: string;
  /** When it was accepted, by `performance.now`. */
  readonly since: number;
  /** True while the server waits for a message of the peer; then it may be evicted. */
  isIdle(): boolean;
  /** Closes the connection, since another one needs its place. */
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
  /** Pending peers in the places for known sources. */
  readonly #reserved = new Set<PendingPeer>();
  /** Pending peers without a place, whose answer is delayed. */
  readonly #delayed = new Set<PendingPeer>();
  /** Peers with {@link Refusal.mayProve}, the oldest first. */
  readonly #proving = new Set<PendingPeer>();
  /** The number of pending peers, with a place or delayed. */
  #pendingCount = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Connections that have not logged in. */
  get pending(): number {
    return this.#pendingCount + this.#proving.size;
  }

  /** True when failures of this address have penalties. */
  penalises(address: string): boolean {
    const { penalties, penaltyExempt } = this.#options;
    return penalties !== undefined && !penaltyExempt.some((network) => network.has(address));
  }

  /**
   * Admits `peer` as pending, or refuses it: at once, or after {@link PENDING_HOLD_MS} at most. `decide` is not called for
   * a peer that leaves before that.
   *
   * @param connections the number of connections, without the refused ones.
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
    // Each waiting peer has a socket, too. They may be half of all connections.
    if (this.#waiting.size >= maxConnections / 2) return decide(obstacle);
    const timer = setTimeout(() => {
      this.#waiting.delete(peer);
      decide(this.#offerProof(peer, obstacle, performance.now()));
    }, PENDING_HOLD_MS);
    this.#waiting.set(peer, { decide, timer });
  }

  /** Removes `peer`, which has logged in or is closed. May be called again. */
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
   * Gives the place of `peer` to others while its answer is delayed; the peer still counts for its source. False when too many
   * peers are delayed already; then it keeps its place.
   */
  suspend(peer: PendingPeer): boolean {
    if (this.#proving.has(peer)) return true; // in a place that no other peer can have
    if (this.#delayed.size >= this.#options.maxPending.full) return false;
    this.#delayed.add(peer);
    this.#reserved.delete(peer);
    this.#admitWaiting();
    return true;
  }

  /** Gives a delayed `peer` a place again, by the rules for a new one. False without a place; then it is no longer pending. */
  restore(peer: PendingPeer): boolean {
    if (!this.#delayed.has(peer)) return true;
    this.#remove(peer);
    if (this.#makeRoom(peer, performance.now()) !== undefined) return false;
    this.#enter(peer);
    return true;
  }

  penalise(address: string, offence: PenaltyReason): void {
    if (!this.penalises(address)) return;
    // All users of this machine, and all clients of a proxy on it, have that address.
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

  /** Gives a free place to a waiting peer, the newest first, since the oldest ones of a flood belong to the flood. */
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

  /** `refusal`, with a place for a token or a session if there is one. */
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

  /** Gives `peer` a place for known sources, if its source is known and a place is free. */
  #reserve(peer: PendingPeer): boolean {
    const { isKnownSource, maxPending } = this.#options;
    if (isKnownSource?.(peer.address) !== true || this.#reserved.size >= maxPending.start) return false;
    this.#reserved.add(peer);
    return true;
  }

  /** The number of pending peers in unreserved places. */
  get #unreserved(): number {
    return this.#pendingCount - this.#reserved.size - this.#delayed.size;
  }

  /** True when the next peer is to be refused: see {@link PendingLimit}. */
  #dropEarly(): boolean {
    const { start, rate, full } = this.#options.maxPending;
    const count = this.#unreserved;
    if (count < start) return false;
    if (count >= full) return true;
    const chance = (rate + ((100 - rate) * (count - start)) / (full - start)) / 100;
    return (this.#options.random ?? Math.random)() < chance;
  }

  /** Evicts a peer of the source with most pending peers. A peer in a reserved place would make no room for others. */
  #evictAnywhere(now: number): boolean {
    const bySize = [...this.#pending.values()].sort((a, b) => b.size - a.size);
    const isUnreserved = (peer: PendingPeer) => !this.#reserved.has(peer);
    return bySize.some((peers) => this.#evict([...peers].filter(isUnreserved), now));
  }

  /**
   * Evicts the oldest idle peer. Its place is free at once. Its socket is closed within LINGER_MS, and counts among the rejected
   * connections until then.
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
