// P5, the step that `ashlar serve` and a node of the control plane have in common: snapshots of several volumes on replicas are
// cut between two events, and taken back where not all of them came to be.
import type { ReplicatedHandle, ReplicatedSnapshot } from './replication.ts';

export interface GroupCut {
  /** Null: its volume is not served now. */
  readonly handle: ReplicatedHandle | null;
  readonly snapshot: Pick<ReplicatedSnapshot, 'id' | 'name' | 'createdMs'>;
}

/**
 * All cuts, and the requests to keep them, are made before anything else runs here: no host hears of a change in one volume and
 * makes another in the next before that is cut. Null: all of them are there; else why not, `unless` where nobody says.
 */
export async function cutTogether(
  cuts: readonly GroupCut[],
  unless: string,
): Promise<string | null> {
  const taken = cuts.map(({ handle, snapshot }) =>
    handle?.serving === true ? handle.takeSnapshotNow(snapshot) : null,
  );
  const ended = await Promise.allSettled(
    taken.map((one) => one ?? Promise.reject(new Error(unless))),
  );
  const failed = ended.find((one): one is PromiseRejectedResult => one.status === 'rejected');
  if (failed === undefined) return null;
  return String((failed.reason as Error | undefined)?.message ?? unless);
}

/**
 * Asked for whatever is known of it: a record that was under way when its coordinator began anew may be in force since. Null: it
 * is there no more; else why not now.
 */
export async function takeBack(
  handle: ReplicatedHandle | null,
  snapshotId: string,
): Promise<string | null> {
  if (handle?.serving !== true) return 'its volume is not served';
  try {
    await handle.deleteSnapshot(snapshotId);
    return null;
  } catch (error) {
    const isThere = handle.snapshots().some(({ id }) => id === snapshotId);
    return handle.serving && !isThere ? null : (error as Error).message;
  }
}
