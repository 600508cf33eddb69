import type { Client, EventStream, StreamState, User } from "@greenroom/client";
import { SignedOut } from "@greenroom/client";
import type { Conversation } from "./conversations.js";
import { Conversations } from "./conversations.js";
import { Devices } from "./devices.js";
import { byId, element, onPress } from "./dom.js";
import { onSubmit, textOf } from "./forms.js";
import { Talk } from "./talk.js";
import { explain, nameOf } from "./words.js";

const STATES: Record<StreamState | "off", string> = {
  off: "Not connected",
  connecting: "Connecting …",
  live: "Live",
  waiting: "Connection lost, trying again …",
  ended: "Not connected",
};

/** What a signed-in user sees. */
export class House {
  readonly #client: Client;
  readonly #me: User;
  readonly #say: (text: string) => void;
  readonly #leave: (why: string) => void;
  readonly #over = new AbortController();
  readonly #conversations: Conversations;
  readonly #devices: Devices;
  readonly #talk: Talk;
  readonly #stream: EventStream;

  /** `leave` is called when the session is over, with a sentence about it if there is one to say. */
  constructor(client: Client, me: User, say: (text: string) => void, leave: (why: string) => void) {
    this.#client = client;
    this.#me = me;
    this.#say = say;
    this.#leave = leave;
    const { signal } = this.#over;
    this.#conversations = new Conversations(me.id, localStorage);
    this.#devices = new Devices(client, say, () => leave("This device is logged out."), signal);
    this.#talk = new Talk(client, me, say, () => this.#drawList(), signal);
    this.#stream = client.watch({ signal, onState: (state) => this.#drawState(state) });
  }

  /** Shows everything and follows what happens until the house is closed. */
  open(): void {
    byId("house", HTMLElement).hidden = byId("who", HTMLElement).hidden = false;
    byId("name", HTMLElement).textContent = this.#me.displayName || this.#me.email;
    byId("my-id", HTMLElement).textContent = this.#me.id;
    const open = byId("open", HTMLFormElement);
    const { signal } = this.#over;
    const openDirect = async () => {
      await this.#openDirect(textOf(open, "user_id").trim());
      open.reset();
    };
    onSubmit(open, openDirect, signal);
    onPress(byId("copy", HTMLButtonElement), () => this.#copyMyId(), signal);
    onPress(byId("cut", HTMLButtonElement), () => this.#stream.cut(), signal);
    onPress(byId("log-out", HTMLButtonElement), () => this.#logOut(), signal);
    this.#drawList();
    void this.#devices.open();
    void this.#follow();
    // What was sent before the stream stood is in the history by now.
    this.#stream.live.then(
      () => this.#talk.reload(),
      () => undefined,
    );
  }

  /** Hides everything and ends the stream. */
  close(): void {
    this.#over.abort();
    byId("house", HTMLElement).hidden = byId("who", HTMLElement).hidden = true;
    this.#drawState("off");
  }

  async #follow(): Promise<void> {
    try {
      for await (const event of this.#stream) {
        const conversation = this.#conversations.take(event, Date.now());
        if (conversation === this.#talk.shown) {
          if (event.payload.case === "gap") void this.#talk.reload();
          this.#talk.draw();
        }
        this.#drawList();
      }
    } catch (error) {
      if (error instanceof SignedOut) this.#leave(explain(error));
      else this.#say(explain(error));
    }
  }

  async #logOut(): Promise<void> {
    try {
      await this.#client.logOut();
      this.#leave("");
    } catch (error) {
      // The tokens are forgotten here all the same.
      this.#leave(`${explain(error)} The session may still be open on the server.`);
    }
  }

  /** Copies the id, or marks it for copying on pages that may not write to the clipboard. */
  async #copyMyId(): Promise<void> {
    const clipboard: Clipboard | undefined = navigator.clipboard;
    const copied = await clipboard?.writeText(this.#me.id).then(
      () => true,
      () => false,
    );
    if (!copied) getSelection()?.selectAllChildren(byId("my-id", HTMLElement));
  }

  async #openDirect(userId: string): Promise<void> {
    const { channel } = await this.#client.channels.getDirectChannel({ userId });
    if (channel === undefined) return;
    const conversation = this.#conversations.at(channel.id, userId);
    conversation.readByMe = channel.lastReadSeq;
    await this.#show(conversation);
  }

  async #show(conversation: Conversation): Promise<void> {
    const shown = this.#talk.show(conversation);
    this.#drawList();
    await shown;
  }

  #drawList(): void {
    const entries = this.#conversations.all.map((conversation) => {
      const unread = conversation.unread(this.#me.id);
      const entry = element("button", { type: "button", class: "entry" }, nameOf(conversation.otherId));
      entry.title = conversation.otherId;
      if (conversation === this.#talk.shown) entry.setAttribute("aria-current", "true");
      else if (unread > 0) {
        entry.append(element("span", { class: "unread", "aria-label": `${unread} unread` }, String(unread)));
      }
      entry.addEventListener("click", () => void this.#show(conversation));
      return element("li", {}, entry);
    });
    byId("conversations", HTMLUListElement).replaceChildren(...entries);
  }

  #drawState(state: StreamState | "off"): void {
    const link = byId("link", HTMLElement);
    link.dataset["state"] = state;
    link.textContent = STATES[state];
    if (state === "connecting") byId("opened", HTMLElement).textContent = String(this.#stream.connections + 1);
  }
}
