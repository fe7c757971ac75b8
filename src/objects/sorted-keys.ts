// The keys of a store in order, for lists by prefix and page.

export interface Page {
  readonly keys: readonly string[];
  /** So many come after them. */
  readonly remaining: number;
}

export class SortedKeys {
  readonly #keys: string[] = [];

  /** The key is not there yet. */
  add(key: string): void {
    const last = this.#keys.at(-1);
    // In order, as a store is loaded, costs nothing.
    if (last === undefined || last < key) this.#keys.push(key);
    else this.#keys.splice(this.#lowerBound(key), 0, key);
  }

  delete(key: string): void {
    const at = this.#lowerBound(key);
    if (this.#keys[at] === key) this.#keys.splice(at, 1);
  }

  page(prefix: string, after: string | null, limit: number | null): Page {
    const from = this.#lowerBound(after !== null && after >= prefix ? `${after}\0` : prefix);
    // Keys are ASCII: this is above all that begin with the prefix.
    const end = Math.max(from, this.#lowerBound(`${prefix}\x7f`));
    const keys = this.#keys.slice(from, limit === null ? end : Math.min(end, from + limit));
    return { keys, remaining: end - from - keys.length };
  }

  /** The first place whose key is not below `key`. */
  #lowerBound(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
