// Objects as a test looks at them many times a second, while it waits: by one request where kubectl is a process and several.
import { Client, Unreachable } from '../../../src/cli/client.ts';
import { fetchKinds, findKind, type Kind, pathOf } from '../../../src/cli/kinds.ts';

export interface Server {
  /** host:port, or a URL. */
  readonly address: string;
  readonly token: string | null;
  readonly caFile: string | null;
}

export class Looks {
  readonly #client: Client;
  #kinds: readonly Kind[] = [];

  constructor(server: Server) {
    this.#client = new Client(server);
  }

  /**
   * What `kubectl get` gives with -o json: the object, or `items` of one kind or of several (`replicas,pools`). Null: it
   * is not there, or nobody answers.
   */
  async get(kinds: string, name?: string, namespace = 'default'): Promise<unknown> {
    try {
      const names = kinds.split(',');
      const answers = await Promise.all(
        names.map(async (kind) => await this.#ask(await this.#pathOf(kind, name, namespace))),
      );
      if (answers.length === 1) return answers[0];
      return { items: answers.flatMap((answer) => (answer as { items: unknown[] }).items) };
    } catch {
      return null;
    }
  }

  async #ask(path: string): Promise<unknown> {
    try {
      return await this.#client.get(path);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      // A connection that the server closed as idle at this very moment; kubectl makes a new one each time.
      return await this.#client.get(path);
    }
  }

  async #pathOf(kind: string, name: string | undefined, namespace: string): Promise<string> {
    if (this.#kinds.length === 0) this.#kinds = await fetchKinds(this.#client);
    return pathOf(findKind(this.#kinds, kind), namespace, name ?? null);
  }
}
