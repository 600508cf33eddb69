import type { Tokens, User } from "@greenroom/client";
import { connect, SignedOut, WebTokenStore } from "@greenroom/client";
import { byId } from "./dom.js";
import type { StayingStore } from "./entrance.js";
import { Entrance } from "./entrance.js";
import { House } from "./house.js";
import { explain } from "./words.js";

/** Keeps a session for the visit, or in the device where the user said so. */
class PageStore implements StayingStore {
  readonly #device = new WebTokenStore();
  readonly #visit = new WebTokenStore("greenroom.tokens", sessionStorage);
  stays = this.#device.load() !== undefined;

  load(): Tokens | undefined {
    return this.#store.load();
  }

  save(tokens: Tokens | undefined): void {
    this.#store.save(tokens);
  }

  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#store.alone(work);
  }

  get #store(): WebTokenStore {
    return this.stays ? this.#device : this.#visit;
  }
}

/** The server: named by `?api=`, else where the page came from. */
function server(): string {
  const here = location.protocol.startsWith("http") ? location.origin : "http://localhost:8080";
  return new URLSearchParams(location.search).get("api") ?? here;
}

const store = new PageStore();
const client = connect({ baseUrl: server(), tokenStore: store });
const notice = byId("notice", HTMLElement);
let house: House | undefined;

function say(text: string): void {
  notice.textContent = text;
  notice.hidden = text === "";
}

function leave(why: string): void {
  house?.close();
  house = undefined;
  client.keeper.keep(undefined);
  say(why);
  entrance.open();
}

function enter(me: User): void {
  say("");
  entrance.close();
  house = new House(client, me, say, leave);
  house.open();
}

async function start(): Promise<void> {
  if (!client.isSignedIn) {
    entrance.open();
    return;
  }
  try {
    const { user } = await client.auth.getMe({});
    if (user !== undefined) enter(user);
  } catch (error) {
    if (error instanceof SignedOut) leave(explain(error));
    else say(`${explain(error)} Reload the page to try again.`);
  }
}

const entrance = new Entrance(client, store, enter);
void start();
