// What holds for a volume: its own words and its VolumePolicy's, and the secret that they name, in the words of who exports it
// and of what holds its operations back.
import type { WantedVolume } from '../../control/index.ts';
import type { Catalog } from '../../controllers/index.ts';
import {
  blockSizeOf,
  CHAP_KEYS,
  quantityBytes,
  SECRET,
  VOLUME_POLICY,
  type Volume as VolumeObject,
  type VolumePolicySpec,
} from '../../kinds/index.ts';
import type { VolumeTuning } from '../../store/index.ts';
import type { VolumeLimits } from '../../volume/index.ts';

/** Told in the volume's condition, and tried again. */
export class CannotServe extends Error {
  override readonly name = 'CannotServe';
}

/** What holds for it: what the volume says itself wins over the policy that it follows. */
export function policyOf(catalog: Catalog, { spec }: VolumeObject): VolumePolicySpec {
  const named = spec.policy;
  const policy = named === undefined ? null : (catalog.get(VOLUME_POLICY, named)?.spec ?? null);
  return {
    ...policy,
    ...spec,
    limits: { ...policy?.limits, ...spec.limits },
    timeouts: { ...policy?.timeouts, ...spec.timeouts },
  };
}

/** In the words of the exporter. Throws CannotServe. */
export function wantedOf(
  catalog: Catalog,
  object: VolumeObject,
  policy: VolumePolicySpec,
): WantedVolume {
  const { name, uid, resourceVersion, creationTimestamp } = object.metadata;
  const secret = secretOf(catalog, policy);
  const text = (key: string): string | null => {
    const encoded = secret?.[key];
    return encoded === undefined ? null : Buffer.from(encoded, 'base64').toString('utf8');
  };
  const account = (user: string, password: string) => {
    const [name, secretText] = [text(user), text(password)];
    return name === null || secretText === null ? null : { user: name, secret: secretText };
  };
  const chap = account(CHAP_KEYS.user, CHAP_KEYS.secret);
  if (secret !== null && chap === null) {
    throw new CannotServe(`its CHAP secret lacks ${CHAP_KEYS.user} or ${CHAP_KEYS.secret}`);
  }
  return {
    metadata: { name, uid, resourceVersion, generation: 1, creationTimestamp },
    size: String(object.spec.size),
    sizeBytes: quantityBytes(object.spec.size) ?? 0,
    blockSize: blockSizeOf(object.spec),
    writeCache: null,
    initiators: (policy.initiators ?? []).map((initiator) => initiator.toLowerCase()),
    chap,
    mutualChap: account(CHAP_KEYS.mutualUser, CHAP_KEYS.mutualSecret),
    limits: null,
    replicas: [],
  };
}

function secretOf(
  catalog: Catalog,
  { chapSecret }: VolumePolicySpec,
): Record<string, string> | null {
  if (chapSecret === undefined) return null;
  const { name, namespace = 'default' } = chapSecret;
  const secret = catalog.get(SECRET, `${namespace}/${name}`);
  // Without its secret it must not be open to everybody.
  if (secret === null) throw new CannotServe(`secret "${namespace}/${name}" for CHAP not found`);
  return secret.data ?? {};
}

/** In the words of the store that has a replica of it. */
export function tuningOf({ cacheSize, ioWorkers = 0 }: VolumePolicySpec): VolumeTuning {
  return { cacheBytes: quantityBytes(cacheSize), ioWorkers };
}

export function limitsOf({ limits }: VolumePolicySpec): VolumeLimits {
  return {
    iops: limits?.iops ?? null,
    iopsBurst: limits?.iopsBurst ?? null,
    bytesPerSecond: quantityBytes(limits?.bandwidth),
    burstBytes: quantityBytes(limits?.bandwidthBurst),
    queueDepth: limits?.queueDepth ?? null,
  };
}
