// The iSCSI room's face to the daemon: which targets there are, who may log in, and what is going on.
import type { ScsiTarget } from '../scsi/task.ts';

export interface ChapCredentials {
  readonly user: string;
  /** Never logged, never in an error message. */
  readonly secret: string;
}

/** How initiators prove themselves, per target or for discovery. */
export interface AuthPolicy {
  /** Any of these passes; empty means AuthMethod=None is accepted. */
  readonly chap: readonly ChapCredentials[];
  /** Mutual CHAP: what the target proves itself with when the initiator asks for it. */
  readonly mutual: ChapCredentials | null;
}

/** One iSCSI target, as configured. */
export interface TargetEntry {
  /** IQN, lower case (RFC 7143 §4.2.7). */
  readonly name: string;
  readonly alias: string;
  readonly scsi: ScsiTarget;
  readonly auth: AuthPolicy;
  /** Initiator names that may log in, lower case; null: anyone. Others do not see the target in discovery. */
  readonly initiators: readonly string[] | null;
  /**
   * `offline`: logins are refused with 0301h, service unavailable (C10). `removed` targets are not in the directory.
   */
  readonly state: 'online' | 'offline';
  /**
   * Served elsewhere: `address:port` of the portal that logins are sent to (0101h, TargetAddress). An initiator follows
   * it by itself. Left out: served here.
   */
  readonly movedTo?: string;
  /** Portals of other machines that lead to the target as well, `address:port`: SendTargets names them after ours. */
  readonly otherPortals?: readonly string[];
}

export interface TargetDirectory {
  /** Name lower-cased by the caller. */
  find(name: string): TargetEntry | null;
  list(): readonly TargetEntry[];
  /** For discovery sessions. */
  readonly discoveryAuth: AuthPolicy;
}

/** What a session is, for `ashlar get sessions` and the metrics. */
export interface SessionInfo {
  readonly tsih: number;
  readonly type: 'Discovery' | 'Normal';
  readonly target: string;
  readonly initiator: string;
  /** 12 hex digits. */
  readonly isid: string;
  /** `address:port` of the initiator and of the portal it came by. */
  readonly peer: string;
  readonly portal: string;
  readonly headerDigest: 'None' | 'CRC32C';
  readonly dataDigest: 'None' | 'CRC32C';
  readonly authenticatedAs: string | null;
  /** Milliseconds of the clock. */
  readonly sinceMs: number;
  readonly commands: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly outstanding: number;
}
