import type { ChatEvent, Message, Presence } from "@greenroom/client";

const TYPING_LASTS = 5_000;

/** A message that the server has not confirmed. */
export interface Draft {
  readonly clientId: string;
  readonly text: string;
  failed: boolean;
}

/** One conversation, as far as this page knows it. */
export class Conversation {
  readonly id: string;
  /** The other member; empty until it is known. */
  otherId: string;
  /** Where older messages go on; `undefined` before the first page, empty when there are none. */
  olderToken: string | undefined;
  readByMe = 0n;
  readByOther = 0n;
  typingUntil = 0;
  /** Whether the other is there; `undefined` while it is not known. */
  presence: Presence | undefined;
  readonly drafts = new Map<string, Draft>();
  readonly #messages = new Map<bigint, Message>();
  #epoch = 0n;

  constructor(id: string, otherId: string) {
    this.id = id;
    this.otherId = otherId;
  }

  /** The messages in order. */
  get messages(): Message[] {
    return [...this.#messages.values()].sort((a, b) => (a.seq < b.seq ? -1 : 1));
  }

  /** Number of somebody's newest message; 0 when there is none. */
  newestOf(userId: string): bigint {
    return this.messages.findLast(({ senderId }) => senderId === userId)?.seq ?? 0n;
  }

  /** How many messages of the other are not read. */
  unread(myId: string): number {
    const counts = ({ seq, senderId, deleteTime }: Message) =>
      seq > this.readByMe && senderId !== myId && deleteTime === undefined;
    return this.messages.filter(counts).length;
  }

  /** Adds messages, whatever their order; of two versions of one the newer stays. */
  add(messages: Iterable<Message>, myId: string): void {
    for (const message of messages) {
      const known = this.#messages.get(message.seq);
      if (known !== undefined && known.change > message.change) continue;
      this.#messages.set(message.seq, message);
      if (message.senderId === myId) this.drafts.delete(message.clientId);
      else this.otherId ||= message.senderId;
    }
  }

  /** Takes in what happened. After a gap it is empty and has to be loaded again. */
  take(event: ChatEvent, myId: string, now: number): void {
    const { payload } = event;
    if (this.#epoch !== 0n && event.epoch !== this.#epoch) {
      // The numbering starts anew.
      this.readByMe = this.readByOther = 0n;
      this.#forget();
    }
    this.#epoch = event.epoch;
    if (payload.case === "gap") {
      this.#forget();
    } else if (payload.case === "message") {
      this.add([payload.value], myId);
      if (payload.value.senderId !== myId) this.typingUntil = 0;
    } else if (payload.case === "changed") {
      // Where it is not shown it will be loaded as it is by then.
      if (this.#messages.has(payload.value.seq)) this.add([payload.value], myId);
    } else if (payload.case === "presence") {
      if (payload.value.userId === this.otherId) this.presence = payload.value;
    } else if (payload.case === "read") {
      const { userId, seq } = payload.value;
      if (userId === myId) this.readByMe = seq > this.readByMe ? seq : this.readByMe;
      else this.readByOther = seq > this.readByOther ? seq : this.readByOther;
    } else if (payload.case === "typing" && payload.value.userId !== myId) {
      this.otherId ||= payload.value.userId;
      this.typingUntil = now + TYPING_LASTS;
    }
  }

  #forget(): void {
    this.#messages.clear();
    this.olderToken = undefined;
  }
}

/** The conversations of one user, remembered in the page's storage by their ids alone. */
export class Conversations {
  readonly #myId: string;
  readonly #storage: Storage;
  readonly #byId = new Map<string, Conversation>();

  constructor(myId: string, storage: Storage) {
    this.#myId = myId;
    this.#storage = storage;
    for (const { id, otherId } of this.#remembered()) this.#byId.set(id, new Conversation(id, otherId));
  }

  /** All of them, the ones known longest first. */
  get all(): Conversation[] {
    return [...this.#byId.values()];
  }

  /** The conversation with this id; made when it is new. */
  at(id: string, otherId = ""): Conversation {
    let found = this.#byId.get(id);
    if (found === undefined) {
      found = new Conversation(id, otherId);
      this.#byId.set(id, found);
    }
    found.otherId ||= otherId;
    this.#remember();
    return found;
  }

  /** Takes in what happened; returns where. */
  take(event: ChatEvent, now: number): Conversation {
    const conversation = this.at(event.channelId);
    const knew = conversation.otherId;
    conversation.take(event, this.#myId, now);
    if (conversation.otherId !== knew) this.#remember();
    return conversation;
  }

  get #key(): string {
    return `greenroom.conversations.${this.#myId}`;
  }

  #remember(): void {
    this.#storage.setItem(this.#key, JSON.stringify(this.all.map(({ id, otherId }) => ({ id, otherId }))));
  }

  #remembered(): { id: string; otherId: string }[] {
    try {
      const found: unknown = JSON.parse(this.#storage.getItem(this.#key) ?? "[]");
      return Array.isArray(found) ? found.filter((one) => typeof one?.id === "string" && typeof one.otherId === "string") : [];
    } catch {
      return [];
    }
  }
}
