// What a logical unit keeps of one I_T nexus.
import type { AnswerShare } from './answer-share.ts';
import type { Execution } from './execution.ts';
import type { Nexus } from './task.ts';
import { UnitAttentions } from './unit-attention.ts';

export class NexusState {
  readonly nexus: Nexus;
  /** Of the nexus, whatever the unit. */
  readonly answers: AnswerShare;
  readonly attentions = new UnitAttentions();
  /** PREVENT ALLOW MEDIUM REMOVAL (SPC-4 §6.15): kept and told, though nothing here can be removed. */
  preventsRemoval = false;

  // The task set's own: the tasks of this nexus, oldest first, and how many of them are ORDERED or HEAD OF QUEUE.
  firstTask: Execution | null = null;
  lastTask: Execution | null = null;
  barriers = 0;

  constructor(nexus: Nexus, answers: AnswerShare) {
    this.nexus = nexus;
    this.answers = answers;
  }
}
