import { violationsOf } from "@greenroom/client";
import { field } from "./dom.js";
import { explain } from "./words.js";

/** The text of a field; an empty one when the form has none of this name. */
export function textOf(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name);
  return typeof value === "string" ? value : "";
}

/**
 * Has a form do its work when it is sent, until the signal. What is wrong is said in the form, beside
 * the field where the server names one, and the first such field gets the focus.
 */
export function onSubmit(form: HTMLFormElement, work: () => Promise<unknown>, signal?: AbortSignal): void {
  const submit = async (event: Event) => {
    event.preventDefault();
    const button = form.querySelector<HTMLButtonElement>('button[type="submit"]');
    if (button === null || button.disabled) return;
    accept(form);
    const empty = [...form.querySelectorAll<HTMLInputElement>("[required]")].find(({ value }) => value === "");
    if (empty !== undefined) {
      refuse(form, "Fill this in, please.", [empty]);
      return;
    }
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      const violations = Object.entries(violationsOf(error)).filter(([name]) => field(form, name) !== null);
      const told = violations.map(([, description]) => description).join(". ");
      refuse(form, told === "" ? explain(error) : told, violations.map(([name]) => field(form, name)));
    } finally {
      button.disabled = false;
    }
  };
  form.addEventListener("submit", submit, signal && { signal });
}

function accept(form: HTMLFormElement): void {
  const wrong = form.querySelector<HTMLElement>(".wrong");
  if (wrong) wrong.hidden = true;
  for (const marked of form.querySelectorAll("[aria-invalid]")) marked.removeAttribute("aria-invalid");
}

function refuse(form: HTMLFormElement, text: string, fields: HTMLInputElement[]): void {
  const wrong = form.querySelector<HTMLElement>(".wrong");
  if (wrong) {
    wrong.textContent = text;
    wrong.hidden = false;
  }
  for (const one of fields) one.setAttribute("aria-invalid", "true");
  fields[0]?.focus();
}
