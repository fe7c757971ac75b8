// The rule switches of T5. In production every rule is on; the simulator switches one off and must then find a violation.
// The names begin with the number of the rule in docs/consistency.md. A rule is looked up as a plain property.

const RULE_NAMES = [
  'C8_underWayFails',
  'C9_fuaByRecord',
  'E1_epochInVersion',
  'E2_fence',
  'E2_promiseDurable',
  'E2_promiseDrains',
  'E3_leaseRefusesPromises',
  'E3_majorityAtArrival',
  'E3_memberChecks',
  'E3_countFromSend',
  'E4_silenceAfterRestart',
  'E5_deposedIsSilent',
  'E5_acksUnderLease',
  'E6_storeId',
  'E7_openId',
  'R1_applyBefore',
  'R1_flushBefore',
  'R2_countedFirst',
  'R2_allCounted',
  'R3_acksStop',
  'R4_highestRecord',
  'R5_joint',
  'R6_newcomerIsStale',
  'W1_admission',
  'W2_higherOnly',
  'W3_joinersAfterCommit',
  'W3_oneInSync',
  'W3_quorum',
  'W4_recordBeforeAck',
  'W5_quorumFlushed',
  'W5_everythingBefore',
  'W6_versionedHoles',
  'W8_readsBehindAcks',
  'W8_onlyInSync',
  'W9_checksums',
  'W10_hint',
  'V1_majority',
  'V2_oneInSync',
  'V3_trust',
  'V3_ownRole',
  'V4_writeBack',
  'V5_markAbsent',
  'V5_capByContig',
  'V5_keepAllApplied',
  'V6_clean',
  'V7_lossStays',
  'V8_deposedByRecord',
  'B1_minOfBoth',
  'B1_returningContig',
  'B2_targetsList',
  'B3_opsFromProposal',
  'B3_copyAfterCommit',
  'B4_guard',
  'B4_backward',
  'B4_sourcesInSync',
  'B5_allCopied',
  'B6_onlyInSync',
  'B6_allCopied',
  'B6_sealedFirst',
  'B6_sameCut',
  'B6_damagedWaits',
  'B7_holeFloor',
  'B7_belowSnapshots',
  'P1_exactCut',
  'P3_quorum',
  'P3_allHold',
  'P3_noRecordBetween',
  'P3_holdersSay',
  'P3_lastHolderStays',
  'P3_unnamedDeleted',
] as const;

export type RuleName = (typeof RULE_NAMES)[number];
export type Rules = Readonly<Record<RuleName, boolean>>;
export const ALL_RULE_NAMES: readonly RuleName[] = RULE_NAMES;

/** All rules but those named. */
export function rulesWithout(...off: readonly RuleName[]): Rules {
  const rules = {} as Record<RuleName, boolean>;
  for (const name of RULE_NAMES) rules[name] = !off.includes(name);
  return rules;
}

export const ALL_RULES: Rules = rulesWithout();
