import type { Client, Session } from "@greenroom/client";
import { button, byId, element, onPress } from "./dom.js";
import { explain, moment } from "./words.js";

const PAGE_SIZE = 10;

/** The list of the user's devices, each with a button that logs it out. */
export class Devices {
  readonly #client: Client;
  readonly #say: (text: string) => void;
  readonly #leave: () => void;
  readonly #list = byId("devices", HTMLUListElement);
  readonly #more = byId("more-devices", HTMLButtonElement);
  #nextPageToken = "";

  /** `leave` is called when the user logs this very device out. */
  constructor(client: Client, say: (text: string) => void, leave: () => void, signal: AbortSignal) {
    this.#client = client;
    this.#say = say;
    this.#leave = leave;
    onPress(this.#more, () => this.#load(), signal);
  }

  /** Loads the list anew. */
  async open(): Promise<void> {
    this.#list.replaceChildren();
    this.#nextPageToken = "";
    await this.#load();
  }

  async #load(): Promise<void> {
    try {
      const page = await this.#client.sessions.listSessions({ pageSize: PAGE_SIZE, pageToken: this.#nextPageToken });
      this.#list.append(...page.sessions.map((session) => this.#entry(session)));
      this.#nextPageToken = page.nextPageToken;
      this.#more.hidden = page.nextPageToken === "";
    } catch (error) {
      this.#say(explain(error));
    }
  }

  #entry(session: Session): HTMLLIElement {
    const name = session.deviceName || session.userAgent || "Unnamed device";
    const used = session.current ? "this device" : `last used ${moment(session.lastActiveTime)}`;
    const facts = [used, session.ipAddress].filter((fact) => fact !== "").join(", ");
    const entry = element("li", {}, element("span", { class: "grows" }, name, element("br"), element("small", {}, facts)));
    const revoke = async () => {
      try {
        await this.#client.sessions.revokeSession({ sessionId: session.id });
      } catch (error) {
        this.#say(explain(error));
        return;
      }
      entry.remove();
      if (session.current) this.#leave();
    };
    entry.append(button({ class: "quiet", "aria-label": `Log out ${name}` }, revoke, "Log out"));
    return entry;
  }
}
