/** The element of the page with this id. Its kind is checked, so a renamed id fails at once. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`the page lacks ${kind.name} #${id}`);
  return found;
}

type Attributes = Record<string, string | boolean>;

/** A new element. What others wrote goes in as text, never as markup. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A button that does something; it cannot be pressed again while that takes. */
export function button(attributes: Attributes, press: () => unknown, ...children: (Node | string)[]): HTMLButtonElement {
  const made = element("button", { type: "button", ...attributes }, ...children);
  onPress(made, press);
  return made;
}

/** Has a button do something until the signal; it cannot be pressed again while that takes. */
export function onPress(pressed: HTMLButtonElement, press: () => unknown, signal?: AbortSignal): void {
  const pressing = async () => {
    pressed.disabled = true;
    try {
      await press();
    } finally {
      pressed.disabled = false;
    }
  };
  pressed.addEventListener("click", pressing, signal && { signal });
}

/** The field of a form with this name. */
export function field(form: HTMLFormElement, name: string): HTMLInputElement {
  return form.elements.namedItem(name) as HTMLInputElement;
}
