// The rule switches of T5: which seed or scenario notices that a rule is missing. A rule whose absence nothing notices is
// untested, or implied by others: those are named below with what implies them.
import type { RuleName } from '../../src/wire/rules.ts';
import type { DirectedName } from './directed.ts';

export interface Catch {
  /** Switched off; more than one where each of them alone is covered by the other. */
  readonly off: readonly RuleName[];
  readonly scenario?: DirectedName;
  /** Or one of the next few, if a change has moved the dice. */
  readonly seed?: number;
  readonly minutes?: number;
}

export const CATCHES: readonly Catch[] = [
  { off: ['C8_underWayFails'], scenario: 'syncAcrossLoss' },
  { off: ['C9_fuaByRecord'], scenario: 'cacheTurnedOff' },
  { off: ['E1_epochInVersion'], seed: 1 },
  { off: ['E2_fence'], seed: 1 },
  { off: ['E2_promiseDurable'], scenario: 'forgottenPromise' },
  { off: ['E2_promiseDrains'], scenario: 'promiseOvertakesOp' },
  { off: ['E3_leaseRefusesPromises'], scenario: 'takeoverInsideLease' },
  { off: ['E3_majorityAtArrival'], scenario: 'minorityReads' },
  { off: ['E3_memberChecks'], scenario: 'stoppedClock' },
  { off: ['E3_countFromSend'], scenario: 'lateHeartbeats' },
  { off: ['E4_silenceAfterRestart'], scenario: 'leaseForgotten' },
  { off: ['E5_deposedIsSilent'], seed: 1 },
  { off: ['E5_acksUnderLease'], scenario: 'wakesWithAnswers' },
  // A store that came back empty has another storeId, and does not know the opening that was attached either.
  { off: ['E6_storeId', 'E7_openId'], scenario: 'swappedDisk' },
  { off: ['E7_openId'], scenario: 'restoredImage' },
  { off: ['E7_attachedStays'], scenario: 'openedOften' },
  { off: ['R1_applyBefore'], scenario: 'slowSource' },
  { off: ['R1_flushBefore'], scenario: 'flushCountsJoiner' },
  { off: ['R2_allCounted'], scenario: 'committedByMajority' },
  { off: ['R2_countedFirst'], scenario: 'recordOutOfOrder' },
  // Whoever is marked as leaving is in the record that is proposed in the same step.
  { off: ['R3_acksStop', 'W4_recordBeforeAck'], scenario: 'witnessPair' },
  { off: ['R4_highestRecord'], seed: 4 },
  { off: ['R5_joint'], scenario: 'twoMajorities' },
  { off: ['R6_newcomerIsStale'], seed: 1 },
  { off: ['W1_admission'], seed: 3 },
  { off: ['W2_higherOnly'], seed: 1 },
  { off: ['W3_quorum'], scenario: 'ackByOne' },
  { off: ['W5_quorumFlushed'], scenario: 'flushByOne' },
  { off: ['W5_everythingBefore'], scenario: 'flushBeforeOps' },
  { off: ['W6_versionedHoles'], seed: 1 },
  { off: ['W8_readsBehindAcks'], seed: 7 },
  { off: ['W8_onlyInSync'], seed: 3 },
  { off: ['W9_checksums'], seed: 2 },
  { off: ['V1_majority'], seed: 1 },
  { off: ['V2_oneInSync'], scenario: 'staleMajority' },
  { off: ['V3_ownRole'], scenario: 'neverStored' },
  { off: ['V4_writeBack'], seed: 1 },
  { off: ['V5_markAbsent'], scenario: 'absentReturns' },
  { off: ['V5_keepAllApplied'], scenario: 'settledTwice' },
  { off: ['V6_clean'], scenario: 'cachesLost' },
  { off: ['V7_lossStays'], scenario: 'lossFoundTwice' },
  { off: ['V8_deposedByRecord'], scenario: 'wakesAfterAnother' },
  { off: ['B1_returningContig'], scenario: 'cacheLostWhileAway' },
  { off: ['B2_targetsList'], scenario: 'ownWrite' },
  { off: ['B3_opsFromProposal'], scenario: 'opsMeanwhile' },
  { off: ['B3_copyAfterCommit'], scenario: 'slowSource' },
  { off: ['B4_backward'], scenario: 'ownWrite' },
  { off: ['B4_guard'], seed: 3 },
  { off: ['B4_sourcesInSync'], scenario: 'sourceComesBackBlank' },
  { off: ['B5_allCopied'], scenario: 'promotedEarly' },
  // A joiner's own `contig` stays where it was before it joined.
  { off: ['B5_interrupted', 'B1_returningContig'], scenario: 'interruptedJoin' },
  { off: ['B6_onlyInSync'], scenario: 'missedInPieces' },
  { off: ['B6_allCopied'], scenario: 'missedSnapshots' },
  { off: ['B6_sealedFirst'], scenario: 'missedSnapshots' },
  { off: ['B6_sameCut'], scenario: 'anotherCut' },
  { off: ['B6_damagedWaits'], scenario: 'damagedAtSources' },
  { off: ['B7_holeFloor'], seed: 4 },
  { off: ['B7_committedFloor'], scenario: 'holesBeforeCommit' },
  { off: ['B7_fromZero'], seed: 1231 },
  { off: ['B7_belowSnapshots'], scenario: 'holesAboveCut' },
  { off: ['P1_exactCut'], seed: 67 },
  { off: ['P3_quorum'], seed: 1 },
  { off: ['P3_allHold'], scenario: 'refusedSnapshot' },
  { off: ['P3_noRecordBetween'], scenario: 'holesAboveCut' },
  { off: ['P3_holdersSay'], scenario: 'heldByWord' },
  { off: ['P3_lastHolderStays'], scenario: 'lastHolder' },
  { off: ['P3_unnamedDeleted'], seed: 6 },
  { off: ['H3_sameVersion'], scenario: 'mendedTooLate' },
  { off: ['H6_unknownIsUnequal'], scenario: 'listerLostMap' },
  { off: ['H6_asNewAsMayBe'], scenario: 'nobodyHasMap' },
  { off: ['H6_newestOfCopy'], scenario: 'lostBesideKnown' },
  { off: ['H6_notPromoted'], scenario: 'joinerLostMap' },
  { off: ['H6_leftOut'], scenario: 'lostInRecovery' },
  { off: ['H6_othersSuffice'], scenario: 'lostInRecovery' },
  { off: ['H6_storedRecord'], scenario: 'lostWithRecord' },
];

/** Rules that are not caught by themselves, and why that is as it should be. */
export const IMPLIED: Readonly<Partial<Record<RuleName, string>>> = {
  W3_joinersAfterCommit:
    'R1 and R4: a joiner stored the record that names it before any op that it could ack too early, and recovery adopts it',
  W3_oneInSync:
    'V2: every majority with a member in sync meets every set of q counted members, joiners included',
  W3_sessionEnds:
    'R1, R2: the record that detaches who acked is behind the op at all that it counts; where those are too few the op is issued anew',
  R5_acksWait:
    'V1, R5: recovery needs a majority of the new list, too, which meets every set of q that it counts',
  V3_trust:
    'R1, R2, V4: who stored a record that calls another stale has raised its contig beyond all that the stale one can ' +
    'hold, and only what is above the lowest contig is looked at',
  V5_capByContig:
    'R1: hints and allApplied reach a medium only behind a flush of what they tell of, so no contig is below them',
  B1_minOfBoth:
    'R1: the record that detaches a member reaches the others behind every op that the member may have applied',
  W10_hint:
    'safe without: stale members are rebuilt from an earlier version; it only saves copying',
};
