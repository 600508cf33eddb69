import type { Client, Message, User } from "@greenroom/client";
import { newId } from "@greenroom/client";
import type { Conversation, Draft } from "./conversations.js";
import { button, byId, element, field, onPress } from "./dom.js";
import { onSubmit, textOf } from "./forms.js";
import { explain, moment, nameOf, whereabouts } from "./words.js";

const PAGE_SIZE = 50;
const TYPING_EVERY = 2_000;

/** The open conversation: its messages, who is typing, what was read, and a place to write. */
export class Talk {
  readonly #client: Client;
  readonly #me: User;
  readonly #say: (text: string) => void;
  readonly #onChange: () => void;
  readonly #title = byId("title-talk", HTMLElement);
  readonly #log = byId("log", HTMLElement);
  readonly #list = byId("messages", HTMLOListElement);
  readonly #earlier = byId("earlier", HTMLButtonElement);
  readonly #presence = byId("presence", HTMLElement);
  readonly #typing = byId("typing", HTMLElement);
  readonly #composer = byId("composer", HTMLFormElement);
  readonly #entries = new Map<string, HTMLLIElement>();
  #open: Conversation | undefined;
  #typedAt = Number.NEGATIVE_INFINITY;
  #marking = 0n;

  /** `onChange` is called when what is unread may have changed; the signal ends all of it. */
  constructor(client: Client, me: User, say: (text: string) => void, onChange: () => void, signal: AbortSignal) {
    this.#client = client;
    this.#me = me;
    this.#say = say;
    this.#onChange = onChange;
    this.#close();
    signal.addEventListener("abort", () => this.#close());
    onPress(this.#earlier, () => this.#load(), signal);
    onSubmit(this.#composer, async () => this.#write(), signal);
    const box = field(this.#composer, "text");
    box.addEventListener("input", () => this.#signTyping(), { signal });
    box.addEventListener("keydown", (event) => this.#sendOnEnter(event), { signal });
    document.addEventListener("visibilitychange", () => this.#markRead(), { signal });
  }

  /** The conversation that is shown. */
  get shown(): Conversation | undefined {
    return this.#open;
  }

  /** Shows a conversation and loads its newest messages. */
  async show(conversation: Conversation): Promise<void> {
    this.#clear();
    this.#open = conversation;
    this.#marking = 0n;
    this.#composer.hidden = false;
    this.draw();
    await Promise.all([this.reload(), this.#askPresence(conversation)]);
    field(this.#composer, "text").focus();
  }

  /** Loads the newest messages again, after a time in which nothing was heard. */
  async reload(): Promise<void> {
    if (this.#open !== undefined) this.#open.olderToken = undefined;
    await this.#load();
  }

  /** What events say later is newer, so it stands. */
  async #askPresence(conversation: Conversation): Promise<void> {
    const { otherId, presence } = conversation;
    if (otherId === "") return;
    try {
      const { presences } = await this.#client.presence.getPresence({ userIds: [otherId] });
      if (conversation.presence === presence) conversation.presence = presences[0];
      this.draw();
    } catch (error) {
      this.#say(explain(error));
    }
  }

  /** Brings the page up to date with the conversation. */
  draw(): void {
    const conversation = this.#open;
    if (conversation === undefined) return;
    this.#title.textContent = nameOf(conversation.otherId);
    this.#title.title = conversation.otherId;
    this.#earlier.hidden = !conversation.olderToken;
    this.#presence.textContent = whereabouts(conversation.presence);
    const typing = conversation.typingUntil - Date.now();
    this.#typing.textContent = typing > 0 ? `${nameOf(conversation.otherId)} is typing …` : "";
    if (typing > 0) setTimeout(() => this.draw(), typing + 10);
    const follows = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 80;
    this.#place(conversation);
    if (follows) this.#log.scrollTop = this.#log.scrollHeight;
    this.#markRead();
  }

  #close(): void {
    this.#clear();
    this.#open = undefined;
    this.#title.textContent = "No conversation is open";
    this.#composer.hidden = this.#earlier.hidden = true;
  }

  #clear(): void {
    this.#list.replaceChildren();
    this.#entries.clear();
    this.#typing.textContent = this.#presence.textContent = "";
  }

  /** Puts every message in its place and touches only what changed, so that readers hear only that. */
  #place(conversation: Conversation): void {
    const { messages, readByOther } = conversation;
    const lastRead = messages.findLast(({ seq, senderId }) => senderId === this.#me.id && seq <= readByOther);
    const wanted = [
      ...messages.map((message) => this.#message(message, message === lastRead)),
      ...[...conversation.drafts.values()].map((draft) => this.#draft(draft)),
    ];
    for (const [key, entry] of this.#entries) {
      if (wanted.includes(entry)) continue;
      entry.remove();
      this.#entries.delete(key);
    }
    let next = this.#list.firstChild;
    for (const entry of wanted) {
      if (entry === next) next = next.nextSibling;
      else this.#list.insertBefore(entry, next);
    }
  }

  #entry(key: string, attributes: Record<string, string>): HTMLLIElement {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = element("li", attributes, element("p"), element("small"));
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #message(message: Message, isLastRead: boolean): HTMLLIElement {
    const mine = message.senderId === this.#me.id;
    // The draft's entry becomes that of its message.
    const key = mine ? message.clientId : message.id;
    const entry = this.#entry(key, { class: mine ? "mine" : "theirs" });
    const sent = moment(message.createTime);
    entry.dataset["seq"] = String(message.seq);
    const notes = [sent];
    if (message.editTime !== undefined && message.deleteTime === undefined) notes.push("Edited");
    if (isLastRead) notes.push("Read");
    write(entry, message.deleteTime === undefined ? message.text : "This message was deleted.", notes.join(" · "));
    return entry;
  }

  #draft(draft: Draft): HTMLLIElement {
    const entry = this.#entry(draft.clientId, { class: "mine" });
    write(entry, draft.text, draft.failed ? "Not sent. " : "Sending …");
    if (draft.failed) {
      entry.lastElementChild?.append(button({ class: "quiet" }, () => this.#send(draft), "Try again"));
    }
    return entry;
  }

  async #load(): Promise<void> {
    const conversation = this.#open;
    if (conversation === undefined) return;
    try {
      const page = await this.#client.messages.listMessages({
        channelId: conversation.id,
        pageSize: PAGE_SIZE,
        pageToken: conversation.olderToken ?? "",
      });
      conversation.olderToken = page.nextPageToken;
      conversation.add(page.messages, this.#me.id);
      this.draw();
      this.#onChange();
    } catch (error) {
      this.#say(explain(error));
    }
  }

  #write(): void {
    const conversation = this.#open;
    const text = textOf(this.#composer, "text").trim();
    if (conversation === undefined || text === "") return;
    this.#composer.reset();
    this.#typedAt = Number.NEGATIVE_INFINITY;
    const draft: Draft = { clientId: newId(), text, failed: false };
    conversation.drafts.set(draft.clientId, draft);
    this.draw();
    this.#log.scrollTop = this.#log.scrollHeight;
    void this.#send(draft);
  }

  /** Sends a draft; sending it again with the same id makes no second message of it. */
  async #send(draft: Draft): Promise<void> {
    const conversation = this.#open;
    if (conversation === undefined) return;
    draft.failed = false;
    this.draw();
    try {
      const { clientId, text } = draft;
      const { message } = await this.#client.messages.sendMessage({ channelId: conversation.id, clientId, text });
      if (message !== undefined) conversation.add([message], this.#me.id);
    } catch (error) {
      draft.failed = true;
      this.#say(explain(error));
    }
    this.draw();
  }

  #sendOnEnter(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#composer.requestSubmit();
  }

  #signTyping(): void {
    const conversation = this.#open;
    const now = performance.now();
    if (conversation === undefined || now - this.#typedAt < TYPING_EVERY) return;
    this.#typedAt = now;
    // Nobody misses a lost sign of typing.
    this.#client.channels.sendTyping({ channelId: conversation.id }).catch(() => undefined);
  }

  #markRead(): void {
    const conversation = this.#open;
    if (conversation === undefined || document.visibilityState !== "visible") return;
    const { id } = conversation;
    const newest = conversation.newestOf(conversation.otherId);
    if (newest <= conversation.readByMe || newest <= this.#marking) return;
    this.#marking = newest;
    this.#client.channels.markRead({ channelId: id, seq: newest }).then(
      ({ lastReadSeq }) => {
        conversation.readByMe = lastReadSeq;
        this.#onChange();
      },
      () => {
        this.#marking = 0n;
      },
    );
  }
}

function write(entry: HTMLLIElement, text: string, note: string): void {
  const [paragraph, small] = entry.children;
  if (paragraph && paragraph.textContent !== text) paragraph.textContent = text;
  if (small && small.textContent !== note) small.textContent = note;
}
