// Elements of the page. Whatever comes from data reaches them as textContent, never as markup.

export function make(tag, className = "", text = undefined) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function put(parent, tag, className = "", text = undefined) {
  const element = make(tag, className, text);
  parent.append(element);
  return element;
}

/** A heading of a part of the view: below the title of the page, whatever its size. */
export function heading(parent, text) {
  const element = put(parent, "h4", "", text);
  element.setAttribute("aria-level", "2");
  return element;
}

/** A box that scrolls, also for those who have only keys. */
export function scroller(parent, label) {
  const element = put(parent, "div", "hx-scroller");
  element.tabIndex = 0;
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", `${label}, scrollable`);
  return element;
}

/** A space after each part of `element`: a screen reader runs the words of neighbours together otherwise. */
export function spaced(element) {
  for (const child of [...element.children]) child.after(" ");
  return element;
}

/** Write a text only where it differs: an unchanged page costs no layout. */
export function write(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function button(parent, name, text, title) {
  const element = put(parent, "button", `hx-button hx-${name}`, text);
  element.type = "button";
  element.title = title;
  return element;
}

/** A button that stays pressed: `act(pressed)` is told of each change. */
export function toggle(parent, name, text, title, act) {
  const element = button(parent, name, text, title);
  element.classList.add("hx-small");
  element.setAttribute("aria-pressed", "false");
  element.addEventListener("click", () => {
    const pressed = element.getAttribute("aria-pressed") !== "true";
    element.setAttribute("aria-pressed", String(pressed));
    act(pressed);
  });
  return element;
}

export function select(parent, name, label, options, act) {
  const element = put(parent, "select", `hx-select hx-${name}`);
  element.setAttribute("aria-label", label);
  element.title = label;
  for (const [value, text] of options) put(element, "option", "", text).value = value;
  element.addEventListener("change", () => act(element.value));
  return element;
}
