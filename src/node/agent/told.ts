// What was told of an object last: to tell it again takes no more than a comparison, as long as nobody changed the object
// meanwhile. A thousand volumes and their replicas are looked at every few seconds, and hardly one has news.
import type { KubeObject } from '../../apiserver/index.ts';

export class Told {
  readonly #facts = new WeakMap<KubeObject, string>();

  /** False: the object as it is says just this. */
  isNews(object: KubeObject, facts: string): boolean {
    return this.#facts.get(object) !== facts;
  }

  /** What it says is what was told. */
  knows(object: KubeObject): boolean {
    return this.#facts.has(object);
  }

  /** `object`: as it is with these facts told. */
  tell(object: KubeObject, facts: string): void {
    this.#facts.set(object, facts);
  }
}
