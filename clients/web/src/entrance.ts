import type { Client, MfaChallenge, SignedIn, TokenStore, User } from "@greenroom/client";
import { Persona, reasonOf, SecondFactorNeeded } from "@greenroom/client";
import { byId, element, field, onPress } from "./dom.js";
import { onSubmit, textOf } from "./forms.js";

const NAMES = ["log-in", "sign-up", "verify"] as const;
type Tab = (typeof NAMES)[number];

const PERSONAS: [Persona, string][] = [
  [Persona.CREATOR, "Creator"],
  [Persona.EDITOR, "Editor"],
  [Persona.BRAND, "Brand"],
  [Persona.STUDENT, "Student"],
  [Persona.TEACHER, "Teacher"],
];

/** Says before a log-in whether its session outlives the visit. */
export interface StayingStore extends TokenStore {
  stays: boolean;
}

/** Log in, sign up, confirm an address. */
export class Entrance {
  readonly #client: Client;
  readonly #store: StayingStore;
  readonly #enter: (user: User) => void;
  readonly #section = byId("entrance", HTMLElement);
  readonly #forms = Object.fromEntries(NAMES.map((name) => [name, byId(name, HTMLFormElement)])) as Record<
    Tab,
    HTMLFormElement
  >;
  readonly #resend = byId("resend", HTMLButtonElement);
  #email = "";
  #challenge: MfaChallenge | undefined;

  constructor(client: Client, store: StayingStore, enter: (user: User) => void) {
    this.#client = client;
    this.#store = store;
    this.#enter = enter;
    const personas = field(this.#forms["sign-up"], "persona");
    personas.append(...PERSONAS.map(([value, label]) => element("option", { value: String(value) }, label)));
    this.#wireTabs();
    onSubmit(this.#forms["log-in"], () => this.#logIn());
    // A challenge belongs to whom it was made for.
    for (const name of ["email", "password"]) {
      field(this.#forms["log-in"], name).addEventListener("input", () => {
        if (this.#challenge !== undefined) this.#ask(undefined);
      });
    }
    onSubmit(this.#forms["sign-up"], () => this.#signUp());
    onSubmit(this.#forms.verify, () => this.#verify());
    onPress(this.#resend, () => this.#client.auth.resendVerification({ email: this.#email }));
  }

  /** Shows the forms. A token that came with the page's address stands in its field already. */
  open(): void {
    this.#section.hidden = false;
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    this.#show(token === null ? "log-in" : "verify");
    if (token === null) return;
    field(this.#forms.verify, "token").value = token;
    history.replaceState(null, "", location.pathname + location.search);
  }

  /** Hides the forms and forgets what was typed. */
  close(): void {
    this.#section.hidden = true;
    this.#ask(undefined);
    for (const form of Object.values(this.#forms)) form.reset();
  }

  async #logIn(): Promise<void> {
    const form = this.#forms["log-in"];
    this.#store.stays = field(form, "stay").checked;
    try {
      const { user } = await (this.#challenge === undefined ? this.#firstFactor() : this.#secondFactor(this.#challenge));
      this.#ask(undefined);
      if (user !== undefined) this.#enter(user);
    } catch (error) {
      if (error instanceof SecondFactorNeeded) {
        this.#ask(error.challenge);
        return;
      }
      // A sign-in that took too long begins anew.
      if (reasonOf(error) === "AUTH_ERROR_REASON_MFA_CHALLENGE_INVALID") this.#ask(undefined);
      throw error;
    }
  }

  #firstFactor(): Promise<SignedIn> {
    const form = this.#forms["log-in"];
    return this.#client.logIn({
      email: textOf(form, "email"),
      password: textOf(form, "password"),
      deviceName: "Greenroom console",
    });
  }

  #secondFactor(challenge: MfaChallenge): Promise<SignedIn> {
    const code = textOf(this.#forms["log-in"], "code").trim();
    return this.#client.completeMfa(challenge, /^\d{6}$/.test(code) ? { totp: code } : { backupCode: code });
  }

  /** Shows the field for a second factor while one is asked for. */
  #ask(challenge: MfaChallenge | undefined): void {
    this.#challenge = challenge;
    const code = field(this.#forms["log-in"], "code");
    byId("second-factor", HTMLElement).hidden = challenge === undefined;
    code.value = "";
    if (challenge !== undefined) code.focus();
  }

  async #signUp(): Promise<void> {
    const form = this.#forms["sign-up"];
    this.#email = textOf(form, "email");
    await this.#client.auth.signUp({
      email: this.#email,
      password: textOf(form, "password"),
      displayName: textOf(form, "display_name"),
      persona: Number(textOf(form, "persona")),
      username: textOf(form, "username").trim(),
      language: navigator.language,
    });
    field(this.#forms["log-in"], "email").value = this.#email;
    byId("mailed", HTMLElement).textContent = `A mail with a token is on its way to ${this.#email}.`;
    this.#resend.hidden = false;
    this.#show("verify");
  }

  async #verify(): Promise<void> {
    const { email } = await this.#client.auth.verifyEmail({ token: textOf(this.#forms.verify, "token").trim() });
    field(this.#forms["log-in"], "email").value = email;
    this.#show("log-in");
    field(this.#forms["log-in"], "password").focus();
  }

  #wireTabs(): void {
    for (const [place, name] of NAMES.entries()) {
      const tab = byId(`tab-${name}`, HTMLButtonElement);
      tab.addEventListener("click", () => this.#show(name));
      tab.addEventListener("keydown", ({ key }) => {
        const step = { ArrowRight: 1, ArrowLeft: NAMES.length - 1 }[key];
        if (step === undefined) return;
        const next = NAMES[(place + step) % NAMES.length]!;
        this.#show(next);
        byId(`tab-${next}`, HTMLButtonElement).focus();
      });
    }
  }

  #show(shown: Tab): void {
    for (const name of NAMES) {
      const tab = byId(`tab-${name}`, HTMLButtonElement);
      tab.setAttribute("aria-selected", String(name === shown));
      tab.tabIndex = name === shown ? 0 : -1;
      this.#forms[name].hidden = name !== shown;
    }
  }
}
