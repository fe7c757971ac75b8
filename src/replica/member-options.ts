// What a member is configured with. All members and coordinators of a volume have the same `leaseMs`.

export interface MemberOptions {
  readonly volumeId: string;
  readonly replicaId: string;
  /** E3's `T`: how long a heartbeat's lease lasts by this member's clock. Default 4 000. */
  readonly leaseMs: number;
}

export const DEFAULT_LEASE_MS = 4000;
